package signing_test

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sealq/sealq/signing"
)

// The keys and the time of the test vectors.
const (
	secretA = "sealq1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh-RJn6K"
	secretB = "sealq1___z59vPw7ern5OHe29jV0s_MycbDwL26t7SxrquopaJeJ140"
	kidA    = "f7e2c87f"
	kidB    = "b4af9f88"
	t0Text  = "2026-01-01T00:00:00Z"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// clock is a clock that stands still unless told otherwise.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock(now time.Time) *clock { return &clock{now: now} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

// memory is a source in memory.
type memory struct {
	mu    sync.Mutex
	ring  *signing.Ring
	err   error
	loads int
	gate  chan struct{} // not nil: a load waits for it
}

func (m *memory) Load(ctx context.Context) (*signing.Ring, error) {
	m.mu.Lock()
	m.loads++
	gate := m.gate
	m.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ring, m.err
}

func (*memory) String() string { return "memory" }

func (m *memory) set(r *signing.Ring, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ring, m.err = r, err
}

func (m *memory) hold(gate chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gate = gate
}

func (m *memory) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.loads
}

// fields is a JSON object that a test changes one name of.
type fields map[string]any

func (f fields) with(name string, value any) fields {
	c := maps.Clone(f)
	c[name] = value
	return c
}

func (f fields) without(name string) fields {
	c := maps.Clone(f)
	delete(c, name)
	return c
}

func keyFields(kid, state, secret string) fields {
	return fields{
		"kid": kid, "state": state, "created_at": t0Text, "sign_from": t0Text, "sign_until": nil, "verify_until": nil,
		"kinds": []string{"*"}, "secret": secret,
	}
}

func ringFields(keys ...fields) fields {
	return fields{"version": 7, "max_lifetime": "720h", "keys": keys}
}

func text(tb testing.TB, v any) []byte {
	tb.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func parse(tb testing.TB, v any) *signing.Ring {
	tb.Helper()
	r, err := signing.ParseRing(text(tb, v))
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// ringA has the vectors' first key, active.
func ringA(tb testing.TB) *signing.Ring {
	tb.Helper()
	return parse(tb, ringFields(keyFields(kidA, "active", secretA)))
}

// open follows the ring with a clock that stands at now, in the deployment "test".
func open(tb testing.TB, r *signing.Ring, now time.Time) *signing.Keys {
	tb.Helper()
	return openWith(tb, &memory{ring: r}, "test", signing.Options{Now: newClock(now).Now})
}

func openWith(tb testing.TB, s signing.Source, audience string, o signing.Options) *signing.Keys {
	tb.Helper()
	k, err := signing.OpenWith(context.Background(), s, audience, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(k.Close)
	return k
}

func mustKID(tb testing.TB, s string) signing.KID {
	tb.Helper()
	kid, err := signing.ParseKID(s)
	if err != nil {
		tb.Fatal(err)
	}
	return kid
}

func refusal(tb testing.TB, err error) *signing.Refusal {
	tb.Helper()
	var r *signing.Refusal
	if !errors.As(err, &r) {
		tb.Fatalf("error %v is no refusal", err)
	}
	return r
}

// fataler is a test, or a property's.
type fataler interface {
	Helper()
	Fatal(args ...any)
}

// envelope is a second implementation of the signature, written from the format and sharing no code with the package, so that
// tests can sign what the package would never sign.
type envelope struct {
	version, flags byte
	kid            signing.KID
	iat, nbf, exp  int64
	nonce          [16]byte
}

func (e envelope) header() []byte {
	b := []byte{e.version, e.flags}
	b = append(b, e.kid[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(e.iat))
	b = binary.BigEndian.AppendUint64(b, uint64(e.nbf))
	b = binary.BigEndian.AppendUint64(b, uint64(e.exp))
	return append(b, e.nonce[:]...)
}

func (e envelope) context(audience string, t signing.Task) []byte {
	b := append([]byte("sealq.v1.task\x00"), e.header()...)
	for _, s := range []string{audience, t.Queue, t.Kind, t.ID} {
		b = l(b, s)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(t.MaxRetry))
	names := slices.Sorted(maps.Keys(t.Headers))
	names = slices.DeleteFunc(names, func(n string) bool { return n == "sealq-sig" })
	b = binary.BigEndian.AppendUint16(b, uint16(len(names)))
	for _, n := range names {
		b = l(l(b, n), t.Headers[n])
	}
	return b
}

func (e envelope) sign(tb fataler, secret, audience string, t signing.Task) string {
	tb.Helper()
	sum := mac(derive(tb, secret, "mac", audience), l(e.context(audience, t), string(t.Payload)))
	return base64.RawURLEncoding.EncodeToString(append(e.header(), sum...))
}

func l(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

func mac(key, msg []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(msg)
	return h.Sum(nil)
}

func derive(tb fataler, secret, purpose, audience string) []byte {
	tb.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(secret[len("sealq1_"):])
	if err != nil {
		tb.Fatal(err)
	}
	key, err := hkdf.Key(sha256.New, raw[:32], nil, string(l([]byte("sealq/v1/"+purpose+"/"), audience)), 32)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// secretText is the text form of 32 bytes, written from the format.
func secretText(raw []byte) string {
	return "sealq1_" + base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(slices.Clone(raw), crc32.ChecksumIEEE(raw)))
}

// genuine is a task and the envelope that signs it at t0 for an hour with the vectors' first key.
func genuine() (signing.Task, envelope) {
	task := signing.Task{
		Kind: "mail:confirmation", ID: "0197c6a0", Queue: "mail", MaxRetry: 5,
		Headers: map[string]string{"tenant": "acme", "traceparent": "00-4bf9-01"}, Payload: []byte(`{"pending_id":"p","generation":3}`),
	}
	e := envelope{
		version: 1, kid: signing.KID{0xf7, 0xe2, 0xc8, 0x7f}, iat: t0.UnixMilli(), nbf: t0.UnixMilli(),
		exp: t0.Add(time.Hour).UnixMilli(), nonce: [16]byte{1, 2, 3},
	}
	return task, e
}
