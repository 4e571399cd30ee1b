package signing_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/sealq/sealq/signing"
)

// benchTask has a payload of 256 bytes and one header beside the signature.
func benchTask() signing.Task {
	task, _ := genuine()
	task.Headers = map[string]string{signing.EffectHeader: "0197c6a0-0000-7000-8000-00000000000b"}
	task.Payload = make([]byte, 256)
	return task
}

func BenchmarkSign(b *testing.B) {
	k := open(b, ringA(b), t0)
	task := benchTask()
	dst := make([]byte, 0, 104)
	for name, v := range map[string]signing.Validity{
		"signed":    {Expires: t0.Add(time.Hour)},
		"encrypted": {Expires: t0.Add(time.Hour), Encrypt: true},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := k.AppendSign(dst, task, v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	k := open(b, ringA(b), t0)
	for name, v := range map[string]signing.Validity{
		"signed":    {Expires: t0.Add(time.Hour)},
		"encrypted": {Expires: t0.Add(time.Hour), Encrypt: true},
	} {
		b.Run(name, func(b *testing.B) {
			task := benchTask()
			sig, payload, err := k.Sign(task, v)
			if err != nil {
				b.Fatal(err)
			}
			task.Payload = payload
			b.ReportAllocs()
			for b.Loop() {
				if _, err := k.Verify(task, sig); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerifyParallel(b *testing.B) {
	k := open(b, ringA(b), t0)
	task := benchTask()
	sig, _, err := k.Sign(task, signing.Validity{Expires: t0.Add(time.Hour)})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := k.Verify(task, sig); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkBareHMAC is the floor: one keyed HMAC over as many bytes as a verification covers, and nothing else.
func BenchmarkBareHMAC(b *testing.B) {
	task := benchTask()
	_, e := genuine()
	msg := l(e.context("test", task), string(task.Payload))
	h := hmac.New(sha256.New, make([]byte, 32))
	h.Reset()
	var sum [sha256.Size]byte
	b.ReportAllocs()
	for b.Loop() {
		h.Reset()
		h.Write(msg)
		h.Sum(sum[:0])
	}
}
