package signing_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/signing"
)

type hexBytes []byte

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

type vector struct {
	Name      string            `json:"name"`
	Secret    string            `json:"secret"`
	Audience  string            `json:"audience"`
	Queue     string            `json:"queue"`
	Kind      string            `json:"kind"`
	TaskID    string            `json:"task_id"`
	MaxRetry  int               `json:"max_retry"`
	Headers   map[string]string `json:"headers"`
	IAT       int64             `json:"iat_ms"`
	NBF       int64             `json:"nbf_ms"`
	EXP       int64             `json:"exp_ms"`
	Nonce     hexBytes          `json:"nonce_hex"`
	Encrypted bool              `json:"encrypted"`
	Plaintext hexBytes          `json:"plaintext_hex"`
	KID       string            `json:"want_kid"`
	MACKey    hexBytes          `json:"want_mac_key_hex"`
	Check     hexBytes          `json:"want_check_value_hex"`
	Context   hexBytes          `json:"want_context_hex"`
	Payload   hexBytes          `json:"want_payload_hex"`
	Signature string            `json:"want_signature"`
}

type tokenVector struct {
	Secret     string   `json:"secret"`
	Audience   string   `json:"audience"`
	Purpose    string   `json:"purpose"`
	ID         string   `json:"id"`
	Generation uint64   `json:"generation"`
	Nonce      hexBytes `json:"nonce_hex"`
	Token      string   `json:"want_token"`
}

func loadVectors(tb testing.TB) (vs []vector, ts []tokenVector) {
	tb.Helper()
	b, err := os.ReadFile("testdata/v1/envelope.json")
	if err != nil {
		tb.Fatal(err)
	}
	var doc struct {
		Vectors []vector      `json:"vectors"`
		Tokens  []tokenVector `json:"tokens"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		tb.Fatal(err)
	}
	if len(doc.Vectors) < 9 || len(doc.Tokens) < 2 {
		tb.Fatalf("only %d vectors and %d tokens", len(doc.Vectors), len(doc.Tokens))
	}
	return doc.Vectors, doc.Tokens
}

func (v vector) task() signing.Task {
	return signing.Task{Kind: v.Kind, ID: v.TaskID, Queue: v.Queue, MaxRetry: v.MaxRetry, Headers: v.Headers, Payload: v.Payload}
}

func (v vector) keys(tb testing.TB) *signing.Keys {
	tb.Helper()
	r := parse(tb, ringFields(keyFields(v.KID, "active", v.Secret)))
	return openWith(tb, &memory{ring: r}, v.Audience, signing.Options{Now: newClock(time.UnixMilli(v.IAT)).Now})
}

func TestVectors(t *testing.T) {
	t.Parallel()
	vs, _ := loadVectors(t)
	for _, v := range vs {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			secret, err := signing.ParseSecret(v.Secret)
			if err != nil {
				t.Fatal(err)
			}
			macKey, err := signing.MACKey(secret, v.Audience)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]byte(v.MACKey), macKey); diff != "" {
				t.Errorf("MAC key (-want +got):\n%s", diff)
			}
			k := v.keys(t) // refuses a kid that is not the secret's
			check := k.CheckValues()[mustKID(t, v.KID)]
			if diff := cmp.Diff([]byte(v.Check), check[:]); diff != "" {
				t.Errorf("check value (-want +got):\n%s", diff)
			}
			context, sig := signing.SealAt(k, v.task(), v.Encrypted, v.IAT, v.NBF, v.EXP, [16]byte(v.Nonce))
			if diff := cmp.Diff([]byte(v.Context), context); diff != "" {
				t.Errorf("context (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(v.Signature, sig); diff != "" {
				t.Errorf("signature (-want +got):\n%s", diff)
			}
			verified, err := k.Verify(v.task(), v.Signature)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(v.Plaintext), string(verified.Payload())); diff != "" {
				t.Errorf("payload (-want +got):\n%s", diff)
			}
			effect := v.TaskID
			if e, ok := v.Headers[signing.EffectHeader]; ok {
				effect = e
			}
			want := signing.Claims{
				Kind: v.Kind, ID: v.TaskID, Queue: v.Queue, Effect: effect, KID: mustKID(t, v.KID), MaxRetry: v.MaxRetry,
				Encrypted: v.Encrypted, IssuedAt: time.UnixMilli(v.IAT), NotBefore: time.UnixMilli(v.NBF), Expires: time.UnixMilli(v.EXP),
			}
			if diff := cmp.Diff(want, verified.Claims()); diff != "" {
				t.Errorf("claims (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(v.Signature, v.envelope(t).sign(t, v.Secret, v.Audience, v.task())); diff != "" {
				t.Errorf("the tests' own signer (-want +got):\n%s", diff)
			}
		})
	}
}

func (v vector) envelope(tb testing.TB) envelope {
	tb.Helper()
	e := envelope{version: 1, kid: mustKID(tb, v.KID), iat: v.IAT, nbf: v.NBF, exp: v.EXP, nonce: [16]byte(v.Nonce)}
	if v.Encrypted {
		e.flags = 1
	}
	return e
}

func TestTokenVectors(t *testing.T) {
	t.Parallel()
	_, ts := loadVectors(t)
	for _, v := range ts {
		t.Run(v.Purpose, func(t *testing.T) {
			t.Parallel()
			kid := kidA
			if v.Secret == secretB {
				kid = kidB
			}
			r := parse(t, ringFields(keyFields(kid, "active", v.Secret)))
			k := openWith(t, &memory{ring: r}, v.Audience, signing.Options{Now: newClock(t0).Now})
			for _, named := range []signing.KID{{}, mustKID(t, kid)} {
				token, used, err := k.Token(named, v.Purpose, v.ID, v.Generation, v.Nonce)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(v.Token, token); diff != "" {
					t.Errorf("token (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(mustKID(t, kid), used); diff != "" {
					t.Errorf("kid (-want +got):\n%s", diff)
				}
			}
		})
	}
}
