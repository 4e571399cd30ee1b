package sqlite

import (
	"cmp"
	"context"
	"database/sql"

	"github.com/sealq/sealq/jobs/authjobs"
)

// MailFailed records a failed try: see authworker.MailOutcomes.
func (db *DB) MailFailed(ctx context.Context, d authjobs.MailDraft, a authjobs.MailAnswer, cause string) error {
	err := db.InTx(ctx, func(tx *sql.Tx) error {
		instant, err := now(ctx, tx)
		if err != nil {
			return err
		}
		_, err = execute(ctx, tx, `
			UPDATE mails SET smtp_code = ?, smtp_reply = ?, cause = ?, lease_until = NULL, lease_token = NULL
			WHERE id = ? AND lease_token = ?`, a.Code, prose(a.Reply), prose(cause), d.MailID, d.LeaseToken)
		if err != nil {
			return err
		}
		if a.Outcome != authjobs.MailAmbiguous { // that may have been sent
			if err := giveBack(ctx, tx, d.Share); err != nil {
				return err
			}
		}
		if a.Bounced {
			if err := suppress(ctx, tx, d, a, instant); err != nil {
				return err
			}
		}
		return tried(ctx, tx, d, a, cause, instant)
	})
	if err != nil {
		return db.wrap("record failed mail", err)
	}
	return nil
}

// tried keeps a try, and forgets those that are too old.
func tried(ctx context.Context, tx *sql.Tx, d authjobs.MailDraft, a authjobs.MailAnswer, cause string, instant int64) error {
	_, err := execute(ctx, tx, `
		INSERT INTO mail_attempts (mail, try, started_at, ended_at, server, stage, outcome, smtp_code, smtp_reply, cause)
		SELECT id, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10 FROM mails WHERE id = ?1
		ON CONFLICT DO NOTHING`,
		d.MailID, max(d.Try, 1), d.StartedAt.UnixMicro(), instant, prose(a.Server), prose(a.Stage), string(cmp.Or(a.Outcome, authjobs.MailError)), a.Code, prose(a.Reply), prose(cause))
	if err != nil {
		return err
	}
	_, err = execute(ctx, tx, `DELETE FROM mail_attempts WHERE mail = ? AND try <= ?`, d.MailID, d.Try-authjobs.MaxAttempts)
	return err
}

// AttemptsOf lists the tries of a mail that are kept, the first of them first.
func (db *DB) AttemptsOf(ctx context.Context, mailID string) ([]authjobs.MailAttempt, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT try, started_at, ended_at, server, stage, outcome, smtp_code, smtp_reply, cause
		FROM mail_attempts WHERE mail = ? ORDER BY try`, mailID)
	if err != nil {
		return nil, db.wrap("list tries of a mail", err)
	}
	tries, err := collect(rows, func(rows *sql.Rows) (t authjobs.MailAttempt, err error) {
		var started, ended int64
		err = rows.Scan(&t.Try, &started, &ended, &t.Server, &t.Stage, &t.Outcome, &t.SMTPCode, &t.SMTPReply, &t.Cause)
		t.StartedAt, t.EndedAt = timeOf(started), timeOf(ended)
		return t, err //nolint:wrapcheck // wrapped below
	})
	if err != nil {
		return nil, db.wrap("list tries of a mail", err)
	}
	return tries, nil
}
