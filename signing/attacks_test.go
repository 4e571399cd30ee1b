package signing_test

import (
	"context"
	"encoding/base64"
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/sealq/sealq/signing"
)

// attack is a genuine task of ring A, one minute after it was signed, and what an attacker or an accident made of it.
type attack struct {
	envelope func(e *envelope)       // before signing
	before   func(t *signing.Task)   // before signing
	secret   string                  // signs instead of the genuine one
	audience string                  // signed for instead of "test"
	after    func(t *signing.Task)   // after signing
	sig      func(sig string) string // after signing
	key      fields                  // the ring's changes to its key
	others   []fields                // more keys of the ring
	rules    signing.Rules
	now      time.Duration // since t0; zero: a minute

	want    signing.Reason
	retryAt time.Duration // since t0; zero: never
}

func (a attack) verify(t *testing.T) (signing.Verified, error) {
	t.Helper()
	k, task, sig := a.make(t)
	return k.VerifyWith(context.Background(), task, sig, a.rules)
}

// make makes the target, the task as it receives it, and its signature.
func (a attack) make(t *testing.T) (*signing.Keys, signing.Task, string) {
	t.Helper()
	task, e := genuine()
	if a.before != nil {
		a.before(&task)
	}
	if a.envelope != nil {
		a.envelope(&e)
	}
	secret, audience, now := secretA, "test", time.Minute
	if a.secret != "" {
		secret = a.secret
	}
	if a.audience != "" {
		audience = a.audience
	}
	if a.now != 0 {
		now = a.now
	}
	sig := e.sign(t, secret, audience, task)
	if a.after != nil {
		a.after(&task)
	}
	if a.sig != nil {
		sig = a.sig(sig)
	}
	k := keyFields(kidA, "active", secretA)
	maps.Copy(k, a.key)
	ring := parse(t, ringFields(append([]fields{k}, a.others...)...))
	return open(t, ring, t0.Add(now)), task, sig
}

func at(d time.Duration) int64 { return t0.Add(d).UnixMilli() }

func stamp(d time.Duration) string { return t0.Add(d).Format(time.RFC3339Nano) }

