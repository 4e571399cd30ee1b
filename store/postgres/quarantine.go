package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/signing"
)

// Entry and refusal of the outbox row are one statement, so one transaction. It fires the trigger that counts what is there. A
// budget may be exceeded by the statements that run at the same moment, each of which sees what was committed before it.
const keepSQL = `
WITH room AS (
	SELECT FROM quarantine_totals WHERE class = $22 HAVING sum(entries) < $20::bigint AND sum(bytes) + $19::bigint <= $21::bigint
), known AS (
	SELECT FROM quarantine WHERE id = $1
), kept AS (
	INSERT INTO quarantine (id, task_id, queue, kind, headers, max_retry, payload, size, payload_sha256, reason, kid, detail,
	                        authentic, row_id, attempt, received_at, charged, class)
	SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, coalesce($16::timestamptz, statement_timestamp()), $19, $22
	FROM room
	ON CONFLICT (id) DO NOTHING
), ended AS (
	UPDATE outbox SET state = 'refused', cause = $12, ` + endRow + `
	WHERE id = $17::uuid AND attempts = $15 AND kind = $18 AND ` + unfinished + `
	  AND (EXISTS (SELECT FROM room) OR EXISTS (SELECT FROM known))
)
SELECT EXISTS (SELECT FROM room) OR EXISTS (SELECT FROM known)`

// Keep stores a refused task within the default budgets and ends the outbox row that an authentic one names, as
// worker.Quarantine says. What a flood leaves no room for is counted, each in a transaction of its own: a quarantine.Keeper is
// cheaper, and has the budgets that it is given.
func (db *DB) Keep(ctx context.Context, r jobs.Refused) error {
	return quarantine.KeepOrCount(ctx, db, r, quarantine.Budgets{})
}

// KeepWithin stores a refused task within the budgets, as quarantine.Store says.
func (db *DB) KeepWithin(ctx context.Context, r jobs.Refused, b quarantine.Budgets) error {
	headers, err := encodeHeaders(r.Headers)
	if err != nil {
		return fmt.Errorf("keep refused task %s: %w", r.ID, err)
	}
	var row *string
	if r.Authentic && r.Attempt > 0 {
		row = uuidOf(r.RowID)
	}
	budget, kept := b.Of(r), false
	err = db.pool.QueryRow(ctx, keepSQL, name(r.ID), name(r.TaskID), name(r.Queue), name(r.Kind), headers, r.MaxRetry, blob(r.Payload), r.Size,
		r.PayloadSHA256[:], name(string(r.Reason)), name(r.KID), prose(r.Detail), r.Authentic, name(r.RowID), r.Attempt, timeOrNull(r.ReceivedAt), row,
		name(string(r.RowKind)), quarantine.Charge(r), budget.Entries, budget.Bytes,
		string(quarantine.ClassOf(r))).Scan(&kept)
	if err != nil {
		return wrap("keep refused task "+r.ID, err)
	}
	if !kept {
		return quarantine.ErrFull
	}
	return nil
}

// CountOverflow adds to the counters of what found no room.
func (db *DB) CountOverflow(ctx context.Context, counted map[signing.Reason]quarantine.Overflow) error {
	var batch pgx.Batch                                        // one transaction
	for _, reason := range slices.Sorted(maps.Keys(counted)) { // so that two never wait for each other
		batch.Queue(`
			INSERT INTO quarantine_overflow AS o (reason, entries, bytes, first_at, last_at)
			VALUES ($1, $2, $3, statement_timestamp(), statement_timestamp())
			ON CONFLICT (reason) DO UPDATE SET entries = o.entries + excluded.entries, bytes = o.bytes + excluded.bytes, last_at = excluded.last_at`,
			name(string(reason)), counted[reason].Entries, counted[reason].Bytes)
	}
	if err := db.pool.SendBatch(ctx, &batch).Close(); err != nil {
		return wrap("count the quarantine's overflow", err)
	}
	return nil
}

