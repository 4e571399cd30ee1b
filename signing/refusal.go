package signing

import (
	"errors"
	"fmt"
	"time"
)

// Reason is why a task was refused. The text is the machine's: metrics, quarantine and `--json` use it.
type Reason string

// The reasons, in the order in which [Keys.VerifyWith] looks for them.
const (
	ReasonMissingSignature   Reason = "missing_signature"
	ReasonMalformed          Reason = "malformed"
	ReasonUnsupportedVersion Reason = "unsupported_version"
	ReasonUnknownKey         Reason = "unknown_key"
	ReasonKeyNotValid        Reason = "key_not_valid"
	ReasonBadSignature       Reason = "bad_signature"

	ReasonWrongQueue       Reason = "wrong_queue" // from here on the task is authentic: whoever holds a key made it
	ReasonKindNotAllowed   Reason = "kind_not_allowed"
	ReasonMustBeEncrypted  Reason = "must_be_encrypted"
	ReasonIssuedInFuture   Reason = "issued_in_future"
	ReasonLifetimeExceeded Reason = "lifetime_exceeded"
	ReasonExpired          Reason = "expired"
	ReasonNotYetDue        Reason = "not_yet_due"
	ReasonBadPayload       Reason = "bad_payload"
)

// Reasons are all of them, in that order.
func Reasons() []Reason {
	return []Reason{
		ReasonMissingSignature, ReasonMalformed, ReasonUnsupportedVersion, ReasonUnknownKey, ReasonKeyNotValid, ReasonBadSignature,
		ReasonWrongQueue, ReasonKindNotAllowed, ReasonMustBeEncrypted, ReasonIssuedInFuture, ReasonLifetimeExceeded,
		ReasonExpired, ReasonNotYetDue, ReasonBadPayload,
	}
}

// One sentinel for each reason, for errors.Is. [Keys.Sign] uses ErrMalformed, ErrKindNotAllowed and ErrLifetimeExceeded for
// what a verifier would refuse so.
var (
	ErrMissingSignature   = errors.New("the task has no signature")
	ErrMalformed          = errors.New("the task or its signature is malformed")
	ErrUnsupportedVersion = errors.New("the signature's version or flags are not supported")
	ErrUnknownKey         = errors.New("the signature names a key that the ring does not have")
	ErrKeyNotValid        = errors.New("the signature's key is not valid for it")
	ErrBadSignature       = errors.New("the signature does not belong to the task")
	ErrWrongQueue         = errors.New("the task was signed for a queue that is not served here")
	ErrKindNotAllowed     = errors.New("the task's kind is not allowed")
	ErrMustBeEncrypted    = errors.New("the task's kind must be encrypted")
	ErrIssuedInFuture     = errors.New("the task was issued in the future")
	ErrLifetimeExceeded   = errors.New("the task's times contradict each other or exceed a limit")
	ErrExpired            = errors.New("the task has expired")
	ErrNotYetDue          = errors.New("the task is not due yet")
	ErrBadPayload         = errors.New("the task's payload cannot be read")
)

// ErrDone is the cause of [Done].
var ErrDone = errors.New("the task's effect is done already")

func (r Reason) sentinel() error {
	switch r {
	case ReasonMissingSignature:
		return ErrMissingSignature
	case ReasonMalformed:
		return ErrMalformed
	case ReasonUnsupportedVersion:
		return ErrUnsupportedVersion
	case ReasonUnknownKey:
		return ErrUnknownKey
	case ReasonKeyNotValid:
		return ErrKeyNotValid
	case ReasonBadSignature:
		return ErrBadSignature
	case ReasonWrongQueue:
		return ErrWrongQueue
	case ReasonKindNotAllowed:
		return ErrKindNotAllowed
	case ReasonMustBeEncrypted:
		return ErrMustBeEncrypted
	case ReasonIssuedInFuture:
		return ErrIssuedInFuture
	case ReasonLifetimeExceeded:
		return ErrLifetimeExceeded
	case ReasonExpired:
		return ErrExpired
	case ReasonNotYetDue:
		return ErrNotYetDue
	case ReasonBadPayload:
		return ErrBadPayload
	}
	return nil
}

// Known reports whether it is one of the reasons.
func (r Reason) Known() bool { return r.sentinel() != nil }

// Authentic reports whether the reason belongs to a task whose signature was good.
func (r Reason) Authentic() bool {
	switch r {
	case ReasonMissingSignature, ReasonMalformed, ReasonUnsupportedVersion, ReasonUnknownKey, ReasonKeyNotValid, ReasonBadSignature:
		return false
	case ReasonWrongQueue, ReasonKindNotAllowed, ReasonMustBeEncrypted, ReasonIssuedInFuture, ReasonLifetimeExceeded,
		ReasonExpired, ReasonNotYetDue, ReasonBadPayload:
		return true
	}
	return false
}

// Refusal is the error of verifying. It holds nothing that an unverified task chose: KID is set only for a key of the ring,
// and Claims only for an authentic task.
type Refusal struct { //nolint:errname // a refusal is a verdict; "RefusalError" would say less
	Reason  Reason
	KID     *KID      // nil: unread, or not a key of the ring
	RetryAt time.Time // when to try again; zero: never
	Claims  Claims    // zero unless Authentic

	detail string // a constant sentence part, or one made of limits and the ring's facts
}

// Error returns one sentence.
func (r *Refusal) Error() string {
	s := "task refused (" + string(r.Reason) + "): "
	if cause := r.Reason.sentinel(); cause != nil {
		s += cause.Error()
	}
	if r.detail != "" {
		s += ": " + r.detail
	}
	if r.KID != nil {
		s += fmt.Sprintf(" (key %s)", r.KID)
	}
	return s
}

// Deferred reports whether the task may verify later, at RetryAt. That is no failure of the task.
func (r *Refusal) Deferred() bool { return !r.RetryAt.IsZero() }

// Authentic reports whether the signature was good, so that the refusal is about a task that a key's holder made.
func (r *Refusal) Authentic() bool { return r.Reason.Authentic() }

// Is matches the reason's sentinel.
func (r *Refusal) Is(target error) bool {
	cause := r.Reason.sentinel()
	return cause != nil && cause == target
}

// Done says that the task is authentic and its effect was committed before. It ends as a success without an effect.
type Done struct { //nolint:errname // it is a success that ends the work early, not an error to mend
	Claims Claims
}

// Error returns one sentence.
func (*Done) Error() string { return ErrDone.Error() }

// Unwrap returns [ErrDone].
func (*Done) Unwrap() error { return ErrDone }
