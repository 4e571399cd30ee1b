package postgres

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sealq/sealq/jobs/sweep"
)

// swept is how a part is walked: by an index on key, from its oldest end.
type swept struct {
	table, key string
	byID       bool   // key is a UUID of version 7, which begins with the time at which it was made
	only       string // of the rows t whose time has come: " AND …"; $2 is the instant at which it came at the latest
	counted    string // only, for who counts before the parts that go first have gone; "": only
}

// jobOver: no task of the row can be signed or accepted any more, and nothing tells of a schedule's run by it. Signatures are accepted for
// less than an hour after a row's end.
const jobOver = ` AND t.ended_at <= $2 AND t.expires_at <= statement_timestamp() - interval '1 hour'
	AND NOT EXISTS (SELECT FROM ticks k WHERE k.row_id = t.id)`

// mailOver: no job is going to send it, or tells of it.
const mailOver = ` AND coalesce(t.lease_until <= statement_timestamp(), true) AND NOT EXISTS (SELECT FROM outbox o WHERE o.id =
	CASE WHEN t.id ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' THEN t.id::uuid END)`

// jobOverThen and mailOverThen are what they are once the same purge has deleted the ticks and jobs that are kept for as long.
const (
	jobOverThen = ` AND t.ended_at <= $2 AND t.expires_at <= statement_timestamp() - interval '1 hour'
	AND NOT EXISTS (SELECT FROM ticks k WHERE k.row_id = t.id AND NOT EXISTS (` + ticksAfter + `))`
	mailOverThen = ` AND coalesce(t.lease_until <= statement_timestamp(), true) AND NOT EXISTS (SELECT FROM outbox o WHERE o.id =
	CASE WHEN t.id ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' THEN t.id::uuid END
	AND (o.ended_at <= $2 AND o.expires_at <= statement_timestamp() - interval '1 hour'
		AND NOT EXISTS (SELECT FROM ticks k WHERE k.row_id = o.id AND NOT EXISTS (` + ticksAfter + `))) IS NOT TRUE)`
	ticksAfter = `SELECT FROM ticks n WHERE n.schedule = k.schedule AND n.due_at > k.due_at OFFSET 99` // sweep.KeptTicks - 1
)

func sweptBy(part sweep.Part) (swept, error) {
	switch part {
	case sweep.Registrations:
		return swept{table: "pending_users", key: "expires_at"}, nil
	case sweep.Requests:
		return swept{table: "owner_requests", key: "expires_at"}, nil
	case sweep.Lockouts:
		return swept{table: "login_state", key: "locked_until"}, nil
	case sweep.Ledger:
		return swept{table: "ledger", key: "keep_until"}, nil
	case sweep.Tokens:
		return swept{table: "user_tokens", key: "expires_at"}, nil
	case sweep.Ticks:
		return swept{table: "ticks", key: "row_id", byID: true, only: fmt.Sprintf(
			` AND EXISTS (SELECT FROM ticks n WHERE n.schedule = t.schedule AND n.due_at > t.due_at OFFSET %d)`, sweep.KeptTicks-1)}, nil
	case sweep.Jobs:
		return swept{table: "outbox", key: "id", byID: true, only: jobOver, counted: jobOverThen}, nil
	case sweep.Mails:
		return swept{table: "mails", key: "created_at", only: mailOver, counted: mailOverThen}, nil
	case sweep.Quarantine:
		return swept{table: "quarantine", key: "received_at"}, nil
	case sweep.Audit, sweep.Attempts:
	}
	return swept{}, fmt.Errorf("sweep %q: there is no such part", part)
}

// from are the rows whose time came from $3 on, heldOnes those whose time is in $3; $2 is the instant up to which it must have come.
func (s swept) from() string {
	if s.byID {
		return `t.` + s.key + ` >= $3::uuid AND t.` + s.key + ` < $4::uuid AND $2::timestamptz IS NOT NULL`
	}
	return `t.` + s.key + ` >= $3::timestamptz AND t.` + s.key + ` <= $2::timestamptz`
}

