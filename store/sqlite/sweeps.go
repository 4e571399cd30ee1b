package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/sealq/sealq/jobs/sweep"
)

// swept is how a part is walked: by an index on due, from its oldest end. SQLite leaves nothing of what it deleted there.
type swept struct {
	table, key string // the primary key
	due        string
	byID       bool   // due is a UUID of version 7, which begins with the time at which it was made
	only       string // of the rows t whose time has come, " AND …"; ?1 is the instant at which it came at the latest, ?3 is now
	counted    string // only, for who counts before the parts that go first have gone; "": only
}

// jobOver: no task of the row can be signed or accepted any more, and nothing tells of a schedule's run by it.
const jobOver = ` AND t.ended_at <= ?1 AND t.expires_at <= ?3 - 3600000000 AND NOT EXISTS (SELECT 1 FROM ticks k WHERE k.row_id = t.id)`

// mailOver: no job is going to send it, or tells of it.
const mailOver = ` AND coalesce(t.lease_until <= ?3, 1) AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.id = t.id)`

// jobOverThen and mailOverThen are what they are once the same purge has deleted the ticks and jobs that are kept for as long.
const (
	jobOverThen = ` AND t.ended_at <= ?1 AND t.expires_at <= ?3 - 3600000000
	AND NOT EXISTS (SELECT 1 FROM ticks k WHERE k.row_id = t.id AND NOT EXISTS (` + ticksAfter + `))`
	mailOverThen = ` AND coalesce(t.lease_until <= ?3, 1) AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.id = t.id
	AND (o.ended_at <= ?1 AND o.expires_at <= ?3 - 3600000000
		AND NOT EXISTS (SELECT 1 FROM ticks k WHERE k.row_id = o.id AND NOT EXISTS (` + ticksAfter + `))) IS NOT TRUE)`
	ticksAfter = `SELECT 1 FROM ticks n WHERE n.schedule = k.schedule AND n.due_at > k.due_at LIMIT 1 OFFSET 99` // sweep.KeptTicks - 1
)

func sweptBy(part sweep.Part) (swept, error) {
	switch part {
	case sweep.Registrations:
		return swept{table: "pending_users", key: "id", due: "expires_at"}, nil
	case sweep.Requests:
		return swept{table: "owner_requests", key: "id", due: "expires_at"}, nil
	case sweep.Lockouts:
		return swept{table: "login_state", key: "email_norm", due: "locked_until"}, nil
	case sweep.Ledger:
		return swept{table: "ledger", key: "kind, effect_id", due: "keep_until"}, nil
	case sweep.Tokens:
		return swept{table: "user_tokens", key: "user_id, purpose", due: "expires_at"}, nil
	case sweep.Ticks:
		return swept{table: "ticks", key: "schedule, due_at", due: "row_id", byID: true, only: fmt.Sprintf(
			` AND EXISTS (SELECT 1 FROM ticks n WHERE n.schedule = t.schedule AND n.due_at > t.due_at LIMIT 1 OFFSET %d)`, sweep.KeptTicks-1)}, nil
	case sweep.Jobs:
		return swept{table: "outbox", key: "id", due: "id", byID: true, only: jobOver, counted: jobOverThen}, nil
	case sweep.Mails:
		return swept{table: "mails", key: "id", due: "created_at", only: mailOver, counted: mailOverThen}, nil
	case sweep.Quarantine:
		return swept{table: "quarantine", key: "id", due: "received_at"}, nil
	case sweep.Audit, sweep.Attempts:
	}
	return swept{}, fmt.Errorf("sweep %q: there is no such part", part)
}

// rows are those whose time has come. ?2 is how many at most.
func (s swept) rows(columns string) string {
	bound := ` <= ?1`
	if s.byID {
		bound = ` < ?4 AND ?1 > 0`
	}
	return `SELECT ` + columns + ` FROM ` + s.table + ` t WHERE t.` + s.due + bound + ` AND ?3 > 0` + s.only
}

