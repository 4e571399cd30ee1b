package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
)

const stateColumns = ` s.name, s.cron, s.zone, s.kind, s.args, s.catch_up, s.jitter, s.paused, s.source, s.changed, s.revision, s.anchor, s.last_due_at `

// scanState scans stateColumns, and what else there is before them.
func scanState(scan func(...any) error, before ...any) (s jobs.ScheduleState, err error) {
	var jitter, anchor, last int64
	err = scan(append(before, &s.Name, &s.Cron, &s.Zone, &s.Kind, &s.Args, &s.CatchUp, &jitter, &s.Paused, &s.Source, &s.Changed, &s.Revision, &anchor, &last)...)
	s.Jitter, s.Anchor, s.LastDueAt = time.Duration(jitter)*time.Microsecond, timeOf(anchor), timeOf(last)
	return s, err
}

// ScheduleBook reads the schedules: see scheduler.Ticks.
func (db *DB) ScheduleBook(ctx context.Context, known int64) (jobs.ScheduleBook, error) {
	var book jobs.ScheduleBook
	if err := db.read.QueryRowContext(ctx, `SELECT version FROM schedule_book`).Scan(&book.Version); err != nil {
		return jobs.ScheduleBook{}, db.wrap("read schedules", err)
	}
	if book.Known = book.Version == known; !book.Known { // of that version or a later one, which is seen next time
		rows, err := db.read.QueryContext(ctx, `SELECT`+stateColumns+`FROM schedules AS s ORDER BY s.name`)
		if err != nil {
			return jobs.ScheduleBook{}, db.wrap("read schedules", err)
		}
		book.Schedules, err = collect(rows, func(rows *sql.Rows) (jobs.ScheduleState, error) { return scanState(rows.Scan) })
		if err != nil {
			return jobs.ScheduleBook{}, db.wrap("read schedules", err)
		}
	}
	// After the rows, so that it is not before any of their times.
	instant, err := now(ctx, db.read)
	if err != nil {
		return jobs.ScheduleBook{}, db.wrap("read schedules", err)
	}
	book.Now = timeOf(instant)
	return book, nil
}

// turnPage makes a new version of the book.
func turnPage(ctx context.Context, tx *sql.Tx) (version int64, err error) {
	err = tx.QueryRowContext(ctx, `UPDATE schedule_book SET version = version + 1 RETURNING version`).Scan(&version)
	return version, err //nolint:wrapcheck // callers wrap it
}

