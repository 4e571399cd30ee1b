package signing

import (
	"crypto/rand"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// ErrNotConfirmed is the cause of [StaleError].
var ErrNotConfirmed = errors.New("the key ring was not confirmed by its source")

// StaleError refuses to sign: the ring was not confirmed for four minutes, and its active key may be retiring elsewhere.
type StaleError struct {
	ConfirmedAt time.Time
	Cause       error // why the source did not confirm it; may be nil
}

// Error returns one sentence.
func (e *StaleError) Error() string {
	s := fmt.Sprintf("sign: %v since %s", ErrNotConfirmed, e.ConfirmedAt.UTC().Format(time.RFC3339))
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap returns [ErrNotConfirmed] and why the source did not confirm the ring.
func (e *StaleError) Unwrap() []error {
	if e.Cause == nil {
		return []error{ErrNotConfirmed}
	}
	return []error{ErrNotConfirmed, e.Cause}
}

// SignError refuses to sign what no verifier would accept.
type SignError struct {
	Cause  error // ErrMalformed, ErrKindNotAllowed, ErrLifetimeExceeded or ErrKeyNotValid
	Detail string
}

// Error returns one sentence.
func (e *SignError) Error() string { return "sign: " + e.Detail }

// Unwrap returns the cause.
func (e *SignError) Unwrap() error { return e.Cause }

// Validity is when a signature holds, to the millisecond, and whether the payload is encrypted.
type Validity struct {
	NotBefore time.Time // when the task is due; zero or past: now
	Expires   time.Time // when it ends; required, and at most the ring's max_lifetime from now
	Encrypt   bool      // signed is not secret: encrypt what a reader of the queue must not see
}

// Sign signs the task with the active key. It returns the value of [SignatureHeader] and the payload to enqueue, which is the
// task's own unless it was encrypted. What a verifier would refuse is refused here with a [SignError]; a ring that is not
// confirmed, with a [StaleError].
func (k *Keys) Sign(t Task, v Validity) (sig string, payload []byte, err error) {
	var text [signatureTextSize]byte
	out, payload, err := k.AppendSign(text[:0], t, v)
	if err != nil {
		return "", nil, err
	}
	return string(out), payload, nil
}

// AppendSign is [Keys.Sign] appending the signature's 104 characters to dst. It allocates nothing when dst has room and the
// payload is not encrypted.
func (k *Keys) AppendSign(dst []byte, t Task, v Validity) (sig, payload []byte, err error) {
	now := k.opts.Now()
	if err := k.fresh(now); err != nil {
		return nil, nil, err
	}
	ring := k.current.Load()
	s := k.scratch.get()
	defer k.scratch.put(s)
	h := &s.header
	*h = header{kid: ring.active.info.KID, iat: now.UnixMilli(), exp: v.Expires.UnixMilli()}
	h.nbf = h.iat
	if !v.NotBefore.IsZero() {
		h.nbf = max(h.iat, v.NotBefore.UnixMilli())
	}
	if v.Encrypt {
		h.flags = flagEncrypted
	}
	if err := k.signable(ring, s, &t, v.Expires.IsZero()); err != nil {
		return nil, nil, err
	}
	_, _ = rand.Read(h.nonce[:]) // never fails: the process ends instead
	h.put(&s.raw)
	s.setContext(k.audience, &t)
	if problem := s.notText(&t); problem != "" {
		return nil, nil, &SignError{ErrMalformed, problem}
	}
	payload = t.Payload
	if h.encrypted() {
		if payload, err = ring.active.encryptPayload(&h.nonce, s.context, payload); err != nil {
			return nil, nil, err
		}
	}
	if k.opts.OnSigned != nil {
		k.opts.OnSigned(t.Kind, h.kid)
	}
	return s.sign(dst, ring.active.mac, payload), payload, nil
}

// fresh refuses a ring that was not confirmed for staleAfter. The wall clock is asked too: a monotonic one may stand still
// while a machine sleeps.
func (k *Keys) fresh(now time.Time) error {
	c := k.confirmed.Load()
	if now.Sub(c.at) <= staleAfter && now.UnixMilli()-c.at.UnixMilli() <= staleAfter.Milliseconds() {
		return nil
	}
	return &StaleError{ConfirmedAt: c.at, Cause: c.err}
}

// signable refuses what no verifier would accept, but for text that is none: see notText.
func (k *Keys) signable(ring *derivedRing, s *scratch, t *Task, endless bool) error {
	h := &s.header
	if problem := k.unsignable(s, t); problem != "" {
		return &SignError{ErrMalformed, problem}
	}
	info := &ring.active.info
	maxLifetime := ring.ring.maxLifetime
	switch {
	case !covers(info.Kinds, t.Kind):
		return &SignError{ErrKindNotAllowed, fmt.Sprintf("key %s may not sign the kind %q; promote a key whose kinds cover it", info.KID, t.Kind)}
	case h.iat < 0 || h.iat > maxMillis:
		return &SignError{ErrLifetimeExceeded, "the clock shows a time before 1970 or after 9999; correct it"}
	case h.iat < info.SignFrom.UnixMilli()-k.opts.Skew.Milliseconds():
		return &SignError{ErrKeyNotValid, fmt.Sprintf("the clock is behind the time from which key %s signs; correct it", info.KID)}
	case endless:
		return &SignError{ErrLifetimeExceeded, "no expiry was given; a signature must end"}
	case h.exp < h.nbf:
		return &SignError{ErrLifetimeExceeded, "it would expire before it is due; give it a later expiry"}
	case h.exp > maxMillis || h.exp-h.iat > maxLifetime.Milliseconds():
		return &SignError{ErrLifetimeExceeded, fmt.Sprintf("it would live longer than the ring's max_lifetime of %s; give it an earlier expiry",
			formatLifetime(maxLifetime))}
	}
	return nil
}

func (k *Keys) unsignable(s *scratch, t *Task) string {
	if t.Kind == "" || t.ID == "" || t.Queue == "" {
		return "the kind, the ID or the queue is empty; give all three"
	}
	if problem := s.collect(&k.opts, t); problem != "" {
		return problem
	}
	if s.header.encrypted() && len(t.Payload) > k.opts.MaxPayload-encryptionOverhead {
		return "the payload would be over the limit once encrypted"
	}
	return ""
}

// notText says which of the task's texts is not UTF-8, or nothing. The context is set, so that one look at it mostly does.
func (s *scratch) notText(t *Task) string {
	if s.isASCII() {
		return ""
	}
	if !utf8.ValidString(t.Kind) || !utf8.ValidString(t.ID) || !utf8.ValidString(t.Queue) {
		return "the kind, the ID or the queue is not UTF-8"
	}
	for i := range s.fields {
		if !utf8.ValidString(s.fields[i].name) || !utf8.ValidString(s.fields[i].value) {
			return "a header's name or value is not UTF-8, which the queue cannot carry"
		}
	}
	return ""
}
