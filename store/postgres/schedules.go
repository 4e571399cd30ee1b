package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/jobs"
)

const placeScheduleSQL = `
INSERT INTO schedules AS s (name, cron, anchor, last_due_at) VALUES ($1, $2, statement_timestamp(), statement_timestamp())
ON CONFLICT (name) DO UPDATE SET cron = excluded.cron, revision = s.revision + 1, anchor = excluded.anchor, last_due_at = excluded.last_due_at
WHERE s.cron <> excluded.cron`

// PlaceSchedule inserts the schedule or changes its cron expression, as scheduler.Ticks says.
func (db *DB) PlaceSchedule(ctx context.Context, schedule, cron string) error {
	if _, err := db.pool.Exec(ctx, placeScheduleSQL, name(schedule), name(cron)); err != nil {
		return wrap("place schedule "+schedule, err)
	}
	return nil
}

// ScheduleStates lists the schedules by name, and the database's clock.
func (db *DB) ScheduleStates(ctx context.Context) (states []jobs.ScheduleState, now time.Time, err error) {
	rows, err := db.pool.Query(ctx, `
		SELECT clock.now, s.name, s.cron, s.revision, s.anchor, s.last_due_at, s.paused
		FROM (SELECT statement_timestamp() AS now) AS clock LEFT JOIN schedules s ON true ORDER BY s.name`)
	if err != nil {
		return nil, time.Time{}, wrap("list schedules", err)
	}
	defer rows.Close()
	for rows.Next() {
		var schedule, cron *string // NULL in the one row that there is without schedules
		var revision *int64
		var anchor, lastDueAt *time.Time
		var paused *bool
		if err := rows.Scan(&now, &schedule, &cron, &revision, &anchor, &lastDueAt, &paused); err != nil {
			return nil, time.Time{}, wrap("list schedules", err)
		}
		if schedule != nil {
			states = append(states, jobs.ScheduleState{
				Name: *schedule, Cron: *cron, Revision: *revision, Anchor: anchor.UTC(), LastDueAt: lastDueAt.UTC(), Paused: *paused,
			})
		}
	}
	if err := rows.Err(); err != nil {
		return nil, time.Time{}, wrap("list schedules", err)
	}
	return states, now.UTC(), nil
}

// advanceSQL locks the schedule's row and looks again whether the tick is due: of two schedulers the second waits, and
// then finds last_due_at advanced.
const advanceSQL = `
WITH advanced AS (
	UPDATE schedules SET last_due_at = $3::timestamptz
	WHERE name = $1 AND revision = $2 AND NOT paused AND last_due_at < $3::timestamptz AND $3::timestamptz <= statement_timestamp()
	RETURNING name
)
INSERT INTO ticks (schedule, due_at, row_id) SELECT name, $3::timestamptz, $4::uuid FROM advanced
ON CONFLICT (schedule, due_at) DO NOTHING`

// Tick makes the tick of one due time and its outbox row, as scheduler.Ticks says. Where an unfinished row has the
// job's unique key it makes nothing and returns jobs.ErrDuplicate.
func (db *DB) Tick(ctx context.Context, due jobs.Due, j jobs.Job) (made bool, err error) {
	row, err := j.Traced(ctx).Row(db.now())
	if err != nil {
		return false, err
	}
	err = db.InTx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, advanceSQL, name(due.Schedule), due.Revision, due.At, row.ID)
		if err != nil {
			return wrap("tick "+due.Schedule, err)
		}
		made = tag.RowsAffected() > 0
		if !made {
			return nil
		}
		return insertRow(ctx, tx, row)
	})
	if err != nil {
		return false, err
	}
	return made, nil
}
