package sqlite

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/sealq/sealq/jobs"
)

// rowColumns are what scanRow reads.
const rowColumns = ` id, kind, queue, payload, retries, headers, coalesce(unique_key, ''), not_before, expires_at, attempts, coalesce(lease_token, '') `

// A lane is a kind in a queue. Those that have rows waiting are found by skipping through an index from one to the next.
// Parameters: kinds and queues to skip, as JSON.
const lanesSQL = `
WITH RECURSIVE each_lane (kind, queue) AS (
	SELECT value, (SELECT min(queue) FROM outbox WHERE kind = value AND claimable_at IS NOT NULL) FROM json_each(?)
	UNION
	SELECT kind, (SELECT min(queue) FROM outbox o WHERE o.kind = each_lane.kind AND o.queue > each_lane.queue AND claimable_at IS NOT NULL)
	FROM each_lane WHERE queue IS NOT NULL
), lane AS MATERIALIZED (
	SELECT kind, queue FROM each_lane WHERE queue IS NOT NULL AND queue NOT IN (SELECT value FROM json_each(?))
)`

// In each lane those that have been due the longest are picked, which the same index hands out however many wait for later or
// in other lanes. Lanes take turns, by the places in their arrays: however many rows of one are due, those of the others are
// among the claimed. That json_each may refer to the table before it is what other databases call LATERAL.
const claimRowsSQL = lanesSQL + `
UPDATE outbox SET state = 'claimed', lease_token = ?, lease_until = ?
WHERE id IN (
	SELECT picked.value ->> 1 FROM lane, json_each((
		SELECT json_group_array(json_array(since, id) ORDER BY since, id) FROM (
			SELECT claimable_at AS since, id FROM outbox
			WHERE kind = lane.kind AND queue = lane.queue AND claimable_at <= ? AND expires_at > ? ORDER BY claimable_at, id LIMIT ?
		))) AS picked
	ORDER BY picked.key, picked.value ->> 0, picked.value ->> 1 LIMIT ?
)
RETURNING` + rowColumns

// anyRowSQL looks without a lock.
const anyRowSQL = lanesSQL + `
SELECT EXISTS (SELECT 1 FROM lane CROSS JOIN outbox o
	WHERE o.kind = lane.kind AND o.queue = lane.queue AND claimable_at <= ` + nowSQL + ` AND expires_at > ` + nowSQL + `)`

// ClaimRows hands out rows to enqueue: see relay.Claims. One call's rows share a lease token.
func (db *DB) ClaimRows(ctx context.Context, c jobs.Claim) ([]jobs.ClaimedRow, error) {
	kinds, err := json.Marshal(append([]jobs.Kind{}, c.Kinds...))
	if err != nil {
		return nil, fmt.Errorf("claim outbox rows: %w", err)
	}
	skip, err := json.Marshal(append([]string{}, c.SkipQueues...))
	if err != nil {
		return nil, fmt.Errorf("claim outbox rows: %w", err)
	}
	// A relay looks every few milliseconds and mostly finds nothing: that must not cost the others their turn to write.
	var waiting bool
	if err := db.read.QueryRowContext(ctx, anyRowSQL, string(kinds), string(skip)).Scan(&waiting); err != nil {
		return nil, db.wrap("claim outbox rows", err)
	}
	if !waiting {
		return nil, nil
	}
	return db.rowsInTx(ctx, "claim outbox rows", func(tx *sql.Tx, instant int64) (*sql.Rows, error) {
		return tx.QueryContext(ctx, claimRowsSQL, string(kinds), string(skip), rand.Text(), instant+c.Lease.Microseconds(),
			instant, instant, c.Limit, c.Limit)
	})
}

