package survival_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/relay"
	"github.com/sealq/sealq/scheduler"
	"github.com/sealq/sealq/store/postgres"
)

// tables are the app's own. None has a unique constraint: what happens twice is seen twice. Times are in ms, by the hosts' true
// clock.
const tables = `
CREATE TABLE recorded (n bigint NOT NULL, kind text NOT NULL, due bigint NOT NULL); -- in the transaction that recorded the job
CREATE TABLE begun    (n bigint NOT NULL, kind text NOT NULL, process int NOT NULL); -- committed at once, where runs take their time
CREATE TABLE effects  (n bigint NOT NULL, kind text NOT NULL, process int NOT NULL, at bigint NOT NULL);
CREATE TABLE swept    (tick text NOT NULL);
CREATE INDEX ON begun (process);
CREATE INDEX ON effects (n);`

// numbered are the arguments of the jobs: no two have the same number, and no honest one is negative.
type numbered struct {
	N int64 `json:"n"`
}

// sweep are the arguments of a schedule's jobs.
type sweep struct {
	Tick string `json:"tick"`
}

// The kinds. The effect of one lies in the database, that of another outside, as far as sealq knows. One takes as long as a task's
// lease, and one comes by a schedule.
func inside() jobs.Def[numbered] {
	return jobs.Define[numbered]("survival:inside", jobs.Policy{Queue: "default", Backoff: soon, Timeout: patient})
}

func outside() jobs.Def[numbered] {
	return jobs.Define[numbered]("survival:outside", jobs.Policy{Queue: "critical", Backoff: soon, Timeout: patient})
}

func long() jobs.Def[numbered] {
	return jobs.Define[numbered]("survival:long", jobs.Policy{Queue: "default", Backoff: soon})
}

func swept() jobs.Def[sweep] {
	return jobs.Define[sweep]("survival:swept", jobs.Policy{Queue: "default", Backoff: soon, Timeout: patient})
}

// patient bounds a run whose connection has fallen silent.
const patient = 20 * time.Second

func soon(int) time.Duration { return 200 * time.Millisecond }

func queues() map[string]int { return map[string]int{"critical": 2, "default": 1} }

// Half of the enqueuer's measures: the others follow from how many jobs it records in which time.
const (
	mostPerTx    = 40
	rolledBackIn = 8 // one transaction in
	delayedIn    = 6 // one job in
	outsideIn    = 5
	failsIn      = 50 // one run in
)

// Of long and late jobs.
const (
	firstLong = 1_000_000_000
	firstLate = 2_000_000_000
	longRun   = 25 * time.Second // nearly asynq's lease
	lateBy    = 45 * time.Second
)

var errOnPurpose = errors.New("it fails on purpose")