func (s swept) args(w sweep.Walk, limit int, instant int64) []any {
	cutoff := instant - w.Keep.Microseconds()
	args := []any{cutoff, limit, instant}
	if s.byID {
		args = append(args, earliestID(cutoff))
	}
	return args
}

// earliestID is below every UUID of version 7 that was made at that instant or later: it begins with milliseconds (RFC 9562, 5.7).
func earliestID(micros int64) string {
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:], uint64(max(micros/1000, 0))<<16)
	return id.String()
}

// SweepBatch deletes rows of a part that are due: see [sweep.Store].
func (db *DB) SweepBatch(ctx context.Context, w sweep.Walk, limit int) (sweep.Batch, error) {
	if w.Part == sweep.Audit {
		return db.purgeAudit(ctx, w.Keep, limit)
	}
	s, err := sweptBy(w.Part)
	if err != nil {
		return sweep.Batch{}, err
	}
	n, err := db.countInTx(ctx, "sweep "+string(w.Part), func(tx *sql.Tx, instant int64) (int, error) {
		return execute(ctx, tx, `DELETE FROM `+s.table+` WHERE (`+s.key+`) IN (`+s.rows(s.key)+` ORDER BY t.`+s.due+` LIMIT ?2)`, s.args(w, limit, instant)...)
	})
	return sweep.Batch{Gone: n, More: n == limit}, err
}

// CountDue counts what is due of a part: see [sweep.Store]. It is exact, as that costs little here.
func (db *DB) CountDue(ctx context.Context, w sweep.Walk, _ bool) (n int64, err error) {
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
	s.only = cmp.Or(s.counted, s.only)
	instant, err := now(ctx, db.read)
	if err == nil {
		err = db.read.QueryRowContext(ctx, `SELECT count(*) FROM (`+s.rows("1")+` LIMIT ?2)`, s.args(w, -1, instant)...).Scan(&n)
	}
	if err != nil {
		return 0, db.wrap("count "+string(w.Part), err)
	}
	return n, nil
}

// TellSweep writes how far a sweep is and renews its lease: see [sweep.Desk].
func (db *DB) TellSweep(ctx context.Context, p sweep.Progress, lease time.Duration) (bool, error) {
	n, err := db.countInTx(ctx, "tell of sweep "+p.Sweep, func(tx *sql.Tx, instant int64) (int, error) {
		return execute(ctx, tx, `
			INSERT INTO sweeps AS s (name, holder, lease_until, tick, part, done, due, ended, began_at, told_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9)
			ON CONFLICT (name) DO UPDATE SET
				holder = excluded.holder, lease_until = excluded.lease_until, tick = excluded.tick, part = excluded.part, done = excluded.done,
				due = excluded.due, ended = excluded.ended, told_at = excluded.told_at,
				began_at = CASE WHEN s.holder = excluded.holder OR NOT s.ended AND s.tick = excluded.tick THEN s.began_at ELSE excluded.began_at END
			WHERE s.lease_until <= ?9 OR s.holder = excluded.holder`,
			p.Sweep, p.Holder, instant+lease.Microseconds(), p.Tick, string(p.Part), p.Done, p.Due, p.Ended, instant)
	})
	return n > 0, err
}

// SweepProgress reads how far a sweep is: see [sweep.Desk].
func (db *DB) SweepProgress(ctx context.Context, name string) (sweep.Progress, error) {
	p := sweep.Progress{Sweep: name}
	var began, told, lease int64
	err := db.read.QueryRowContext(ctx, `SELECT holder, tick, part, done, due, ended, began_at, told_at, lease_until FROM sweeps WHERE name = ?`, name).
		Scan(&p.Holder, &p.Tick, &p.Part, &p.Done, &p.Due, &p.Ended, &began, &told, &lease)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return p, nil
	case err != nil:
		return sweep.Progress{}, db.wrap("read sweep "+name, err)
	}
	p.BeganAt, p.ToldAt, p.LeaseUntil = timeOf(began), timeOf(told), timeOf(lease)
	return p, nil
}
