package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sealq/sealq/jobs"
)

// A job that is due later is handed to asynq, which waits for it, a minute before that: signed near its use, by a key
// that is active then, and still in time for asynq's forwarder (every 5 s).
const insertRowSQL = `
INSERT INTO outbox (id, kind, queue, payload, headers, retries, unique_key, not_before, next_at, expires_at)
VALUES ($1::uuid, $2, $3, $4, $5, $6, $7, coalesce($8::timestamptz, statement_timestamp()),
        greatest(statement_timestamp(), $8::timestamptz - interval '1 minute'),
        coalesce($9::timestamptz, coalesce($8::timestamptz, statement_timestamp()) + $10::interval))
ON CONFLICT (unique_key) WHERE unique_key IS NOT NULL DO NOTHING`

// insertDueRowSQL records what most jobs are: due now, until their life is over, any number of them. An application waits
// for it, and pays for every conflict that is looked for, every expression and every parameter.
const insertDueRowSQL = `
INSERT INTO outbox (id, kind, queue, payload, headers, retries, not_before, next_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, statement_timestamp(), statement_timestamp(), statement_timestamp() + $7::interval)`

// completeRowSQL sets done, whatever state the row has: the effect is committed. An effect of a job that came from
// elsewhere may have a row's ID, but not its kind too.
const completeRowSQL = `
UPDATE outbox SET state = 'done', ` + endRow + ` WHERE id = $1::uuid AND kind = $2 AND state <> 'done'`

// endRow belongs to every step into a terminal state. The unique key is free for others, and remembered for ReissueRow.
const endRow = `ended_key = unique_key, unique_key = NULL, lease_token = NULL, lease_until = NULL, ended_at = statement_timestamp()`

// The partial indexes' conditions are spelt out as there: PostgreSQL uses them only where it can prove that it may.
const (
	waiting    = `state IN ('queued', 'claimed')`
	unfinished = `state IN ('queued', 'claimed', 'enqueued')`

	// unfinishedRows is a table of those rows, read by two indexes.
	unfinishedRows = `(SELECT * FROM outbox WHERE ` + waiting + ` UNION ALL SELECT * FROM outbox WHERE state = 'enqueued') AS unfinished`
)

// EnqueueTx records the job in tx, as jobs.Outbox says. In a transaction of Begin, or of InTx, that costs no round trip: see Tx.
func (db *DB) EnqueueTx(ctx context.Context, tx pgx.Tx, j jobs.Job) (id string, err error) {
	row, err := j.Traced(ctx).Row(db.now())
	if err != nil {
		return "", err
	}
	if keeping, ok := tx.(*Tx); ok {
		err = keeping.record(ctx, row)
	} else {
		err = insertRow(ctx, tx, row)
	}
	if err != nil {
		return "", err
	}
	return row.ID, nil
}

// EnqueueBatch queues the job's row on a batch that the caller sends in a transaction, where it costs no round trip of its
// own: it travels with the caller's statements. The job exists if and only if that transaction commits. The batch's Close
// returns jobs.ErrDuplicate, leaving the transaction usable, where an unfinished row has the same unique key. It is given no
// context: hand it j.Traced(ctx) for the job to go on in ctx's trace.
func (db *DB) EnqueueBatch(b *pgx.Batch, j jobs.Job) (id string, err error) {
	row, err := j.Row(db.now())
	if err != nil {
		return "", err
	}
	sql, args, err := insertRowStatement(row)
	if err != nil {
		return "", err
	}
	b.Queue(sql, args...).Exec(func(tag pgconn.CommandTag) error { return recorded(row, tag) })
	return row.ID, nil
}

func insertRow(ctx context.Context, tx pgx.Tx, row jobs.Row) error {
	sql, args, err := insertRowStatement(row)
	if err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, sql, args...)
	if err != nil {
		return wrap("record "+string(row.Kind), err)
	}
	return recorded(row, tag)
}

func insertRowStatement(row jobs.Row) (sql string, args []any, err error) {
	headers, err := encodeHeaders(row.Headers)
	if err != nil {
		return "", nil, fmt.Errorf("record %s: %w", row.Kind, err)
	}
	args = append(make([]any, 0, 10), row.ID, name(string(row.Kind)), name(row.Queue), blob(row.Payload), headers, row.Retries)
	if isDue(row) {
		return insertDueRowSQL, append(args, row.Life), nil
	}
	return insertRowSQL, append(args, nameOrNull(row.UniqueKey), timeOrNull(row.NotBefore), timeOrNull(row.ExpiresAt), row.Life), nil
}

// isDue says whether insertDueRowSQL is enough for the row.
func isDue(row jobs.Row) bool {
	return row.UniqueKey == "" && row.NotBefore.IsZero() && row.ExpiresAt.IsZero()
}