func (s swept) heldOnes() string {
	return `t.` + s.key + ` = ANY ($3::timestamptz[]) AND t.` + s.key + ` <= $2::timestamptz`
}

// time is when a row became due, by its key.
func (s swept) time() string {
	if s.byID { // milliseconds, the first 48 bits: RFC 9562, 5.7
		return `to_timestamp(('x0000' || left(replace(t.` + s.key + `::text, '-', ''), 12))::bit(64)::bigint / 1000.0)`
	}
	return `t.` + s.key
}

// sweepSQL looks at up to $1 of these rows, the oldest first, locks those that nobody has locked, deletes them if their time has still come,
// and tells of each row that it looked at when its time came and whether it is gone.
func (s swept) sweepSQL(which string) string {
	return `
WITH seen AS MATERIALIZED (
	SELECT t.ctid AS place, ` + s.time() + ` AS due FROM ` + s.table + ` t WHERE ` + which + s.only + ` ORDER BY t.` + s.key + ` LIMIT $1
), free AS MATERIALIZED (
	SELECT t.ctid AS place FROM ` + s.table + ` t WHERE t.ctid = ANY (ARRAY(SELECT place FROM seen)) FOR UPDATE SKIP LOCKED
), gone AS (
	DELETE FROM ` + s.table + ` t WHERE t.ctid = ANY (ARRAY(SELECT place FROM free)) AND ` + which + s.only + ` RETURNING t.ctid AS place
)
SELECT seen.due, gone.place IS NOT NULL FROM seen LEFT JOIN gone ON gone.place = seen.place ORDER BY seen.due`
}

// SweepBatch deletes rows of a part that are due, as sweep.Store says.
func (db *DB) SweepBatch(ctx context.Context, w sweep.Walk, limit int) (b sweep.Batch, err error) {
	if w.Part == sweep.Audit {
		return db.purgeAudit(ctx, w.Keep, limit)
	}
	s, err := sweptBy(w.Part)
	if err != nil {
		return sweep.Batch{}, err
	}
	err = db.InTx(ctx, func(tx pgx.Tx) error {
		walk, err := beginWalk(ctx, tx, w, s.byID, true)
		if err != nil {
			return err
		}
		b, err = walk.batch(ctx, tx, limit, func(held []time.Time, limit int) ([]looked, error) {
			if held != nil {
				return look(ctx, tx, s.sweepSQL(s.heldOnes()), limit, walk.to, held)
			}
			if s.byID {
				return look(ctx, tx, s.sweepSQL(s.from()), limit, walk.to, earliestID(walk.from), earliestID(walk.to))
			}
			return look(ctx, tx, s.sweepSQL(s.from()), limit, walk.to, instant(walk.from))
		})
		return err
	})
	if err != nil {
		return sweep.Batch{}, wrap("sweep "+string(w.Part), err)
	}
	return b, nil
}

func look(ctx context.Context, tx pgx.Tx, sql string, args ...any) ([]looked, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, err //nolint:wrapcheck // callers wrap it
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[looked]) //nolint:wrapcheck // likewise
}

// instant is the zero time as PostgreSQL has it.
func instant(t time.Time) pgtype.Timestamptz {
	if t.IsZero() {
		return pgtype.Timestamptz{InfinityModifier: pgtype.NegativeInfinity, Valid: true}
	}
	return pgtype.Timestamptz{Time: t, Valid: true}
}

// earliestID is below every UUID of version 7 that was made at t or later.
func earliestID(t time.Time) string {
	var id uuid.UUID
	if !t.IsZero() {
		binary.BigEndian.PutUint64(id[:], uint64(max(t.UnixMilli(), 0))<<16)
	}
	return id.String()
}

