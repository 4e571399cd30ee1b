package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
)

// RefusedPage lists up to limit entries that the query means, the newest first, without their payloads.
func (db *DB) RefusedPage(ctx context.Context, q quarantine.Query, limit int) ([]jobs.Refused, error) {
	list := `SELECT NULL::bytea, ` + refusedColumns + ` FROM quarantine
		WHERE ($1 = '' OR reason = $1) AND ($2 = '' OR queue = $2) AND ($3 = '' OR kind = $3)`
	args := []any{name(q.Reason), name(q.Queue), name(q.Kind), limit}
	if !q.Before.IsZero() {
		list += ` AND (received_at, id) < ($5, $6)`
		args = append(args, q.Before.At, name(q.Before.ID))
	}
	rows, err := db.pool.Query(ctx, list+` ORDER BY received_at DESC, id DESC LIMIT $4`, args...)
	if err != nil {
		return nil, wrap("list quarantine", err)
	}
	entries, err := pgx.CollectRows(rows, scanRefused)
	if err != nil {
		return nil, wrap("list quarantine", err)
	}
	return entries, nil
}

// OutboxPayload returns the payload of an outbox row, or jobs.ErrNoSuchRow.
func (db *DB) OutboxPayload(ctx context.Context, id string) (payload []byte, err error) {
	err = db.pool.QueryRow(ctx, `SELECT payload FROM outbox WHERE id = $1::uuid`, uuidOf(id)).Scan(&payload)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("look up row %q: %w", id, jobs.ErrNoSuchRow)
	}
	if err != nil {
		return nil, wrap("look up outbox row", err)
	}
	return payload, nil
}

const auditPageSQL = `
SELECT coalesce(position, 0), id, at, actor, action, subject, detail::text, hash FROM audit_log
WHERE id < $1 AND ($2 = '' OR starts_with(actor, $2)) AND ($3 = '' OR starts_with(action, $3)) AND ($4 = '' OR subject = $4)
ORDER BY id DESC LIMIT $5`

// AuditPage lists up to limit entries that the query means, the newest first, linked or not: those that are not have no position yet.
func (db *DB) AuditPage(ctx context.Context, q audit.Query, limit int) ([]audit.Link, error) {
	before := q.Before
	if before <= 0 {
		before = math.MaxInt64
	}
	rows, err := db.pool.Query(ctx, auditPageSQL, before, name(q.Actor), name(q.Action), name(q.Subject), limit)
	if err != nil {
		return nil, wrap("read the audit log", err)
	}
	links, err := pgx.CollectRows(rows, scanLink)
	if err != nil {
		return nil, wrap("read the audit log", err)
	}
	return links, nil
}
