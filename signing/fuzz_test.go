package signing_test

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/signing"
)

// FuzzVerify knows every signature that was ever made under the ring, and requires that no other task verifies.
func FuzzVerify(f *testing.F) {
	// The fuzzer runs this in several processes, which must agree on what was signed: so the nonces are not random, and the
	// encrypted tasks are those of the vectors.
	k := open(f, ringA(f), t0.Add(time.Minute))
	made := map[string]signing.Task{}
	add := func(task signing.Task, sig string) {
		made[sig] = task
		name, value := "", ""
		for n, v := range task.Headers {
			name, value = n, v
		}
		f.Add(task.Kind, task.ID, task.Queue, task.MaxRetry, name, value, task.Payload, sig)
	}
	_, e := genuine()
	for _, task := range []signing.Task{
		{Kind: "mail:confirmation", ID: "1", Queue: "mail", MaxRetry: 5, Payload: []byte(`{"a":1}`)},
		{Kind: "email:send", ID: "1", Queue: "mail:q", MaxRetry: 1, Headers: map[string]string{"tenant": "acme"}},
		{Kind: "q:email:send", ID: "1.1", Queue: "mail", Headers: map[string]string{signing.EffectHeader: "1"}, Payload: []byte{}},
	} {
		add(task, e.sign(f, secretA, "test", task))
	}
	vectors, _ := loadVectors(f)
	for _, v := range vectors {
		if v.Secret == secretA && v.Encrypted {
			add(v.task(), v.Signature)
		}
	}
	f.Add("k", "i", "q", -1, "\xff", "\n", []byte{0}, strings.Repeat("A", 104))
	f.Add("", "", "", 0, "", "", []byte(nil), strings.Repeat("\n", 104))
	f.Fuzz(func(t *testing.T, kind, id, queue string, retry int, name, value string, payload []byte, sig string) {
		task := signing.Task{Kind: kind, ID: id, Queue: queue, MaxRetry: retry, Payload: payload}
		if name != "" {
			task.Headers = map[string]string{name: value}
		}
		v, err := k.Verify(task, sig)
		if err != nil {
			r := refusal(t, err)
			if v.Payload() != nil || r.Error() == "" || r.Authentic() {
				t.Errorf("refused with %v and payload %q", r, v.Payload())
			}
			return
		}
		want, ok := made[sig]
		if !ok {
			t.Fatalf("nobody signed %q", sig)
		}
		delete(task.Headers, signing.SignatureHeader)
		if len(task.Headers) == 0 {
			task.Headers = nil
		}
		if string(task.Payload) != string(want.Payload) {
			t.Errorf("another payload verified: %q", task.Payload)
		}
		task.Payload = want.Payload // nil and empty are the same payload
		if diff := cmp.Diff(want, task); diff != "" {
			t.Errorf("another task verified (-signed +verified):\n%s", diff)
		}
	})
}

// FuzzParseRing requires that what is read is written back to the same.
func FuzzParseRing(f *testing.F) {
	a, b := keyFields(kidA, "active", secretA), keyFields(kidB, "published", secretB)
	f.Add(text(f, ringFields(a)))
	f.Add(text(f, ringFields(a, b)))
	f.Add(text(f, ringFields(a, b.with("state", "retiring").with("sign_until", stamp(time.Hour)).with("verify_until", stamp(2*time.Hour)))))
	f.Add(text(f, ringFields(a, b.with("state", "destroyed").with("secret", nil).with("kinds", []string{"mail:*", "<\u2028>"}))))
	f.Add(text(f, ringFields(a.with("sign_from", "2026-01-01T02:00:00.000000001+02:00")).with("max_lifetime", "1h0.5s")))
	f.Add([]byte(`{"version":1,"version":2}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := signing.ParseRing(in)
		if err != nil {
			if r != nil || strings.Contains(err.Error(), secretA[7:]) || strings.Contains(err.Error(), secretB[7:]) {
				t.Errorf("got %v, %v", r, err)
			}
			return
		}
		again, err := signing.ParseRing(r.Marshal())
		if err != nil || !r.Equal(again) {
			t.Fatalf("%s was written as %s: %v", in, r.Marshal(), err)
		}
		if diff := cmp.Diff(string(r.Marshal()), string(again.Marshal())); diff != "" {
			t.Errorf("text (-want +got):\n%s", diff)
		}
	})
}

// FuzzParseSecret requires that a secret has one text only.
func FuzzParseSecret(f *testing.F) {
	f.Add(secretA)
	f.Add(secretB)
	f.Add(secretA[:54] + "L")
	f.Add(secretA[:51] + "\n\n\n\n")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := signing.ParseSecret(text)
		if err == nil && s.RevealText() != text {
			t.Errorf("%q is the text of %q", text, s.RevealText())
		}
		if err != nil && !s.IsZero() {
			t.Errorf("%q was refused and read: %v", text, err)
		}
	})
}

// FuzzSignatureText requires that the signature's own base64 reads and writes what the library's does, that a signature has one
// text only, and that its header is written as it was read.
func FuzzSignatureText(f *testing.F) {
	task, e := genuine()
	f.Add(e.sign(f, secretA, "test", task))
	vectors, _ := loadVectors(f)
	for _, v := range vectors {
		f.Add(v.Signature)
	}
	f.Add(strings.Repeat("_", 104))
	f.Add(strings.Repeat("A", 105))
	f.Fuzz(func(t *testing.T, text string) {
		raw, again, ok := signing.ReadSignature(text)
		want, err := base64.RawURLEncoding.Strict().DecodeString(text)
		if valid := err == nil && len(text) == 104 && len(want) == 78; ok != valid {
			t.Fatalf("%q is read: %v; want %v", text, ok, valid)
		}
		if !ok {
			return
		}
		if diff := cmp.Diff(want, raw[:]); diff != "" {
			t.Errorf("bytes (-want +got):\n%s", diff)
		}
		// Times after the year 9999 are read as its end, and there is one version.
		want[0] = 1
		for at := 6; at < 30; at += 8 {
			binary.BigEndian.PutUint64(want[at:], min(binary.BigEndian.Uint64(want[at:]), 253402300799999))
		}
		if diff := cmp.Diff(base64.RawURLEncoding.EncodeToString(want), again); diff != "" {
			t.Errorf("text (-want +got):\n%s", diff)
		}
	})
}
