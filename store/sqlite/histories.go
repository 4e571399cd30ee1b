package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
)

// AccountAddress returns the normalised address of a registration or user, or [accounts.ErrNoSuchUser].
func (db *DB) AccountAddress(ctx context.Context, id string) (emailNorm string, err error) {
	err = db.read.QueryRowContext(ctx, `
		SELECT email_norm FROM users WHERE id = ?1 UNION ALL SELECT email_norm FROM pending_users WHERE id = ?1 LIMIT 1`, id).Scan(&emailNorm)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return "", accounts.ErrNoSuchUser
	case err != nil:
		return "", db.wrap("look up account", err)
	}
	return emailNorm, nil
}

const mailHistorySQL = `SELECT` + rowInfoColumns + `, o.payload, coalesce(m.message_id, ''), coalesce(m.tries - (m.held_by IS NOT NULL), 0), m.created_at,
	coalesce(m.smtp_code, 0), coalesce(m.smtp_reply, ''), coalesce(m.cause, ''), m.lease_until, m.sent_at, coalesce(m.held_by, ''), m.held_until
	FROM outbox AS o LEFT JOIN mails AS m ON m.id = o.id `

func scanMailHistory(scan func(...any) error) (authjobs.MailHistory, error) {
	var h authjobs.MailHistory
	r := &h.Row
	var notBefore, next, expires, created int64
	var signed, ended, first, lease, sent, held sql.NullInt64
	var payload []byte
	err := scan(&r.ID, &r.Kind, &r.Queue, &r.State, &r.Attempt, &r.Failures, &r.Retries, &r.Cause, &r.KID, &notBefore, &next, &expires, &created, &signed, &ended,
		&payload, &h.MessageID, &h.Tries, &first, &h.SMTPCode, &h.SMTPReply, &h.Cause, &lease, &sent, &h.HeldBy, &held)
	r.NotBefore, r.NextAt, r.ExpiresAt, r.CreatedAt = timeOf(notBefore), timeOf(next), timeOf(expires), timeOf(created)
	r.SignedAt, r.EndedAt = timeOrZero(signed), timeOrZero(ended)
	h.AccountID, h.Generation = authjobs.AccountOf(r.Kind, payload)
	h.FirstTry, h.LeaseUntil, h.SentAt = timeOrZero(first), timeOrZero(lease), timeOrZero(sent)
	h.HeldUntil = timeOrZero(held)
	if h.Tries == 0 {
		h.FirstTry = time.Time{} // it was held from the first
	}
	return h, err
}

// mailsOfSQL finds them as the migration mails_of_account says.
const mailsOfSQL = mailHistorySQL + `
	WHERE o.id IN (
		SELECT id FROM outbox WHERE kind GLOB 'mail:*' AND substr(payload, 13, 39) IN (CAST(?1 || '","' AS BLOB), CAST('":"' || ?1 AS BLOB))
		UNION ALL
		SELECT id FROM outbox INDEXED BY outbox_account_odd WHERE kind GLOB 'mail:*' AND substr(payload, 1, 12) <> CAST('{"user_id":"' AS BLOB) AND substr(payload, 1, 15) <> CAST('{"pending_id":"' AS BLOB)
			AND instr(payload, CAST(?1 AS BLOB)) > 0
	) ORDER BY o.id DESC LIMIT ?2`

// MailsOf lists up to limit mails of a registration or user, the newest first.
func (db *DB) MailsOf(ctx context.Context, accountID string, limit int) ([]authjobs.MailHistory, error) {
	if accountID == "" {
		return nil, nil
	}
	rows, err := db.read.QueryContext(ctx, mailsOfSQL, accountID, limit)
	if err != nil {
		return nil, db.wrap("list mails", err)
	}
	mails, err := collect(rows, func(rows *sql.Rows) (authjobs.MailHistory, error) { return scanMailHistory(rows.Scan) })
	if err != nil {
		return nil, db.wrap("list mails", err)
	}
	return mails, nil
}

const requestsOfSQL = mailHistorySQL + `
	JOIN owner_requests AS asked ON o.kind = 'users:answer' AND substr(o.payload, 13, 39) = CAST('":"' || asked.id AS BLOB)
	WHERE asked.email_norm = ?1 ORDER BY o.id DESC LIMIT ?2`

// RequestsOf lists up to limit jobs that answer what was asked for by an address, the newest first.
func (db *DB) RequestsOf(ctx context.Context, emailNorm string, limit int) ([]authjobs.MailHistory, error) {
	rows, err := db.read.QueryContext(ctx, requestsOfSQL, emailNorm, limit)
	if err != nil {
		return nil, db.wrap("list requests", err)
	}
	requests, err := collect(rows, func(rows *sql.Rows) (authjobs.MailHistory, error) { return scanMailHistory(rows.Scan) })
	if err != nil {
		return nil, db.wrap("list requests", err)
	}
	return requests, nil
}

// MailOf tells of the mail of an outbox row, or of a Message-ID. The row may be of any kind. [jobs.ErrNoSuchRow] where there is none.
func (db *DB) MailOf(ctx context.Context, rowOrMessageID string) (authjobs.MailHistory, error) {
	h, err := scanMailHistory(db.read.QueryRowContext(ctx, mailHistorySQL+`
		WHERE o.id = ?1 OR o.id = (SELECT id FROM mails WHERE message_id = ?1)`, rowOrMessageID).Scan)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return authjobs.MailHistory{}, fmt.Errorf("look up mail %q: %w", rowOrMessageID, jobs.ErrNoSuchRow)
	case err != nil:
		return authjobs.MailHistory{}, db.wrap("look up mail", err)
	}
	return h, nil
}

// Two indexes are read, of as much of the names as a row's ID has.
const refusedOfSQL = `SELECT` + refusedColumns + `NULL FROM quarantine
	WHERE substr(row_id, 1, 36) = ?1 AND row_id <> '' OR substr(task_id, 1, 37) = ?1 || '.' ORDER BY received_at DESC, id DESC LIMIT ?2`

// RefusedOf lists up to limit entries of the quarantine whose task was, or called itself, one of the row's, the newest first, without payloads.
func (db *DB) RefusedOf(ctx context.Context, rowID string, limit int) ([]jobs.Refused, error) {
	rows, err := db.read.QueryContext(ctx, refusedOfSQL, rowID, limit)
	if err != nil {
		return nil, db.wrap("list refused tasks", err)
	}
	entries, err := collect(rows, func(rows *sql.Rows) (jobs.Refused, error) { return scanRefused(rows.Scan) })
	if err != nil {
		return nil, db.wrap("list refused tasks", err)
	}
	return entries, nil
}

// AuditOf lists the newest limit entries about a subject, the oldest of them first, linked or not.
func (db *DB) AuditOf(ctx context.Context, subject string, limit int) ([]audit.Entry, error) {
	links, err := auditLinks(ctx, db.read, `WHERE id IN (SELECT id FROM audit_log WHERE subject = ? ORDER BY id DESC LIMIT ?) ORDER BY id`, subject, limit)
	if err != nil {
		return nil, db.wrap("read the audit log", err)
	}
	entries := make([]audit.Entry, len(links))
	for i, l := range links {
		entries[i] = l.Entry
	}
	return entries, nil
}
