package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sealq/sealq/jobs"
)

// How long a tick waits for others' transactions. Another scheduler's are over in milliseconds; that of an application, which has enqueued a job
// with the tick's unique key and is still at work, lasts as long as it does.
const (
	batchPatience = 250 * time.Millisecond // of the ticks of one transaction, for each lock
	tickPatience  = 100 * time.Millisecond // of one that is made alone
	longestSingly = time.Second            // after which no more of a batch are made one by one
)

// makeTicksSQL is one statement, and so one transaction in one round trip. It bounds how long it waits for a lock, and locks the schedules' rows, in
// the order in which all do that lock several: of two schedulers the second waits, and then finds last_due_at advanced. Whoever runs a schedule by
// hand, or records its ticks, needs no more than that the row is there, and is in nobody's way.
const makeTicksSQL = `
WITH bound AS MATERIALIZED (
	SELECT set_config('lock_timeout', $16, true)
), wanted AS (
	SELECT * FROM unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::bigint[], $6::uuid[], $7::text[], $8::text[],
		$9::bytea[], $10::bytea[], $11::integer[], $12::text[], $13::timestamptz[], $14::timestamptz[], $15::bigint[]) WITH ORDINALITY
	AS w (schedule, revision, due_at, since, missed, row_id, kind, queue, payload, headers, retries, unique_key, not_before, expires_at, life, place)
), held AS MATERIALIZED (
	SELECT name, revision, paused, last_due_at FROM bound, schedules WHERE name = ANY ($1) ORDER BY name FOR NO KEY UPDATE OF schedules
), eligible AS MATERIALIZED (
	SELECT w.*, h.last_due_at FROM wanted AS w JOIN held AS h ON h.name = w.schedule
	WHERE h.revision = w.revision AND NOT h.paused AND h.last_due_at < w.due_at AND w.due_at <= statement_timestamp()
), recorded AS (
	INSERT INTO outbox (id, kind, queue, payload, headers, retries, unique_key, not_before, next_at, expires_at)
	SELECT row_id, kind, queue, payload, headers, retries, unique_key, coalesce(not_before, statement_timestamp()),
	       greatest(statement_timestamp(), not_before - interval '1 minute'),
	       coalesce(expires_at, coalesce(not_before, statement_timestamp()) + life * interval '1 microsecond')
	FROM eligible
	ON CONFLICT (unique_key) WHERE unique_key IS NOT NULL DO NOTHING
	RETURNING id
), advanced AS (
	UPDATE schedules AS s SET last_due_at = e.due_at, last_tick_at = e.due_at,
		missed = s.missed + CASE WHEN e.last_due_at = e.since THEN e.missed ELSE 0 END
	FROM eligible AS e JOIN recorded AS r ON r.id = e.row_id WHERE s.name = e.schedule
), ticked AS (
	INSERT INTO ticks (schedule, due_at, row_id) SELECT e.schedule, e.due_at, e.row_id FROM eligible AS e JOIN recorded AS r ON r.id = e.row_id
)
SELECT w.place, r.id IS NOT NULL, e.row_id IS NOT NULL, h.name IS NULL OR h.revision <> w.revision OR h.paused,
       CASE WHEN r.id IS NOT NULL THEN w.due_at ELSE h.last_due_at END
FROM wanted AS w LEFT JOIN held AS h ON h.name = w.schedule LEFT JOIN eligible AS e ON e.row_id = w.row_id LEFT JOIN recorded AS r ON r.id = w.row_id`

// tickColumns are what makeTicksSQL takes.
type tickColumns struct {
	places                        []int // of the ticks, in what is returned
	schedules, ids, kinds, queues []string
	revisions, missed, lives      []int64
	due, since                    []time.Time
	payloads, headers             [][]byte
	retries                       []int32
	keys                          []*string
	notBefore, expires            []*time.Time
}

func (c *tickColumns) add(place int, t jobs.Tick, row jobs.Row) error {
	headers, err := encodeHeaders(row.Headers)
	if err != nil {
		return fmt.Errorf("record %s: %w", row.Kind, err)
	}
	c.places = append(c.places, place)
	c.schedules, c.revisions = append(c.schedules, name(t.Schedule)), append(c.revisions, t.Revision)
	c.due, c.since, c.missed = append(c.due, t.At), append(c.since, t.Since), append(c.missed, t.Missed)
	c.ids, c.kinds, c.queues = append(c.ids, row.ID), append(c.kinds, name(string(row.Kind))), append(c.queues, name(row.Queue))
	c.payloads, c.headers = append(c.payloads, blob(row.Payload)), append(c.headers, headers)
	c.retries, c.keys = append(c.retries, int32(row.Retries)), append(c.keys, nameOrNull(row.UniqueKey)) //nolint:gosec // a small number: see jobs.MaxRetry
	c.notBefore, c.expires = append(c.notBefore, timeOrNull(row.NotBefore)), append(c.expires, timeOrNull(row.ExpiresAt))
	c.lives = append(c.lives, row.Life.Microseconds())
	return nil
}

