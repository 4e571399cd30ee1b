package signing

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"
)

// State is what a key may do. The text is the one in the ring's JSON.
type State string

// The states of a key.
const (
	Published State = "published" // verifies; known everywhere before it signs
	Active    State = "active"    // signs and verifies; exactly one
	Retiring  State = "retiring"  // verifies what it signed, until its VerifyUntil
	Revoked   State = "revoked"   // leaked: verifies nothing
	Destroyed State = "destroyed" // its secret is gone; the kid stays as a tombstone
)

const (
	// signingGrace is how long a promoted key's predecessor may still have signed, on a host that has the older ring.
	signingGrace = 5 * time.Minute
	// staleAfter is how long a signer trusts a ring that its source did not confirm. It must stay below signingGrace.
	staleAfter = 4 * time.Minute

	maxRingKeys    = 1024
	maxRingVersion = 1<<53 - 1 // what every JSON reader holds exactly
	maxLifetimeCap = 10 * 365 * 24 * time.Hour
	firstYear      = 1970
	lastYear       = 9000 // leaves room for adding any lifetime before RFC 3339 ends with year 9999
)

// ErrInvalidRing is the cause of every [RingError].
var ErrInvalidRing = errors.New("invalid key ring")

// RingError says what is wrong with a ring, where, and what to do. It never repeats a secret.
type RingError struct {
	Position string // "keys[2]" counts from 0; empty for the ring as a whole
	Problem  string // what is wrong and what to do, without a full stop
}

// Error returns one sentence.
func (e *RingError) Error() string {
	if e.Position == "" {
		return "key ring: " + e.Problem
	}
	return "key ring: " + e.Position + ": " + e.Problem
}

// Unwrap returns [ErrInvalidRing].
func (e *RingError) Unwrap() error { return ErrInvalidRing }

// KeyInfo is what may be known about a key: everything but its secret.
type KeyInfo struct {
	KID         KID        `json:"kid"`
	State       State      `json:"state"`
	CreatedAt   time.Time  `json:"created_at"`
	SignFrom    time.Time  `json:"sign_from"`
	SignUntil   *time.Time `json:"sign_until"`   // nil: no end yet
	VerifyUntil *time.Time `json:"verify_until"` // nil: no end yet
	Kinds       []string   `json:"kinds"`        // what it may sign: "*", "mail:*" or a kind
}

func (i KeyInfo) clone() KeyInfo {
	i.Kinds = slices.Clone(i.Kinds)
	i.SignUntil = clonePointer(i.SignUntil)
	i.VerifyUntil = clonePointer(i.VerifyUntil)
	return i
}

func clonePointer[T any](p *T) *T {
	if p == nil {
		return nil
	}
	return new(*p)
}

// key is one entry of a ring.
type key struct {
	KeyInfo
	secret Secret // zero in a destroyed key
}

// Ring is a key ring: an immutable document of keys, exactly one of them active. [NewRing] makes the first, [ParseRing] reads
// one, and every move returns another with the next version. Printing, logging or encoding a Ring as JSON leaves the secrets
// out; [Ring.Marshal] writes them.
type Ring struct {
	version     uint64
	maxLifetime time.Duration
	keys        []key
}

// Version returns the ring's version, which grows by one at every write.
func (r *Ring) Version() uint64 { return r.version }

// MaxLifetime returns how long a task's signature may live at most, from its issue to its expiry.
func (r *Ring) MaxLifetime() time.Duration { return r.maxLifetime }

// Keys returns what may be known about each key, in the ring's order: the newest stands last.
func (r *Ring) Keys() []KeyInfo {
	infos := make([]KeyInfo, len(r.keys))
	for i, k := range r.keys {
		infos[i] = k.clone()
	}
	return infos
}

// Equal reports whether both rings say the same, secrets included.
func (r *Ring) Equal(other *Ring) bool {
	if r == nil || other == nil {
		return r == other
	}
	return r.version == other.version && r.maxLifetime == other.maxLifetime && slices.EqualFunc(r.keys, other.keys, key.equal)
}

func (k key) equal(o key) bool {
	return k.KID == o.KID && k.State == o.State && k.CreatedAt.Equal(o.CreatedAt) && k.SignFrom.Equal(o.SignFrom) &&
		sameTime(k.SignUntil, o.SignUntil) && sameTime(k.VerifyUntil, o.VerifyUntil) &&
		slices.Equal(k.Kinds, o.Kinds) && k.secret.Equal(o.secret)
}

func sameTime(a, b *time.Time) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Equal(*b)
}

// String describes the ring without its secrets.
func (r *Ring) String() string {
	if r == nil {
		return "no key ring"
	}
	return fmt.Sprintf("key ring version %d with %d keys", r.version, len(r.keys))
}

// GoString describes the ring without its secrets.
func (r *Ring) GoString() string { return r.String() }

// Format describes the ring without its secrets, whatever the verb.
func (r *Ring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.String()) }

