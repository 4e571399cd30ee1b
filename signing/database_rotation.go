package signing

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrInvalidPolicy says that a policy would promote keys before hosts know them.
var ErrInvalidPolicy = errors.New("a rotation must publish its key ahead of the promotion, by less than the time between rotations")

// RotationPolicy says when keys change by themselves. It suits a ring that its hosts read where it is written, as one in a
// database: nobody brings it to them.
type RotationPolicy struct {
	// Every is how long a key signs. Zero means 30 days.
	Every time.Duration
	// Ahead is how long a key is published before it signs. Zero means a day. What is in production should not be below
	// [DefaultPropagationGrace].
	Ahead time.Duration
}

// Check refuses a policy that makes no sense.
func (p RotationPolicy) Check() error {
	if p = p.withDefaults(); p.Ahead < 0 || p.Ahead >= p.Every {
		return fmt.Errorf("%w: %s ahead of every %s", ErrInvalidPolicy, p.Ahead, p.Every)
	}
	return nil
}

func (p RotationPolicy) withDefaults() RotationPolicy {
	if p.Every == 0 {
		p.Every = 30 * 24 * time.Hour
	}
	if p.Ahead == 0 {
		p.Ahead = 24 * time.Hour
	}
	return p
}

// Next returns the ring after the move that is due: a new key is published, or one that was is promoted. It returns r itself
// when none is due. promotes is the key that it promotes, zero for none: ask [Keys.Propagated] before saving that ring.
//
// The key that follows signs what its predecessor signed: a published key with other kinds is left to whoever made it.
func (p RotationPolicy) Next(r *Ring, now time.Time) (next *Ring, promotes KID, err error) {
	p = p.withDefaults()
	active := r.keys[r.activeIndex()]
	due := active.SignFrom.Add(p.Every)
	successor := r.Successor()
	switch {
	case successor.IsZero() && !now.Before(due.Add(-p.Ahead)):
		next, err = r.Rotate(now, active.Kinds)
		return next, KID{}, err
	case successor.IsZero() || now.Before(due):
		return r, KID{}, nil
	}
	next, err = r.Promote(successor, now, p.Ahead)
	if errors.Is(err, ErrTooYoung) { // it was published late
		return r, KID{}, nil
	}
	return next, successor, err
}

// Successor returns the key that should follow the active one: of those that were published with the same kinds, the one that
// has been known longest. Zero: there is none.
func (r *Ring) Successor() KID {
	active := r.keys[r.activeIndex()]
	var found *key
	for i, k := range r.keys {
		if k.State == Published && slices.Equal(k.Kinds, active.Kinds) && (found == nil || k.CreatedAt.Before(found.CreatedAt)) {
			found = &r.keys[i]
		}
	}
	if found == nil {
		return KID{}
	}
	return found.KID
}