// enqueue records jobs until at least p.Jobs are committed, and longer if it is endless. A commit whose outcome is unknown is not
// tried again: the numbers that count stand in the table recorded.
func (p process) enqueue(ctx context.Context) error {
	random := rand.New(rand.NewPCG(p.Seed, 0))
	db, err := open(ctx, p.Database)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	if err := p.recordSpecial(ctx, db); err != nil {
		return err
	}
	app, err := pgxpool.New(ctx, p.Database)
	if err != nil {
		return err
	}
	defer app.Close()
	pace := time.NewTicker(max(p.Over*mostPerTx/2/time.Duration(p.Jobs), time.Millisecond))
	defer pace.Stop()
	for n, committed := int64(0), 0; p.Endless || committed < p.Jobs; {
		if err := p.unlessBehind(ctx, app); err != nil {
			break
		}
		size := 1 + random.IntN(mostPerTx)
		rollBack := random.IntN(rolledBackIn) == 0
		trying, cancel := context.WithTimeout(ctx, patient)
		err := db.InTx(trying, func(tx pgx.Tx) error {
			for range size {
				n++
				if err := recordOne(trying, db, tx, n, random); err != nil {
					return err
				}
			}
			if rollBack {
				return errOnPurpose
			}
			return nil
		})
		cancel()
		switch {
		case err == nil:
			committed += size
		case ctx.Err() != nil:
		case !errors.Is(err, errOnPurpose):
			p.logger().ErrorContext(ctx, "not recorded", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
		case <-pace.C:
		}
	}
	if p.Endless {
		return nil
	}
	return ctx.Err()
}

// mostBehind is how many jobs may be unfinished before an enqueuer waits: a busy machine must come to rest in the same time.
const mostBehind = 2000

func (p process) unlessBehind(ctx context.Context, app *pgxpool.Pool) error {
	for ctx.Err() == nil {
		var n int
		asking, cancel := context.WithTimeout(ctx, patient)
		err := app.QueryRow(asking, `SELECT count(*) FROM outbox WHERE state IN ('queued', 'claimed', 'enqueued')`).Scan(&n)
		cancel()
		if err == nil && n < mostBehind {
			return nil
		}
		rest(ctx)
	}
	return ctx.Err()
}

// recordSpecial records the long and the late jobs.
func (p process) recordSpecial(ctx context.Context, db *postgres.DB) error {
	if p.Long == 0 && p.Late == 0 {
		return nil // and no commit that the test's own trouble could end this process by
	}
	return db.InTx(ctx, func(tx pgx.Tx) error {
		for i := range int64(p.Long) {
			if err := record(ctx, db, tx, long(), firstLong+i, 0); err != nil {
				return err
			}
		}
		for i := range int64(p.Late) {
			if err := record(ctx, db, tx, inside(), firstLate+i, lateBy); err != nil {
				return err
			}
		}
		return nil
	})
}

func recordOne(ctx context.Context, db *postgres.DB, tx pgx.Tx, n int64, random *rand.Rand) error {
	d := inside()
	if random.IntN(outsideIn) == 0 {
		d = outside()
	}
	var in time.Duration
	if random.IntN(delayedIn) == 0 {
		in = time.Duration(random.IntN(5000)) * time.Millisecond
	}
	var opts []jobs.Option
	if random.IntN(2) == 0 {
		opts = append(opts, jobs.Queue("critical"))
	}
	return record(ctx, db, tx, d, n, in, opts...)
}

func record(ctx context.Context, db *postgres.DB, tx pgx.Tx, d jobs.Def[numbered], n int64, in time.Duration, opts ...jobs.Option) error {
	if in > 0 {
		opts = append(opts, jobs.In(in))
	}
	_, err := tx.Exec(ctx, `INSERT INTO recorded (n, kind, due) VALUES ($1, $2, $3)`, n, d.Kind(), time.Now().Add(in).UnixMilli())
	if err != nil {
		return err
	}
	_, err = db.EnqueueTx(ctx, tx, d.With(numbered{n}, opts...))
	return err
}

// overdue is how long these relays let a row wait before they look its task up.
const overdue = 2 * time.Second

// relay relays and reconciles.
func (p process) relay(ctx context.Context) error {
	db, err := open(ctx, p.Database)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	keys, err := p.keys(ctx)
	if err != nil {
		return err
	}
	defer keys.Close()
	client, err := p.client()
	if err != nil {
		return err
	}
	defer client.Close()
	catalog, err := jobs.NewCatalog(inside(), outside(), long(), swept())
	if err != nil {
		return err
	}
	r, err := relay.New(db, catalog, keys, client, relay.Config{
		Poll: 20 * time.Millisecond, Lease: 3 * time.Second, Overdue: overdue, Reconcile: 250 * time.Millisecond,
		Deferral: 30 * time.Second, Now: p.now, Logger: p.logger(),
	})
	if err != nil {
		return err
	}
	return r.Run(ctx)
}

// schedule makes a tick each second.
func (p process) schedule(ctx context.Context) error {
	db, err := open(ctx, p.Database)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	s, err := scheduler.New(db, scheduler.Config{
		Schedules: []scheduler.Schedule{{
			Name: "sweep", Cron: "@every 1s", Job: func(tick string) jobs.Job { return swept().With(sweep{tick}) },
		}},
		Poll: 200 * time.Millisecond, Logger: p.logger(),
	})
	if err != nil {
		return err
	}
	return s.Run(ctx)
}
