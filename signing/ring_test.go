package signing_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/signing"
)

func TestParseRingRefuses(t *testing.T) {
	t.Parallel()
	a := keyFields(kidA, "active", secretA)
	b := keyFields(kidB, "published", secretB)
	retiring := keyFields(kidB, "retiring", secretB).with("sign_until", stamp(time.Hour)).with("verify_until", stamp(2*time.Hour))
	good := string(text(t, ringFields(a, b)))
	mistyped := strings.Replace(secretB, "sealq1_", "sealq1_A", 1)[:55]
	for name, c := range map[string]struct {
		doc  any    // or
		text string // instead
		want string // in the error
	}{
		"nothing":                     {text: " \n", want: "it is empty"},
		"no JSON":                     {text: "sealq", want: "not a JSON object"},
		"a list":                      {text: "[]", want: "not a JSON object"},
		"JSON that ends early":        {text: good[:len(good)-1], want: "not valid JSON"},
		"bytes that are not UTF-8":    {text: strings.Replace(good, "720h", "720\xff", 1), want: "not UTF-8"},
		"something after it":          {text: good + "{}", want: "after its closing brace"},
		"a byte after it":             {text: good + "x", want: "after its closing brace"},
		"too much":                    {text: good + strings.Repeat(" ", 1<<20), want: "larger than 1 MiB"},
		"an unknown name":             {doc: ringFields(a).with("comment", "x"), want: `"comment", which is not known`},
		"a secret for a name":         {doc: ringFields(a).with(secretB, "x"), want: "a name, which is not known"},
		"an unknown name in a key":    {doc: ringFields(a, b.with("note", 1)), want: `keys[1]: it has "note"`},
		"a name in another case":      {text: strings.Replace(good, `"version"`, `"Version"`, 1), want: "which is not known"},
		"a name twice":                {text: strings.Replace(good, `"version":7`, `"version":7,"version":8`, 1), want: `has "version" twice`},
		"a name twice, one escaped":   {text: strings.Replace(good, `"version":7`, `"version":7,"\u0076ersion":8`, 1), want: `has "version" twice`},
		"a name twice in a key":       {text: strings.Replace(good, `"state":"published"`, `"state":"published","state":"revoked"`, 1), want: `keys[1]: it has "state" twice`},
		"no version":                  {doc: ringFields(a).without("version"), want: `"version" is missing`},
		"version null":                {doc: ringFields(a).with("version", nil), want: `"version" is missing`},
		"version 0":                   {doc: ringFields(a).with("version", 0), want: `"version" must be a whole number from 1`},
		"a negative version":          {doc: ringFields(a).with("version", -1), want: `"version" must be a whole number`},
		"a version in quotes":         {doc: ringFields(a).with("version", "7"), want: `"version" must be a whole number`},
		"a version over 53 bits":      {doc: ringFields(a).with("version", uint64(1<<53)), want: `"version" must be`},
		"no lifetime":                 {doc: ringFields(a).without("max_lifetime"), want: `"max_lifetime" is missing`},
		"a lifetime of 0":             {doc: ringFields(a).with("max_lifetime", "0s"), want: `"max_lifetime" must be longer`},
		"a negative lifetime":         {doc: ringFields(a).with("max_lifetime", "-1h"), want: `"max_lifetime" must be longer`},
		"a lifetime of eleven years":  {doc: ringFields(a).with("max_lifetime", "96360h"), want: `"max_lifetime" must be longer`},
		"a lifetime of nanoseconds":   {doc: ringFields(a).with("max_lifetime", "1h1ns"), want: "whole milliseconds"},
		"a lifetime as a number":      {doc: ringFields(a).with("max_lifetime", 720), want: `"max_lifetime" must be a duration`},
		"a lifetime in days":          {doc: ringFields(a).with("max_lifetime", "30d"), want: `"max_lifetime" must be a duration`},
		"no keys":                     {doc: ringFields(a).without("keys"), want: `"keys" is missing`},
		"an empty list of keys":       {doc: ringFields(), want: `"keys" is missing`}, // nil in Go, null in JSON
		"a list of no keys":           {doc: ringFields(a).with("keys", []fields{}), want: "no key is active"},
		"none active":                 {doc: ringFields(b), want: "no key is active"},
		"two active":                  {doc: ringFields(a, b.with("state", "active")), want: "keys[1]: it is active like keys[0]"},
		"a key twice":                 {doc: ringFields(a, b, a.with("state", "revoked")), want: "keys[2]: its kid f7e2c87f is that of keys[0] too"},
		"a key that is null":          {doc: ringFields(a, nil), want: "keys[1]: it is not a JSON object"},
		"a kid of another key":        {doc: ringFields(a, b.with("kid", "01020304")), want: "keys[1]: its kid 01020304 does not belong to its secret"},
		"a kid in capitals":           {doc: ringFields(a, b.with("kid", "B4AF9F88")), want: `keys[1]: "kid" must be 8 lower-case`},
		"a kid of nine digits":        {doc: ringFields(a, b.with("kid", "b4af9f880")), want: `keys[1]: "kid" must be 8 lower-case`},
		"a kid that is a number":      {doc: ringFields(a, b.with("kid", 1)), want: `keys[1]: "kid" must be 8 lower-case`},
		"no state":                    {doc: ringFields(a, b.without("state")), want: `keys[1]: "state" is missing`},
		"an unknown state":            {doc: ringFields(a, b.with("state", "paused")), want: `keys[1]: "state" must be published`},
		"a time without a zone":       {doc: ringFields(a, b.with("sign_from", "2026-01-01T00:00:00")), want: `keys[1]: "sign_from" must be a time`},
		"a time as a number":          {doc: ringFields(a, b.with("created_at", 1767225600)), want: `keys[1]: "created_at" must be a time`},
		"a time before computers":     {doc: ringFields(a, b.with("created_at", "1969-12-31T23:59:59Z")), want: `keys[1]: "created_at" lies outside the years`},
		"a time too late":             {doc: ringFields(a, b.with("sign_from", "9001-01-01T00:00:00Z")), want: `keys[1]: "sign_from" lies outside the years`},
		"an active key with an end":   {doc: ringFields(a.with("sign_until", stamp(time.Hour)), b), want: `keys[0]: "sign_until" and "verify_until" must be null`},
		"a published key with an end": {doc: ringFields(a, b.with("verify_until", stamp(0))), want: `keys[1]: "sign_until" and "verify_until" must be null`},
		"retiring without an end":     {doc: ringFields(a, retiring.with("verify_until", nil)), want: "keys[1]: a retiring key needs"},
		"retiring before it signs":    {doc: ringFields(a, retiring.with("sign_until", stamp(-1*time.Hour))), want: `keys[1]: "sign_until" is before "sign_from"`},
		"verifying ends first":        {doc: ringFields(a, retiring.with("verify_until", stamp(time.Minute))), want: `keys[1]: "verify_until" is before "sign_until"`},
		"no kinds":                    {doc: ringFields(a, b.with("kinds", []string{})), want: `keys[1]: "kinds" must list`},
		"kinds null":                  {doc: ringFields(a, b.with("kinds", nil)), want: `keys[1]: "kinds" is missing`},
		"kinds as a text":             {doc: ringFields(a, b.with("kinds", "*")), want: `keys[1]: "kinds" must be a list`},
		"an empty kind":               {doc: ringFields(a, b.with("kinds", []any{"*", nil})), want: `keys[1]: a kind in "kinds" must have 1 to 256 bytes`},
		"a star within a kind":        {doc: ringFields(a, b.with("kinds", []string{"mail:*:x"})), want: `keys[1]: a kind in "kinds" may use * alone`},
		"a star without a colon":      {doc: ringFields(a, b.with("kinds", []string{"mail*"})), want: `keys[1]: a kind in "kinds" may use * alone`},
		"two stars":                   {doc: ringFields(a, b.with("kinds", []string{"**"})), want: `keys[1]: a kind in "kinds" may use * alone`},
		"a control character":         {doc: ringFields(a, b.with("kinds", []string{"mail\n"})), want: `keys[1]: a kind in "kinds" must be UTF-8`},
		"no secret":                   {doc: ringFields(a, b.with("secret", nil)), want: "keys[1]: it is published but has no secret"},
		"a revoked key's secret gone": {doc: ringFields(a, b.with("state", "revoked").without("secret")), want: "keys[1]: it is revoked but has no secret"},
		"a destroyed key's secret":    {doc: ringFields(a, b.with("state", "destroyed")), want: "keys[1]: it is destroyed but has a secret"},
		"a secret of another prefix":  {doc: ringFields(a, b.with("secret", "sealq2_"+secretB[7:])), want: `keys[1]: "secret" is not a key's secret: it does not begin`},
		"a secret too short":          {doc: ringFields(a, b.with("secret", secretB[:54])), want: `keys[1]: "secret" is not a key's secret: it has 54 characters`},
		"a mistyped secret":           {doc: ringFields(a, b.with("secret", mistyped)), want: `keys[1]: "secret" is not a key's secret: its checksum differs`},
		"a secret that is a number":   {doc: ringFields(a, b.with("secret", 1)), want: `keys[1]: "secret" must be a text`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := []byte(c.text)
			if c.doc != nil {
				in = text(t, c.doc)
			}
			_, err := signing.ParseRing(in)
			var typed *signing.RingError
			if !errors.As(err, &typed) || !errors.Is(err, signing.ErrInvalidRing) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("want a RingError with %q, got %v", c.want, err)
			}
			for _, s := range []string{secretA, secretB, mistyped} {
				if strings.Contains(err.Error(), s[7:20]) {
					t.Errorf("the error repeats a secret: %v", err)
				}
			}
		})
	}
}

