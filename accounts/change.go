package accounts

import (
	"context"
	"fmt"
	"time"
)

// public is the actor of whoever is not logged in.
const public = "public"

// noticeTTL is how long a notice is tried to be mailed.
const noticeTTL = 72 * time.Hour

func userSubject(id string) string { return "user/" + id }

// record enters a change in the append-only log, in the change's own transaction.
func (a *Accounts[Tx]) record(ctx context.Context, tx Tx, c Change) error {
	if err := a.store.RecordChange(ctx, tx, c); err != nil {
		return fmt.Errorf("record the change: %w", err)
	}
	return nil
}

// tell writes a notice and asks for its mail.
func (a *Accounts[Tx]) tell(ctx context.Context, tx Tx, n NewNotice) error {
	n.TTL = noticeTTL
	saved, err := a.store.SaveNotice(ctx, tx, n)
	if err != nil {
		return fmt.Errorf("tell the owner: %w", err)
	}
	return a.mail(ctx, tx, saved)
}

// mail asks for the mail of a token or notice.
func (a *Accounts[Tx]) mail(ctx context.Context, tx Tx, t SavedToken) error {
	if err := a.notifier.AccountMailWanted(ctx, tx, string(t.Purpose), t.UserID, t.Generation, t.ExpiresAt); err != nil {
		return fmt.Errorf("ask for the mail %s: %w", t.Purpose, err)
	}
	return nil
}
