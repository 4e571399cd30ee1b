package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
)

// stateColumns: of times that no Go program can hold it says the year 1, so that whoever reads the other schedules can.
const stateColumns = ` s.name, s.cron, s.zone, s.kind, s.args, s.catch_up, s.jitter, s.paused, s.source, s.changed, s.revision,
	CASE WHEN isfinite(s.anchor) THEN s.anchor ELSE '0001-01-01 00:00Z' END, CASE WHEN isfinite(s.last_due_at) THEN s.last_due_at ELSE '0001-01-01 00:00Z' END `

// stateRow is what stateColumns are scanned into. All of it is NULL in the one row that there is without schedules.
type stateRow struct {
	name, cron, zone, kind, catchUp, source *string
	args                                    []byte
	jitter, revision                        *int64
	paused, changed                         *bool
	anchor, lastDueAt                       *time.Time
}

func (r *stateRow) into() []any {
	return []any{
		&r.name, &r.cron, &r.zone, &r.kind, &r.args, &r.catchUp, &r.jitter, &r.paused, &r.source, &r.changed, &r.revision, &r.anchor, &r.lastDueAt,
	}
}

func (r *stateRow) state() jobs.ScheduleState {
	return jobs.ScheduleState{
		SchedulePlan: jobs.SchedulePlan{
			Name: *r.name, Cron: *r.cron, Zone: *r.zone, Kind: jobs.Kind(*r.kind), Args: string(r.args), CatchUp: jobs.CatchUp(*r.catchUp),
			Jitter: time.Duration(*r.jitter) * time.Microsecond, Paused: *r.paused, Source: jobs.ScheduleSource(*r.source),
		},
		Changed: *r.changed, Revision: *r.revision, Anchor: r.anchor.UTC(), LastDueAt: r.lastDueAt.UTC(),
	}
}

// ScheduleBook reads the schedules, as scheduler.Ticks says, in one round trip.
func (db *DB) ScheduleBook(ctx context.Context, known int64) (jobs.ScheduleBook, error) {
	rows, err := db.pool.Query(ctx, `
		SELECT b.version, statement_timestamp(),`+stateColumns+`
		FROM schedule_book AS b LEFT JOIN schedules AS s ON b.version <> $1 ORDER BY s.name`, known)
	if err != nil {
		return jobs.ScheduleBook{}, wrap("read schedules", err)
	}
	defer rows.Close()
	var book jobs.ScheduleBook
	for rows.Next() {
		var r stateRow
		if err := rows.Scan(append([]any{&book.Version, &book.Now}, r.into()...)...); err != nil {
			return jobs.ScheduleBook{}, wrap("read schedules", err)
		}
		if r.name != nil {
			book.Schedules = append(book.Schedules, r.state())
		}
	}
	if err := rows.Err(); err != nil {
		return jobs.ScheduleBook{}, wrap("read schedules", err)
	}
	book.Now, book.Known = book.Now.UTC(), book.Version == known
	return book, nil
}

// turnPage makes a new version of the book, in which everybody else waits to make theirs.
func turnPage(ctx context.Context, tx pgx.Tx) (version int64, err error) {
	err = tx.QueryRow(ctx, `UPDATE schedule_book SET version = version + 1 RETURNING version`).Scan(&version)
	return version, err //nolint:wrapcheck // callers wrap it
}

