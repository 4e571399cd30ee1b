package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/jobs"
)

// Entry and refusal of the outbox row are one statement, so one transaction.
const keepSQL = `
WITH kept AS (
	INSERT INTO quarantine (id, task_id, queue, kind, headers, max_retry, payload, size, payload_sha256, reason, kid, detail,
	                        authentic, row_id, attempt, received_at)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, coalesce($16::timestamptz, statement_timestamp()))
	ON CONFLICT (id) DO NOTHING
)
UPDATE outbox SET state = 'refused', cause = $12, ` + endRow + `
WHERE id = $17::uuid AND attempts = $15 AND kind = $18 AND ` + unfinished

// Keep stores a refused task and ends the outbox row that an authentic one names, as worker.Quarantine says.
func (db *DB) Keep(ctx context.Context, r jobs.Refused) error {
	headers, err := encodeHeaders(r.Headers)
	if err != nil {
		return fmt.Errorf("keep refused task %s: %w", r.ID, err)
	}
	var row *string
	if r.Authentic && r.Attempt > 0 {
		row = uuidOf(r.RowID)
	}
	_, err = db.pool.Exec(ctx, keepSQL, name(r.ID), name(r.TaskID), name(r.Queue), name(r.Kind), headers, r.MaxRetry, blob(r.Payload), r.Size,
		r.PayloadSHA256[:], name(string(r.Reason)), name(r.KID), prose(r.Detail), r.Authentic, name(r.RowID), r.Attempt, timeOrNull(r.ReceivedAt), row, name(string(r.RowKind)))
	if err != nil {
		return wrap("keep refused task "+r.ID, err)
	}
	return nil
}

const refusedColumns = `id, task_id, queue, kind, headers, max_retry, size, payload_sha256, reason, kid, detail, authentic, row_id, attempt, received_at`

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
	err := row.Scan(&r.Payload, &r.ID, &r.TaskID, &r.Queue, &r.Kind, &headers, &r.MaxRetry, &r.Size, &sum, &r.Reason, &r.KID, &r.Detail,
		&r.Authentic, &r.RowID, &r.Attempt, &r.ReceivedAt)
	if err != nil {
		return r, err //nolint:wrapcheck // callers wrap it
	}
	copy(r.PayloadSHA256[:], sum)
	r.ReceivedAt = r.ReceivedAt.UTC()
	r.Headers, err = decodeHeaders(headers)
	return r, err
}
