package signing_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/sealq/sealq/signing"
)

// TestNothingPrintsASecret prints whatever holds a secret in every way there is, also from within a stranger's struct.
func TestNothingPrintsASecret(t *testing.T) {
	t.Parallel()
	secret, err := signing.ParseSecret(secretA)
	if err != nil {
		t.Fatal(err)
	}
	ring := ringA(t)
	keys := open(t, ring, t0)
	raw := make([]byte, 32)
	for i := range raw {
		raw[i] = byte(i) // secret A is 00 01 02 … 1f
	}
	macKey := derive(t, secretA, "mac", "test")
	leaks := []string{
		secretA[7:20], hex.EncodeToString(raw[:6]), strings.ToUpper(hex.EncodeToString(raw[10:])), string(raw[:8]),
		strings.Trim(fmt.Sprintf("%d", raw[:6]), "[]"), "0x0, 0x1, 0x2", hex.EncodeToString([]byte(secretA))[14:40],
		hex.EncodeToString(macKey[:6]), strings.Trim(fmt.Sprintf("%d", macKey[:6]), "[]"), string(macKey[:8]),
	}
	for name, v := range map[string]any{
		"a secret": secret, "a pointer to a secret": &secret, "secrets": []signing.Secret{secret},
		"a secret in a field":   struct{ Secret signing.Secret }{secret},
		"a secret in a private": struct{ secret signing.Secret }{secret},
		"a map of secrets":      map[string]signing.Secret{"x": secret},
		"a ring":                ring, "a ring's value": *ring, "a ring in a field": struct{ Ring *signing.Ring }{ring},
		"a ring in a private": struct{ ring *signing.Ring }{ring},
		"the ring's keys":     ring.Keys(),
		"the keys":            keys, "the keys in a field": struct{ Keys *signing.Keys }{keys},
		"the keys in a private": struct{ keys *signing.Keys }{keys},
		"check values":          keys.Infos(),
	} {
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%b", "%c", "%U", "%t", "%e", "%p"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		fmt.Fprintln(&out, v)
		if b, err := json.Marshal(v); err == nil {
			out.Write(b)
		}
		if b, err := xml.Marshal(v); err == nil {
			out.Write(b)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", slog.Any("value", v))
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", slog.Any("value", v))
		for _, leak := range leaks {
			if strings.Contains(out.String(), leak) {
				t.Errorf("%s prints %q:\n%s", name, leak, out.String())
			}
		}
		if strings.Contains(name, "secret") && !strings.Contains(name, "private") && !strings.Contains(out.String(), "[redacted]") {
			t.Errorf("%s does not say that it is redacted:\n%s", name, out.String())
		}
	}
	if !strings.Contains(string(ring.Marshal()), secretA) || secret.RevealText() != secretA {
		t.Error("the two ways out do not let the secret out")
	}
}

func TestDescriptions(t *testing.T) {
	t.Parallel()
	ring := ringA(t)
	for want, v := range map[string]any{
		"key ring version 7 with 1 keys": ring,
		"no key ring":                    (*signing.Ring)(nil),
		"keys of test from memory, key ring version 7 with 1 keys": open(t, ring, t0),
		"[redacted]": signing.NewSecret(),
		"env:NAME":   signing.Env("NAME"),
		"task refused (expired): the task has expired":                                  &signing.Refusal{Reason: signing.ReasonExpired},
		"the task's effect is done already":                                             &signing.Done{},
		"sign: the key ring was not confirmed by its source since 2026-01-01T00:00:00Z": &signing.StaleError{ConfirmedAt: t0},
	} {
		if got := fmt.Sprint(v); got != want {
			t.Errorf("want %q, got %q", want, got)
		}
	}
	b, err := json.Marshal(ring)
	if err != nil || !strings.Contains(string(b), `{"version":7,"max_lifetime":"720h","keys":[{"kid":"f7e2c87f","state":"active"`) {
		t.Errorf("got %s, %v", b, err)
	}
}
