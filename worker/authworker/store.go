package authworker

import (
	"context"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/sweep"
)

// ConfirmationMails claims confirmation mails and prepares their links. The database's clock decides.
type ConfirmationMails interface {
	// ClaimConfirmation takes a lease on the mail, inserting it at its first claim, in one transaction that also
	// reads the pending user. authjobs.ErrSent where sent_at is set; *authjobs.LeasedError while another lease holds, whether the mail is
	// wanted or not; authjobs.ErrNotWanted where the user is not pending in that generation or its time is over;
	// *authjobs.SuppressedError where nothing is sent to the address, and *authjobs.LimitedError where a limit has no room, each of which it
	// notes at the mail. A claim takes its share of all limits, or of none.
	ClaimConfirmation(ctx context.Context, c authjobs.MailClaim) (authjobs.MailDraft, error)
	// BindActivationKey writes the kid and the hash of the link's key to the pending user of that generation.
	// Writing the same again is no error. Another hash than the one there is authjobs.ErrLeaseLost: another run has bound it. Another
	// generation is authjobs.ErrNotWanted.
	BindActivationKey(ctx context.Context, d authjobs.MailDraft, kid string, keyHash [32]byte) error
	// ConfirmationWanted looks again, just before the mail leaves: authjobs.ErrSent where it was sent, authjobs.ErrLeaseLost where another run
	// has taken it, authjobs.ErrNotWanted where the user no longer waits for it, and authjobs.ErrLeaseLost too where the lease ends before
	// ctx does, whose deadline is the delivery's; else nil.
	ConfirmationWanted(ctx context.Context, d authjobs.MailDraft) error
}

// AccountMails claims the mails to owners of accounts and prepares their links. The database's clock decides.
type AccountMails interface {
	// ClaimAccountMail takes a lease on the mail, inserting it at its first claim, in one transaction that also reads the link or
	// the notice of that user, generation and name. authjobs.ErrNotWanted where there is none (it was used, replaced, or its user disabled
	// or gone) or its time is over, and the other errors as ClaimConfirmation. A notice
	// goes to the address that it was written for, a link to change the address to the new one, any other to the user's.
	ClaimAccountMail(ctx context.Context, c authjobs.MailClaim) (authjobs.MailDraft, error)
	// BindTokenKey writes the kid and the hash of the link's key to the token of that generation, as BindActivationKey does.
	BindTokenKey(ctx context.Context, d authjobs.MailDraft, kid string, keyHash [32]byte) error
	// AccountMailWanted looks again, just before the mail leaves, as ConfirmationWanted does.
	AccountMailWanted(ctx context.Context, d authjobs.MailDraft) error
}

// MailOutcomes records what the mail server answered.
type MailOutcomes[Tx any] interface {
	// MailSent records the acceptance and the try, whatever became of the lease, and sets the sent_at of the pending user or
	// of the token.
	MailSent(ctx context.Context, tx Tx, d authjobs.MailDraft, a authjobs.MailAnswer) error
	// MailFailed records a failed try, whatever became of the lease, ends the lease, if it is still this draft's, and gives
	// back the draft's share of the limits unless the try is ambiguous; where the answer says
	// that the address bounced, it is suppressed, with the first such answer; all of it or nothing. A try is recorded once, and of a mail's tries the newest authjobs.MaxAttempts are kept.
	MailFailed(ctx context.Context, d authjobs.MailDraft, a authjobs.MailAnswer, cause string) error
	// AttemptsOf lists the tries of a mail that are kept, the first of them first.
	AttemptsOf(ctx context.Context, mailID string) ([]authjobs.MailAttempt, error)
}

// Sweeps change what is due, one batch a call, each call in a transaction of its own. Rows that are locked by somebody else are left for another
// batch.
type Sweeps[Tx any] interface {
	sweep.Store
	sweep.Desk
	// Outbox records the job that goes on where a run's time is over.
	jobs.Outbox[Tx]
	// Log records what was deleted for its age.
	audit.Log[Tx]
	// InTx runs fn in a transaction, and commits if it returns nil.
	InTx(ctx context.Context, fn func(tx Tx) error) error
}
