package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/sealq/sealq/jobs"
)

// MakeTicks makes the ticks and their outbox rows: see scheduler.Ticks.
func (db *DB) MakeTicks(ctx context.Context, ticks []jobs.Tick) ([]jobs.TickMade, error) {
	made := make([]jobs.TickMade, len(ticks))
	err := db.InTx(ctx, func(tx *sql.Tx) error {
		instant, err := now(ctx, tx)
		if err != nil {
			return err
		}
		for i, t := range ticks {
			if made[i], err = db.makeTick(ctx, tx, t, instant); err != nil {
				return fmt.Errorf("%s: %w", t.Schedule, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, db.wrap("make ticks", err)
	}
	return made, nil
}

// makeTick returns an error where the transaction cannot go on.
func (db *DB) makeTick(ctx context.Context, tx *sql.Tx, t jobs.Tick, instant int64) (made jobs.TickMade, err error) {
	var revision, last int64
	var paused bool
	err = tx.QueryRowContext(ctx, `SELECT revision, paused, last_due_at FROM schedules WHERE name = ?`, t.Schedule).Scan(&revision, &paused, &last)
	if errors.Is(err, sql.ErrNoRows) {
		return jobs.TickMade{Stale: true}, nil
	}
	if err != nil {
		return made, err //nolint:wrapcheck // wrapped by MakeTicks
	}
	made.Stale, made.LastDueAt = paused || revision != t.Revision, timeOf(last)
	at := t.At.UnixMicro()
	if made.Stale || at <= last || at > instant {
		return made, nil
	}
	if _, err := t.Job.Row(timeOf(instant)); err != nil {
		made.Err = err
		return made, nil //nolint:nilerr // it is this tick's alone
	}
	rowID, err := db.insertRow(ctx, tx, t.Job, instant)
	if errors.Is(err, jobs.ErrDuplicate) {
		made.Err = err
		return made, nil
	}
	if err != nil {
		return made, err
	}
	if _, err := execute(ctx, tx, `INSERT INTO ticks (schedule, due_at, row_id, made_at) VALUES (?, ?, ?, ?)`, t.Schedule, at, rowID, instant); err != nil {
		return made, err
	}
	missed := t.Missed
	if t.Since.UnixMicro() != last {
		missed = 0
	}
	made.Made, made.LastDueAt = true, t.At
	_, err = execute(ctx, tx, `UPDATE schedules SET last_due_at = ?1, last_tick_at = ?1, missed = missed + ?2 WHERE name = ?3`, at, missed, t.Schedule)
	return made, err
}

// RunSchedule makes a tick that somebody asks for, whatever the schedule's times are and whether it is paused. It advances
// nothing.
func (db *DB) RunSchedule(ctx context.Context, tx *sql.Tx, t jobs.Tick) (rowID string, err error) {
	instant, err := now(ctx, tx)
	if err != nil {
		return "", db.wrap("run schedule", err)
	}
	if rowID, err = db.insertRow(ctx, tx, t.Job, instant); err != nil {
		return "", err
	}
	n, err := execute(ctx, tx, `
		INSERT INTO ticks (schedule, due_at, row_id, manual, made_at) SELECT name, ?, ?, 1, ? FROM schedules WHERE name = ? AND revision = ?
		ON CONFLICT DO NOTHING`, t.At.UnixMicro(), rowID, instant, t.Schedule, t.Revision)
	if err == nil && n == 0 {
		err = jobs.ErrScheduleMoved
	}
	if err != nil {
		return "", db.wrap(fmt.Sprintf("run schedule %q", t.Schedule), err)
	}
	return rowID, nil
}

// SettleTicks writes into up to limit ticks how their jobs ended, so that it is known when the outbox row is gone, and returns
// how many there were.
func (db *DB) SettleTicks(ctx context.Context, limit int) (settled int, err error) {
	type end struct {
		schedule, outcome, cause string
		due, finished            int64
		started                  sql.NullInt64
	}
	const endedSQL = `
		SELECT t.schedule, t.due_at, coalesce(o.state, 'gone'), coalesce(o.ended_at, ` + nowSQL + `), o.signed_at, coalesce(o.cause, '')
		FROM ticks AS t LEFT JOIN outbox AS o ON o.id = t.row_id
		WHERE t.outcome = '' AND (o.id IS NULL OR o.ended_at IS NOT NULL) LIMIT ?`
	read := func(q querier) ([]end, error) {
		rows, err := q.QueryContext(ctx, endedSQL, limit)
		if err != nil {
			return nil, err
		}
		return collect(rows, func(rows *sql.Rows) (e end, err error) {
			err = rows.Scan(&e.schedule, &e.due, &e.outcome, &e.finished, &e.started, &e.cause)
			return e, err //nolint:wrapcheck // wrapped below
		})
	}
	ended, err := read(db.read) // there is one writer: it is not bothered where there is nothing to write
	if err != nil || len(ended) == 0 {
		return 0, db.wrapSome("settle ticks", err)
	}
	err = db.InTx(ctx, func(tx *sql.Tx) error {
		ended, err := read(tx)
		if err != nil {
			return err
		}
		settled = len(ended)
		for _, e := range ended {
			if _, err := execute(ctx, tx, `UPDATE ticks SET outcome = ?, finished_at = ?, started_at = ?, cause = ? WHERE schedule = ? AND due_at = ?`,
				e.outcome, e.finished, e.started, e.cause, e.schedule, e.due); err != nil {
				return err
			}
			var success any
			if jobs.RowState(e.outcome) == jobs.RowDone {
				success = e.finished
			}
			if _, err := execute(ctx, tx, `
				UPDATE schedules SET last_outcome = ?1, last_started_at = max(coalesce(last_started_at, ?2), coalesce(?2, last_started_at)),
					last_success_at = max(coalesce(last_success_at, ?3), coalesce(?3, last_success_at))
				WHERE name = ?4`, e.outcome, e.started, success, e.schedule); err != nil {
				return err
			}
		}
		return nil
	})
	return settled, db.wrapSome("settle ticks", err)
}

// wrapSome is wrap, and nil for nil.
func (db *DB) wrapSome(operation string, err error) error {
	if err == nil {
		return nil
	}
	return db.wrap(operation, err)
}

// TickHistory lists the last ticks of a schedule, the newest first, or returns jobs.ErrNoSuchSchedule.
func (db *DB) TickHistory(ctx context.Context, schedule string, limit int) ([]jobs.TickInfo, error) {
	var there bool
	if err := db.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM schedules WHERE name = ?)`, schedule).Scan(&there); err != nil {
		return nil, db.wrap("list ticks", err)
	}
	if !there {
		return nil, fmt.Errorf("list ticks of %q: %w", schedule, jobs.ErrNoSuchSchedule)
	}
	rows, err := db.read.QueryContext(ctx, `
		SELECT t.due_at, t.manual, t.made_at, t.row_id, coalesce(o.signed_at, t.started_at), CASE WHEN o.id IS NULL THEN t.finished_at ELSE o.ended_at END,
			CASE WHEN o.id IS NULL THEN coalesce(nullif(t.outcome, ''), 'gone') WHEN o.ended_at IS NULL THEN '' ELSE o.state END, coalesce(o.cause, t.cause)
		FROM ticks AS t LEFT JOIN outbox AS o ON o.id = t.row_id
		WHERE t.schedule = ? ORDER BY t.due_at DESC LIMIT ?`, schedule, limit)
	if err != nil {
		return nil, db.wrap("list ticks", err)
	}
	all, err := collect(rows, func(rows *sql.Rows) (jobs.TickInfo, error) {
		t := jobs.TickInfo{Schedule: schedule}
		var due, made int64
		var started, finished sql.NullInt64
		err := rows.Scan(&due, &t.Manual, &made, &t.RowID, &started, &finished, &t.Outcome, &t.Cause)
		t.DueAt, t.MadeAt, t.StartedAt, t.FinishedAt = timeOf(due), timeOf(made), timeOrZero(started), timeOrZero(finished)
		return t, err //nolint:wrapcheck // wrapped below
	})
	if err != nil {
		return nil, db.wrap("list ticks", err)
	}
	return all, nil
}

// ScheduleReports lists what a watchdog looks at, by name, and the database's clock. What is not settled yet is read from the
// outbox.
func (db *DB) ScheduleReports(ctx context.Context) (reports []jobs.ScheduleReport, clock time.Time, err error) {
	rows, err := db.read.QueryContext(ctx, `
		WITH live AS (
			SELECT t.schedule, max(o.signed_at) AS started, max(o.ended_at) FILTER (WHERE o.state = 'done') AS success,
				min(t.made_at) FILTER (WHERE o.ended_at IS NULL) AS unfinished
			FROM ticks AS t JOIN outbox AS o ON o.id = t.row_id WHERE t.outcome = '' GROUP BY t.schedule
		)
		SELECT s.last_tick_at, nullif(max(coalesce(s.last_started_at, 0), coalesce(live.started, 0)), 0),
			nullif(max(coalesce(s.last_success_at, 0), coalesce(live.success, 0)), 0), s.last_outcome, s.missed, live.unfinished,`+stateColumns+`
		FROM schedules AS s LEFT JOIN live ON live.schedule = s.name ORDER BY s.name`)
	if err != nil {
		return nil, time.Time{}, db.wrap("look at schedules", err)
	}
	reports, err = collect(rows, func(rows *sql.Rows) (r jobs.ScheduleReport, err error) {
		var tick, started, success, unfinished sql.NullInt64
		r.ScheduleState, err = scanState(rows.Scan, &tick, &started, &success, &r.LastOutcome, &r.Missed, &unfinished)
		r.LastTickAt, r.LastStartedAt, r.LastSuccessAt, r.Unfinished = timeOrZero(tick), timeOrZero(started), timeOrZero(success), timeOrZero(unfinished)
		return r, err
	})
	if err != nil {
		return nil, time.Time{}, db.wrap("look at schedules", err)
	}
	instant, err := now(ctx, db.read)
	if err != nil {
		return nil, time.Time{}, db.wrap("look at schedules", err)
	}
	return reports, timeOf(instant), nil
}
