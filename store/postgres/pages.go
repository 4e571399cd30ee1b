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

// where are conditions on what was given alone: a plan that serves for whatever may be given walks the whole table.
type where struct {
	conditions string
	args       []any
}

// given adds a condition on a text, unless it is empty.
func (w *where) given(text, condition string) {
	if text == "" {
		return
	}
	w.args = append(w.args, name(text))
	w.conditions += " AND " + fmt.Sprintf(condition, len(w.args))
}

// RefusedPage lists up to limit entries that the query means, the newest first, without their payloads.
func (db *DB) RefusedPage(ctx context.Context, q quarantine.Query, limit int) ([]jobs.Refused, error) {
	var w where
	w.given(q.Reason, `reason = $%d`)
	w.given(q.Queue, `queue = $%d`)
	w.given(q.Kind, `kind = $%d`)
	if q.Releasable {
		w.conditions += ` AND released_at IS NULL AND (authentic OR reason = 'unknown_key')`
	}
	if !q.Before.IsZero() {
		w.args = append(w.args, q.Before.At, name(q.Before.ID))
		w.conditions += fmt.Sprintf(` AND (received_at, id) < ($%d, $%d)`, len(w.args)-1, len(w.args))
	}
	rows, err := db.pool.Query(ctx, `SELECT NULL::bytea, `+refusedColumns+` FROM quarantine WHERE true`+w.conditions+
		fmt.Sprintf(` ORDER BY received_at DESC, id DESC LIMIT %d`, limit), w.args...)
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

// AuditPage lists up to limit entries that the query means, the newest first, linked or not: those that are not have no position yet.
func (db *DB) AuditPage(ctx context.Context, q audit.Query, limit int) ([]audit.Link, error) {
	before := q.Before
	if before <= 0 {
		before = math.MaxInt64
	}
	w := where{args: []any{before}}
	w.given(q.Actor, `starts_with(actor, $%d)`)
	w.given(q.Action, `starts_with(action, $%d)`)
	w.given(q.Subject, `subject = $%d`)
	rows, err := db.pool.Query(ctx, `SELECT coalesce(position, 0), id, at, actor, action, subject, detail::text, hash FROM audit_log
		WHERE id < $1`+w.conditions+fmt.Sprintf(` ORDER BY id DESC LIMIT %d`, limit), w.args...)
	if err != nil {
		return nil, wrap("read the audit log", err)
	}
	links, err := pgx.CollectRows(rows, scanLink)
	if err != nil {
		return nil, wrap("read the audit log", err)
	}
	return links, nil
}
