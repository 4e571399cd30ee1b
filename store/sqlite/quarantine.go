package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
)

// Keep stores a refused task: see worker.Quarantine.
func (db *DB) Keep(ctx context.Context, r jobs.Refused) error {
	headers, err := packHeaders(r.Headers)
	if err != nil {
		return fmt.Errorf("keep refused task: %w", err)
	}
	err = db.InTx(ctx, func(tx *sql.Tx) error {
		instant, err := now(ctx, tx)
		if err != nil {
			return err
		}
		if !r.ReceivedAt.IsZero() {
			instant = r.ReceivedAt.UnixMicro()
		}
		if _, err := execute(ctx, tx, `
			INSERT INTO quarantine (id, task_id, queue, kind, headers, max_retry, payload, size, payload_sha256, reason, kid, detail, authentic, row_id, attempt, received_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (id) DO NOTHING`,
			r.ID, r.TaskID, r.Queue, r.Kind, headers, r.MaxRetry, notNil(r.Payload), r.Size, r.PayloadSHA256[:],
			string(r.Reason), r.KID, prose(r.Detail), r.Authentic, r.RowID, r.Attempt, instant); err != nil {
			return err
		}
		if !r.Authentic || r.RowID == "" || r.Attempt < 1 {
			return nil
		}
		return endAttempt(ctx, tx, jobs.RowRef{ID: r.RowID, Kind: r.RowKind, Attempt: r.Attempt}, jobs.RowRefused, r.Detail)
	})
	if err != nil {
		return db.wrap("keep refused task", err)
	}
	return nil
}

// refusedColumns are what scanRefused reads, but for the payload.
const refusedColumns = ` id, task_id, queue, kind, headers, max_retry, size, payload_sha256, reason, kid, detail, authentic, row_id, attempt, received_at, `

// QuarantineList lists up to limit entries, the newest first, without their payloads.
func (db *DB) QuarantineList(ctx context.Context, limit int) ([]jobs.Refused, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT`+refusedColumns+`NULL FROM quarantine ORDER BY received_at DESC, id DESC LIMIT ?`, limit)
	if err != nil {
		return nil, db.wrap("list quarantine", err)
	}
	entries, err := collect(rows, func(rows *sql.Rows) (jobs.Refused, error) { return scanRefused(rows.Scan) })
	if err != nil {
		return nil, db.wrap("list quarantine", err)
	}
	return entries, nil
}

// QuarantineShow returns one entry with its payload, or [jobs.ErrNoSuchEntry].
func (db *DB) QuarantineShow(ctx context.Context, id string) (jobs.Refused, error) {
	entry, err := scanRefused(db.read.QueryRowContext(ctx, `SELECT`+refusedColumns+`payload FROM quarantine WHERE id = ?`, id).Scan)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return jobs.Refused{}, fmt.Errorf("show %q: %w", id, jobs.ErrNoSuchEntry)
	case err != nil:
		return jobs.Refused{}, db.wrap("show quarantine", err)
	}
	return entry, nil
}

func scanRefused(scan func(...any) error) (jobs.Refused, error) {
	var r jobs.Refused
	var sum []byte
	var headers, reason string
	var received int64
	if err := scan(&r.ID, &r.TaskID, &r.Queue, &r.Kind, &headers, &r.MaxRetry, &r.Size, &sum, &reason, &r.KID, &r.Detail,
		&r.Authentic, &r.RowID, &r.Attempt, &received, &r.Payload); err != nil {
		return jobs.Refused{}, err
	}
	var err error
	if r.Headers, err = unpackHeaders(headers); err != nil {
		return jobs.Refused{}, fmt.Errorf("entry %s: %w", r.ID, err)
	}
	copy(r.PayloadSHA256[:], sum)
	r.Reason, r.ReceivedAt = signing.Reason(reason), timeOf(received)
	return r, nil
}
