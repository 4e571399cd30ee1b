package signing

import (
	"context"
	"crypto/hmac"
	"fmt"
	"time"
)

// unknownKeyRetry is how soon a task of an unknown key is tried again.
const unknownKeyRetry = 5 * time.Second

// Verified is a task that passed every step. Only [Keys.Verify] and [Keys.VerifyWith] make one that holds anything.
type Verified struct {
	claims  Claims
	payload []byte
}

// Payload returns the plaintext. It shares the task's memory unless it was encrypted: do not change it.
func (v Verified) Payload() []byte { return v.payload }

// Claims returns what the signature says.
func (v Verified) Claims() Claims { return v.claims }

// Refuse makes the refusal of a task that verified and yet cannot be run, [ReasonBadPayload] for what a strict decoder
// refuses. The detail is printed: it must not repeat the payload.
func (v Verified) Refuse(reason Reason, detail string) *Refusal {
	return &Refusal{Reason: reason, KID: new(v.claims.KID), Claims: v.claims, detail: detail}
}

// Rules are what a worker demands beyond a good signature. The zero value demands nothing.
type Rules struct {
	// ServesQueue reports whether this worker serves the queue. Nil means every queue.
	ServesQueue func(queue string) bool
	// Kind returns the rule of a kind of exactly that name, and false for a kind that is not run here. Nil means every kind,
	// without a rule.
	Kind func(kind string) (KindRule, bool)
	// Done reports whether the effect was committed before; VerifyWith then returns [*Done]. Its own error ends verifying and
	// is returned wrapped: it is no refusal. Nil means never.
	Done func(ctx context.Context, c Claims) (bool, error)
}

// KindRule is what a worker demands of a kind.
type KindRule struct {
	// MaxAge limits the time from when a task is due to its expiry. Zero leaves it to the ring's max_lifetime.
	MaxAge time.Duration
	// MustEncrypt refuses a payload that travelled readable.
	MustEncrypt bool
	// EntersEffect says that whoever handles the kind enters the effect himself, which decides whether it was committed
	// before. Rules.Done is then asked only before a refusal that comes after it in the order, so that an effect that is
	// done ends as done all the same; a good task is verified without asking.
	EntersEffect bool
}

// Verify is [Keys.VerifyWith] without rules. The error is always a [*Refusal].
func (k *Keys) Verify(t Task, sig string) (Verified, error) {
	return k.VerifyWith(context.Background(), t, sig, Rules{})
}

// VerifyWith verifies the task as it was received, in the order of the reasons. It decodes and decrypts nothing before the
// last step, and allocates nothing for a good task that is not encrypted. Its errors are a [*Refusal], a [*Done], or what
// Rules.Done returned.
func (k *Keys) VerifyWith(ctx context.Context, t Task, sig string, rules Rules) (Verified, error) {
	s := k.scratch.get()
	defer k.scratch.put(s)

	ring, dk, r := k.authenticate(ctx, s, &t, sig) // steps 1 to 6
	if r != nil {
		return Verified{}, r
	}
	h, now := &s.header, k.opts.Now()
	v := Verified{claims: h.claims(&t, s.effect), payload: t.Payload}
	rule, r := v.checkRules(h, dk, rules, ring.ring.maxLifetime, now.Add(k.opts.Skew)) // steps 7 and 8
	if r != nil {
		return Verified{}, r
	}
	if !rule.EntersEffect {
		if err := v.checkDone(ctx, rules); err != nil { // step 9
			return Verified{}, err
		}
	}
	if r = v.checkDue(h, now, k.opts.Skew); r == nil && h.encrypted() { // steps 10 and 11; decoding is the caller's
		plaintext, err := dk.decryptPayload(&h.nonce, s.context, t.Payload)
		if err != nil {
			r = v.Refuse(ReasonBadPayload, "it does not decrypt")
		}
		v.payload = plaintext
	}
	switch {
	case r == nil:
		return v, nil
	case rule.EntersEffect: // step 9, which comes first
		if err := v.checkDone(ctx, rules); err != nil {
			return Verified{}, err
		}
	}
	return Verified{}, r
}

// authenticate is steps 1 to 6, which decide whether the task is genuine, whatever it asks for.
func (k *Keys) authenticate(ctx context.Context, s *scratch, t *Task, sig string) (*derivedRing, *derivedKey, *Refusal) {
	if r := k.readHeader(s, t, sig); r != nil { // steps 1 to 3
		return nil, nil, r
	}
	h := &s.header
	ring, dk, r := k.findKey(ctx, h) // step 4
	if r != nil {
		return nil, nil, r
	}
	if detail := dk.notValid(h, k.opts.Skew); detail != "" { // step 5
		return nil, nil, &Refusal{Reason: ReasonKeyNotValid, KID: new(h.kid), detail: detail}
	}
	s.setContext(k.audience, t)
	s.setTag(dk.mac, t.Payload)
	if !hmac.Equal(s.tag[:], s.raw[offsetTag:]) { // step 6
		return nil, nil, &Refusal{Reason: ReasonBadSignature, KID: new(h.kid)}
	}
	return ring, dk, nil
}

