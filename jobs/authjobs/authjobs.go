package authjobs

import (
	"context"
	"fmt"
	"time"

	"github.com/sealq/sealq/jobs"
)

// The kinds.
const (
	KindMailConfirmation jobs.Kind = "mail:confirmation"
	KindExpirePending    jobs.Kind = "users:expire_pending"
	KindResetLockouts    jobs.Kind = "lockouts:reset"
)

// Confirmation are the arguments of mail:confirmation. The generation tells a registration that was replaced
// from the one that replaced it.
type Confirmation struct {
	PendingID  string `json:"pending_id"`
	Generation uint64 `json:"generation"`
}

// Sweep are the arguments of the clean-up kinds.
type Sweep struct {
	// Tick names the due time that the sweep was made for, "" for one on demand.
	Tick string `json:"tick"`
	// Limit is how many rows the sweep may change. 0: all that are due.
	Limit int `json:"limit"`
}

// MailConfirmation mails a pending user the link that activates his account.
func MailConfirmation() jobs.Def[Confirmation] {
	return jobs.Define[Confirmation](KindMailConfirmation, jobs.Policy{
		Queue: jobs.QueueMail, MaxAge: 24 * time.Hour, Retries: 12,
		// Longer than all stage timeouts of one SMTP delivery: RFC 5321, 4.5.3.2 gives a server 10 min after DATA.
		Timeout: 15 * time.Minute,
	})
}

// ExpirePending deletes registrations that nobody confirmed in time.
func ExpirePending() jobs.Def[Sweep] {
	return jobs.Define[Sweep](KindExpirePending, jobs.Policy{
		Queue: jobs.QueueMaintenance, MaxAge: time.Hour, Retries: 3, Timeout: 5 * time.Minute,
	})
}

// ResetLockouts clears the lockouts whose time is over.
func ResetLockouts() jobs.Def[Sweep] {
	return jobs.Define[Sweep](KindResetLockouts, jobs.Policy{
		Queue: jobs.QueueCritical, MaxAge: time.Hour, Retries: 3, Timeout: 5 * time.Minute,
	})
}

// Definitions are all auth kinds.
func Definitions() []jobs.Definition {
	return []jobs.Definition{MailConfirmation(), ExpirePending(), ResetLockouts()}
}

// Notifier turns what happens to an account into outbox rows, in the transaction in which it happens. Its
// methods are those that package accounts asks of a notifier.
type Notifier[Tx any] struct {
	outbox jobs.Outbox[Tx]
}

// NewNotifier records jobs in outbox.
func NewNotifier[Tx any](outbox jobs.Outbox[Tx]) Notifier[Tx] { return Notifier[Tx]{outbox: outbox} }

// ConfirmationWanted records the confirmation mail of a pending registration. The row lives as long as the
// registration: a mail that cannot be sent before that is not sent.
func (n Notifier[Tx]) ConfirmationWanted(ctx context.Context, tx Tx, pendingID string, generation uint64, expiresAt time.Time) error {
	job := MailConfirmation().With(Confirmation{PendingID: pendingID, Generation: generation}, jobs.Until(expiresAt))
	if _, err := n.outbox.EnqueueTx(ctx, tx, job); err != nil {
		return fmt.Errorf("record confirmation mail: %w", err)
	}
	return nil
}
