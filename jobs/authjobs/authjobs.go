package authjobs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sealq/sealq/jobs"
)

// The kinds.
const (
	KindMailConfirmation    jobs.Kind = "mail:confirmation"
	KindMailAccountExists   jobs.Kind = "mail:account_exists"
	KindMailPasswordReset   jobs.Kind = "mail:password_reset"
	KindMailPasswordChanged jobs.Kind = "mail:password_changed"
	KindMailEmailChange     jobs.Kind = "mail:email_change"
	KindMailLockoutNotice   jobs.Kind = "mail:lockout_notice"
	KindAnswer              jobs.Kind = "users:answer"
	KindExpirePending       jobs.Kind = "users:expire_pending"
	KindResetLockouts       jobs.Kind = "lockouts:reset"
	KindPurge               jobs.Kind = "retention:purge"
)

// mailPrefix and the name of a mail make its kind.
const mailPrefix = "mail:"

// Confirmation are the arguments of mail:confirmation. The generation tells a registration that was replaced
// from the one that replaced it.
type Confirmation struct {
	PendingID  string `json:"pending_id"`
	Generation uint64 `json:"generation"`
}

// AccountMail are the arguments of the mails to owners of accounts. The generation tells which of a user's links or notices it is.
type AccountMail struct {
	UserID     string `json:"user_id"`
	Generation uint64 `json:"generation"`
}

// Request are the arguments of users:answer.
type Request struct {
	RequestID string `json:"request_id"`
}

// Sweep are the arguments of the clean-up kinds.
type Sweep struct {
	// Tick names the due time that the sweep was made for, "" for one on demand.
	Tick string `json:"tick"`
	// Limit is how many rows the sweep may change. 0: all that are due.
	Limit uint32 `json:"limit" sealq:"optional"`
}

// Tick are the arguments of retention:purge.
type Tick struct {
	// Tick names the due time that the job was made for, "" for one on demand.
	Tick string `json:"tick"`
}

// MailConfirmation mails a pending user the link that activates his account.
func MailConfirmation() jobs.Def[Confirmation] {
	return jobs.Define[Confirmation](KindMailConfirmation, mailPolicy())
}

func mailPolicy() jobs.Policy {
	return jobs.Policy{
		Queue: jobs.QueueMail, MaxAge: 24 * time.Hour, Retries: 12,
		// Longer than all stage timeouts of one SMTP delivery: RFC 5321, 4.5.3.2 gives a server 10 min after DATA.
		Timeout: 15 * time.Minute, Backoff: mailBackoff,
	}
}

// mailBackoff spreads the tries of a mail over most of its day, as RFC 5321, section 4.5.4.1, wants of who sends: a server that greylists opens
// after minutes or an hour, one that is overloaded or whose disk is full after hours. Twelve pauses are 14 to 18 h together.
func mailBackoff(failures int) time.Duration {
	pauses := []time.Duration{15 * time.Second, time.Minute, 4 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour}
	pause := 2 * time.Hour
	if n := max(failures, 1); n <= len(pauses) {
		pause = pauses[n-1]
	}
	return jobs.WithJitter(pause)
}

// MailAccountExists tells an owner that somebody tried to register his address again.
func MailAccountExists() jobs.Def[AccountMail] { return accountMail(KindMailAccountExists) }

// MailPasswordReset mails an owner the link under which he sets a new password.
func MailPasswordReset() jobs.Def[AccountMail] { return accountMail(KindMailPasswordReset) }

// MailPasswordChanged tells an owner that his password is another one now.
func MailPasswordChanged() jobs.Def[AccountMail] { return accountMail(KindMailPasswordChanged) }

// MailEmailChange mails the link that confirms a new address to that address, and tells the old one: which of them, the generation says.
func MailEmailChange() jobs.Def[AccountMail] { return accountMail(KindMailEmailChange) }

// MailLockoutNotice tells an owner that his account was locked after too many failures.
func MailLockoutNotice() jobs.Def[AccountMail] { return accountMail(KindMailLockoutNotice) }

// AccountMails are the kinds of all mails to owners of accounts.
func AccountMails() []jobs.Def[AccountMail] {
	return []jobs.Def[AccountMail]{MailAccountExists(), MailPasswordReset(), MailPasswordChanged(), MailEmailChange(), MailLockoutNotice()}
}

func accountMail(kind jobs.Kind) jobs.Def[AccountMail] {
	return jobs.Define[AccountMail](kind, mailPolicy())
}

// MailName is what a mail of that kind is called where there are no jobs: "password_reset" for "mail:password_reset".
func MailName(kind jobs.Kind) string { return strings.TrimPrefix(string(kind), mailPrefix) }

// Answer looks up whether an address that somebody named has an account, and asks for the mail if it has.
func Answer() jobs.Def[Request] {
	return jobs.Define[Request](KindAnswer, jobs.Policy{Queue: jobs.QueueMail, MaxAge: 24 * time.Hour, Retries: 12, Timeout: time.Minute})
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

// Purge deletes what has ended longer ago than it is to be kept.
func Purge() jobs.Def[Tick] {
	return jobs.Define[Tick](KindPurge, jobs.Policy{
		Queue: jobs.QueueMaintenance, MaxAge: 6 * time.Hour, Retries: 3, Timeout: 5 * time.Minute,
	})
}

// Definitions are all auth kinds.
func Definitions() []jobs.Definition {
	all := []jobs.Definition{MailConfirmation(), Answer(), ExpirePending(), ResetLockouts(), Purge()}
	for _, mail := range AccountMails() {
		all = append(all, mail)
	}
	return all
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

// ErrUnknownMail means that there is no kind for a mail of that name.
var ErrUnknownMail = errors.New("no kind of job sends such a mail")

// AccountMailWanted records a mail to the owner of an account. mail is its name, such as "password_reset".
func (n Notifier[Tx]) AccountMailWanted(ctx context.Context, tx Tx, mail, userID string, generation uint64, expiresAt time.Time) error {
	for _, def := range AccountMails() {
		if MailName(def.Kind()) != mail {
			continue
		}
		job := def.With(AccountMail{UserID: userID, Generation: generation}, jobs.Until(expiresAt))
		if _, err := n.outbox.EnqueueTx(ctx, tx, job); err != nil {
			return fmt.Errorf("record mail %s: %w", mail, err)
		}
		return nil
	}
	return fmt.Errorf("record mail %q: %w", mail, ErrUnknownMail)
}

// RequestWanted records that somebody asked for something by an address, which a worker answers.
func (n Notifier[Tx]) RequestWanted(ctx context.Context, tx Tx, requestID string, expiresAt time.Time) error {
	if _, err := n.outbox.EnqueueTx(ctx, tx, Answer().With(Request{RequestID: requestID}, jobs.Until(expiresAt))); err != nil {
		return fmt.Errorf("record request: %w", err)
	}
	return nil
}
