package signing_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/signing"
)

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	hour := signing.Validity{Expires: t0.Add(time.Hour)}
	for name, c := range map[string]struct {
		task     func(t *signing.Task)
		validity *signing.Validity
		kinds    []string
		now      time.Duration
		want     error
	}{
		"no kind":                    {task: func(t *signing.Task) { t.Kind = "" }, want: signing.ErrMalformed},
		"no ID":                      {task: func(t *signing.Task) { t.ID = "" }, want: signing.ErrMalformed},
		"no queue":                   {task: func(t *signing.Task) { t.Queue = "" }, want: signing.ErrMalformed},
		"a kind that is not UTF-8":   {task: func(t *signing.Task) { t.Kind = "mail:\xff" }, want: signing.ErrMalformed},
		"a header's name not UTF-8":  {task: func(t *signing.Task) { t.Headers["\xff"] = "" }, want: signing.ErrMalformed},
		"a header's value not UTF-8": {task: func(t *signing.Task) { t.Headers["x"] = "\xff" }, want: signing.ErrMalformed},
		"an effect without a name":   {task: func(t *signing.Task) { t.Headers[signing.EffectHeader] = "" }, want: signing.ErrMalformed},
		"negative retries":           {task: func(t *signing.Task) { t.MaxRetry = -1 }, want: signing.ErrMalformed},
		"retries over 32 bits":       {task: func(t *signing.Task) { t.MaxRetry = math.MaxUint32 + 1 }, want: signing.ErrMalformed},
		"too large a payload":        {task: func(t *signing.Task) { t.Payload = make([]byte, signing.DefaultMaxPayload+1) }, want: signing.ErrMalformed},
		"a payload too large once encrypted": {
			task:     func(t *signing.Task) { t.Payload = make([]byte, signing.DefaultMaxPayload-27) },
			validity: &signing.Validity{Expires: t0.Add(time.Hour), Encrypt: true}, want: signing.ErrMalformed,
		},
		"a kind that the key does not cover": {kinds: []string{"users:*"}, want: signing.ErrKindNotAllowed},
		"no expiry":                          {validity: &signing.Validity{}, want: signing.ErrLifetimeExceeded},
		"an expiry in the past":              {validity: &signing.Validity{Expires: t0.Add(-time.Millisecond)}, want: signing.ErrLifetimeExceeded},
		"an expiry before it is due": {
			validity: &signing.Validity{NotBefore: t0.Add(2 * time.Hour), Expires: t0.Add(time.Hour)}, want: signing.ErrLifetimeExceeded,
		},
		"a life over the ring's": {
			validity: &signing.Validity{Expires: t0.Add(720*time.Hour + time.Millisecond)}, want: signing.ErrLifetimeExceeded,
		},
		"a life over the ring's because it is due late": {
			validity: &signing.Validity{NotBefore: t0.Add(700 * time.Hour), Expires: t0.Add(721 * time.Hour)}, want: signing.ErrLifetimeExceeded,
		},
		"a clock before the key's time":  {now: -60*time.Second - time.Millisecond, want: signing.ErrKeyNotValid},
		"a clock before Unix time began": {now: -100 * 365 * 24 * time.Hour, want: signing.ErrLifetimeExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			task, _ := genuine()
			if c.task != nil {
				c.task(&task)
			}
			k := keyFields(kidA, "active", secretA)
			if c.kinds != nil {
				k["kinds"] = c.kinds
			}
			v := hour
			if c.validity != nil {
				v = *c.validity
			}
			sig, payload, err := open(t, parse(t, ringFields(k)), t0.Add(c.now)).Sign(task, v)
			var typed *signing.SignError
			if !errors.Is(err, c.want) || !errors.As(err, &typed) {
				t.Fatalf("want %v in a SignError, got %v", c.want, err)
			}
			if sig != "" || payload != nil {
				t.Errorf("a refused task was signed: %q", sig)
			}
		})
	}
}

