package app

import (
	"context"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
)

// Histories tell what happened to one person's account and mails.
type Histories interface {
	AccountState(ctx context.Context, emailNorm string) (accounts.State, error)
	// AccountAddress returns the normalised address of a registration or user, or accounts.ErrNoSuchUser.
	AccountAddress(ctx context.Context, id string) (emailNorm string, err error)
	// MailsOf lists up to limit mails of a registration or user, the newest first.
	MailsOf(ctx context.Context, accountID string, limit int) ([]authjobs.MailHistory, error)
	// RequestsOf lists up to limit jobs that answer what was asked for by an address, the newest first.
	RequestsOf(ctx context.Context, emailNorm string, limit int) ([]authjobs.MailHistory, error)
	// MailOf tells of the mail of an outbox row, or of a Message-ID, or jobs.ErrNoSuchRow.
	MailOf(ctx context.Context, rowOrMessageID string) (authjobs.MailHistory, error)
	// AttemptsOf lists the tries of a mail that are kept, the first of them first.
	AttemptsOf(ctx context.Context, mailID string) ([]authjobs.MailAttempt, error)
	// RecentMails lists the mails that workers had first most lately, the newest first.
	RecentMails(ctx context.Context, limit int) ([]authjobs.MailGlance, error)
	// MailUse says what the deployment has used of its caps.
	MailUse(ctx context.Context) (authjobs.MailUse, error)
	// MailBacklog counts the unfinished mails, of a bounded number of rows; more says that there may be others.
	MailBacklog(ctx context.Context, limit int) (backlog []jobs.Backlog, more bool, err error)
	// SuppressedUpTo counts the addresses to which nothing is sent, up to that many.
	SuppressedUpTo(ctx context.Context, most int) (int64, error)
	// RefusedOf lists up to limit entries of the quarantine whose task was, or called itself, one of the row's.
	RefusedOf(ctx context.Context, rowID string, limit int) ([]jobs.Refused, error)
	// AuditOf lists the newest limit entries about a subject, the oldest of them first.
	AuditOf(ctx context.Context, subject string, limit int) ([]audit.Entry, error)
}
