package signing

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Why a move of a ring was refused. A [MoveError], [TooYoungError] or [StillNeededError] carries the facts.
var (
	ErrNoSuchKey     = errors.New("the ring has no such key")
	ErrWrongState    = errors.New("the key's state does not allow that move")
	ErrNoSuccessor   = errors.New("the active key needs a published key to follow it")
	ErrTooYoung      = errors.New("the key was published too recently")
	ErrStillNeeded   = errors.New("the key is still needed")
	ErrDuplicateKID  = errors.New("the ring already has a key of that ID")
	errNoRandomAgain = fmt.Errorf("%w, again and again; the system's random source is broken", ErrDuplicateKID)
)

// MoveError says which move of which key was refused.
type MoveError struct {
	Move  string // "promote", "retire", "revoke", "destroy"
	KID   KID
	State State // empty when the ring has no such key
	Cause error // one of the sentinels
	Hint  string
}

// Error returns one sentence.
func (e *MoveError) Error() string {
	s := fmt.Sprintf("%s key %s: %v", e.Move, e.KID, e.Cause)
	if e.State != "" {
		s += fmt.Sprintf(" (it is %s)", e.State)
	}
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Unwrap returns the cause.
func (e *MoveError) Unwrap() error { return e.Cause }

// TooYoungError refuses to promote a key that other hosts may not know yet.
type TooYoungError struct {
	KID     KID
	ReadyAt time.Time // when it will be old enough
}

// Error returns one sentence.
func (e *TooYoungError) Error() string {
	return fmt.Sprintf("promote key %s: %v: hosts that have not read it yet would have to wait; promote it from %s on, or force it",
		e.KID, ErrTooYoung, e.ReadyAt.Format(time.RFC3339))
}

// Unwrap returns [ErrTooYoung].
func (e *TooYoungError) Unwrap() error { return ErrTooYoung }

// StillNeededError refuses to destroy a key that something genuine may still need.
type StillNeededError struct {
	KID   KID
	Until time.Time // what it signed may still verify until then; zero: that is over
	Rows  int       // unfinished database rows that need it
}

// Error returns one sentence.
func (e *StillNeededError) Error() string {
	if !e.Until.IsZero() {
		return fmt.Sprintf("destroy key %s: %v: what it signed may verify until %s; destroy it after that, or revoke it if it leaked",
			e.KID, ErrStillNeeded, e.Until.Format(time.RFC3339))
	}
	return fmt.Sprintf("destroy key %s: %v: %d unfinished database rows name it; let them finish, or revoke it if it leaked",
		e.KID, ErrStillNeeded, e.Rows)
}

// Unwrap returns [ErrStillNeeded].
func (e *StillNeededError) Unwrap() error { return ErrStillNeeded }

// NewRing makes version 1 of a ring, with one active key that may sign every kind. Signatures live for at most maxLifetime.
func NewRing(now time.Time, maxLifetime time.Duration) (*Ring, error) {
	r := &Ring{version: 1, maxLifetime: maxLifetime}
	if err := r.addKey(now, Active, []string{"*"}); err != nil {
		return nil, err
	}
	return r.checked()
}

// Rotate publishes a new key, which verifies at once and signs after [Ring.Promote]. kinds are the patterns of what it may
// sign; nil means every kind. The new key stands last in [Ring.Keys].
func (r *Ring) Rotate(now time.Time, kinds []string) (*Ring, error) {
	if kinds == nil {
		kinds = []string{"*"}
	}
	next := r.next()
	if err := next.addKey(now, Published, kinds); err != nil {
		return nil, err
	}
	return next.checked()
}

// Promote makes a published key the active one; the old active key becomes retiring in the same write. It refuses a key
// younger than grace with a [TooYoungError], because hosts that do not know it yet would have to defer what it signs. A
// grace of zero means [DefaultPropagationGrace].
func (r *Ring) Promote(kid KID, now time.Time, grace time.Duration) (*Ring, error) {
	if grace == 0 {
		grace = DefaultPropagationGrace
	}
	if i := r.find(kid); i >= 0 && r.keys[i].State == Published {
		if ready := r.keys[i].CreatedAt.Add(grace); now.Before(ready) {
			return nil, &TooYoungError{KID: kid, ReadyAt: ready}
		}
	}
	return r.PromoteForced(kid, now)
}

// PromoteForced is [Ring.Promote] whatever the key's age. Tasks that it signs are deferred on hosts that do not know it yet.
func (r *Ring) PromoteForced(kid KID, now time.Time) (*Ring, error) {
	next := r.next()
	old := next.activeIndex()
	if err := next.promote("promote", kid, now); err != nil {
		return nil, err
	}
	next.keys[old] = next.keys[old].retired(now, r.maxLifetime)
	return next.checked()
}

// Retire ends the active key's signing by promoting the key that has been published longest. It refuses when none is
// published ([ErrNoSuccessor]) or when that one is younger than grace ([TooYoungError]).
func (r *Ring) Retire(kid KID, now time.Time, grace time.Duration) (*Ring, error) {
	i := r.find(kid)
	if i < 0 {
		return nil, &MoveError{Move: "retire", KID: kid, Cause: ErrNoSuchKey}
	}
	if s := r.keys[i].State; s != Active {
		return nil, &MoveError{Move: "retire", KID: kid, State: s, Cause: ErrWrongState, Hint: "only the active key retires"}
	}
	successor := -1
	for j, k := range r.keys {
		if k.State == Published && (successor < 0 || k.CreatedAt.Before(r.keys[successor].CreatedAt)) {
			successor = j
		}
	}
	if successor < 0 {
		return nil, &MoveError{Move: "retire", KID: kid, State: Active, Cause: ErrNoSuccessor, Hint: "rotate first"}
	}
	return r.Promote(r.keys[successor].KID, now, grace)
}

// Revoke ends a leaked key at once: nothing that it signed verifies any more. The active key needs [Ring.RevokeActive].
func (r *Ring) Revoke(kid KID) (*Ring, error) {
	next := r.next()
	i := next.find(kid)
	if i < 0 {
		return nil, &MoveError{Move: "revoke", KID: kid, Cause: ErrNoSuchKey}
	}
	switch s := next.keys[i].State; s {
	case Active:
		return nil, &MoveError{
			Move: "revoke", KID: kid, State: s, Cause: ErrNoSuccessor,
			Hint: "name the key to promote in the same write",
		}
	case Revoked, Destroyed:
		return nil, &MoveError{Move: "revoke", KID: kid, State: s, Cause: ErrWrongState}
	case Published, Retiring:
		next.keys[i].State = Revoked
	}
	return next.checked()
}

// RevokeActive revokes the active key and promotes the successor in the same write, whatever its age: a leaked key cannot
// wait. A zero successor means a new key, made here, with the patterns of the revoked one.
func (r *Ring) RevokeActive(kid, successor KID, now time.Time) (*Ring, error) {
	next := r.next()
	i := next.find(kid)
	if i < 0 {
		return nil, &MoveError{Move: "revoke", KID: kid, Cause: ErrNoSuchKey}
	}
	if s := next.keys[i].State; s != Active {
		return nil, &MoveError{Move: "revoke", KID: kid, State: s, Cause: ErrWrongState, Hint: "it needs no successor: revoke it alone"}
	}
	if successor.IsZero() {
		if err := next.addKey(now, Published, next.keys[i].Kinds); err != nil {
			return nil, err
		}
		successor = next.keys[len(next.keys)-1].KID
	}
	if err := next.promote("promote", successor, now); err != nil {
		return nil, err
	}
	next.keys[i].State = Revoked
	return next.checked()
}

// Destruction says what a key's end must wait for.
type Destruction struct {
	// Skew is how far clocks may differ. Zero means [DefaultSkew].
	Skew time.Duration
	// UnfinishedRows is how many unfinished database rows need the key. What a queue holds is no gate: whoever writes to the
	// queue must not be able to keep a key alive.
	UnfinishedRows int
}

// Destroy drops a key's secret and keeps its ID as a tombstone. A retiring key must be past its VerifyUntil and unneeded,
// else the error is a [StillNeededError]; a revoked key goes at once; any other state is refused.
func (r *Ring) Destroy(kid KID, now time.Time, d Destruction) (*Ring, error) {
	if d.Skew == 0 {
		d.Skew = DefaultSkew
	}
	next := r.next()
	i := next.find(kid)
	if i < 0 {
		return nil, &MoveError{Move: "destroy", KID: kid, Cause: ErrNoSuchKey}
	}
	k := &next.keys[i]
	switch k.State {
	case Retiring:
		if end := k.VerifyUntil.Add(d.Skew); !now.After(end) {
			return nil, &StillNeededError{KID: kid, Until: end, Rows: d.UnfinishedRows}
		}
		if d.UnfinishedRows > 0 {
			return nil, &StillNeededError{KID: kid, Rows: d.UnfinishedRows}
		}
	case Revoked:
	case Published, Active:
		return nil, &MoveError{Move: "destroy", KID: kid, State: k.State, Cause: ErrWrongState, Hint: "revoke it first"}
	case Destroyed:
		return nil, &MoveError{Move: "destroy", KID: kid, State: k.State, Cause: ErrWrongState}
	}
	k.State = Destroyed
	k.secret = Secret{}
	return next.checked()
}

// next copies the ring as its next version. Moves replace what a key points to and never write through it, so that the rings
// may share it.
func (r *Ring) next() *Ring {
	return &Ring{version: r.version + 1, maxLifetime: r.maxLifetime, keys: slices.Clone(r.keys)}
}

func (r *Ring) checked() (*Ring, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	return r, nil
}

// promote activates a published key. The caller moves the old active one.
func (r *Ring) promote(move string, kid KID, now time.Time) error {
	i := r.find(kid)
	if i < 0 {
		return &MoveError{Move: move, KID: kid, Cause: ErrNoSuchKey}
	}
	if s := r.keys[i].State; s != Published {
		return &MoveError{Move: move, KID: kid, State: s, Cause: ErrWrongState, Hint: "only a published key becomes active"}
	}
	r.keys[i].State = Active
	r.keys[i].SignFrom = ringTime(now)
	return nil
}

// retired bounds what the key signed: hosts with the older ring sign for signingGrace at most, and what they sign lives for
// maxLifetime at most.
func (k key) retired(now time.Time, maxLifetime time.Duration) key {
	signUntil := ringTime(now).Add(signingGrace)
	verifyUntil := signUntil.Add(maxLifetime)
	k.State, k.SignUntil, k.VerifyUntil = Retiring, &signUntil, &verifyUntil
	return k
}

// addKey appends a new key. A kid has 32 bits, so that a new one meets an old one once in a few hundred million times.
func (r *Ring) addKey(now time.Time, s State, kinds []string) error {
	for range 8 {
		err := r.addSecret(NewSecret(), now, s, kinds)
		if !errors.Is(err, ErrDuplicateKID) {
			return err
		}
	}
	return errNoRandomAgain
}

func (r *Ring) addSecret(secret Secret, now time.Time, s State, kinds []string) error {
	kid, err := kidOf(secret)
	if err != nil {
		return err
	}
	if r.find(kid) >= 0 {
		return ErrDuplicateKID
	}
	at := ringTime(now)
	r.keys = append(r.keys, key{
		KeyInfo: KeyInfo{KID: kid, State: s, CreatedAt: at, SignFrom: at, Kinds: slices.Clone(kinds)},
		secret:  secret,
	})
	return nil
}

// ringTime is a time as rings keep it: UTC, to the millisecond like the envelope's own times.
func ringTime(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