// PlaceSchedules brings a program's schedules into the book: see scheduler.Ticks.
func (db *DB) PlaceSchedules(ctx context.Context, p jobs.Placement) error {
	err := db.InTx(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT s.placed, s.placed_paused,`+stateColumns+`FROM schedules AS s ORDER BY s.name`)
		if err != nil {
			return err //nolint:wrapcheck // wrapped below
		}
		have, err := collect(rows, func(rows *sql.Rows) (have jobs.PlacedSchedule, err error) {
			have.ScheduleState, err = scanState(rows.Scan, &have.Placed, &have.PlacedPaused)
			return have, err
		})
		if err != nil {
			return err
		}
		changes := p.Changes(have)
		if len(changes) == 0 {
			return nil
		}
		version, err := turnPage(ctx, tx)
		if err != nil {
			return err
		}
		for _, c := range changes {
			if c.Action == jobs.ScheduleRemoved {
				err = removeSchedule(ctx, tx, c.Name)
			} else {
				err = saveSchedule(ctx, tx, c, &c.Placed, version)
			}
			if err != nil {
				return err
			}
			e := audit.Entry{Actor: p.Actor, Action: string(c.Action), Subject: "schedule/" + c.Name, Detail: c.Facts()}
			if err := db.AppendAudit(ctx, tx, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return db.wrap("place schedules", err)
	}
	return nil
}

// saveSchedule writes the row. placed is what its source says of it, nil where somebody else does.
func saveSchedule(ctx context.Context, tx *sql.Tx, c jobs.ScheduleChange, placed *jobs.SchedulePlan, version int64) error {
	instant, err := now(ctx, tx)
	if err != nil {
		return err
	}
	var mark, paused any
	if placed != nil {
		mark, paused = placed.Mark(), placed.Paused
	}
	_, err = execute(ctx, tx, `
		INSERT INTO schedules AS s (name, cron, zone, kind, args, catch_up, jitter, paused, source, changed, placed, placed_paused, revision, anchor, last_due_at)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, coalesce(?11, ''), coalesce(?12, 0), ?13, ?15, ?15)
		ON CONFLICT (name) DO UPDATE SET
			cron = excluded.cron, zone = excluded.zone, kind = excluded.kind, args = excluded.args, catch_up = excluded.catch_up, jitter = excluded.jitter,
			paused = excluded.paused, source = excluded.source, changed = excluded.changed,
			placed = coalesce(?11, s.placed), placed_paused = coalesce(?12, s.placed_paused), revision = excluded.revision,
			missed = CASE WHEN ?14 THEN 0 ELSE s.missed END, anchor = CASE WHEN ?14 THEN excluded.anchor ELSE s.anchor END,
			last_due_at = CASE WHEN ?14 OR s.paused AND NOT excluded.paused THEN max(s.last_due_at, excluded.last_due_at) ELSE s.last_due_at END`,
		c.Name, c.Cron, c.Zone, string(c.Kind), c.Args, string(c.CatchUp), c.Jitter.Microseconds(), c.Paused, string(c.Source), c.Changed,
		mark, paused, version, c.Anchored, instant)
	return err
}

func removeSchedule(ctx context.Context, tx *sql.Tx, name string) error {
	n, err := execute(ctx, tx, `DELETE FROM schedules WHERE name = ?`, name)
	if err == nil && n == 0 {
		err = jobs.ErrNoSuchSchedule
	}
	return err
}

// AddSchedule enters a schedule that somebody defines at run time, anchored now. One of that name is jobs.ErrScheduleExists or,
// with replace, becomes as the plan says; it keeps its source, its ticks and whether it is paused.
func (db *DB) AddSchedule(ctx context.Context, tx *sql.Tx, p jobs.SchedulePlan, replace bool) (replaced bool, err error) {
	c := jobs.ScheduleChange{SchedulePlan: p, Anchored: true}
	c.Source = jobs.FromRuntime
	old, err := scanState(tx.QueryRowContext(ctx, `SELECT`+stateColumns+`FROM schedules AS s WHERE s.name = ?`, p.Name).Scan)
	switch {
	case err == nil && !replace:
		err = jobs.ErrScheduleExists
	case err == nil:
		replaced = true
		c.Source, c.Paused, c.Changed = old.Source, old.Paused, true
		c.Anchored = c.Cron != old.Cron || c.Zone != old.Zone
	case errors.Is(err, sql.ErrNoRows):
		err = nil
	}
	var version int64
	if err == nil {
		version, err = turnPage(ctx, tx)
	}
	if err == nil {
		err = saveSchedule(ctx, tx, c, nil, version)
	}
	if err != nil {
		return false, db.wrap(fmt.Sprintf("add schedule %q", p.Name), err)
	}
	return replaced, nil
}

// PauseSchedule pauses or resumes a schedule, and says whether it was not so before. What was due while it was paused is over.
func (db *DB) PauseSchedule(ctx context.Context, tx *sql.Tx, name string, paused bool) (changed bool, err error) {
	var before bool
	err = tx.QueryRowContext(ctx, `SELECT paused FROM schedules WHERE name = ?`, name).Scan(&before)
	if errors.Is(err, sql.ErrNoRows) {
		err = jobs.ErrNoSuchSchedule
	}
	if err == nil && before != paused {
		err = setPaused(ctx, tx, name, paused)
	}
	if err != nil {
		return false, db.wrap(fmt.Sprintf("pause schedule %q", name), err)
	}
	return before != paused, nil
}

func setPaused(ctx context.Context, tx *sql.Tx, name string, paused bool) error {
	version, err := turnPage(ctx, tx)
	if err != nil {
		return err
	}
	_, err = execute(ctx, tx, `
		UPDATE schedules SET paused = ?2, revision = ?3, last_due_at = CASE WHEN ?2 THEN last_due_at ELSE max(last_due_at, `+nowSQL+`) END
		WHERE name = ?1`, name, paused, version)
	return err
}

// RemoveSchedule deletes a schedule and its ticks. Their jobs stay.
func (db *DB) RemoveSchedule(ctx context.Context, tx *sql.Tx, name string) error {
	_, err := turnPage(ctx, tx)
	if err == nil {
		err = removeSchedule(ctx, tx, name)
	}
	if err != nil {
		return db.wrap(fmt.Sprintf("remove schedule %q", name), err)
	}
	return nil
}