func TestRingSurvivesMarshalling(t *testing.T) {
	t.Parallel()
	destroyed := keyFields("01020304", "destroyed", "").without("secret")
	r := parse(t, ringFields(
		destroyed,
		keyFields(kidB, "retiring", secretB).with("sign_until", stamp(time.Hour)).with("verify_until", stamp(721*time.Hour)).
			with("kinds", []string{"mail:*", "users:expire_pending", "<&>"}),
		keyFields(kidA, "active", secretA).with("sign_from", "2026-01-01T02:00:00.123+02:00"),
	))
	again, err := signing.ParseRing(r.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	if !r.Equal(again) {
		t.Errorf("want %s, got %s", r.Marshal(), again.Marshal())
	}
	if diff := cmp.Diff(string(r.Marshal()), string(again.Marshal())); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}

// TestRingFormat holds the file's format to the letter.
func TestRingFormat(t *testing.T) {
	t.Parallel()
	const want = `{
  "version": 7,
  "max_lifetime": "720h",
  "keys": [
    {
      "kid": "b4af9f88",
      "state": "destroyed",
      "created_at": "2026-01-01T00:00:00Z",
      "sign_from": "2026-01-01T00:00:00Z",
      "sign_until": "2026-01-01T01:00:00Z",
      "verify_until": "2026-01-31T01:00:00Z",
      "kinds": [
        "*"
      ],
      "secret": null
    },
    {
      "kid": "f7e2c87f",
      "state": "active",
      "created_at": "2026-01-01T00:00:00Z",
      "sign_from": "2026-01-01T00:00:00Z",
      "sign_until": null,
      "verify_until": null,
      "kinds": [
        "*"
      ],
      "secret": "sealq1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh-RJn6K"
    }
  ]
}
`
	r := parse(t, ringFields(
		keyFields(kidB, "destroyed", "").with("secret", nil).with("sign_until", stamp(time.Hour)).with("verify_until", stamp(721*time.Hour)),
		keyFields(kidA, "active", secretA),
	))
	if diff := cmp.Diff(want, string(r.Marshal())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRingLifetimeKeepsItsText(t *testing.T) {
	t.Parallel()
	for _, lifetime := range []string{"720h", "1h30m", "10m", "90s", "1h0m5s", "10h10m", "100ms", "20m20s"} {
		d, err := time.ParseDuration(lifetime)
		if err != nil {
			t.Fatal(err)
		}
		r, err := signing.NewRing(t0, d)
		if err != nil {
			t.Fatal(err)
		}
		again, err := signing.ParseRing(r.Marshal())
		if err != nil || again.MaxLifetime() != d {
			t.Errorf("%s: got %v, %v", lifetime, again, err)
		}
	}
	if r := ringA(t); !strings.Contains(string(r.Marshal()), `"max_lifetime": "720h",`) {
		t.Errorf("got %s", r.Marshal())
	}
}

func TestKeysAreAView(t *testing.T) {
	t.Parallel()
	r := parse(t, ringFields(
		keyFields(kidA, "active", secretA),
		keyFields(kidB, "retiring", secretB).with("sign_until", stamp(time.Hour)).with("verify_until", stamp(2*time.Hour)),
	))
	before := string(r.Marshal())
	for _, info := range r.Keys() {
		info.Kinds[0] = "changed"
		if info.SignUntil != nil {
			*info.SignUntil = time.Time{}
		}
	}
	if diff := cmp.Diff(before, string(r.Marshal())); diff != "" {
		t.Errorf("changing the view changed the ring (-want +got):\n%s", diff)
	}
}

func TestRingEqual(t *testing.T) {
	t.Parallel()
	a := keyFields(kidA, "active", secretA)
	b := keyFields(kidB, "revoked", secretB).with("sign_until", stamp(time.Hour))
	base := parse(t, ringFields(a, b))
	if !base.Equal(parse(t, ringFields(a, b))) {
		t.Error("a ring differs from itself")
	}
	for name, doc := range map[string]fields{
		"version":     ringFields(a, b).with("version", 8),
		"lifetime":    ringFields(a, b).with("max_lifetime", "721h"),
		"a key":       ringFields(a),
		"order":       ringFields(b, a),
		"state":       ringFields(a, b.with("state", "destroyed").with("secret", nil)),
		"created_at":  ringFields(a.with("created_at", stamp(1)), b),
		"sign_until":  ringFields(a, b.with("sign_until", nil)),
		"sign_until'": ringFields(a, b.with("sign_until", stamp(time.Minute))),
		"kinds":       ringFields(a.with("kinds", []string{"x"}), b),
	} {
		if base.Equal(parse(t, doc)) {
			t.Errorf("another %s makes no difference", name)
		}
	}
	var none *signing.Ring
	if base.Equal(nil) || !none.Equal(nil) {
		t.Error("no ring equals a ring")
	}
}

func TestParseKIDRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "f7e2c87", "f7e2c87ff", "F7E2C87F", "f7e2c87g", "f7e2 87f", "é2c87f1"} {
		if _, err := signing.ParseKID(text); !errors.Is(err, signing.ErrInvalidKID) {
			t.Errorf("%q: got %v", text, err)
		}
	}
	kid := mustKID(t, kidA)
	if diff := cmp.Diff(kidA, kid.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var back signing.KID
	if b, err := kid.MarshalText(); err != nil || back.UnmarshalText(b) != nil || back != kid {
		t.Errorf("got %s, %v", back, err)
	}
	if err := back.UnmarshalText([]byte("x")); err == nil || back != kid {
		t.Errorf("a bad text changed the kid to %s, %v", back, err)
	}
}

func TestParseSecretRefuses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nothing":                  "",
		"only a prefix":            "sealq1_",
		"another prefix":           "sealq0_" + secretA[7:],
		"a character short":        secretA[:54],
		"a character long":         secretA + "A",
		"padding":                  secretA[:54] + "=",
		"a changed character":      strings.Replace(secretA, "AAEC", "ABEC", 1),
		"a changed checksum":       secretA[:54] + "L",
		"the other alphabet":       strings.Replace(secretA, "-", "+", 1),
		"newlines in it":           secretA[:51] + "\n\n\n\n",
		"a newline in it":          secretA[:30] + "\n" + secretA[31:],
		"space around it":          " " + secretA,
		"a checksum of 31 bytes":   secretText(make([]byte, 31)),
		"a checksum of 33 bytes":   secretText(make([]byte, 33)),
		"letters beyond the ASCII": secretA[:53] + "é",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := signing.ParseSecret(text)
			if !errors.Is(err, signing.ErrInvalidSecret) || !s.IsZero() {
				t.Fatalf("got %v", err)
			}
			if len(text) > 20 && strings.Contains(err.Error(), text[8:16]) {
				t.Errorf("the error repeats the secret: %v", err)
			}
		})
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		s := signing.NewSecret()
		seen[s.RevealText()] = true
		again, err := signing.ParseSecret(s.RevealText())
		if err != nil || !again.Equal(s) {
			t.Fatalf("a new secret does not survive its text: %v", err)
		}
	}
	if len(seen) != 100 {
		t.Errorf("100 secrets are %d", len(seen))
	}
	var zero signing.Secret
	if zero.RevealText() != "" || zero.Equal(signing.NewSecret()) || !zero.Equal(signing.Secret{}) {
		t.Error("the zero secret is one")
	}
}
