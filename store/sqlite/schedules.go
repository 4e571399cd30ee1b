package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/sealq/sealq/jobs"
)

// PlaceSchedule inserts or changes a schedule: see scheduler.Ticks.
func (db *DB) PlaceSchedule(ctx context.Context, name, cron string) error {
	err := db.InTx(ctx, func(tx *sql.Tx) error {
		instant, err := now(ctx, tx)
		if err != nil {
			return err
		}
		_, err = execute(ctx, tx, `
			INSERT INTO schedules (name, cron, anchor, last_due_at) VALUES (?1, ?2, ?3, ?3)
			ON CONFLICT (name) DO UPDATE SET
				cron = excluded.cron, revision = revision + 1, anchor = excluded.anchor, last_due_at = excluded.last_due_at
			WHERE cron <> excluded.cron`, name, cron, instant)
		return err
	})
	if err != nil {
		return db.wrap("place schedule", err)
	}
	return nil
}

// ScheduleStates lists the schedules: see scheduler.Ticks.
func (db *DB) ScheduleStates(ctx context.Context) ([]jobs.ScheduleState, time.Time, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT name, cron, revision, anchor, last_due_at, paused FROM schedules ORDER BY name`)
	if err != nil {
		return nil, time.Time{}, db.wrap("list schedules", err)
	}
	states, err := collect(rows, func(rows *sql.Rows) (jobs.ScheduleState, error) {
		var s jobs.ScheduleState
		var anchor, last int64
		err := rows.Scan(&s.Name, &s.Cron, &s.Revision, &anchor, &last, &s.Paused)
		s.Anchor, s.LastDueAt = timeOf(anchor), timeOf(last)
		return s, err //nolint:wrapcheck // wrapped below
	})
	if err != nil {
		return nil, time.Time{}, db.wrap("list schedules", err)
	}
	// After the rows, so that it is not before any of their times.
	instant, err := now(ctx, db.read)
	if err != nil {
		return nil, time.Time{}, db.wrap("list schedules", err)
	}
	return states, timeOf(instant), nil
}

// Tick makes the tick of one due time: see scheduler.Ticks.
func (db *DB) Tick(ctx context.Context, due jobs.Due, j jobs.Job) (bool, error) {
	made := false
	err := db.InTx(ctx, func(tx *sql.Tx) error {
		instant, err := now(ctx, tx)
		if err != nil {
			return err
		}
		at := due.At.UnixMicro()
		n, err := execute(ctx, tx, `
			UPDATE schedules SET last_due_at = ?1
			WHERE name = ?2 AND revision = ?3 AND NOT paused AND last_due_at < ?1 AND ?1 <= ?4`,
			at, due.Schedule, due.Revision, instant)
		if made = n == 1; err != nil || !made {
			return err
		}
		rowID, err := db.insertRow(ctx, tx, j, instant)
		if err != nil {
			return err
		}
		_, err = execute(ctx, tx, `INSERT INTO ticks (schedule, due_at, row_id, made_at) VALUES (?, ?, ?, ?)`, due.Schedule, at, rowID, instant)
		return err
	})
	if err != nil {
		return false, db.wrap(fmt.Sprintf("tick of %s", due.Schedule), err)
	}
	return made, nil
}
