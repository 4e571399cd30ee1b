package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
)

// MarkReleased notes as what an entry was released: see [quarantine.Releases].
func (db *DB) MarkReleased(ctx context.Context, tx *sql.Tx, id, as string) error {
	n, err := execute(ctx, tx, `UPDATE quarantine SET released_at = `+nowSQL+`, released_as = ? WHERE id = ? AND released_at IS NULL`, as, id)
	if err != nil {
		return db.wrap("release", err)
	}
	if n > 0 {
		return nil
	}
	var before string
	err = tx.QueryRowContext(ctx, `SELECT released_as FROM quarantine WHERE id = ?`, id).Scan(&before)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("release %q: %w", id, jobs.ErrNoSuchEntry)
	case err != nil:
		return db.wrap("release", err)
	}
	return &quarantine.ReleasedError{As: before}
}

// EnterReleased enters the effect of a task that is released as another row: see [quarantine.Releases].
func (db *DB) EnterReleased(ctx context.Context, tx *sql.Tx, e jobs.Effect, as string) error {
	entered, err := execute(ctx, tx, `
		INSERT INTO ledger (kind, effect_id, done_at, keep_until) VALUES (?, ?, `+nowSQL+`, `+nowSQL+` + ?)
		ON CONFLICT DO NOTHING`, string(e.Kind), e.ID, e.Keep.Microseconds())
	if err != nil {
		return db.wrap("enter effect", err)
	}
	if entered == 0 {
		return quarantine.ErrEffectDone
	}
	var state jobs.RowState
	err = tx.QueryRowContext(ctx, `SELECT state FROM outbox WHERE id = ? AND kind = ?`, e.ID, string(e.Kind)).Scan(&state)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return db.wrap("look outbox row up", err)
	case state == jobs.RowDone:
		return quarantine.ErrEffectDone
	case state == jobs.RowQueued, state == jobs.RowClaimed, state == jobs.RowEnqueued:
		return quarantine.ErrRowUnfinished
	}
	if _, err := execute(ctx, tx, `UPDATE outbox SET cause = ? WHERE id = ?`, "released as "+as, e.ID); err != nil {
		return db.wrap("note release in outbox row", err)
	}
	return nil
}

// meantSQL is [quarantine.Filter]. The IDs are a JSON list.
const meantSQL = ` FROM quarantine WHERE (?1 = '[]' OR id IN (SELECT value FROM json_each(?1))) AND (?2 = 0 OR received_at <= ?3 - ?2)
	AND (?4 = '' OR reason = ?4) AND (NOT authentic OR released_at IS NOT NULL OR ?5) AND (?6 = '' OR queue = ?6) AND (?7 = '' OR kind = ?7)`

func meant(ctx context.Context, q querier, f quarantine.Filter) ([]any, error) {
	instant, err := now(ctx, q)
	if err != nil {
		return nil, err
	}
	ids, err := json.Marshal(append([]string{}, f.IDs...))
	if err != nil {
		return nil, fmt.Errorf("pack IDs: %w", err)
	}
	return []any{string(ids), f.OlderThan.Microseconds(), instant, string(f.Reason), f.Authentic, f.Queue, f.Kind}, nil
}

// countSQL is [quarantine.Purged].
const countSQL = `SELECT count(*), coalesce(sum(charged), 0), count(*) FILTER (WHERE authentic)`

// PurgeRefused deletes up to limit entries, the oldest first: see [quarantine.Purges].
func (db *DB) PurgeRefused(ctx context.Context, tx *sql.Tx, f quarantine.Filter, limit int) (quarantine.Purged, error) {
	var p quarantine.Purged
	args, err := meant(ctx, tx, f)
	if err != nil {
		return p, db.wrap("purge the quarantine", err)
	}
	args = append(args, limit)
	due := `SELECT id` + meantSQL + ` ORDER BY received_at, id LIMIT ?8`
	if err := tx.QueryRowContext(ctx, countSQL+` FROM quarantine WHERE id IN (`+due+`)`, args...).Scan(&p.Entries, &p.Bytes, &p.Authentic); err != nil {
		return quarantine.Purged{}, db.wrap("purge the quarantine", err)
	}
	if _, err := execute(ctx, tx, `DELETE FROM quarantine WHERE id IN (`+due+`)`, args...); err != nil {
		return quarantine.Purged{}, db.wrap("purge the quarantine", err)
	}
	return p, nil
}

// MatchRefused counts what PurgeRefused would delete.
func (db *DB) MatchRefused(ctx context.Context, f quarantine.Filter) (quarantine.Purged, error) {
	var p quarantine.Purged
	args, err := meant(ctx, db.read, f)
	if err == nil {
		err = db.read.QueryRowContext(ctx, countSQL+meantSQL, args...).Scan(&p.Entries, &p.Bytes, &p.Authentic)
	}
	if err != nil {
		return quarantine.Purged{}, db.wrap("count in the quarantine", err)
	}
	return p, nil
}

// PurgeOverflow deletes the counters, and returns what they counted.
func (db *DB) PurgeOverflow(ctx context.Context, tx *sql.Tx) (quarantine.Used, error) {
	var u quarantine.Used
	if err := tx.QueryRowContext(ctx, `SELECT coalesce(sum(entries), 0), coalesce(sum(bytes), 0) FROM quarantine_overflow`).Scan(&u.Entries, &u.Bytes); err != nil {
		return quarantine.Used{}, db.wrap("forget the quarantine's overflow", err)
	}
	if _, err := execute(ctx, tx, `DELETE FROM quarantine_overflow`); err != nil {
		return quarantine.Used{}, db.wrap("forget the quarantine's overflow", err)
	}
	return u, nil
}