// LogValue describes the ring without its secrets.
func (r *Ring) LogValue() slog.Value { return slog.StringValue(r.String()) }

// MarshalJSON writes the ring without its secrets, for lists and logs. What it writes is no ring: see [Ring.Marshal].
func (r *Ring) MarshalJSON() ([]byte, error) {
	b, err := json.Marshal(struct {
		Version     uint64    `json:"version"`
		MaxLifetime string    `json:"max_lifetime"`
		Keys        []KeyInfo `json:"keys"`
	}{r.version, formatLifetime(r.maxLifetime), r.Keys()})
	if err != nil {
		return nil, fmt.Errorf("describe the key ring: %w", err)
	}
	return b, nil
}

// find returns the index of kid, or -1.
func (r *Ring) find(kid KID) int {
	return slices.IndexFunc(r.keys, func(k key) bool { return k.KID == kid })
}

// activeIndex returns the index of the active key; every valid ring has exactly one.
func (r *Ring) activeIndex() int {
	return slices.IndexFunc(r.keys, func(k key) bool { return k.State == Active })
}

// check refuses a ring that breaks a rule, whether it was read or made by a move.
func (r *Ring) check() error {
	switch {
	case r.version == 0 || r.version > maxRingVersion:
		return &RingError{Problem: `"version" must be a whole number from 1; put back the number that the last write left`}
	case r.maxLifetime <= 0 || r.maxLifetime > maxLifetimeCap:
		return &RingError{Problem: `"max_lifetime" must be longer than 0 and at most 87600h; write it like "720h"`}
	case r.maxLifetime%time.Millisecond != 0:
		return &RingError{Problem: `"max_lifetime" must be whole milliseconds; write it like "720h"`}
	case len(r.keys) > maxRingKeys:
		return &RingError{Problem: fmt.Sprintf("it has more than %d keys; drop the oldest destroyed ones", maxRingKeys)}
	}
	seen := make(map[KID]int, len(r.keys))
	active := -1
	for i, k := range r.keys {
		at := fmt.Sprintf("keys[%d]", i)
		if err := k.check(at); err != nil {
			return err
		}
		if first, ok := seen[k.KID]; ok {
			return &RingError{at, fmt.Sprintf("its kid %s is that of keys[%d] too; remove one and rotate", k.KID, first)}
		}
		seen[k.KID] = i
		if k.State != Active {
			continue
		}
		if active >= 0 {
			return &RingError{at, fmt.Sprintf("it is active like keys[%d]; exactly one key may be: restore the last good ring", active)}
		}
		active = i
	}
	if active < 0 {
		return &RingError{Problem: "no key is active; restore the last good ring, or make a new one with `sealq keys init`"}
	}
	return nil
}

// check refuses an entry that breaks a rule by itself.
func (k key) check(at string) error {
	for name, t := range map[string]*time.Time{
		"created_at": &k.CreatedAt, "sign_from": &k.SignFrom, "sign_until": k.SignUntil, "verify_until": k.VerifyUntil,
	} {
		if t != nil && (t.UTC().Year() < firstYear || t.UTC().Year() > lastYear) {
			return &RingError{at, fmt.Sprintf("%q lies outside the years %d to %d; correct the clock or the file", name, firstYear, lastYear)}
		}
	}
	if problem := checkPatterns(k.Kinds); problem != "" {
		return &RingError{at, problem}
	}
	switch k.State {
	case Published, Active:
		if k.SignUntil != nil || k.VerifyUntil != nil {
			return &RingError{at, fmt.Sprintf(`"sign_until" and "verify_until" must be null in a key that is %s`, k.State)}
		}
	case Retiring:
		if k.SignUntil == nil || k.VerifyUntil == nil {
			return &RingError{at, `a retiring key needs "sign_until" and "verify_until"; restore the last good ring`}
		}
	case Revoked, Destroyed:
	default:
		return &RingError{at, `"state" must be published, active, retiring, revoked or destroyed`}
	}
	if k.SignUntil != nil && k.SignUntil.Before(k.SignFrom) {
		return &RingError{at, `"sign_until" is before "sign_from"; correct the clock or the file`}
	}
	if k.SignUntil != nil && k.VerifyUntil != nil && k.VerifyUntil.Before(*k.SignUntil) {
		return &RingError{at, `"verify_until" is before "sign_until"; correct the clock or the file`}
	}
	return k.checkSecret(at)
}

func (k key) checkSecret(at string) error {
	if k.State == Destroyed {
		if !k.secret.IsZero() {
			return &RingError{at, `it is destroyed but has a secret; set "secret" to null`}
		}
		return nil
	}
	if k.secret.IsZero() {
		return &RingError{at, fmt.Sprintf("it is %s but has no secret; restore the last good ring", k.State)}
	}
	kid, err := kidOf(k.secret)
	if err != nil {
		return err
	}
	if kid != k.KID {
		return &RingError{at, fmt.Sprintf("its kid %s does not belong to its secret; restore the last good ring", k.KID)}
	}
	return nil
}