func TestSignedVerifies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		validity signing.Validity
		nbf, exp time.Duration
	}{
		"due now":             {signing.Validity{Expires: t0.Add(time.Hour)}, 0, time.Hour},
		"due in the past":     {signing.Validity{NotBefore: t0.Add(-time.Hour), Expires: t0.Add(time.Hour)}, 0, time.Hour},
		"due within seconds":  {signing.Validity{NotBefore: t0.Add(5 * time.Second), Expires: t0.Add(time.Hour)}, 5 * time.Second, time.Hour},
		"of the longest life": {signing.Validity{Expires: t0.Add(720 * time.Hour)}, 0, 720 * time.Hour},
		"to the millisecond":  {signing.Validity{Expires: t0.Add(time.Hour + 999*time.Microsecond)}, 0, time.Hour},
		"encrypted":           {signing.Validity{Expires: t0.Add(time.Hour), Encrypt: true}, 0, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := open(t, ringA(t), t0)
			task, _ := genuine()
			plaintext := string(task.Payload)
			sig, payload, err := k.Sign(task, c.validity)
			if err != nil {
				t.Fatal(err)
			}
			if encrypted := string(payload) != plaintext; encrypted != c.validity.Encrypt {
				t.Errorf("payload %q", payload)
			}
			task.Payload = payload
			v, err := k.Verify(task, sig)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(plaintext, string(v.Payload())); diff != "" {
				t.Errorf("payload (-want +got):\n%s", diff)
			}
			want := signing.Claims{
				Kind: task.Kind, ID: task.ID, Queue: task.Queue, Effect: task.ID, KID: mustKID(t, kidA), MaxRetry: 5,
				Encrypted: c.validity.Encrypt, IssuedAt: t0, NotBefore: t0.Add(c.nbf), Expires: t0.Add(c.exp),
			}
			if diff := cmp.Diff(want, v.Claims()); diff != "" {
				t.Errorf("claims (-want +got):\n%s", diff)
			}
			// The tests' own signer, given the nonce that the package drew, makes the very same signature.
			raw, err := base64.RawURLEncoding.DecodeString(sig)
			if err != nil {
				t.Fatal(err)
			}
			e := envelope{
				version: 1, flags: raw[1], kid: mustKID(t, kidA), iat: at(0), nbf: at(c.nbf), exp: at(c.exp), nonce: [16]byte(raw[30:46]),
			}
			if diff := cmp.Diff(e.sign(t, secretA, "test", task), sig); diff != "" {
				t.Errorf("signature (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSigningTwiceDiffers(t *testing.T) {
	t.Parallel()
	k := open(t, ringA(t), t0)
	task, _ := genuine()
	v := signing.Validity{Expires: t0.Add(time.Hour), Encrypt: true}
	sig1, payload1, err1 := k.Sign(task, v)
	sig2, payload2, err2 := k.Sign(task, v)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if sig1 == sig2 || bytes.Equal(payload1, payload2) {
		t.Error("two signings share their nonce")
	}
	task.Payload = payload2
	if _, err := k.Verify(task, sig1); !errors.Is(err, signing.ErrBadSignature) {
		t.Errorf("one signing's payload under the other's signature: %v", err)
	}
}

func TestAppendSignAppends(t *testing.T) {
	t.Parallel()
	k := open(t, ringA(t), t0)
	task, _ := genuine()
	out, _, err := k.AppendSign([]byte("sig="), task, signing.Validity{Expires: t0.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	sig, ok := strings.CutPrefix(string(out), "sig=")
	if !ok || len(sig) != 104 {
		t.Fatalf("got %q", out)
	}
	if _, err := k.Verify(task, sig); err != nil {
		t.Error(err)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	nonce := []byte("0123456789abcdef")
	revoked := keyFields(kidB, "revoked", secretB)
	destroyed := keyFields(kidB, "destroyed", secretB).with("secret", nil)
	active := keyFields(kidA, "active", secretA)
	for name, c := range map[string]struct {
		keys    []fields
		kid     string
		purpose string
		id      string
		nonce   []byte
		want    error
	}{
		"no purpose":            {purpose: "", id: "p", nonce: nonce, want: signing.ErrInvalidToken},
		"no ID":                 {purpose: "c", id: "", nonce: nonce, want: signing.ErrInvalidToken},
		"a nonce too short":     {purpose: "c", id: "p", nonce: nonce[1:], want: signing.ErrInvalidToken},
		"a key of another ring": {purpose: "c", id: "p", nonce: nonce, kid: "01020304", want: signing.ErrNoSuchKey},
		"a revoked key":         {keys: []fields{revoked}, purpose: "c", id: "p", nonce: nonce, kid: kidB, want: signing.ErrKeyNotValid},
		"a destroyed key":       {keys: []fields{destroyed}, purpose: "c", id: "p", nonce: nonce, kid: kidB, want: signing.ErrKeyNotValid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var kid signing.KID
			if c.kid != "" {
				kid = mustKID(t, c.kid)
			}
			k := open(t, parse(t, ringFields(append([]fields{active}, c.keys...)...)), t0)
			if token, _, err := k.Token(kid, c.purpose, c.id, 1, c.nonce); !errors.Is(err, c.want) || token != "" {
				t.Errorf("want %v, got %q, %v", c.want, token, err)
			}
		})
	}
}

func TestEveryPartOfATokenCounts(t *testing.T) {
	t.Parallel()
	k := open(t, ringA(t), t0)
	seen := map[string]string{}
	for _, c := range []struct {
		purpose, id string
		generation  uint64
		nonce       string
	}{
		{"a", "bc", 1, "0123456789abcdef"},
		{"ab", "c", 1, "0123456789abcdef"},
		{"a", "bc", 2, "0123456789abcdef"},
		{"a", "bc", 1, "0123456789abcdeg"},
		{"a", "bc", 1, "0123456789abcdef0"},
	} {
		token, _, err := k.Token(signing.KID{}, c.purpose, c.id, c.generation, []byte(c.nonce))
		if err != nil {
			t.Fatal(err)
		}
		if first, ok := seen[token]; ok {
			t.Errorf("%+v makes the token of %s", c, first)
		}
		seen[token] = c.purpose + "/" + c.id
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		audience string
		options  signing.Options
		source   signing.Source
		want     error
	}{
		"no audience":                {audience: "", want: signing.ErrInvalidAudience},
		"an audience with a space":   {audience: "prod eu", want: signing.ErrInvalidAudience},
		"an audience with a newline": {audience: "prod\n", want: signing.ErrInvalidAudience},
		"an audience not UTF-8":      {audience: "\xff", want: signing.ErrInvalidAudience},
		"an audience too long":       {audience: strings.Repeat("x", 256), want: signing.ErrInvalidAudience},
		"a negative skew":            {audience: "test", options: signing.Options{Skew: -1}, want: signing.ErrInvalidOptions},
		"a poll slower than trust":   {audience: "test", options: signing.Options{Poll: 4 * time.Minute}, want: signing.ErrInvalidOptions},
		"a negative limit":           {audience: "test", options: signing.Options{MaxPayload: -1}, want: signing.ErrInvalidOptions},
		"more headers than u16":      {audience: "test", options: signing.Options{MaxHeaders: 65536}, want: signing.ErrInvalidOptions},
		"a ring older than the database's": {
			audience: "test", options: signing.Options{MinVersion: 8}, want: signing.ErrOlderRing,
		},
		"a source without a ring":    {audience: "test", source: &memory{}, want: signing.ErrNoRing},
		"a ring that nothing parsed": {audience: "test", source: &memory{ring: &signing.Ring{}}, want: signing.ErrInvalidRing},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.source == nil {
				c.source = &memory{ring: ringA(t)}
			}
			if _, err := signing.OpenWith(t.Context(), c.source, c.audience, c.options); !errors.Is(err, c.want) {
				t.Errorf("want %v, got %v", c.want, err)
			}
		})
	}
}

func TestParseSourceRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "keys.json", "file:", "env:", "database", secretA, "http://x", "FILE:x"} {
		_, err := signing.Open(t.Context(), text, "test")
		if !errors.Is(err, signing.ErrInvalidSource) {
			t.Errorf("%q: got %v", text, err)
		}
		if text != "" && err != nil && strings.Contains(err.Error(), secretA) {
			t.Errorf("the error repeats the text: %v", err)
		}
	}
}

func TestEnvSource(t *testing.T) {
	t.Setenv("SEALQ_TEST_RING", string(ringA(t).Marshal()))
	k, err := signing.Open(t.Context(), "env:SEALQ_TEST_RING", "test")
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if diff := cmp.Diff(uint64(7), k.Version()); diff != "" {
		t.Errorf("version (-want +got):\n%s", diff)
	}
	t.Setenv("SEALQ_TEST_RING", "")
	if err := k.Reload(t.Context()); !errors.Is(err, signing.ErrNoRing) || !strings.Contains(err.Error(), "env:SEALQ_TEST_RING") {
		t.Errorf("an unset variable: %v", err)
	}
	t.Setenv("SEALQ_TEST_RING", strings.ReplaceAll(string(text(t, ringFields(keyFields(kidA, "active", secretA)))), secretA, secretB))
	if err := k.Reload(t.Context()); !errors.Is(err, signing.ErrInvalidRing) || strings.Contains(err.Error(), secretB) {
		t.Errorf("a broken ring: %v", err)
	}
}

func TestWhoIsToldOfSignaturesIsToldOfEachThatWasMade(t *testing.T) {
	t.Parallel()
	var told []string
	ring, err := signing.NewRing(time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	file := signing.NewFile(filepath.Join(t.TempDir(), "keys.json"))
	if err := file.Create(ring); err != nil {
		t.Fatal(err)
	}
	keys, err := signing.OpenWith(t.Context(), file, "test", signing.Options{OnSigned: func(kind string, kid signing.KID) {
		told = append(told, kind+" "+kid.String())
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(keys.Close)
	task := signing.Task{Kind: "mail:welcome", ID: "1", Queue: "mail"}
	for _, life := range []time.Duration{time.Minute, time.Minute, 2 * time.Hour} { // longer than the ring allows
		_, _, err := keys.Sign(task, signing.Validity{Expires: time.Now().Add(life)})
		if refused := errors.Is(err, signing.ErrLifetimeExceeded); (err != nil) != refused || refused != (life > time.Hour) {
			t.Errorf("%v: %v", life, err)
		}
	}
	one := "mail:welcome " + ring.Keys()[0].KID.String()
	if diff := cmp.Diff([]string{one, one}, told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}
