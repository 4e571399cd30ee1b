package postgres

import (
	"cmp"
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/jobs/authjobs"
)

const (
	mailAttemptSQL = `
INSERT INTO mail_attempts (mail, try, started_at, ended_at, server, stage, outcome, smtp_code, smtp_reply, cause)
SELECT id, greatest($2, 1), $3, statement_timestamp(), $4, $5, $6, $7, $8, $9 FROM mails WHERE id = $1
ON CONFLICT DO NOTHING`
	oldAttemptsSQL = `DELETE FROM mail_attempts WHERE mail = $1 AND try <= $2`
	mailFailedSQL  = `UPDATE mails SET lease_until = NULL, lease_token = NULL, smtp_code = $3, smtp_reply = $4, cause = $5
	WHERE id = $1 AND lease_token = $2`
)

// MailFailed records a failed try, and ends the lease, if it is still this draft's: all of it or nothing, in one round trip.
func (db *DB) MailFailed(ctx context.Context, d authjobs.MailDraft, a authjobs.MailAnswer, cause string) error {
	var b pgx.Batch // without a BEGIN it is one transaction
	id := name(d.MailID)
	if a.Outcome != authjobs.MailAmbiguous { // that may have been sent
		giveBack(&b, d.Share)
	}
	b.Queue(mailFailedSQL, id, d.LeaseToken, a.Code, prose(a.Reply), prose(cause))
	b.Queue(mailAttemptSQL, id, d.Try, d.StartedAt, name(a.Server), name(a.Stage), cmp.Or(a.Outcome, authjobs.MailError), a.Code, prose(a.Reply), prose(cause))
	b.Queue(oldAttemptsSQL, id, d.Try-authjobs.MaxAttempts)
	if a.Bounced {
		b.Queue(suppressSQL, normOf(d.To), authjobs.ReasonHardBounce, a.Code, prose(a.Reply), id)
	}
	if err := db.pool.SendBatch(ctx, &b).Close(); err != nil {
		return wrap("record failed mail "+d.MailID, err)
	}
	return nil
}

// AttemptsOf lists the tries of a mail that are kept, the first of them first.
func (db *DB) AttemptsOf(ctx context.Context, mailID string) ([]authjobs.MailAttempt, error) {
	rows, err := db.pool.Query(ctx, `SELECT try, started_at, ended_at, server, stage, outcome, smtp_code, smtp_reply, cause
		FROM mail_attempts WHERE mail = $1 ORDER BY try`, name(mailID))
	if err != nil {
		return nil, wrap("list tries of mail "+mailID, err)
	}
	tries, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t authjobs.MailAttempt, err error) {
		err = row.Scan(&t.Try, &t.StartedAt, &t.EndedAt, &t.Server, &t.Stage, &t.Outcome, &t.SMTPCode, &t.SMTPReply, &t.Cause)
		t.StartedAt, t.EndedAt = t.StartedAt.UTC(), t.EndedAt.UTC()
		return t, err //nolint:wrapcheck // wrapped below
	})
	if err != nil {
		return nil, wrap("list tries of mail "+mailID, err)
	}
	return tries, nil
}
