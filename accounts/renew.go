package accounts

import (
	"context"
	"fmt"
	"strconv"
)

// RenewKeys voids activation keys that were derived from the signing key kid, because it leaked: whoever has it can compute them. Up to limit
// registrations, and links to a new password or address, get a new generation, whose mail it asks for; both in tx, which the caller commits. Passwords
// and the time until which a link works stay. Keys that were used already, and what has expired, are left alone.
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
	tokens, err := a.renewTokens(ctx, tx, kid, limit-len(renewed))
	if err != nil {
		return 0, fmt.Errorf("renew keys: %w", err)
	}
	if n = len(renewed) + tokens; n == 0 {
		return 0, nil
	}
	if err := a.record(ctx, tx, Change{
		Actor: "keys", Action: "account.keys_renewed", Subject: "key/" + kid, Detail: map[string]string{"links": strconv.Itoa(n)},
	}); err != nil {
		return 0, fmt.Errorf("renew keys: %w", err)
	}
	return n, nil
}

func (a *Accounts[Tx]) renewTokens(ctx context.Context, tx Tx, kid string, limit int) (int, error) {
	if limit == 0 {
		return 0, nil
	}
	tokens, err := a.store.RenewTokens(ctx, tx, kid, limit, newNonce)
	if err != nil {
		return 0, err
	}
	for _, t := range tokens {
		if err := a.mail(ctx, tx, t); err != nil {
			return 0, err
		}
	}
	return len(tokens), nil
}
