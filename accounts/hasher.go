package accounts

import (
	"context"
	"errors"
	"fmt"
)

// Hasher makes and compares password hashes as Accounts does, for people who are no users of the app: the operators of a deployment. It is
// safe for concurrent use.
type Hasher struct {
	hasher *hasher
	policy PasswordPolicy
}

// NewHasher makes a Hasher. The zero cost is DefaultHashCost, and 0 at once are 4.
func NewHasher(c HashCost, parallel int) (*Hasher, error) {
	if c == (HashCost{}) {
		c = DefaultHashCost()
	}
	if parallel == 0 {
		parallel = 4
	}
	if parallel < 0 {
		return nil, errors.New("new hasher: at least one hash at once is needed")
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("new hasher: cost: %w", err)
	}
	return &Hasher{hasher: newHasher(c, parallel), policy: DefaultPasswordPolicy()}, nil
}

// New judges a new password of whoever has that name by DefaultPasswordPolicy, and hashes it. Its error is a *PasswordError where the
// password is not good enough.
func (h *Hasher) New(ctx context.Context, name, password string) (PasswordHash, error) {
	err := checkBounds(password)
	if err == nil {
		err = h.policy(ctx, Email{given: name, norm: name}, password)
	}
	if err != nil {
		return PasswordHash{}, &PasswordError{Cause: err}
	}
	return h.hasher.hash(ctx, password)
}

// Verify compares. Whatever the outcome, and without a stored hash too, the work of one hash has been done, so that its time does not tell
// whether there is one. A stored hash that cannot be read is an error.
func (h *Hasher) Verify(ctx context.Context, stored PasswordHash, password string) (match bool, err error) {
	if checkBounds(password) != nil {
		password, stored = " ", PasswordHash{} // nobody can have it; the work is done all the same
	}
	match, _, err = h.hasher.verify(ctx, stored, password)
	return match, err
}
