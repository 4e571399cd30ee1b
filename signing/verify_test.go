package signing_test

import (
	"context"
	"encoding/base64"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/signing"
)

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	for name, a := range attacks() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, err := a.verify(t)
			r := refusal(t, err)
			if diff := cmp.Diff(a.want, r.Reason); diff != "" {
				t.Errorf("reason of %q (-want +got):\n%s", r, diff)
			}
			var retryAt time.Time
			if a.retryAt != 0 {
				retryAt = t0.Add(a.retryAt)
			}
			if diff := cmp.Diff(retryAt, r.RetryAt); diff != "" {
				t.Errorf("retry at (-want +got):\n%s", diff)
			}
			if r.Deferred() == retryAt.IsZero() {
				t.Errorf("deferred is %v", r.Deferred())
			}
			if v.Payload() != nil || v.Claims() != (signing.Claims{}) {
				t.Errorf("a refused task gave out %v", v)
			}
			checkNothingUnverified(t, r)
		})
	}
}

// checkNothingUnverified requires that a refusal holds no word of a task that did not prove itself.
func checkNothingUnverified(t *testing.T, r *signing.Refusal) {
	t.Helper()
	keyKnown := r.Authentic() || r.Reason == signing.ReasonKeyNotValid || r.Reason == signing.ReasonBadSignature
	if (r.KID != nil) != keyKnown {
		t.Errorf("%s carries the kid %v", r.Reason, r.KID)
	}
	if r.Authentic() != (r.Claims != signing.Claims{}) {
		t.Errorf("%s carries the claims %v", r.Reason, r.Claims)
	}
	for _, word := range []string{"confirmation", "0197c6a0", "pending_id", "acme", "traceparent", "01000000"} {
		if strings.Contains(r.Error(), word) {
			t.Errorf("the error %q repeats %q of the task", r.Error(), word)
		}
	}
}

