package signing_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sealq/sealq/signing"
)

// ratioTasks are tasks with a payload of 256 bytes, whose floor is one keyed HMAC over the same bytes.
func ratioTasks() map[string]signing.Task {
	const row = "0197c6a0-0000-7000-8000-00000000000b"
	tasks := map[string]signing.Task{}
	for name, headers := range map[string]map[string]string{
		"a task of the outbox":      {signing.EffectHeader: row},
		"a task without any header": nil,
		"a task with three headers": {
			signing.EffectHeader: row, "tenant": "acme",
			"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		},
	} {
		tasks[name] = signing.Task{
			Kind: "mail:confirmation", ID: row + ".1", Queue: "mail", MaxRetry: 5, Headers: headers, Payload: make([]byte, 256),
		}
	}
	return tasks
}

// BenchmarkRatio compares signing and verifying with their floor: one keyed HMAC over the same bytes, in one piece, and
// nothing else. They take turns in rounds so short that most are not interrupted, and each round gives a ratio of its own, so
// that another load on the machine falls on all alike. It reports the medians. Targets for the task of an outbox: verify/hmac at
// most 1.9, sign/hmac at most 1.7.
func BenchmarkRatio(b *testing.B) {
	const calls = 100
	for name, task := range ratioTasks() {
		b.Run(name, func(b *testing.B) {
			r := newRace(b, task)
			bare := r.bare()
			var verified, signed []float64
			for b.Loop() {
				floor := timed(calls, bare)
				verified = append(verified, timed(calls, r.verify)/floor)
				signed = append(signed, timed(calls, r.sign)/floor)
			}
			b.ReportMetric(0, "ns/op") // of a round, which says nothing
			b.ReportMetric(median(verified), "verify/hmac")
			b.ReportMetric(median(signed), "sign/hmac")
		})
	}
}

// BenchmarkCores compares verifying on two cores at once with verifying on one, and does so with the bare HMAC too, whose
// calls share nothing: what that one misses to 2, the machine lacks. It reports the medians. Target: verify 1.8 at least.
func BenchmarkCores(b *testing.B) {
	if runtime.GOMAXPROCS(0) < 2 {
		b.Fatal("this needs two cores")
	}
	const calls = 5000
	r := newRace(b, ratioTasks()["a task of the outbox"])
	one, another := r.bare(), r.bare()
	var verified, bare []float64
	for b.Loop() {
		verified = append(verified, 2*timed(calls, r.verify)/timedOnTwo(calls, r.verify, r.verify))
		bare = append(bare, 2*timed(calls, one)/timedOnTwo(calls, one, another))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(verified), "cores/core")
	b.ReportMetric(median(bare), "bare-cores/core")
}

// race is a task with what runs against it.
type race struct {
	message      []byte // what the tag covers
	verify, sign func()
}

func newRace(b *testing.B, task signing.Task) race {
	b.Helper()
	ring := must(b)(signing.NewRing(time.Now(), 24*time.Hour))
	k := openWith(b, &memory{ring: ring}, "prod-eu", signing.Options{}) // with the real clock: reading it is part of the work
	v := signing.Validity{Expires: time.Now().Add(time.Hour)}
	sig, _, err := k.Sign(task, v)
	if err != nil {
		b.Fatal(err)
	}
	_, e := genuine()
	dst := make([]byte, 0, 104)
	return race{
		message: l(e.context("prod-eu", task), string(task.Payload)),
		verify: func() {
			if _, err := k.Verify(task, sig); err != nil {
				b.Error(err)
			}
		},
		sign: func() {
			if _, _, err := k.AppendSign(dst, task, v); err != nil {
				b.Error(err)
			}
		},
	}
}

func (r race) bare() func() {
	mac := hmac.New(sha256.New, make([]byte, 32))
	mac.Reset()
	sum := make([]byte, 0, sha256.Size)
	return func() {
		mac.Reset()
		mac.Write(r.message)
		mac.Sum(sum)
	}
}

// timed returns how long the calls take, in nanoseconds.
func timed(calls int, f func()) float64 {
	start := time.Now()
	for range calls {
		f()
	}
	return float64(time.Since(start))
}

// timedOnTwo returns how long the calls of f and g take at once, in nanoseconds.
func timedOnTwo(calls int, f, g func()) float64 {
	start := time.Now()
	var wg sync.WaitGroup
	wg.Go(func() { timed(calls, f) })
	timed(calls, g)
	wg.Wait()
	return float64(time.Since(start))
}

func median(of []float64) float64 {
	slices.Sort(of)
	return of[len(of)/2]
}
