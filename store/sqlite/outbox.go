package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/sealq/sealq/jobs"
)

// enqueueAhead is how long before it may run a job is handed to asynq, which keeps it until then.
const enqueueAhead = time.Minute

// EnqueueTx records j in tx: see [jobs.Outbox]. A delay counts from the database's clock. tx may be any transaction on
// this file, also one of a connection that the caller opened.
func (db *DB) EnqueueTx(ctx context.Context, tx *sql.Tx, j jobs.Job) (string, error) {
	instant, err := now(ctx, tx)
	if err != nil {
		return "", db.wrap("record job", err)
	}
	return db.insertRow(ctx, tx, j, instant)
}

func (db *DB) insertRow(ctx context.Context, tx *sql.Tx, j jobs.Job, instant int64) (string, error) {
	row, err := j.Traced(ctx).Row(timeOf(instant))
	if err != nil {
		return "", fmt.Errorf("record job: %w", err)
	}
	headers, err := packHeaders(row.Headers)
	if err != nil {
		return "", fmt.Errorf("record %s: %w", row.Kind, err)
	}
	notBefore := instant
	if !row.NotBefore.IsZero() {
		notBefore = row.NotBefore.UnixMicro()
	}
	expires := notBefore + row.Life.Microseconds()
	if !row.ExpiresAt.IsZero() {
		expires = row.ExpiresAt.UnixMicro()
	}
	n, err := execute(ctx, tx, `
		INSERT INTO outbox (id, kind, queue, payload, retries, headers, unique_key, not_before, next_at, expires_at, created_at)
		VALUES (?, ?, ?, ?, ?, ?, nullif(?, ''), ?, ?, ?, ?)
		ON CONFLICT (unique_key) DO NOTHING`,
		row.ID, string(row.Kind), row.Queue, notNil(row.Payload), row.Retries, headers, row.UniqueKey,
		notBefore, max(instant, notBefore-enqueueAhead.Microseconds()), expires, instant)
	if err != nil {
		return "", db.wrap(fmt.Sprintf("record %s", row.Kind), err)
	}
	if n == 0 {
		return "", fmt.Errorf("record %s: %w", row.Kind, jobs.ErrDuplicate)
	}
	return row.ID, nil
}

// endRow are the columns of a row that has ended. Its unique key is free for others, and remembered for ReissueRow.
const endRow = ` ended_key = unique_key, unique_key = NULL, lease_until = NULL, lease_token = NULL, ended_at = `

// complete sets done whatever the row's state: the effect is committed.
const complete = `UPDATE outbox SET state = 'done', cause = '',` + endRow + nowSQL + ` WHERE state <> 'done' AND id = ?`

// completeEffect completes the row that an effect names. An effect of a job that came from elsewhere may have a row's
// ID, but not its kind too.
func completeEffect(ctx context.Context, q querier, kind jobs.Kind, effect string) error {
	_, err := execute(ctx, q, complete+` AND kind = ?`, effect, string(kind))
	return err
}

// RowDone completes a row: see worker.Outbox.
func (db *DB) RowDone(ctx context.Context, r jobs.RowRef) error {
	if err := db.InTx(ctx, func(tx *sql.Tx) error { return completeEffect(ctx, tx, r.Kind, r.ID) }); err != nil {
		return db.wrap("complete outbox row", err)
	}
	return nil
}

const thisAttempt = ` WHERE id = ? AND kind = ? AND attempts = ? AND ended_at IS NULL`

// RowFailed counts a failed run: see worker.Outbox.
func (db *DB) RowFailed(ctx context.Context, r jobs.RowRef, cause string, pause func(failures int) time.Duration) (failures int, err error) {
	err = db.InTx(ctx, func(tx *sql.Tx) error {
		var early bool
		err := tx.QueryRowContext(ctx, `SELECT failures, coalesce(try_after > `+nowSQL+`, false) FROM outbox`+thisAttempt,
			r.ID, string(r.Kind), r.Attempt).Scan(&failures, &early)
		if err != nil || early {
			return err //nolint:wrapcheck // wrapped below
		}
		failures++
		_, err = execute(ctx, tx, `UPDATE outbox SET failures = ?, cause = ?, try_after = `+nowSQL+` + ?`+thisAttempt,
			failures, prose(cause), (pause(failures) * 3 / 4).Microseconds(), r.ID, string(r.Kind), r.Attempt)
		return err
	})
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, db.wrap("count failure of outbox row", err)
	}
	return failures, nil
}

// RowDead ends a row as out of retries: see worker.Outbox.
func (db *DB) RowDead(ctx context.Context, r jobs.RowRef, cause string) error {
	err := db.InTx(ctx, func(tx *sql.Tx) error { return endAttempt(ctx, tx, r, jobs.RowDead, cause) })
	if err != nil {
		return db.wrap("end outbox row", err)
	}
	return nil
}

// endAttempt ends a row as state, if it is of that kind, at that attempt and unfinished.
func endAttempt(ctx context.Context, q querier, r jobs.RowRef, state jobs.RowState, cause string) error {
	_, err := execute(ctx, q, `UPDATE outbox SET state = ?, cause = ?,`+endRow+nowSQL+thisAttempt,
		string(state), prose(cause), r.ID, string(r.Kind), r.Attempt)
	return err
}

// OutboxBacklog counts the unfinished rows by kind, queue and state.
func (db *DB) OutboxBacklog(ctx context.Context) ([]jobs.Backlog, error) {
	rows, err := db.read.QueryContext(ctx, `
		SELECT kind, queue, state, count(*), max(0, `+nowSQL+` - min(not_before))
		FROM outbox WHERE ended_at IS NULL GROUP BY kind, queue, state ORDER BY kind, queue, state`)
	if err != nil {
		return nil, db.wrap("count outbox rows", err)
	}
	backlog, err := collect(rows, func(rows *sql.Rows) (b jobs.Backlog, err error) {
		var waited int64
		err = rows.Scan(&b.Kind, &b.Queue, &b.State, &b.Rows, &waited)
		b.Oldest = time.Duration(waited) * time.Microsecond
		return b, err //nolint:wrapcheck // wrapped below
	})
	if err != nil {
		return nil, db.wrap("count outbox rows", err)
	}
	return backlog, nil
}

// OutboxDepth counts the unfinished rows by state, and says how long the row that has been due the longest has waited to
// be enqueued.
func (db *DB) OutboxDepth(ctx context.Context) (unfinished map[jobs.RowState]int64, oldest time.Duration, err error) {
	var queued, claimed, enqueued, waited int64
	err = db.read.QueryRowContext(ctx, `
		SELECT count(*) FILTER (WHERE state = 'queued'), count(*) FILTER (WHERE state = 'claimed'), count(*) FILTER (WHERE state = 'enqueued'),
			max(0, `+nowSQL+` - coalesce(min(next_at) FILTER (WHERE state = 'queued'), `+nowSQL+`))
		FROM outbox WHERE ended_at IS NULL`).Scan(&queued, &claimed, &enqueued, &waited)
	if err != nil {
		return nil, 0, db.wrap("count outbox rows", err)
	}
	unfinished = map[jobs.RowState]int64{jobs.RowQueued: queued, jobs.RowClaimed: claimed, jobs.RowEnqueued: enqueued}
	return unfinished, time.Duration(waited) * time.Microsecond, nil
}
