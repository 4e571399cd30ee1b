package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
)

// given is a condition that holds where a value was given.
type given struct{ value, condition string }

// whereGiven are the conditions of what was given alone: SQLite plans a statement before it knows its parameters.
func whereGiven(all ...given) string {
	var where strings.Builder
	for _, g := range all {
		if g.value != "" {
			where.WriteString(g.condition)
		}
	}
	return where.String()
}

// RefusedPage lists up to limit entries that the query means, the newest first, without their payloads.
func (db *DB) RefusedPage(ctx context.Context, q quarantine.Query, limit int) ([]jobs.Refused, error) {
	list := `SELECT` + refusedColumns + `NULL FROM quarantine WHERE true`
	list += whereGiven(given{q.Reason, ` AND reason = ?1`}, given{q.Queue, ` AND queue = ?2`}, given{q.Kind, ` AND kind = ?3`})
	if q.Releasable {
		list += ` AND released_at IS NULL AND (authentic OR reason = 'unknown_key')`
	}
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
	which := `WHERE id < ?1` + whereGiven(given{q.Actor, ` AND substr(actor, 1, length(?2)) = ?2`}, given{q.Action, ` AND substr(action, 1, length(?3)) = ?3`},
		given{q.Subject, ` AND subject = ?4`}) + ` ORDER BY id DESC LIMIT ?5`
	links, err := auditLinks(ctx, db.read, which, before, q.Actor, q.Action, q.Subject, limit)
	return links, db.wrapSome("read the audit log", err)
}