func attacks() map[string]attack {
	active := []fields{keyFields(kidB, "active", secretB)}
	retiring := fields{"state": "retiring", "sign_until": stamp(time.Hour), "verify_until": stamp(2 * time.Hour)}
	times := func(iat, nbf, exp time.Duration) func(*envelope) {
		return func(e *envelope) { e.iat, e.nbf, e.exp = at(iat), at(nbf), at(exp) }
	}
	return map[string]attack{
		// 1
		"it has no signature": {sig: func(string) string { return "" }, want: signing.ReasonMissingSignature},
		// 2
		"its signature is a character short":      {sig: func(s string) string { return s[1:] }, want: signing.ReasonMalformed},
		"its signature is a character long":       {sig: func(s string) string { return s + "A" }, want: signing.ReasonMalformed},
		"its signature ends with a newline":       {sig: func(s string) string { return s + "\n" }, want: signing.ReasonMalformed},
		"its signature has newlines inside":       {sig: func(s string) string { return s[:100] + "\n\n\n\n" }, want: signing.ReasonMalformed},
		"its signature has a newline and is full": {sig: func(s string) string { return s[:50] + "\n" + s[51:] }, want: signing.ReasonMalformed},
		"its signature has carriage returns":      {sig: func(s string) string { return s[:100] + "\r\r\r\r" }, want: signing.ReasonMalformed},
		"its signature is padded":                 {sig: func(s string) string { return s[:103] + "=" }, want: signing.ReasonMalformed},
		"its signature is in the other base64":    {sig: func(s string) string { return "+/" + s[2:] }, want: signing.ReasonMalformed},
		"its signature is not ASCII":              {sig: func(s string) string { return "é" + s[2:] }, want: signing.ReasonMalformed},
		"its payload is over the limit": {
			before: func(t *signing.Task) { t.Payload = make([]byte, signing.DefaultMaxPayload+1) }, want: signing.ReasonMalformed,
		},
		"it has too many headers": {before: func(t *signing.Task) {
			t.Headers = map[string]string{}
			for i := range signing.DefaultMaxHeaders + 1 {
				t.Headers[strings.Repeat("x", i+1)] = ""
			}
		}, want: signing.ReasonMalformed},
		"a header's name is over the limit": {
			before: func(t *signing.Task) { t.Headers[strings.Repeat("x", signing.DefaultMaxHeaderName+1)] = "" },
			want:   signing.ReasonMalformed,
		},
		"a header's value is over the limit": {
			before: func(t *signing.Task) { t.Headers["x"] = strings.Repeat("x", signing.DefaultMaxHeaderValue+1) },
			want:   signing.ReasonMalformed,
		},
		"all headers together are over the limit": {before: func(t *signing.Task) {
			for i := range 9 {
				t.Headers[strings.Repeat("y", i+1)] = strings.Repeat("x", signing.DefaultMaxHeaderValue)
			}
		}, want: signing.ReasonMalformed},
		"its ID is over the limit":      {before: func(t *signing.Task) { t.ID = strings.Repeat("x", signing.DefaultMaxName+1) }, want: signing.ReasonMalformed},
		"its retries are negative":      {after: func(t *signing.Task) { t.MaxRetry = -1 }, want: signing.ReasonMalformed},
		"its retries exceed 32 bits":    {after: func(t *signing.Task) { t.MaxRetry = math.MaxUint32 + 1 + 5 }, want: signing.ReasonMalformed},
		"it names an effect of no name": {before: func(t *signing.Task) { t.Headers[signing.EffectHeader] = "" }, want: signing.ReasonMalformed},
		// 3
		"its version is 0":            {envelope: func(e *envelope) { e.version = 0 }, want: signing.ReasonUnsupportedVersion},
		"its version is 2":            {envelope: func(e *envelope) { e.version = 2 }, want: signing.ReasonUnsupportedVersion},
		"it has a flag of the future": {envelope: func(e *envelope) { e.flags = 2 }, want: signing.ReasonUnsupportedVersion},
		"it has the highest flag too": {envelope: func(e *envelope) { e.flags = 0x81 }, want: signing.ReasonUnsupportedVersion},
		// 4
		"its key is not known yet": {
			envelope: func(e *envelope) { e.kid = signing.KID{1} }, want: signing.ReasonUnknownKey, retryAt: time.Minute + 5*time.Second,
		},
		"its key is not known and its grace ends soon": {
			envelope: func(e *envelope) { e.kid = signing.KID{1} }, now: 4*time.Minute + 58*time.Second,
			want: signing.ReasonUnknownKey, retryAt: 5 * time.Minute,
		},
		"its key is not known and its grace is over": {
			envelope: func(e *envelope) { e.kid = signing.KID{1} }, now: 5 * time.Minute, want: signing.ReasonUnknownKey,
		},
		"its key is not known and its issue lies just within the skew": {
			envelope: func(e *envelope) { e.kid, e.iat = signing.KID{1}, at(2*time.Minute) },
			want:     signing.ReasonUnknownKey, retryAt: time.Minute + 5*time.Second,
		},
		"its key is not known and its issue lies in the future": {
			envelope: func(e *envelope) { e.kid, e.iat = signing.KID{1}, at(2*time.Minute+time.Millisecond) }, want: signing.ReasonUnknownKey,
		},
		"its key is not known and its issue is the end of time": {
			envelope: func(e *envelope) { e.kid, e.iat = signing.KID{1}, math.MaxInt64 }, want: signing.ReasonUnknownKey,
		},
		"its key is not known and its issue is beyond 63 bits": {
			envelope: func(e *envelope) { e.kid, e.iat = signing.KID{1}, -1 }, want: signing.ReasonUnknownKey,
		},
		// 5
		"its key is revoked":   {key: fields{"state": "revoked"}, others: active, want: signing.ReasonKeyNotValid},
		"its key is destroyed": {key: fields{"state": "destroyed", "secret": nil}, others: active, want: signing.ReasonKeyNotValid},
		"its key did not sign yet": {
			key: fields{"sign_from": stamp(60*time.Second + time.Millisecond)}, want: signing.ReasonKeyNotValid,
		},
		"its published key did not sign yet": {
			key: fields{"state": "published", "sign_from": stamp(2 * time.Minute)}, others: active, want: signing.ReasonKeyNotValid,
		},
		"its key did not sign any more": {
			key: retiring, others: active, envelope: times(time.Hour+60*time.Second+time.Millisecond, time.Hour+61*time.Second, time.Hour+62*time.Second),
			now: time.Hour + time.Minute, want: signing.ReasonKeyNotValid,
		},
		"it would outlive its key": {
			key: retiring, others: active, envelope: times(0, 0, 2*time.Hour+time.Millisecond), want: signing.ReasonKeyNotValid,
		},
		// 6
		"it was signed for another deployment":   {audience: "prod-eu", want: signing.ReasonBadSignature},
		"it was signed with another key":         {secret: secretB, want: signing.ReasonBadSignature},
		"it claims another key of the ring":      {envelope: func(e *envelope) { e.kid = signing.KID{0xb4, 0xaf, 0x9f, 0x88} }, others: []fields{keyFields(kidB, "published", secretB)}, want: signing.ReasonBadSignature},
		"its kind was changed":                   {after: func(t *signing.Task) { t.Kind = "mail:confirmation:evil" }, want: signing.ReasonBadSignature},
		"its ID was changed":                     {after: func(t *signing.Task) { t.ID += ".2" }, want: signing.ReasonBadSignature},
		"its queue was changed":                  {after: func(t *signing.Task) { t.Queue = "critical" }, want: signing.ReasonBadSignature},
		"its retries were changed":               {after: func(t *signing.Task) { t.MaxRetry = 6 }, want: signing.ReasonBadSignature},
		"a header's value was changed":           {after: func(t *signing.Task) { t.Headers["tenant"] = "evil" }, want: signing.ReasonBadSignature},
		"a header was added":                     {after: func(t *signing.Task) { t.Headers["new"] = "" }, want: signing.ReasonBadSignature},
		"a header was removed":                   {after: func(t *signing.Task) { delete(t.Headers, "tenant") }, want: signing.ReasonBadSignature},
		"a header's name took its value's start": {after: func(t *signing.Task) { delete(t.Headers, "tenant"); t.Headers["tenanta"] = "cme" }, want: signing.ReasonBadSignature},
		"two headers swapped their values":       {after: func(t *signing.Task) { t.Headers = map[string]string{"tenant": "00-4bf9-01", "traceparent": "acme"} }, want: signing.ReasonBadSignature},
		"an effect was named":                    {after: func(t *signing.Task) { t.Headers[signing.EffectHeader] = "other" }, want: signing.ReasonBadSignature},
		"its payload was changed":                {after: func(t *signing.Task) { t.Payload[1] ^= 1 }, want: signing.ReasonBadSignature},
		"its payload was cut":                    {after: func(t *signing.Task) { t.Payload = t.Payload[:1] }, want: signing.ReasonBadSignature},
		"its payload grew":                       {after: func(t *signing.Task) { t.Payload = append(t.Payload, 0) }, want: signing.ReasonBadSignature},
		"its payload was emptied":                {after: func(t *signing.Task) { t.Payload = nil }, want: signing.ReasonBadSignature},
		"its queue gave a letter to its kind":    {after: func(t *signing.Task) { t.Queue, t.Kind = "mai", "lmail:confirmation" }, want: signing.ReasonBadSignature},
		"its ID gave its end to the retries":     {after: func(t *signing.Task) { t.ID = t.ID[:len(t.ID)-1] }, want: signing.ReasonBadSignature},
		"its tag is zero":                        {sig: func(s string) string { return zeroTag(s) }, want: signing.ReasonBadSignature},
		// 7
		"its queue is not served": {
			rules: signing.Rules{ServesQueue: func(q string) bool { return q == "critical" }}, want: signing.ReasonWrongQueue,
		},
		"its kind is not run here": {
			rules: signing.Rules{Kind: func(string) (signing.KindRule, bool) { return signing.KindRule{}, false }}, want: signing.ReasonKindNotAllowed,
		},
		"its key covers another kind":       {key: fields{"kinds": []string{"mail:reset"}}, want: signing.ReasonKindNotAllowed},
		"its key covers another prefix":     {key: fields{"kinds": []string{"users:*", "mailing:*"}}, want: signing.ReasonKindNotAllowed},
		"its kind is the bare prefix":       {before: func(t *signing.Task) { t.Kind = "mail:" }, key: fields{"kinds": []string{"mail:*"}}, want: signing.ReasonKindNotAllowed},
		"its kind is longer than the key's": {before: func(t *signing.Task) { t.Kind += "\x00" }, key: fields{"kinds": []string{"mail:confirmation"}}, want: signing.ReasonKindNotAllowed},
		"its kind must be encrypted":        {rules: encryptedOnly(), want: signing.ReasonMustBeEncrypted},
		// 8
		"it was issued beyond the skew": {
			envelope: times(2*time.Minute+time.Millisecond, 3*time.Minute, time.Hour), want: signing.ReasonIssuedInFuture,
		},
		"it was issued, is due and ends beyond 63 bits": {
			envelope: func(e *envelope) { e.iat, e.nbf, e.exp = -1, -1, -1 }, want: signing.ReasonIssuedInFuture,
		},
		"it expires before it is due":    {envelope: times(0, 2*time.Minute, time.Minute), want: signing.ReasonLifetimeExceeded},
		"it is due before it was issued": {envelope: times(0, -time.Millisecond, time.Hour), want: signing.ReasonLifetimeExceeded},
		"it lives longer than the ring allows": {
			envelope: times(0, 0, 720*time.Hour+time.Millisecond), want: signing.ReasonLifetimeExceeded,
		},
		"it never expires":          {envelope: func(e *envelope) { e.exp = math.MaxInt64 }, want: signing.ReasonLifetimeExceeded},
		"it expires beyond 63 bits": {envelope: func(e *envelope) { e.exp = -1 }, want: signing.ReasonLifetimeExceeded},
		"it lives longer than its kind allows": {
			rules: signing.Rules{Kind: func(string) (signing.KindRule, bool) {
				return signing.KindRule{MaxAge: time.Hour - time.Millisecond}, true
			}},
			want: signing.ReasonLifetimeExceeded,
		},
		// 10
		"it has expired beyond the skew": {now: time.Hour + 60*time.Second + time.Millisecond, want: signing.ReasonExpired},
		"it is not due within the skew": {
			envelope: times(0, 2*time.Minute+time.Millisecond, time.Hour), want: signing.ReasonNotYetDue, retryAt: 2*time.Minute + time.Millisecond,
		},
		// 11
		"its flag says encrypted and its payload is not": {envelope: func(e *envelope) { e.flags = 1 }, want: signing.ReasonBadPayload},
		"its flag says encrypted and its payload is empty": {
			envelope: func(e *envelope) { e.flags = 1 }, before: func(t *signing.Task) { t.Payload = nil }, want: signing.ReasonBadPayload,
		},
	}
}

func zeroTag(sig string) string {
	raw, _ := base64.RawURLEncoding.DecodeString(sig)
	clear(raw[46:])
	return base64.RawURLEncoding.EncodeToString(raw)
}

func encryptedOnly() signing.Rules {
	return signing.Rules{Kind: func(string) (signing.KindRule, bool) { return signing.KindRule{MustEncrypt: true}, true }}
}
