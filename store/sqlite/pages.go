package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
)

// RefusedPage lists up to limit entries that the query means, the newest first, without their payloads.
func (db *DB) RefusedPage(ctx context.Context, q quarantine.Query, limit int) ([]jobs.Refused, error) {
	list := `SELECT` + refusedColumns + `NULL FROM quarantine WHERE (?1 = '' OR reason = ?1) AND (?2 = '' OR queue = ?2) AND (?3 = '' OR kind = ?3)`
	args := []any{q.Reason, q.Queue, q.Kind, limit}
	if !q.Before.IsZero() {
		list += ` AND (received_at, id) < (?5, ?6)`
		args = append(args, q.Before.At.UnixMicro(), q.Before.ID)
	}
	rows, err := db.read.QueryContext(ctx, list+` ORDER BY received_at DESC, id DESC LIMIT ?4`, args...)
	if err != nil {
		return nil, db.wrap("list quarantine", err)
	}
	entries, err := collect(rows, func(rows *sql.Rows) (jobs.Refused, error) { return scanRefused(rows.Scan) })
	return entries, db.wrapSome("list quarantine", err)
}

// OutboxPayload returns the payload of an outbox row, or [jobs.ErrNoSuchRow].
func (db *DB) OutboxPayload(ctx context.Context, id string) (payload []byte, err error) {
	err = db.read.QueryRowContext(ctx, `SELECT payload FROM outbox WHERE id = ?`, id).Scan(&payload)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("look up row %q: %w", id, jobs.ErrNoSuchRow)
	}
	return payload, db.wrapSome("look up outbox row", err)
}

// AuditPage lists up to limit entries that the query means, the newest first, linked or not: those that are not have no position yet.
func (db *DB) AuditPage(ctx context.Context, q audit.Query, limit int) ([]audit.Link, error) {
	before := q.Before
	if before <= 0 {
		before = math.MaxInt64
	}
	links, err := auditLinks(ctx, db.read, `
		WHERE id < ?1 AND (?2 = '' OR substr(actor, 1, length(?2)) = ?2) AND (?3 = '' OR substr(action, 1, length(?3)) = ?3) AND (?4 = '' OR subject = ?4)
		ORDER BY id DESC LIMIT ?5`, before, q.Actor, q.Action, q.Subject, limit)
	return links, db.wrapSome("read the audit log", err)
}