func TestVerifyAccepts(t *testing.T) {
	t.Parallel()
	active := []fields{keyFields(kidB, "active", secretB)}
	for name, a := range map[string]attack{
		"the genuine task":                              {},
		"the genuine task again and again":              {now: 59 * time.Minute},
		"a task just before the skew after its end":     {now: time.Hour + 60*time.Second},
		"a task due within the skew":                    {envelope: func(e *envelope) { e.nbf = at(2 * time.Minute) }},
		"a task issued within the skew":                 {envelope: func(e *envelope) { e.iat, e.nbf = at(2*time.Minute), at(2*time.Minute) }},
		"a task of the longest life":                    {envelope: func(e *envelope) { e.exp = at(720 * time.Hour) }},
		"a task that ends when it is due":               {envelope: func(e *envelope) { e.exp = e.nbf }},
		"a task without headers":                        {before: func(t *signing.Task) { t.Headers = nil }},
		"a task without a payload":                      {before: func(t *signing.Task) { t.Payload = nil }},
		"a task with the most retries":                  {before: func(t *signing.Task) { t.MaxRetry = math.MaxUint32 }},
		"a task with the largest payload":               {before: func(t *signing.Task) { t.Payload = make([]byte, signing.DefaultMaxPayload) }},
		"a task that carries its signature as a header": {after: func(t *signing.Task) { t.Headers[signing.SignatureHeader] = "anything" }},
		"a key that covers the prefix":                  {key: fields{"kinds": []string{"users:*", "mail:*"}}},
		"a key that covers the very kind":               {key: fields{"kinds": []string{"mail:confirmation"}}},
		"a published key of a host that is ahead":       {key: fields{"state": "published"}, others: active},
		"a key that began to sign within the skew":      {key: fields{"sign_from": stamp(60 * time.Second)}},
		"a retiring key's last signature": {
			key:    fields{"state": "retiring", "sign_until": stamp(-60 * time.Second), "verify_until": stamp(time.Hour), "sign_from": stamp(-time.Hour)},
			others: active,
		},
		"a task that every rule allows": {rules: signing.Rules{
			ServesQueue: func(q string) bool { return q == "mail" },
			Kind: func(k string) (signing.KindRule, bool) {
				return signing.KindRule{MaxAge: time.Hour}, k == "mail:confirmation"
			},
			Done: func(context.Context, signing.Claims) (bool, error) { return false, nil },
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := a.verify(t); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestVerifyOrder gives a task two faults at once, for every pair, and requires the reason of the earlier step.
func TestVerifyOrder(t *testing.T) {
	t.Parallel()
	type fault struct {
		reason signing.Reason // empty: done
		add    func(a *attack)
	}
	chainEnvelope := func(a *attack, f func(*envelope)) {
		before := a.envelope
		a.envelope = func(e *envelope) {
			if before != nil {
				before(e)
			}
			f(e)
		}
	}
	// From the last step to the first, so that in a pair the earlier step's fault is surely there.
	faults := []fault{
		{signing.ReasonBadPayload, func(a *attack) { chainEnvelope(a, func(e *envelope) { e.flags = 1 }) }},
		{signing.ReasonNotYetDue, func(a *attack) {
			chainEnvelope(a, func(e *envelope) { e.iat, e.nbf, e.exp = at(0), at(time.Hour), at(2*time.Hour) })
		}},
		{signing.ReasonExpired, func(a *attack) {
			chainEnvelope(a, func(e *envelope) { e.iat, e.nbf, e.exp = at(-time.Hour), at(-time.Hour), at(-time.Minute) })
			a.key = fields{"sign_from": stamp(-time.Hour)}
		}},
		{"", func(a *attack) {
			a.rules.Done = func(context.Context, signing.Claims) (bool, error) { return true, nil }
		}},
		{signing.ReasonLifetimeExceeded, func(a *attack) { chainEnvelope(a, func(e *envelope) { e.exp = e.iat - 1 }) }},
		{signing.ReasonIssuedInFuture, func(a *attack) { chainEnvelope(a, func(e *envelope) { e.iat = at(time.Hour) }) }},
		{signing.ReasonMustBeEncrypted, func(a *attack) {
			chainEnvelope(a, func(e *envelope) { e.flags = 0 })
			a.rules.Kind = encryptedOnly().Kind
		}},
		{signing.ReasonKindNotAllowed, func(a *attack) {
			a.rules.Kind = func(string) (signing.KindRule, bool) { return signing.KindRule{MustEncrypt: true}, false }
		}},
		{signing.ReasonWrongQueue, func(a *attack) { a.rules.ServesQueue = func(string) bool { return false } }},
		{signing.ReasonBadSignature, func(a *attack) { a.after = func(t *signing.Task) { t.ID += "x" } }},
		{signing.ReasonKeyNotValid, func(a *attack) {
			a.key, a.others = fields{"state": "revoked"}, []fields{keyFields(kidB, "active", secretB)}
		}},
		{signing.ReasonUnknownKey, func(a *attack) { chainEnvelope(a, func(e *envelope) { e.kid = signing.KID{1} }) }},
		{signing.ReasonUnsupportedVersion, func(a *attack) { chainEnvelope(a, func(e *envelope) { e.version = 9 }) }},
		{signing.ReasonMalformed, func(a *attack) { a.sig = func(s string) string { return s[1:] } }},
		{signing.ReasonMissingSignature, func(a *attack) { a.sig = func(string) string { return "" } }},
	}
	for i, late := range faults {
		for _, early := range faults[i:] {
			t.Run(string(early.reason)+" before "+string(late.reason), func(t *testing.T) {
				t.Parallel()
				var a attack
				late.add(&a)
				early.add(&a)
				_, err := a.verify(t)
				if early.reason == "" {
					var done *signing.Done
					if !errors.As(err, &done) || done.Claims.ID != "0197c6a0" || !errors.Is(err, signing.ErrDone) {
						t.Fatalf("want done, got %v", err)
					}
					return
				}
				if diff := cmp.Diff(early.reason, refusal(t, err).Reason); diff != "" {
					t.Errorf("reason (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestVerifyRefusesEveryFlippedBit(t *testing.T) {
	t.Parallel()
	task, e := genuine()
	k := open(t, ringA(t), t0.Add(time.Minute))
	sig := e.sign(t, secretA, "test", task)
	if _, err := k.Verify(task, sig); err != nil {
		t.Fatal(err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(sig)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(raw) * 8 {
		raw[bit/8] ^= 1 << (bit % 8)
		_, err := k.Verify(task, base64.RawURLEncoding.EncodeToString(raw))
		raw[bit/8] ^= 1 << (bit % 8)
		want := signing.ReasonBadSignature
		switch at := bit / 8; {
		case at == 0, at == 1 && bit%8 != 0:
			want = signing.ReasonUnsupportedVersion
		case at >= 2 && at < 6:
			want = signing.ReasonUnknownKey
		case at >= 6 && at < 14 && refusal(t, err).Reason == signing.ReasonKeyNotValid:
			want = signing.ReasonKeyNotValid // an issue before the key's sign_from
		}
		if got := refusal(t, err).Reason; got != want {
			t.Errorf("bit %d: want %s, got %s", bit, want, got)
		}
	}
	for i := range len(task.Payload) * 8 {
		task.Payload[i/8] ^= 1 << (i % 8)
		if _, err := k.Verify(task, sig); !errors.Is(err, signing.ErrBadSignature) {
			t.Errorf("payload bit %d: %v", i, err)
		}
		task.Payload[i/8] ^= 1 << (i % 8)
	}
}

func TestVerifyReturnsTheLedgersOwnError(t *testing.T) {
	t.Parallel()
	down := errors.New("the database is down")
	_, err := attack{rules: signing.Rules{
		Done: func(context.Context, signing.Claims) (bool, error) { return false, down },
	}}.verify(t)
	var r *signing.Refusal
	if !errors.Is(err, down) || errors.As(err, &r) {
		t.Errorf("want the ledger's error and no refusal, got %v", err)
	}
}

// A kind that enters its effect itself is asked after only where it would be refused: the order of the reasons is the same.
func TestAnEffectThatIsEnteredByItsHandlerIsAskedAfterOnlyBeforeARefusal(t *testing.T) {
	t.Parallel()
	down := errors.New("the database is down")
	faults := map[signing.Reason]attack{
		"":                           {},
		signing.ReasonBadPayload:     {envelope: func(e *envelope) { e.flags = 1 }},
		signing.ReasonNotYetDue:      {envelope: func(e *envelope) { e.iat, e.nbf, e.exp = at(0), at(time.Hour), at(2*time.Hour) }},
		signing.ReasonExpired:        {envelope: func(e *envelope) { e.iat, e.nbf, e.exp = at(-time.Hour), at(-time.Hour), at(-time.Minute) }, key: fields{"sign_from": stamp(-time.Hour)}},
		signing.ReasonIssuedInFuture: {envelope: func(e *envelope) { e.iat = at(time.Hour) }},
	}
	for reason, a := range faults {
		later := reason != "" && reason != signing.ReasonIssuedInFuture
		for name, answer := range map[string]struct {
			done bool
			err  error
		}{"done": {true, nil}, "not done": {false, nil}, "not to be asked": {false, down}} {
			t.Run(string(reason)+" and "+name, func(t *testing.T) {
				t.Parallel()
				asked := 0
				a := a
				a.rules.Kind = func(string) (signing.KindRule, bool) { return signing.KindRule{EntersEffect: true}, true }
				a.rules.Done = func(context.Context, signing.Claims) (bool, error) { asked++; return answer.done, answer.err }
				v, err := a.verify(t)
				var refusal *signing.Refusal
				switch {
				case later && answer.done:
					if !errors.Is(err, signing.ErrDone) {
						t.Errorf("want done, got %v", err)
					}
				case later && answer.err != nil:
					if !errors.Is(err, down) || errors.As(err, &refusal) {
						t.Errorf("want the ledger's own error, got %v", err)
					}
				case reason != "":
					if !errors.As(err, &refusal) || refusal.Reason != reason {
						t.Errorf("want %s, got %v", reason, err)
					}
				case err != nil:
					t.Errorf("a good task: %v", err)
				}
				if want := map[bool]int{true: 1}[later]; asked != want {
					t.Errorf("asked %d times, not %d", asked, want)
				}
				if err != nil && v.Payload() != nil {
					t.Error("a payload comes with the error")
				}
			})
		}
	}
}

func TestDoneSeesAuthenticClaimsOnly(t *testing.T) {
	t.Parallel()
	var seen []signing.Claims
	rules := signing.Rules{Done: func(_ context.Context, c signing.Claims) (bool, error) {
		seen = append(seen, c)
		return false, nil
	}}
	_, _ = attack{rules: rules, after: func(t *signing.Task) { t.ID = "forged" }}.verify(t)
	if len(seen) != 0 {
		t.Errorf("a forged task reached the ledger: %v", seen)
	}
	if _, err := (attack{rules: rules, before: func(t *signing.Task) { t.Headers[signing.EffectHeader] = "row-1" }}).verify(t); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 1 || seen[0].Effect != "row-1" || seen[0].ID != "0197c6a0" {
		t.Errorf("want the effect row-1 of 0197c6a0, got %v", seen)
	}
}

func TestRefusalsMatchTheirSentinels(t *testing.T) {
	t.Parallel()
	for reason, sentinel := range map[signing.Reason]error{
		"missing_signature": signing.ErrMissingSignature, "malformed": signing.ErrMalformed,
		"unsupported_version": signing.ErrUnsupportedVersion, "unknown_key": signing.ErrUnknownKey,
		"key_not_valid": signing.ErrKeyNotValid, "bad_signature": signing.ErrBadSignature,
		"wrong_queue": signing.ErrWrongQueue, "kind_not_allowed": signing.ErrKindNotAllowed,
		"must_be_encrypted": signing.ErrMustBeEncrypted, "issued_in_future": signing.ErrIssuedInFuture,
		"lifetime_exceeded": signing.ErrLifetimeExceeded, "expired": signing.ErrExpired,
		"not_yet_due": signing.ErrNotYetDue, "bad_payload": signing.ErrBadPayload,
	} {
		r := &signing.Refusal{Reason: reason}
		if !errors.Is(r, sentinel) || errors.Is(r, signing.ErrDone) {
			t.Errorf("%s does not match its sentinel alone", reason)
		}
	}
	if errors.Is(&signing.Refusal{Reason: "made_up"}, signing.ErrMalformed) {
		t.Error("a reason that does not exist matches a sentinel")
	}
}

func TestVerifiedRefusesAuthentically(t *testing.T) {
	t.Parallel()
	v, err := attack{}.verify(t)
	if err != nil {
		t.Fatal(err)
	}
	r := v.Refuse(signing.ReasonBadPayload, "an unknown name")
	if !r.Authentic() || r.Deferred() || r.KID == nil || r.Claims != v.Claims() || !strings.Contains(r.Error(), "an unknown name") {
		t.Errorf("got %+v", r)
	}
}
