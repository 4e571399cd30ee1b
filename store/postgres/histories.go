package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
)

// AccountAddress returns the normalised address of a registration or user, or accounts.ErrNoSuchUser.
func (db *DB) AccountAddress(ctx context.Context, id string) (emailNorm string, err error) {
	err = db.pool.QueryRow(ctx, `
		SELECT email_norm FROM users WHERE id = $1::uuid UNION ALL SELECT email_norm FROM pending_users WHERE id = $1::uuid LIMIT 1`, uuidOf(id)).Scan(&emailNorm)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return "", accounts.ErrNoSuchUser
	case err != nil:
		return "", wrap("look up account", err)
	}
	return emailNorm, nil
}

const mailHistorySQL = `SELECT` + rowInfoColumns + `, o.payload, coalesce(m.message_id, ''), coalesce(m.tries - CASE WHEN m.held_by IS NULL THEN 0 ELSE 1 END, 0), m.created_at,
	coalesce(m.smtp_code, 0), coalesce(m.smtp_reply, ''), coalesce(m.cause, ''), m.lease_until, m.sent_at, coalesce(m.held_by, ''), m.held_until
	FROM outbox AS o LEFT JOIN mails AS m ON m.id = o.id::text `

func scanMailHistory(row pgx.CollectableRow) (authjobs.MailHistory, error) {
	var h authjobs.MailHistory
	r := &h.Row
	var signed, ended, first, lease, sent, held *time.Time
	var payload []byte
	err := row.Scan(&r.ID, &r.Kind, &r.Queue, &r.State, &r.Attempt, &r.Failures, &r.Retries, &r.Cause, &r.KID, &r.NotBefore, &r.NextAt, &r.ExpiresAt, &r.CreatedAt, &signed, &ended,
		&payload, &h.MessageID, &h.Tries, &first, &h.SMTPCode, &h.SMTPReply, &h.Cause, &lease, &sent, &h.HeldBy, &held)
	r.NotBefore, r.NextAt, r.ExpiresAt, r.CreatedAt = r.NotBefore.UTC(), r.NextAt.UTC(), r.ExpiresAt.UTC(), r.CreatedAt.UTC()
	r.SignedAt, r.EndedAt = timeOrZero(signed), timeOrZero(ended)
	h.AccountID, h.Generation = authjobs.AccountOf(r.Kind, payload)
	h.FirstTry, h.LeaseUntil, h.SentAt = timeOrZero(first), timeOrZero(lease), timeOrZero(sent)
	h.HeldUntil = timeOrZero(held)
	if h.Tries == 0 {
		h.FirstTry = time.Time{} // it was held from the first
	}
	return h, err //nolint:wrapcheck // callers wrap it
}

// mailsOfSQL finds them as the migration mails_of_account says. An array, and no join: the planner takes the odd ones for a third of all mails.
const mailsOfSQL = mailHistorySQL + `
	WHERE o.id = ANY (ARRAY(
		SELECT id FROM outbox WHERE kind LIKE 'mail:%' AND substr(payload, 13, 39) IN (convert_to($1::text || '","', 'UTF8'), convert_to('":"' || $1::text, 'UTF8'))
		UNION ALL
		SELECT id FROM outbox WHERE kind LIKE 'mail:%' AND substr(payload, 1, 12) <> '{"user_id":"'::bytea AND substr(payload, 1, 15) <> '{"pending_id":"'::bytea
			AND position(convert_to($1::text, 'UTF8') IN payload) > 0
	)) ORDER BY o.id DESC LIMIT $2`

// MailsOf lists up to limit mails of a registration or user, the newest first.
func (db *DB) MailsOf(ctx context.Context, accountID string, limit int) ([]authjobs.MailHistory, error) {
	if uuidOf(accountID) == nil {
		return nil, nil
	}
	rows, err := db.pool.Query(ctx, mailsOfSQL, accountID, limit)
	if err != nil {
		return nil, wrap("list mails", err)
	}
	mails, err := pgx.CollectRows(rows, scanMailHistory)
	if err != nil {
		return nil, wrap("list mails", err)
	}
	return mails, nil
}