// encodeDueRow is what insertDueRowSQL takes, in PostgreSQL's binary formats (its manual has none of them: src/backend/utils/adt,
// uuid_recv, textrecv, bytearecv, int4recv, interval_recv). pgx's encoder for any type takes as long as all the rest of it.
func encodeDueRow(row jobs.Row) ([][]byte, error) {
	id, err := uuid.Parse(row.ID)
	if err != nil {
		return nil, fmt.Errorf("encode ID: %w", err)
	}
	headers, err := encodeHeaders(row.Headers)
	if err != nil {
		return nil, err
	}
	retries := binary.BigEndian.AppendUint32(nil, uint32(row.Retries))                          //nolint:gosec // a small number: see jobs.MaxRetry
	life := binary.BigEndian.AppendUint64(make([]byte, 0, 16), uint64(row.Life.Microseconds())) //nolint:gosec // not negative
	life = append(life, 0, 0, 0, 0, 0, 0, 0, 0)                                                 // days and months
	return [][]byte{id[:], []byte(name(string(row.Kind))), []byte(name(row.Queue)), blob(row.Payload), headers, retries, life}, nil
}

func recorded(row jobs.Row, tag pgconn.CommandTag) error {
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("record %s: %w", row.Kind, jobs.ErrDuplicate)
	}
	return nil
}

// RowDone completes a row whose job needs no ledger.
func (db *DB) RowDone(ctx context.Context, r jobs.RowRef) error {
	if _, err := db.pool.Exec(ctx, completeRowSQL, uuidOf(r.ID), name(string(r.Kind))); err != nil {
		return wrap("complete row "+r.ID, err)
	}
	return nil
}

const thisAttempt = ` WHERE id = $1::uuid AND kind = $2 AND attempts = $3 AND ` + unfinished

// RowFailed counts a failed run in the row, unless it came too early.
func (db *DB) RowFailed(ctx context.Context, r jobs.RowRef, cause string, pause func(failures int) time.Duration) (failures int, err error) {
	err = db.InTx(ctx, func(tx pgx.Tx) error {
		var early bool
		err := tx.QueryRow(ctx, `SELECT failures, coalesce(try_after > statement_timestamp(), false) FROM outbox`+thisAttempt+` FOR UPDATE`,
			uuidOf(r.ID), name(string(r.Kind)), r.Attempt).Scan(&failures, &early)
		if err != nil || early {
			return err //nolint:wrapcheck // wrapped below
		}
		failures++
		_, err = tx.Exec(ctx, `UPDATE outbox SET failures = $4, cause = $5, try_after = statement_timestamp() + $6::interval`+thisAttempt,
			uuidOf(r.ID), name(string(r.Kind)), r.Attempt, failures, prose(cause), pause(failures)*3/4)
		return err //nolint:wrapcheck // wrapped below
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, wrap("count failure of row "+r.ID, err)
	}
	return failures, nil
}

// RowDead ends the row as out of retries, if attempt is still its attempt and it is unfinished.
func (db *DB) RowDead(ctx context.Context, r jobs.RowRef, cause string) error {
	_, err := db.pool.Exec(ctx, `UPDATE outbox SET state = 'dead', cause = $4, `+endRow+thisAttempt,
		uuidOf(r.ID), name(string(r.Kind)), r.Attempt, prose(cause))
	if err != nil {
		return wrap("end row "+r.ID, err)
	}
	return nil
}

const outboxBacklogSQL = `
SELECT kind, queue, state, count(*), greatest(statement_timestamp() - min(not_before), '0')
FROM ` + unfinishedRows + ` GROUP BY kind, queue, state ORDER BY kind, queue, state COLLATE "C"`

// OutboxBacklog counts the unfinished rows by kind, queue and state. It reads the unfinished rows only.
func (db *DB) OutboxBacklog(ctx context.Context) ([]jobs.Backlog, error) {
	rows, err := db.pool.Query(ctx, outboxBacklogSQL)
	if err != nil {
		return nil, wrap("count the outbox", err)
	}
	backlog, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (b jobs.Backlog, err error) {
		err = row.Scan(&b.Kind, &b.Queue, &b.State, &b.Rows, &b.Oldest)
		return b, err //nolint:wrapcheck // wrapped below
	})
	if err != nil {
		return nil, wrap("count the outbox", err)
	}
	return backlog, nil
}

const outboxDepthSQL = `
SELECT count(*) FILTER (WHERE state = 'queued'), count(*) FILTER (WHERE state = 'claimed'),
       count(*) FILTER (WHERE state = 'enqueued'),
       coalesce(statement_timestamp() - min(next_at) FILTER (WHERE state = 'queued' AND next_at <= statement_timestamp()), '0')
FROM ` + unfinishedRows

// OutboxDepth counts the unfinished rows by state, and tells how long the queued row that has been due the longest has
// waited. It reads the unfinished rows only.
func (db *DB) OutboxDepth(ctx context.Context) (counts map[jobs.RowState]int64, oldest time.Duration, err error) {
	var queued, claimed, enqueued int64
	err = db.pool.QueryRow(ctx, outboxDepthSQL).Scan(&queued, &claimed, &enqueued, &oldest)
	if err != nil {
		return nil, 0, wrap("count the outbox", err)
	}
	return map[jobs.RowState]int64{jobs.RowQueued: queued, jobs.RowClaimed: claimed, jobs.RowEnqueued: enqueued}, oldest, nil
}