// slice is a part of them.
func (c *tickColumns) slice(from, to int) *tickColumns {
	return &tickColumns{
		places: c.places[from:to], schedules: c.schedules[from:to], ids: c.ids[from:to], kinds: c.kinds[from:to], queues: c.queues[from:to],
		revisions: c.revisions[from:to], missed: c.missed[from:to], lives: c.lives[from:to], due: c.due[from:to], since: c.since[from:to],
		payloads: c.payloads[from:to], headers: c.headers[from:to], retries: c.retries[from:to], keys: c.keys[from:to],
		notBefore: c.notBefore[from:to], expires: c.expires[from:to],
	}
}

// MakeTicks makes the ticks and their outbox rows, as scheduler.Ticks says.
func (db *DB) MakeTicks(ctx context.Context, ticks []jobs.Tick) ([]jobs.TickMade, error) {
	made := make([]jobs.TickMade, len(ticks))
	var c tickColumns
	for i, t := range ticks {
		row, err := t.Job.Traced(ctx).Row(db.now())
		if err == nil {
			err = c.add(i, t, row)
		}
		made[i].Err = err
	}
	if len(c.places) == 0 {
		return made, nil
	}
	if err := db.makeTicks(ctx, &c, made); err != nil {
		return nil, wrap("make ticks", err)
	}
	return made, nil
}

// makeTicks looks, where PostgreSQL refuses what one of them says, for that one by halves, so that it stops no other; and where one waits for a
// transaction that is open elsewhere, it makes them one by one.
func (db *DB) makeTicks(ctx context.Context, c *tickColumns, made []jobs.TickMade) error {
	if len(c.places) == 1 {
		return db.makeOne(ctx, c, made)
	}
	err := db.makeAll(ctx, c, made, batchPatience)
	if isLockTimeout(err) {
		return db.makeSingly(ctx, c, made)
	}
	if isRefusedData(err) {
		half := len(c.places) / 2
		return errors.Join(db.makeTicks(ctx, c.slice(0, half), made), db.makeTicks(ctx, c.slice(half, len(c.places)), made))
	}
	return err
}

// makeSingly makes ticks one by one, for as long as that may take. What it does not come to is neither made nor refused: the scheduler has it in the
// next batch, and those that wait no more.
func (db *DB) makeSingly(ctx context.Context, c *tickColumns, made []jobs.TickMade) error {
	began := db.now()
	for i := range c.places {
		if i > 0 && db.now().Sub(began) > longestSingly {
			return nil
		}
		if err := db.makeOne(ctx, c.slice(i, i+1), made); err != nil {
			return err
		}
	}
	return nil
}

// makeOne says of the one tick what is wrong with it alone.
func (db *DB) makeOne(ctx context.Context, c *tickColumns, made []jobs.TickMade) error {
	err := db.makeAll(ctx, c, made, tickPatience)
	switch {
	case isLockTimeout(err):
		err = fmt.Errorf("tick %s: %w: %w", c.schedules[0], jobs.ErrTickBlocked, err)
	case isRefusedData(err):
		err = wrap("tick "+c.schedules[0], err)
	default:
		return err
	}
	made[c.places[0]] = jobs.TickMade{Err: err}
	return nil
}

// isLockTimeout and isRefusedData know SQLSTATE codes (PostgreSQL's manual, appendix A): a lock that was not to be had in time; data exceptions, and
// violated constraints.
func isLockTimeout(err error) bool {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	return ok && refused.Code == "55P03"
}

func isRefusedData(err error) bool {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (strings.HasPrefix(refused.Code, "22") || strings.HasPrefix(refused.Code, "23"))
}