const requestsOfSQL = mailHistorySQL + `
	JOIN owner_requests AS asked ON o.kind = 'users:answer' AND substr(o.payload, 13, 39) = convert_to('":"' || asked.id::text, 'UTF8')
	WHERE asked.email_norm = $1 ORDER BY o.id DESC LIMIT $2`

// RequestsOf lists up to limit jobs that answer what was asked for by an address, the newest first.
func (db *DB) RequestsOf(ctx context.Context, emailNorm string, limit int) ([]authjobs.MailHistory, error) {
	rows, err := db.pool.Query(ctx, requestsOfSQL, name(emailNorm), limit)
	if err != nil {
		return nil, wrap("list requests", err)
	}
	requests, err := pgx.CollectRows(rows, scanMailHistory)
	if err != nil {
		return nil, wrap("list requests", err)
	}
	return requests, nil
}

// MailOf tells of the mail of an outbox row, or of a Message-ID. The row may be of any kind. jobs.ErrNoSuchRow where there is none.
func (db *DB) MailOf(ctx context.Context, rowOrMessageID string) (authjobs.MailHistory, error) {
	id := rowOrMessageID
	err := db.pool.QueryRow(ctx, `SELECT id FROM mails WHERE message_id = $1`, name(id)).Scan(&id)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return authjobs.MailHistory{}, wrap("look up mail", err)
	}
	rows, err := db.pool.Query(ctx, mailHistorySQL+`WHERE o.id = $1::uuid`, uuidOf(id))
	if err != nil {
		return authjobs.MailHistory{}, wrap("look up mail", err)
	}
	h, err := pgx.CollectExactlyOneRow(rows, scanMailHistory)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return authjobs.MailHistory{}, fmt.Errorf("look up mail %q: %w", rowOrMessageID, jobs.ErrNoSuchRow)
	case err != nil:
		return authjobs.MailHistory{}, wrap("look up mail", err)
	}
	return h, nil
}

// Two indexes are read, of as much of the names as a row's ID has.
const refusedOfSQL = `SELECT NULL::bytea, ` + refusedColumns + ` FROM quarantine
	WHERE left(row_id, 36) = $1::text AND row_id <> '' OR left(task_id, 37) = $1::text || '.' ORDER BY received_at DESC, id DESC LIMIT $2`

// RefusedOf lists up to limit entries of the quarantine whose task was, or called itself, one of the row's, the newest first, without payloads.
func (db *DB) RefusedOf(ctx context.Context, rowID string, limit int) ([]jobs.Refused, error) {
	rows, err := db.pool.Query(ctx, refusedOfSQL, name(rowID), limit)
	if err != nil {
		return nil, wrap("list refused tasks", err)
	}
	list, err := pgx.CollectRows(rows, scanRefused)
	if err != nil {
		return nil, wrap("list refused tasks", err)
	}
	return list, nil
}

// AuditOf lists the newest limit entries about a subject, the oldest of them first, linked or not.
func (db *DB) AuditOf(ctx context.Context, subject string, limit int) ([]audit.Entry, error) {
	rows, err := db.pool.Query(ctx, `SELECT coalesce(position, 0), id, at, actor, action, subject, detail::text, hash FROM audit_log
		WHERE id IN (SELECT id FROM audit_log WHERE subject = $1 ORDER BY id DESC LIMIT $2) ORDER BY id`, name(subject), limit)
	if err != nil {
		return nil, wrap("read the audit log", err)
	}
	links, err := pgx.CollectRows(rows, scanLink)
	if err != nil {
		return nil, wrap("read the audit log", err)
	}
	entries := make([]audit.Entry, len(links))
	for i, l := range links {
		entries[i] = l.Entry
	}
	return entries, nil
}
