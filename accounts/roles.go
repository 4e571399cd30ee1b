package accounts

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

var (
	// ErrForbidden is the one answer of a Guard to an unknown or disabled user and to one who lacks a role.
	ErrForbidden = errors.New("this needs a role that you do not have")
	// ErrInvalidRole says that a text cannot be a role.
	ErrInvalidRole = errors.New("a role has 1 to 64 of the characters a-z, 0-9, and - _ . : /")
)

// maxRoleBytes bounds a role's name.
const maxRoleBytes = 64

func checkRole(role string) error {
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.:/", r)
	}
	if role == "" || len(role) > maxRoleBytes || strings.ContainsFunc(role, odd) {
		return ErrInvalidRole
	}
	return nil
}

// Roles lists a user's roles, sorted: none unless an operator granted some. Errors: ErrNoSuchUser.
func (a *Accounts[Tx]) Roles(ctx context.Context, userID string) ([]string, error) {
	roles, _, err := a.store.Roles(ctx, userID)
	if err != nil {
		return nil, fmt.Errorf("roles: %w", err)
	}
	return roles, nil
}

// Guard lets only users pass who are not disabled and have all of its roles. It asks the store each time, so that a role that was revoked is
// gone at once.
type Guard struct {
	roles func(ctx context.Context, userID string) ([]string, bool, error)
	need  []string
}

// Require makes a guard. Without a role it lets every user pass who is not disabled. A text that cannot be a role lets nobody pass.
func (a *Accounts[Tx]) Require(roles ...string) Guard {
	return Guard{roles: a.store.Roles, need: slices.Clone(roles)}
}

// Check is nil where the user may pass. Every refusal is ErrForbidden itself; any other error means that nothing was decided.
func (g Guard) Check(ctx context.Context, userID string) error {
	if g.roles == nil {
		return ErrForbidden
	}
	has, disabled, err := g.roles(ctx, userID)
	if errors.Is(err, ErrNoSuchUser) {
		return ErrForbidden
	}
	if err != nil {
		return fmt.Errorf("look at roles: %w", err)
	}
	lacks := func(role string) bool { return !slices.Contains(has, role) }
	if disabled || slices.ContainsFunc(g.need, lacks) {
		return ErrForbidden
	}
	return nil
}

// Do runs fn where the user may pass.
func (g Guard) Do(ctx context.Context, userID string, fn func(ctx context.Context) error) error {
	if err := g.Check(ctx, userID); err != nil {
		return err
	}
	return fn(ctx)
}

// Handler lets the requests of such users through to next. who is the ID of the user whose session a request belongs to, or "". A refusal is status 403, a
// failure 503; neither says more.
func (g Guard) Handler(who func(*http.Request) string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch err := g.Check(r.Context(), who(r)); {
		case err == nil:
			next.ServeHTTP(w, r)
		case errors.Is(err, ErrForbidden):
			http.Error(w, http.StatusText(http.StatusForbidden), http.StatusForbidden)
		default:
			http.Error(w, http.StatusText(http.StatusServiceUnavailable), http.StatusServiceUnavailable)
		}
	})
}