func (db *DB) makeAll(ctx context.Context, c *tickColumns, made []jobs.TickMade, patience time.Duration) error {
	rows, err := db.pool.Query(ctx, makeTicksSQL, c.schedules, c.revisions, c.due, c.since, c.missed, c.ids, c.kinds, c.queues,
		c.payloads, c.headers, c.retries, c.keys, c.notBefore, c.expires, c.lives, strconv.FormatInt(patience.Milliseconds(), 10))
	if err != nil {
		return err //nolint:wrapcheck // wrapped by MakeTicks
	}
	var place int
	var isMade, eligible, stale bool
	var last *time.Time
	_, err = pgx.ForEachRow(rows, []any{&place, &isMade, &eligible, &stale, &last}, func() error {
		m := jobs.TickMade{Made: isMade, Stale: stale, LastDueAt: timeOrZero(last)}
		if eligible && !isMade {
			m.Err = fmt.Errorf("tick %s: %w", c.schedules[place-1], jobs.ErrDuplicate)
		}
		made[c.places[place-1]] = m
		return nil
	})
	return err //nolint:wrapcheck // wrapped by MakeTicks
}

// RunSchedule makes a tick that somebody asks for, whatever the schedule's times are and whether it is paused. It advances
// nothing.
func (db *DB) RunSchedule(ctx context.Context, tx pgx.Tx, t jobs.Tick) (rowID string, err error) {
	// The schedule first, as makeTicksSQL does, and then the job, which may have to wait for another's unique key: the tick's row will need the
	// schedule's.
	if _, err := tx.Exec(ctx, `SELECT FROM schedules WHERE name = $1 FOR KEY SHARE`, name(t.Schedule)); err != nil {
		return "", wrap("run schedule "+t.Schedule, err)
	}
	rowID, err = db.EnqueueTx(ctx, tx, t.Job)
	if err != nil {
		return "", err
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO ticks (schedule, due_at, row_id, manual) SELECT name, $2, $3::uuid, true FROM schedules WHERE name = $1 AND revision = $4
		ON CONFLICT DO NOTHING`, name(t.Schedule), t.At, rowID, t.Revision)
	if err != nil {
		return "", wrap("run schedule "+t.Schedule, err)
	}
	if tag.RowsAffected() == 0 {
		return "", fmt.Errorf("run schedule %q: %w", t.Schedule, jobs.ErrScheduleMoved)
	}
	return rowID, nil
}

// settleTicksSQL locks in the order in which makeTicksSQL does: schedules by name. Those that somebody has locked are for the next look: who waited
// for one would hold up the ticks of the others. A tick whose row is reissued meanwhile has another
// version, and is left alone: what was read of the row is over.
const settleTicksSQL = `
WITH ended AS MATERIALIZED (
	SELECT t.schedule, t.due_at, t.xmin AS version, CASE WHEN o.id IS NULL THEN 'gone' ELSE o.state END AS outcome, coalesce(o.ended_at, statement_timestamp()) AS ended_at,
	       o.signed_at, coalesce(o.cause, '') AS cause
	FROM ticks AS t LEFT JOIN outbox AS o ON o.id = t.row_id
	WHERE t.outcome = '' AND (o.id IS NULL OR o.ended_at IS NOT NULL) LIMIT $1
), held AS MATERIALIZED (
	SELECT name FROM schedules WHERE name IN (SELECT schedule FROM ended) ORDER BY name FOR NO KEY UPDATE SKIP LOCKED
), settled AS (
	UPDATE ticks AS t SET outcome = e.outcome, finished_at = e.ended_at, started_at = e.signed_at, cause = e.cause
	FROM ended AS e JOIN held AS h ON h.name = e.schedule WHERE t.schedule = e.schedule AND t.due_at = e.due_at AND t.outcome = '' AND t.xmin = e.version
	RETURNING t.schedule, t.outcome, t.finished_at, t.started_at
), summed AS (
	SELECT schedule, max(started_at) AS started, max(finished_at) FILTER (WHERE outcome = 'done') AS success,
	       (array_agg(outcome ORDER BY finished_at DESC))[1] AS outcome, count(*) AS n
	FROM settled GROUP BY schedule
), told AS (
	UPDATE schedules AS s SET last_started_at = greatest(s.last_started_at, u.started), last_success_at = greatest(s.last_success_at, u.success),
		last_outcome = u.outcome
	FROM summed AS u WHERE s.name = u.schedule
)
SELECT coalesce(sum(n), 0)::bigint FROM summed`

// SettleTicks writes into up to limit ticks how their jobs ended, so that it is known when the outbox row is gone, and returns
// how many there were.
func (db *DB) SettleTicks(ctx context.Context, limit int) (settled int, err error) {
	if err := db.pool.QueryRow(ctx, settleTicksSQL, limit).Scan(&settled); err != nil {
		return 0, wrap("settle ticks", err)
	}
	return settled, nil
}

// No more ticks and rows are read than are listed.
const tickHistorySQL = `
SELECT t.due_at, t.manual, t.made_at, t.row_id::text, coalesce(o.signed_at, t.started_at), CASE WHEN o.id IS NULL THEN t.finished_at ELSE o.ended_at END,
       CASE WHEN o.id IS NULL THEN coalesce(nullif(t.outcome, ''), 'gone') WHEN o.ended_at IS NULL THEN '' ELSE o.state END, coalesce(o.cause, t.cause)
FROM schedules AS s LEFT JOIN LATERAL (SELECT * FROM ticks WHERE schedule = s.name ORDER BY due_at DESC LIMIT $2) AS t ON true
LEFT JOIN LATERAL (SELECT * FROM outbox WHERE id = t.row_id LIMIT 1) AS o ON true WHERE s.name = $1 ORDER BY t.due_at DESC`

// TickHistory lists the last ticks of a schedule, the newest first, or returns jobs.ErrNoSuchSchedule.
func (db *DB) TickHistory(ctx context.Context, schedule string, limit int) ([]jobs.TickInfo, error) {
	rows, err := db.pool.Query(ctx, tickHistorySQL, name(schedule), limit)
	if err != nil {
		return nil, wrap("list ticks", err)
	}
	found := false
	var all []jobs.TickInfo
	var due, made, started, finished *time.Time
	var manual *bool
	var row, outcome, cause *string
	_, err = pgx.ForEachRow(rows, []any{&due, &manual, &made, &row, &started, &finished, &outcome, &cause}, func() error {
		if found = true; due == nil {
			return nil
		}
		all = append(all, jobs.TickInfo{
			Schedule: schedule, DueAt: due.UTC(), Manual: *manual, MadeAt: made.UTC(), RowID: *row, StartedAt: timeOrZero(started),
			FinishedAt: timeOrZero(finished), Outcome: jobs.RowState(*outcome), Cause: *cause,
		})
		return nil
	})
	if err != nil {
		return nil, wrap("list ticks", err)
	}
	if !found && limit > 0 {
		return nil, fmt.Errorf("list ticks of %q: %w", schedule, jobs.ErrNoSuchSchedule)
	}
	return all, nil
}

// What is not settled yet is read from the outbox.
const scheduleReportsSQL = `
SELECT statement_timestamp(), s.last_tick_at, greatest(s.last_started_at, live.started), greatest(s.last_success_at, live.success), s.last_outcome, s.missed,
       live.unfinished,` + stateColumns + `
FROM (SELECT) AS one LEFT JOIN schedules AS s ON true LEFT JOIN LATERAL (
	SELECT max(o.signed_at) AS started, max(o.ended_at) FILTER (WHERE o.state = 'done') AS success, min(t.made_at) FILTER (WHERE o.ended_at IS NULL) AS unfinished
	FROM ticks AS t JOIN outbox AS o ON o.id = t.row_id WHERE t.schedule = s.name AND t.outcome = ''
) AS live ON true
ORDER BY s.name`

// ScheduleReports lists what a watchdog looks at, by name, and the database's clock.
func (db *DB) ScheduleReports(ctx context.Context) (reports []jobs.ScheduleReport, now time.Time, err error) {
	rows, err := db.pool.Query(ctx, scheduleReportsSQL)
	if err != nil {
		return nil, time.Time{}, wrap("look at schedules", err)
	}
	defer rows.Close()
	for rows.Next() {
		var r stateRow
		var tick, started, success, unfinished *time.Time
		var outcome *string
		var missed *int64
		if err := rows.Scan(append([]any{&now, &tick, &started, &success, &outcome, &missed, &unfinished}, r.into()...)...); err != nil {
			return nil, time.Time{}, wrap("look at schedules", err)
		}
		if r.name != nil {
			reports = append(reports, jobs.ScheduleReport{
				ScheduleState: r.state(), LastTickAt: timeOrZero(tick), LastStartedAt: timeOrZero(started), LastSuccessAt: timeOrZero(success),
				LastOutcome: jobs.RowState(*outcome), Missed: *missed, Unfinished: timeOrZero(unfinished),
			})
		}
	}
	if err := rows.Err(); err != nil {
		return nil, time.Time{}, wrap("look at schedules", err)
	}
	return reports, now.UTC(), nil
}