// OverdueRows lists rows whose task may be lost: see relay.Overdue. Rows past their end are left to ExpireRows.
func (db *DB) OverdueRows(ctx context.Context, after time.Duration, limit int) ([]jobs.ClaimedRow, error) {
	return db.rowsInTx(ctx, "list overdue outbox rows", func(tx *sql.Tx, instant int64) (*sql.Rows, error) {
		return tx.QueryContext(ctx, `
			UPDATE outbox SET next_at = ?
			WHERE id IN (SELECT id FROM outbox
				WHERE ended_at IS NULL AND state = 'enqueued' AND next_at <= ? AND expires_at > ? ORDER BY next_at LIMIT ?)
			RETURNING`+rowColumns,
			instant, instant-after.Microseconds(), instant, limit)
	})
}

// rowsInTx runs a statement that returns rows and gives them back in the order of their IDs.
func (db *DB) rowsInTx(ctx context.Context, operation string, statement func(tx *sql.Tx, instant int64) (*sql.Rows, error)) ([]jobs.ClaimedRow, error) {
	var claimed []jobs.ClaimedRow
	err := db.InTx(ctx, func(tx *sql.Tx) error {
		instant, err := now(ctx, tx)
		if err != nil {
			return err
		}
		rows, err := statement(tx, instant)
		if err != nil {
			return err
		}
		claimed, err = collect(rows, scanRow)
		return err
	})
	if err != nil {
		return nil, db.wrap(operation, err)
	}
	slices.SortFunc(claimed, func(a, b jobs.ClaimedRow) int { return cmp.Compare(a.ID, b.ID) })
	return claimed, nil
}

// collect reads all rows and closes them.
func collect[T any](rows *sql.Rows, scan func(*sql.Rows) (T, error)) ([]T, error) {
	defer func() { _ = rows.Close() }() // its error is that of rows.Err
	var all []T
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err() //nolint:wrapcheck // callers wrap it with the operation
}

func scanRow(rows *sql.Rows) (jobs.ClaimedRow, error) {
	var r jobs.ClaimedRow
	var headers string
	var notBefore, expires int64
	if err := rows.Scan(&r.ID, &r.Kind, &r.Queue, &r.Payload, &r.Retries, &headers, &r.UniqueKey, &notBefore, &expires, &r.Attempt, &r.LeaseToken); err != nil {
		return jobs.ClaimedRow{}, err //nolint:wrapcheck // callers wrap it with the operation
	}
	var err error
	if r.Headers, err = unpackHeaders(headers); err != nil {
		return jobs.ClaimedRow{}, fmt.Errorf("outbox row %s: %w", r.ID, err)
	}
	r.NotBefore, r.ExpiresAt = timeOf(notBefore), timeOf(expires)
	return r, nil
}

// RowsEnqueued marks claimed rows as enqueued: see relay.Claims. A row that a worker was quicker to end is told who signed it.
func (db *DB) RowsEnqueued(ctx context.Context, rows []jobs.ClaimedRow) error {
	return db.each(ctx, "mark outbox rows as enqueued", rows, `
		state = iif(ended_at IS NULL, 'enqueued', state), next_at = iif(ended_at IS NULL, max(not_before, ?), next_at),
		cause = iif(ended_at IS NULL, '', cause), kid = nullif(?, ''), signed_at = ?, lease_until = NULL, lease_token = NULL
		WHERE id = ? AND (state = 'claimed' AND lease_token = ? OR ended_at IS NOT NULL AND signed_at IS NULL)`,
		func(i int, instant int64) []any { return []any{instant, rows[i].KID, instant} })
}

// ReturnRows puts claimed rows back: see relay.Claims. Without a pause a row stays due since when it was, so that the
// outbox's depth tells how long it has waited.
func (db *DB) ReturnRows(ctx context.Context, rows []jobs.ReturnedRow) error {
	claimed := make([]jobs.ClaimedRow, len(rows))
	for i, row := range rows {
		claimed[i] = row.ClaimedRow
	}
	return db.eachClaimed(ctx, "return outbox rows", claimed,
		`state = 'queued', lease_until = NULL, lease_token = NULL, cause = ?, next_at = coalesce(?, next_at)`,
		func(i int, instant int64) []any {
			due := sql.NullInt64{Int64: instant + rows[i].Pause.Microseconds(), Valid: rows[i].Pause > 0}
			return []any{prose(rows[i].Cause), due}
		})
}

