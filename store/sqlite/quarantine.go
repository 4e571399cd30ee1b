package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/signing"
)

// Keep stores a refused task within the default budgets: see worker.Quarantine. What a flood leaves no room for is counted,
// each in a transaction of its own: a [quarantine.Keeper] is cheaper, and has the budgets that it is given.
func (db *DB) Keep(ctx context.Context, r jobs.Refused) error {
	return quarantine.KeepOrCount(ctx, db, r, quarantine.Budgets{})
}

// KeepWithin stores a refused task within the budgets: see [quarantine.Store]. Where there is no room it takes no turn to write.
func (db *DB) KeepWithin(ctx context.Context, r jobs.Refused, b quarantine.Budgets) error {
	headers, err := packHeaders(r.Headers)
	if err != nil {
		return fmt.Errorf("keep refused task: %w", err)
	}
	budget := b.Of(r)
	err = hasRoom(ctx, db.read, r, budget)
	if err == nil {
		err = db.InTx(ctx, func(tx *sql.Tx) error {
			if err := hasRoom(ctx, tx, r, budget); err != nil {
				return err
			}
			return keep(ctx, tx, r, headers)
		})
	}
	if errors.Is(err, quarantine.ErrFull) {
		return err
	}
	if err != nil {
		return db.wrap("keep refused task", err)
	}
	return nil
}

// hasRoom returns quarantine.ErrFull where the entry is not there, and its class has no room for it.
func hasRoom(ctx context.Context, q querier, r jobs.Refused, b quarantine.Budget) error {
	var used quarantine.Used
	var known bool
	err := q.QueryRowContext(ctx, `SELECT entries, bytes, EXISTS (SELECT 1 FROM quarantine WHERE id = ?) FROM quarantine_totals WHERE class = ?`,
		r.ID, string(quarantine.ClassOf(r))).Scan(&used.Entries, &used.Bytes, &known)
	if err == nil && !known && !b.Holds(used, quarantine.Charge(r)) {
		return quarantine.ErrFull
	}
	return err //nolint:wrapcheck // KeepWithin wraps it
}

func keep(ctx context.Context, tx *sql.Tx, r jobs.Refused, headers string) error {
	instant, err := now(ctx, tx)
	if err != nil {
		return err
	}
	if !r.ReceivedAt.IsZero() {
		instant = r.ReceivedAt.UnixMicro()
	}
	if _, err := execute(ctx, tx, `
		INSERT INTO quarantine (id, task_id, queue, kind, headers, max_retry, payload, size, payload_sha256, reason, kid, detail, authentic, row_id, attempt, received_at, charged, class)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO NOTHING`,
		r.ID, r.TaskID, r.Queue, r.Kind, headers, r.MaxRetry, notNil(r.Payload), r.Size, r.PayloadSHA256[:],
		string(r.Reason), r.KID, prose(r.Detail), r.Authentic, r.RowID, r.Attempt, instant, quarantine.Charge(r), string(quarantine.ClassOf(r))); err != nil {
		return err
	}
	if !r.Authentic || r.RowID == "" || r.Attempt < 1 {
		return nil
	}
	return endAttempt(ctx, tx, jobs.RowRef{ID: r.RowID, Kind: r.RowKind, Attempt: r.Attempt}, jobs.RowRefused, r.Detail)
}

// CountOverflow adds to the counters of what found no room.
func (db *DB) CountOverflow(ctx context.Context, counted map[signing.Reason]quarantine.Overflow) error {
	_, err := db.countInTx(ctx, "count the quarantine's overflow", func(tx *sql.Tx, instant int64) (int, error) {
		for reason, n := range counted {
			if _, err := execute(ctx, tx, `
				INSERT INTO quarantine_overflow (reason, entries, bytes, first_at, last_at) VALUES (?1, ?2, ?3, ?4, ?4)
				ON CONFLICT (reason) DO UPDATE SET entries = entries + excluded.entries, bytes = bytes + excluded.bytes, last_at = excluded.last_at`,
				string(reason), n.Entries, n.Bytes, instant); err != nil {
				return 0, err
			}
		}
		return len(counted), nil
	})
	return err
}

// QuarantineUsage says how much there is of each class, and what found no room.
func (db *DB) QuarantineUsage(ctx context.Context) (quarantine.Usage, error) {
	u := quarantine.Usage{Overflow: make(map[signing.Reason]quarantine.Overflow)}
	totals, err := db.read.QueryContext(ctx, `SELECT class, entries, bytes FROM quarantine_totals`)
	if err != nil {
		return quarantine.Usage{}, db.wrap("measure the quarantine", err)
	}
	_, err = collect(totals, func(rows *sql.Rows) (struct{}, error) {
		var class string
		var used quarantine.Used
		err := rows.Scan(&class, &used.Entries, &used.Bytes)
		u.Set(quarantine.Class(class), used)
		return struct{}{}, err //nolint:wrapcheck // wrapped below
	})
	if err != nil {
		return quarantine.Usage{}, db.wrap("measure the quarantine", err)
	}
	rows, err := db.read.QueryContext(ctx, `SELECT reason, entries, bytes, first_at, last_at FROM quarantine_overflow`)
	if err != nil {
		return quarantine.Usage{}, db.wrap("measure the quarantine", err)
	}
	_, err = collect(rows, func(rows *sql.Rows) (struct{}, error) {
		var reason string
		var o quarantine.Overflow
		var first, last int64
		err := rows.Scan(&reason, &o.Entries, &o.Bytes, &first, &last)
		o.FirstAt, o.LastAt = timeOf(first), timeOf(last)
		u.Overflow[signing.Reason(reason)] = o
		return struct{}{}, err //nolint:wrapcheck // wrapped below
	})
	if err != nil {
		return quarantine.Usage{}, db.wrap("measure the quarantine", err)
	}
	return u, nil
}

// refusedColumns are what scanRefused reads, but for the payload.
const refusedColumns = ` id, task_id, queue, kind, headers, max_retry, size, payload_sha256, reason, kid, detail, authentic, row_id, attempt, received_at, released_at, coalesce(released_as, ''), `

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
	var released sql.NullInt64
	if err := scan(&r.ID, &r.TaskID, &r.Queue, &r.Kind, &headers, &r.MaxRetry, &r.Size, &sum, &reason, &r.KID, &r.Detail,
		&r.Authentic, &r.RowID, &r.Attempt, &received, &released, &r.ReleasedAs, &r.Payload); err != nil {
		return jobs.Refused{}, err
	}
	var err error
	if r.Headers, err = unpackHeaders(headers); err != nil {
		return jobs.Refused{}, fmt.Errorf("entry %s: %w", r.ID, err)
	}
	copy(r.PayloadSHA256[:], sum)
	r.Reason, r.ReceivedAt, r.ReleasedAt = signing.Reason(reason), timeOf(received), timeOrZero(released)
	return r, nil
}
