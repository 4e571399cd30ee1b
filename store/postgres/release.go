package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
)

// MarkReleased notes as what an entry was released, as quarantine.Releases says. Of two who release it the second waits for the
// first, and finds it released.
func (db *DB) MarkReleased(ctx context.Context, tx pgx.Tx, id, as string) error {
	tag, err := tx.Exec(ctx, `UPDATE quarantine SET released_at = statement_timestamp(), released_as = $2 WHERE id = $1 AND released_at IS NULL`, name(id), name(as))
	if err != nil {
		return wrap("release "+id, err)
	}
	if tag.RowsAffected() > 0 {
		return nil
	}
	var before string
	err = tx.QueryRow(ctx, `SELECT released_as FROM quarantine WHERE id = $1`, name(id)).Scan(&before)
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("release %q: %w", id, jobs.ErrNoSuchEntry)
	}
	if err != nil {
		return wrap("release "+id, err)
	}
	return &quarantine.ReleasedError{As: before}
}

// EnterReleased enters the effect of a task that is released as another row, as quarantine.Releases says.
func (db *DB) EnterReleased(ctx context.Context, tx pgx.Tx, e jobs.Effect, as string) error {
	tag, err := tx.Exec(ctx, `INSERT INTO ledger (kind, effect_id, keep_until) VALUES ($1, $2, statement_timestamp() + $3::interval)
		ON CONFLICT DO NOTHING`, name(string(e.Kind)), name(e.ID), e.Keep)
	if err != nil {
		return wrap("enter effect "+e.ID, err)
	}
	if tag.RowsAffected() == 0 {
		return quarantine.ErrEffectDone
	}
	row := uuidOf(e.ID)
	if row == nil {
		return nil
	}
	var state jobs.RowState
	err = tx.QueryRow(ctx, `SELECT state FROM outbox WHERE id = $1::uuid AND kind = $2 FOR UPDATE`, row, name(string(e.Kind))).Scan(&state)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return wrap("look up row "+e.ID, err)
	case state == jobs.RowDone:
		return quarantine.ErrEffectDone
	case state == jobs.RowQueued, state == jobs.RowClaimed, state == jobs.RowEnqueued:
		return quarantine.ErrRowUnfinished
	}
	if _, err := tx.Exec(ctx, `UPDATE outbox SET cause = $2 WHERE id = $1::uuid`, row, "released as "+as); err != nil {
		return wrap("note release in row "+e.ID, err)
	}
	return nil
}

// meantSQL is quarantine.Filter.
const meantSQL = ` FROM quarantine WHERE (cardinality($1::text[]) = 0 OR id = ANY ($1)) AND ($2::interval IS NULL OR received_at <= statement_timestamp() - $2)
	AND ($3::text = '' OR reason = $3) AND (NOT authentic OR released_at IS NOT NULL OR $4::boolean)
	AND ($5::text = '' OR queue = $5) AND ($6::text = '' OR kind = $6)`

func meant(f quarantine.Filter) []any {
	ids := make([]string, len(f.IDs))
	for i, id := range f.IDs {
		ids[i] = name(id)
	}
	var age *time.Duration
	if f.OlderThan > 0 {
		age = &f.OlderThan
	}
	return []any{ids, age, name(string(f.Reason)), f.Authentic, name(f.Queue), name(f.Kind)}
}

const purgeRefusedSQL = `
WITH due AS (
	SELECT id` + meantSQL + ` ORDER BY received_at, id LIMIT $7 FOR UPDATE SKIP LOCKED
), gone AS (
	DELETE FROM quarantine q USING due WHERE q.id = due.id RETURNING q.charged, q.authentic
)
SELECT count(*), coalesce(sum(charged), 0)::bigint, count(*) FILTER (WHERE authentic) FROM gone`

// PurgeRefused deletes up to limit entries, the oldest first, as quarantine.Purges says.
func (db *DB) PurgeRefused(ctx context.Context, tx pgx.Tx, f quarantine.Filter, limit int) (quarantine.Purged, error) {
	var p quarantine.Purged
	if err := tx.QueryRow(ctx, purgeRefusedSQL, append(meant(f), limit)...).Scan(&p.Entries, &p.Bytes, &p.Authentic); err != nil {
		return quarantine.Purged{}, wrap("purge the quarantine", err)
	}
	return p, nil
}

// MatchRefused counts what PurgeRefused would delete.
func (db *DB) MatchRefused(ctx context.Context, f quarantine.Filter) (quarantine.Purged, error) {
	var p quarantine.Purged
	err := db.pool.QueryRow(ctx, `SELECT count(*), coalesce(sum(charged), 0)::bigint, count(*) FILTER (WHERE authentic)`+meantSQL, meant(f)...).
		Scan(&p.Entries, &p.Bytes, &p.Authentic)
	if err != nil {
		return quarantine.Purged{}, wrap("count in the quarantine", err)
	}
	return p, nil
}

// PurgeOverflow deletes the counters, and returns what they counted.
func (db *DB) PurgeOverflow(ctx context.Context, tx pgx.Tx) (quarantine.Used, error) {
	var u quarantine.Used
	err := tx.QueryRow(ctx, `WITH gone AS (DELETE FROM quarantine_overflow RETURNING entries, bytes)
		SELECT coalesce(sum(entries), 0)::bigint, coalesce(sum(bytes), 0)::bigint FROM gone`).Scan(&u.Entries, &u.Bytes)
	if err != nil {
		return quarantine.Used{}, wrap("forget the quarantine's overflow", err)
	}
	return u, nil
}