// PlaceSchedules brings a program's schedules into the book, as scheduler.Ticks says.
func (db *DB) PlaceSchedules(ctx context.Context, p jobs.Placement) error {
	err := db.InTx(ctx, func(tx pgx.Tx) error {
		// Locked also where nothing changes: of many that start at once the first places, and the others look after it.
		if _, err := tx.Exec(ctx, `SELECT FROM schedule_book FOR UPDATE`); err != nil {
			return wrap("place schedules", err)
		}
		have, err := placedSchedules(ctx, tx)
		if err != nil {
			return wrap("place schedules", err)
		}
		changes := p.Changes(have)
		if len(changes) == 0 {
			return nil
		}
		version, err := turnPage(ctx, tx)
		if err != nil {
			return wrap("place schedules", err)
		}
		for _, c := range changes {
			if err := applyChange(ctx, tx, c, version); err != nil {
				return wrap("place schedule "+c.Name, err)
			}
			e := audit.Entry{Actor: p.Actor, Action: string(c.Action), Subject: "schedule/" + c.Name, Detail: c.Facts()}
			if err := db.AppendAudit(ctx, tx, e); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

func placedSchedules(ctx context.Context, tx pgx.Tx) ([]jobs.PlacedSchedule, error) {
	rows, err := tx.Query(ctx, `SELECT s.placed, s.placed_paused,`+stateColumns+`FROM schedules AS s ORDER BY s.name FOR NO KEY UPDATE`)
	if err != nil {
		return nil, err //nolint:wrapcheck // wrapped by the caller
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (p jobs.PlacedSchedule, err error) { //nolint:wrapcheck // likewise
		var r stateRow
		if err := row.Scan(append([]any{&p.Placed, &p.PlacedPaused}, r.into()...)...); err != nil {
			return p, err //nolint:wrapcheck // likewise
		}
		p.ScheduleState = r.state()
		return p, nil
	})
}

// Times begin at whole milliseconds: RunSchedule's have one microsecond more.
const saveScheduleSQL = `
INSERT INTO schedules AS s (name, cron, zone, kind, args, catch_up, jitter, paused, source, changed, placed, placed_paused, revision, anchor, last_due_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, coalesce($11, ''), coalesce($12, false), $13,
        date_trunc('milliseconds', statement_timestamp()), date_trunc('milliseconds', statement_timestamp()))
ON CONFLICT (name) DO UPDATE SET
	cron = excluded.cron, zone = excluded.zone, kind = excluded.kind, args = excluded.args, catch_up = excluded.catch_up, jitter = excluded.jitter,
	paused = excluded.paused, source = excluded.source, changed = excluded.changed,
	placed = coalesce($11, s.placed), placed_paused = coalesce($12, s.placed_paused), revision = excluded.revision,
	missed = CASE WHEN $14 THEN 0 ELSE s.missed END, anchor = CASE WHEN $14 THEN excluded.anchor ELSE s.anchor END,
	last_due_at = CASE WHEN $14 OR s.paused AND NOT excluded.paused THEN greatest(s.last_due_at, excluded.last_due_at) ELSE s.last_due_at END`

// saveSchedule writes the row. placed is what its source says of it, nil where somebody else does.
func saveSchedule(ctx context.Context, tx pgx.Tx, c jobs.ScheduleChange, placed *jobs.SchedulePlan, version int64) error {
	var mark *string
	var paused *bool
	if placed != nil {
		mark, paused = new(name(placed.Mark())), &placed.Paused
	}
	_, err := tx.Exec(ctx, saveScheduleSQL, name(c.Name), name(c.Cron), name(c.Zone), name(string(c.Kind)), []byte(c.Args), string(c.CatchUp),
		c.Jitter.Microseconds(), c.Paused, string(c.Source), c.Changed, mark, paused, version, c.Anchored)
	return err //nolint:wrapcheck // callers wrap it
}

func applyChange(ctx context.Context, tx pgx.Tx, c jobs.ScheduleChange, version int64) error {
	if c.Action == jobs.ScheduleRemoved {
		_, err := tx.Exec(ctx, `DELETE FROM schedules WHERE name = $1`, name(c.Name))
		return err //nolint:wrapcheck // the caller wraps it
	}
	return saveSchedule(ctx, tx, c, &c.Placed, version)
}

// AddSchedule enters a schedule that somebody defines at run time, anchored now. One of that name is jobs.ErrScheduleExists or,
// with replace, becomes as the plan says; it keeps its source, its ticks and whether it is paused.
func (db *DB) AddSchedule(ctx context.Context, tx pgx.Tx, p jobs.SchedulePlan, replace bool) (replaced bool, err error) {
	version, err := turnPage(ctx, tx)
	if err != nil {
		return false, wrap("add schedule", err)
	}
	c := jobs.ScheduleChange{SchedulePlan: p, Anchored: true}
	c.Source = jobs.FromRuntime
	var r stateRow
	rows, err := tx.Query(ctx, `SELECT`+stateColumns+`FROM schedules AS s WHERE s.name = $1 FOR UPDATE`, name(p.Name))
	if err == nil {
		_, err = pgx.ForEachRow(rows, r.into(), func() error { return nil })
	}
	if err != nil {
		return false, wrap("add schedule", err)
	}
	if replaced = r.name != nil; replaced {
		if !replace {
			return false, fmt.Errorf("add schedule %q: %w", p.Name, jobs.ErrScheduleExists)
		}
		old := r.state()
		c.Source, c.Paused, c.Changed = old.Source, old.Paused, true
		c.Anchored = c.Cron != old.Cron || c.Zone != old.Zone
	}
	if err := saveSchedule(ctx, tx, c, nil, version); err != nil {
		return false, wrap("add schedule", err)
	}
	return replaced, nil
}

// PauseSchedule pauses or resumes a schedule, and says whether it was not so before. What was due while it was paused is over.
func (db *DB) PauseSchedule(ctx context.Context, tx pgx.Tx, schedule string, paused bool) (changed bool, err error) {
	version, err := turnPage(ctx, tx)
	if err != nil {
		return false, wrap("pause schedule", err)
	}
	var before bool
	rows, err := tx.Query(ctx, `
		UPDATE schedules AS s SET paused = $2, revision = CASE WHEN s.paused = $2 THEN s.revision ELSE $3 END,
			last_due_at = CASE WHEN s.paused AND NOT $2 THEN greatest(s.last_due_at, date_trunc('milliseconds', statement_timestamp())) ELSE s.last_due_at END
		FROM (SELECT name, paused FROM schedules WHERE name = $1 FOR UPDATE) AS old WHERE s.name = old.name RETURNING old.paused`, name(schedule), paused, version)
	if err != nil {
		return false, wrap("pause schedule", err)
	}
	tag, err := pgx.ForEachRow(rows, []any{&before}, func() error { return nil })
	if err != nil {
		return false, wrap("pause schedule", err)
	}
	if tag.RowsAffected() == 0 {
		return false, fmt.Errorf("pause schedule %q: %w", schedule, jobs.ErrNoSuchSchedule)
	}
	return before != paused, nil
}

// RemoveSchedule deletes a schedule and its ticks. Their jobs stay.
func (db *DB) RemoveSchedule(ctx context.Context, tx pgx.Tx, schedule string) error {
	if _, err := turnPage(ctx, tx); err != nil {
		return wrap("remove schedule", err)
	}
	tag, err := tx.Exec(ctx, `DELETE FROM schedules WHERE name = $1`, name(schedule))
	if err != nil {
		return wrap("remove schedule", err)
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("remove schedule %q: %w", schedule, jobs.ErrNoSuchSchedule)
	}
	return nil
}