// RefuseRow ends a claimed row that cannot be signed: see relay.Endings.
func (db *DB) RefuseRow(ctx context.Context, row jobs.ClaimedRow, cause string) error {
	return db.eachClaimed(ctx, "refuse outbox row", []jobs.ClaimedRow{row},
		`state = 'refused', cause = ?,`+endRow+`?`,
		func(_ int, instant int64) []any { return []any{prose(cause), instant} })
}

// eachClaimed changes those of rows that are still under the claim they came with.
func (db *DB) eachClaimed(ctx context.Context, operation string, rows []jobs.ClaimedRow, set string, args func(i int, instant int64) []any) error {
	return db.each(ctx, operation, rows, set+` WHERE id = ? AND state = 'claimed' AND lease_token = ?`, args)
}

// each updates each of the rows: what of it to set ends with a condition on its ID and its lease's token.
func (db *DB) each(ctx context.Context, operation string, rows []jobs.ClaimedRow, set string, args func(i int, instant int64) []any) error {
	if len(rows) == 0 {
		return nil
	}
	err := db.InTx(ctx, func(tx *sql.Tx) error {
		instant, err := now(ctx, tx)
		if err != nil {
			return err
		}
		update, err := tx.PrepareContext(ctx, `UPDATE outbox SET `+set) //nolint:gosec // set is a constant of this file
		if err != nil {
			return err //nolint:wrapcheck // wrapped below
		}
		defer func() { _ = update.Close() }() // the transaction closes it as well
		for i, row := range rows {
			if _, err := update.ExecContext(ctx, append(args(i, instant), row.ID, row.LeaseToken)...); err != nil {
				return err //nolint:wrapcheck // wrapped below
			}
		}
		return nil
	})
	if err != nil {
		return db.wrap(operation, err)
	}
	return nil
}

// ExpireRows ends rows that are past their end: see relay.Endings. A claimed row is treated like an enqueued one: its
// task may be on its way.
func (db *DB) ExpireRows(ctx context.Context, grace time.Duration, limit int) (int, error) {
	return db.countInTx(ctx, "expire outbox rows", func(tx *sql.Tx, instant int64) (int, error) {
		return execute(ctx, tx, `
			UPDATE outbox SET state = 'expired',`+endRow+`?
			WHERE id IN (SELECT id FROM outbox
				WHERE ended_at IS NULL AND expires_at <= ? AND (state = 'queued' OR expires_at <= ?)
				ORDER BY expires_at LIMIT ?)`,
			instant, instant, instant-grace.Microseconds(), limit)
	})
}

// RestoreRow queues a row as its next attempt: see relay.Overdue.
func (db *DB) RestoreRow(ctx context.Context, row jobs.ClaimedRow, pause time.Duration) (bool, error) {
	n, err := db.countInTx(ctx, "restore outbox row", func(tx *sql.Tx, instant int64) (int, error) {
		return execute(ctx, tx, `UPDATE outbox SET state = 'queued', attempts = attempts + 1, next_at = ?
			WHERE id = ? AND attempts = ? AND state = 'enqueued'`,
			instant+pause.Microseconds(), row.ID, row.Attempt)
	})
	return n == 1, err
}

// countInTx runs one statement and returns how many rows it changed.
func (db *DB) countInTx(ctx context.Context, operation string, statement func(tx *sql.Tx, instant int64) (int, error)) (int, error) {
	var n int
	err := db.InTx(ctx, func(tx *sql.Tx) error {
		instant, err := now(ctx, tx)
		if err != nil {
			return err
		}
		n, err = statement(tx, instant)
		return err
	})
	if err != nil {
		return 0, db.wrap(operation, err)
	}
	return n, nil
}