// readHeader is steps 1 to 3.
func (k *Keys) readHeader(s *scratch, t *Task, sig string) *Refusal {
	if sig == "" {
		return &Refusal{Reason: ReasonMissingSignature}
	}
	if !s.decode(sig) {
		return &Refusal{Reason: ReasonMalformed, detail: "the signature is not 104 characters of base64url"}
	}
	if detail := s.collect(&k.opts, t); detail != "" {
		return &Refusal{Reason: ReasonMalformed, detail: detail}
	}
	if s.raw[0] != version1 || s.raw[offsetFlags]&^flagEncrypted != 0 {
		return &Refusal{Reason: ReasonUnsupportedVersion}
	}
	s.header.read(&s.raw)
	return nil
}

// findKey is step 4: the key by its ID, after one reload when it is not there.
func (k *Keys) findKey(ctx context.Context, h *header) (*derivedRing, *derivedKey, *Refusal) {
	ring := k.current.Load()
	if dk, ok := ring.byKID[h.kid]; ok {
		return ring, dk, nil
	}
	k.reloadFor(ctx, k.opts.Now())
	ring = k.current.Load()
	if dk, ok := ring.byKID[h.kid]; ok {
		return ring, dk, nil
	}
	r := &Refusal{Reason: ReasonUnknownKey}
	now := k.opts.Now()
	issued := time.UnixMilli(h.iat)
	if end := issued.Add(k.opts.PropagationGrace); now.Before(end) && !issued.After(now.Add(k.opts.Skew)) {
		r.RetryAt = now.Add(unknownKeyRetry)
		if end.Before(r.RetryAt) {
			r.RetryAt = end
		}
	}
	return nil, nil, r
}

// notValid is step 5. A key's VerifyUntil bounds the expiry, so that a task which outlived it is refused as expired.
func (d *derivedKey) notValid(h *header, skew time.Duration) string {
	i, slack := &d.info, skew.Milliseconds()
	switch {
	case i.State == Revoked:
		return "it is revoked"
	case i.State == Destroyed:
		return "it is destroyed"
	case h.iat < i.SignFrom.UnixMilli()-slack:
		return "it did not sign yet when the task was issued"
	case i.SignUntil != nil && h.iat > i.SignUntil.UnixMilli()+slack:
		return "it did not sign any more when the task was issued"
	case i.VerifyUntil != nil && h.exp > i.VerifyUntil.UnixMilli():
		return "the task would outlive it"
	}
	return ""
}

// checkRules is steps 7 and 8. latest is now, plus the skew.
func (v Verified) checkRules(h *header, dk *derivedKey, rules Rules, maxLifetime time.Duration, latest time.Time) (KindRule, *Refusal) {
	if rules.ServesQueue != nil && !rules.ServesQueue(v.claims.Queue) {
		return KindRule{}, v.Refuse(ReasonWrongQueue, "")
	}
	var rule KindRule
	if rules.Kind != nil {
		var ok bool
		if rule, ok = rules.Kind(v.claims.Kind); !ok {
			return KindRule{}, v.Refuse(ReasonKindNotAllowed, "it is not run here")
		}
	}
	return rule, v.checkRule(h, dk, rule, maxLifetime, latest)
}

func (v Verified) checkRule(h *header, dk *derivedKey, rule KindRule, maxLifetime time.Duration, latest time.Time) *Refusal {
	switch {
	case !covers(dk.info.Kinds, v.claims.Kind):
		return v.Refuse(ReasonKindNotAllowed, "the key may not sign it")
	case rule.MustEncrypt && !h.encrypted():
		return v.Refuse(ReasonMustBeEncrypted, "")
	case v.claims.IssuedAt.After(latest):
		return v.Refuse(ReasonIssuedInFuture, "")
	case h.exp < h.nbf || h.nbf < h.iat:
		return v.Refuse(ReasonLifetimeExceeded, "they are out of order")
	case h.exp-h.iat > maxLifetime.Milliseconds():
		return v.Refuse(ReasonLifetimeExceeded, "it lives longer than the ring allows")
	case rule.MaxAge > 0 && h.exp-h.nbf > rule.MaxAge.Milliseconds():
		return v.Refuse(ReasonLifetimeExceeded, "it lives longer than its kind allows")
	}
	return nil
}

// checkDone is step 9.
func (v Verified) checkDone(ctx context.Context, rules Rules) error {
	if rules.Done == nil {
		return nil
	}
	done, err := rules.Done(ctx, v.claims)
	if err != nil {
		return fmt.Errorf("verify: look up whether the effect is done: %w", err)
	}
	if done {
		return &Done{Claims: v.claims}
	}
	return nil
}

// checkDue is step 10.
func (v Verified) checkDue(h *header, now time.Time, skew time.Duration) *Refusal {
	at, slack := now.UnixMilli(), skew.Milliseconds()
	switch {
	case at > h.exp+slack:
		return v.Refuse(ReasonExpired, "")
	case at < h.nbf-slack:
		r := v.Refuse(ReasonNotYetDue, "")
		r.RetryAt = v.claims.NotBefore
		return r
	}
	return nil
}