// QuarantineUsage says how much there is of each class, and what found no room.
func (db *DB) QuarantineUsage(ctx context.Context) (quarantine.Usage, error) {
	u := quarantine.Usage{Overflow: make(map[signing.Reason]quarantine.Overflow)}
	totals, err := db.pool.Query(ctx, `SELECT class, sum(entries)::bigint, sum(bytes)::bigint FROM quarantine_totals GROUP BY class`)
	if err != nil {
		return quarantine.Usage{}, wrap("measure the quarantine", err)
	}
	var class quarantine.Class
	var used quarantine.Used
	_, err = pgx.ForEachRow(totals, []any{&class, &used.Entries, &used.Bytes}, func() error {
		u.Set(class, used)
		return nil
	})
	if err != nil {
		return quarantine.Usage{}, wrap("measure the quarantine", err)
	}
	rows, err := db.pool.Query(ctx, `SELECT reason, entries, bytes, first_at, last_at FROM quarantine_overflow`)
	if err != nil {
		return quarantine.Usage{}, wrap("measure the quarantine", err)
	}
	var reason signing.Reason
	var o quarantine.Overflow
	_, err = pgx.ForEachRow(rows, []any{&reason, &o.Entries, &o.Bytes, &o.FirstAt, &o.LastAt}, func() error {
		o.FirstAt, o.LastAt = o.FirstAt.UTC(), o.LastAt.UTC()
		u.Overflow[reason] = o
		return nil
	})
	if err != nil {
		return quarantine.Usage{}, wrap("measure the quarantine", err)
	}
	return u, nil
}

const refusedColumns = `id, task_id, queue, kind, headers, max_retry, size, payload_sha256, reason, kid, detail, authentic, row_id, attempt, received_at, released_at, coalesce(released_as, '')`

// QuarantineList lists up to limit entries without their payload, the newest first.
func (db *DB) QuarantineList(ctx context.Context, limit int) ([]jobs.Refused, error) {
	rows, err := db.pool.Query(ctx, `SELECT NULL::bytea, `+refusedColumns+` FROM quarantine ORDER BY received_at DESC, id DESC LIMIT $1`, limit)
	if err != nil {
		return nil, wrap("list quarantine", err)
	}
	list, err := pgx.CollectRows(rows, scanRefused)
	if err != nil {
		return nil, wrap("list quarantine", err)
	}
	return list, nil
}

// QuarantineShow returns one entry with its payload, or jobs.ErrNoSuchEntry.
func (db *DB) QuarantineShow(ctx context.Context, id string) (jobs.Refused, error) {
	rows, err := db.pool.Query(ctx, `SELECT payload, `+refusedColumns+` FROM quarantine WHERE id = $1`, name(id))
	if err != nil {
		return jobs.Refused{}, wrap("show quarantine", err)
	}
	r, err := pgx.CollectExactlyOneRow(rows, scanRefused)
	if errors.Is(err, pgx.ErrNoRows) {
		return jobs.Refused{}, fmt.Errorf("show quarantine %q: %w", id, jobs.ErrNoSuchEntry)
	}
	if err != nil {
		return jobs.Refused{}, wrap("show quarantine", err)
	}
	return r, nil
}

func scanRefused(row pgx.CollectableRow) (jobs.Refused, error) {
	var r jobs.Refused
	var headers, sum []byte
	var released *time.Time
	err := row.Scan(&r.Payload, &r.ID, &r.TaskID, &r.Queue, &r.Kind, &headers, &r.MaxRetry, &r.Size, &sum, &r.Reason, &r.KID, &r.Detail,
		&r.Authentic, &r.RowID, &r.Attempt, &r.ReceivedAt, &released, &r.ReleasedAs)
	if err != nil {
		return r, err //nolint:wrapcheck // callers wrap it
	}
	copy(r.PayloadSHA256[:], sum)
	r.ReceivedAt, r.ReleasedAt = r.ReceivedAt.UTC(), timeOrZero(released)
	r.Headers, err = decodeHeaders(headers)
	return r, err
}