// CountDue counts what is due of a part, as sweep.Store says. The estimate is the planner's.
func (db *DB) CountDue(ctx context.Context, w sweep.Walk, exactly bool) (n int64, err error) {
	switch w.Part { //nolint:exhaustive // the others are walked
	case sweep.Audit:
		return db.countPurgeable(ctx, w.Keep)
	case sweep.Attempts:
		return db.countForgettable(ctx, w.Keep)
	}
	s, err := sweptBy(w.Part)
	if err != nil {
		return 0, err
	}
	err = db.InTx(ctx, func(tx pgx.Tx) error {
		walk, err := beginWalk(ctx, tx, w, s.byID, true)
		if err != nil {
			return err
		}
		if exactly {
			walk.from = time.Time{}
		}
		args := []any{1, walk.to, instant(walk.from)}
		if s.byID {
			args = []any{1, walk.to, earliestID(walk.from), earliestID(walk.to)}
		}
		sql := ` FROM ` + s.table + ` t WHERE ` + s.from() + cmp.Or(s.counted, s.only) + ` AND $1::int = 1`
		if exactly {
			return tx.QueryRow(ctx, `SELECT count(*)`+sql, args...).Scan(&n)
		}
		n, err = estimate(ctx, tx, `SELECT 1`+sql, args)
		return err
	})
	if err != nil {
		return 0, wrap("count "+string(w.Part), err)
	}
	return n, nil
}

func estimate(ctx context.Context, tx pgx.Tx, sql string, args []any) (int64, error) {
	var text []byte
	if err := tx.QueryRow(ctx, `EXPLAIN (FORMAT JSON) `+sql, args...).Scan(&text); err != nil {
		return 0, err //nolint:wrapcheck // the caller wraps it
	}
	var plans []struct {
		Plan struct {
			Rows float64 `json:"Plan Rows"`
		}
	}
	if err := json.Unmarshal(text, &plans); err != nil || len(plans) != 1 {
		return 0, fmt.Errorf("PostgreSQL's plan is not understood: %w", err)
	}
	return int64(plans[0].Plan.Rows), nil
}

const tellSweepSQL = `
WITH soon AS (SELECT set_config('synchronous_commit', 'off', true))
INSERT INTO sweeps AS s (name, holder, lease_until, tick, part, done, due, ended, began_at, told_at)
SELECT $1, $2, statement_timestamp() + $3::interval, $4, $5, $6, $7, $8, statement_timestamp(), statement_timestamp() FROM soon
ON CONFLICT (name) DO UPDATE SET
	holder = excluded.holder, lease_until = excluded.lease_until, tick = excluded.tick, part = excluded.part, done = excluded.done, due = excluded.due,
	ended = excluded.ended, told_at = excluded.told_at,
	began_at = CASE WHEN s.holder = excluded.holder OR NOT s.ended AND s.tick = excluded.tick THEN s.began_at ELSE excluded.began_at END
WHERE s.lease_until <= statement_timestamp() OR s.holder = excluded.holder`

// TellSweep writes how far a sweep is and renews its lease, as sweep.Desk says. It does not wait for the disk: a crash may take back what was told
// last.
func (db *DB) TellSweep(ctx context.Context, p sweep.Progress, lease time.Duration) (bool, error) {
	tag, err := db.pool.Exec(ctx, tellSweepSQL, name(p.Sweep), name(p.Holder), lease, name(p.Tick), string(p.Part), p.Done, p.Due, p.Ended)
	if err != nil {
		return false, wrap("tell of sweep "+p.Sweep, err)
	}
	return tag.RowsAffected() > 0, nil
}

// SweepProgress reads how far a sweep is, as sweep.Desk says.
func (db *DB) SweepProgress(ctx context.Context, sweepName string) (sweep.Progress, error) {
	p := sweep.Progress{Sweep: sweepName}
	err := db.pool.QueryRow(ctx, `SELECT holder, tick, part, done, due, ended, began_at, told_at, lease_until FROM sweeps WHERE name = $1`, name(sweepName)).
		Scan(&p.Holder, &p.Tick, &p.Part, &p.Done, &p.Due, &p.Ended, &p.BeganAt, &p.ToldAt, &p.LeaseUntil)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return sweep.Progress{}, wrap("read sweep "+sweepName, err)
	}
	if err == nil {
		p.BeganAt, p.ToldAt, p.LeaseUntil = p.BeganAt.UTC(), p.ToldAt.UTC(), p.LeaseUntil.UTC()
	}
	return p, nil
}
