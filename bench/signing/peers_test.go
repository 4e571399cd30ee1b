package signing_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"path/filepath"
	"testing"
	"time"

	"github.com/fernet/fernet-go"
	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/securecookie"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/mac"

	"github.com/sealq/sealq/signing"
)

// peer authenticates a payload and checks it again.
type peer struct {
	name   string
	sign   func() error
	verify func() error
}

func peers(b *testing.B) []peer {
	b.Helper()
	payload := make([]byte, 256)
	for i := range payload {
		payload[i] = byte('a' + i%26)
	}
	secret := []byte("0123456789abcdef0123456789abcdef")
	return []peer{
		bareHMAC(secret, payload), sealq(b, payload), tink(b, payload), webhooks(b, secret, payload),
		cookie(b, secret, payload), fernetToken(b, payload), jwtHS256(b, secret, payload),
	}
}

// must ends the benchmark where a peer cannot be set up.
func must[T any](v T, err error) func(b *testing.B) T {
	return func(b *testing.B) T {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
		return v
	}
}

// bareHMAC is the floor: a keyed state that is reused, over the payload alone, nothing encoded.
func bareHMAC(secret, payload []byte) peer {
	h := hmac.New(sha256.New, secret)
	sum := make([]byte, 0, sha256.Size)
	tag := append([]byte(nil), mac256(h, sum, payload)...)
	return peer{
		name: "bare HMAC-SHA256, reused",
		sign: func() error { mac256(h, sum, payload); return nil },
		verify: func() error {
			if !hmac.Equal(mac256(h, sum, payload), tag) {
				return signing.ErrBadSignature
			}
			return nil
		},
	}
}

func mac256(h hash.Hash, sum, payload []byte) []byte {
	h.Reset()
	h.Write(payload)
	return h.Sum(sum[:0])
}

func sealq(b *testing.B, payload []byte) peer {
	b.Helper()
	file := signing.NewFile(filepath.Join(b.TempDir(), "keys.json"))
	ring := must(signing.NewRing(time.Now(), 720*time.Hour))(b)
	if err := file.Create(ring); err != nil {
		b.Fatal(err)
	}
	keys := must(signing.Open(b.Context(), "file:"+file.Path(), "bench"))(b)
	b.Cleanup(keys.Close)
	task := signing.Task{Kind: "mail:confirmation", ID: "0197c6a0-0000-7000-8000-000000000001", Queue: "mail", MaxRetry: 105, Payload: payload}
	validity := signing.Validity{Expires: time.Now().Add(time.Hour)}
	sig, _, err := keys.Sign(task, validity)
	if err != nil {
		b.Fatal(err)
	}
	dst := make([]byte, 0, 128)
	return peer{
		name:   "sealq",
		sign:   func() error { _, _, err := keys.AppendSign(dst, task, validity); return err },
		verify: func() error { _, err := keys.Verify(task, sig); return err },
	}
}

func tink(b *testing.B, payload []byte) peer {
	b.Helper()
	handle := must(keyset.NewHandle(mac.HMACSHA256Tag256KeyTemplate()))(b)
	m := must(mac.New(handle))(b)
	tag := must(m.ComputeMAC(payload))(b)
	return peer{
		name:   "tink MAC",
		sign:   func() error { _, err := m.ComputeMAC(payload); return err },
		verify: func() error { return m.VerifyMAC(tag, payload) },
	}
}

func webhooks(b *testing.B, secret, payload []byte) peer {
	b.Helper()
	w := must(standardwebhooks.NewWebhookRaw(secret))(b)
	now := time.Now()
	sig := must(w.Sign("msg_1", now, payload))(b)
	headers := map[string][]string{}
	set := func(name, value string) { headers[name] = []string{value} }
	set("Webhook-Id", "msg_1")
	set("Webhook-Signature", sig)
	set("Webhook-Timestamp", unix(now))
	return peer{
		name:   "Standard Webhooks",
		sign:   func() error { _, err := w.Sign("msg_1", now, payload); return err },
		verify: func() error { return w.VerifyIgnoringTimestamp(payload, headers) },
	}
}

func cookie(b *testing.B, secret, payload []byte) peer {
	b.Helper()
	c := securecookie.New(secret, nil).SetSerializer(securecookie.NopEncoder{})
	text := must(c.Encode("task", payload))(b)
	return peer{
		name:   "securecookie",
		sign:   func() error { _, err := c.Encode("task", payload); return err },
		verify: func() error { var got []byte; return c.Decode("task", text, &got) },
	}
}

func fernetToken(b *testing.B, payload []byte) peer {
	b.Helper()
	var k fernet.Key
	if err := k.Generate(); err != nil {
		b.Fatal(err)
	}
	token := must(fernet.EncryptAndSign(payload, &k))(b)
	return peer{
		name: "Fernet (encrypts)",
		sign: func() error { _, err := fernet.EncryptAndSign(payload, &k); return err },
		verify: func() error {
			if fernet.VerifyAndDecrypt(token, time.Hour, []*fernet.Key{&k}) == nil {
				return signing.ErrBadSignature
			}
			return nil
		},
	}
}

func jwtHS256(b *testing.B, secret, payload []byte) peer {
	b.Helper()
	claims := jwt.MapClaims{"payload": string(payload), "exp": time.Now().Add(time.Hour).Unix()}
	token := must(jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret))(b)
	key := func(*jwt.Token) (any, error) { return secret, nil } //nolint:unparam // jwt.Keyfunc
	return peer{
		name: "JWT HS256",
		sign: func() error {
			_, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
			return err
		},
		verify: func() error { _, err := jwt.Parse(token, key, jwt.WithValidMethods([]string{"HS256"})); return err },
	}
}
