package accounts

import (
	"context"
	"fmt"
)

// RenewKeys voids activation keys that were derived from the signing key kid, because it leaked: whoever has it can compute them. Up to limit
// registrations get a new generation, whose mail it asks for; both in tx, which the caller commits. Their passwords and the time until which they can be
// confirmed stay. Keys that were used already, and registrations that expired, are left alone.
//
// It returns how many it renewed. Fewer than limit may mean that others have locked the rest: call it again, in a new transaction, until it
// returns 0, and again later, because a mail that was under way may have bound a key meanwhile. After an error the caller must roll tx back.
func (a *Accounts[Tx]) RenewKeys(ctx context.Context, tx Tx, kid string, limit int) (n int, err error) {
	if limit < 1 {
		return 0, fmt.Errorf("renew keys: a limit of %d: at least one is needed", limit)
	}
	renewed, err := a.store.RenewPending(ctx, tx, kid, limit, newNonce)
	if err != nil {
		return 0, fmt.Errorf("renew keys: %w", err)
	}
	for _, p := range renewed {
		if err := a.notifier.ConfirmationWanted(ctx, tx, p.ID, p.Generation, p.ExpiresAt); err != nil {
			return 0, fmt.Errorf("renew keys: ask for the confirmation mail: %w", err)
		}
	}
	return len(renewed), nil
}
