package survival_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/relay"
	"github.com/sealq/sealq/store/postgres"
	"github.com/sealq/sealq/worker"
	"github.com/sealq/sealq/worker/janitor"
)

// tables are the app's own. None has a unique constraint: what happens twice is seen twice.
const tables = `
CREATE TABLE recorded (n bigint NOT NULL, kind text NOT NULL); -- in the transaction that recorded the job
CREATE TABLE effects  (n bigint NOT NULL, kind text NOT NULL);`

// numbered are the arguments of every job: no two have the same number, and no honest one is negative.
type numbered struct {
	N int64 `json:"n"`
}

// The kinds. The effect of one lies in the database, that of the other outside, as far as sealq knows.
func inside() jobs.Def[numbered] {
	return jobs.Define[numbered]("survival:inside", jobs.Policy{Queue: "default", Backoff: soon})
}

func outside() jobs.Def[numbered] {
	return jobs.Define[numbered]("survival:outside", jobs.Policy{Queue: "critical", Backoff: soon})
}

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

var errOnPurpose = errors.New("it fails on purpose")

// enqueue records jobs until at least p.Jobs are committed. A commit whose outcome is unknown is not tried again: the numbers
// that count stand in the table recorded.
func (p process) enqueue(ctx context.Context) error {
	random := rand.New(rand.NewPCG(p.Seed, 0))
	db, err := open(ctx, p.Database)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	pace := time.NewTicker(max(p.Over*mostPerTx/2/time.Duration(p.Jobs), time.Millisecond))
	defer pace.Stop()
	for n, committed := int64(0), 0; committed < p.Jobs; {
		size := 1 + random.IntN(mostPerTx)
		rollBack := random.IntN(rolledBackIn) == 0
		err := db.InTx(ctx, func(tx pgx.Tx) error {
			for range size {
				n++
				if err := record(ctx, db, tx, n, random); err != nil {
					return err
				}
			}
			if rollBack {
				return errOnPurpose
			}
			return nil
		})
		switch {
		case err == nil:
			committed += size
		case ctx.Err() != nil:
			return ctx.Err()
		case !errors.Is(err, errOnPurpose):
			p.logger().ErrorContext(ctx, "not recorded", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-pace.C:
		}
	}
	return nil
}

func record(ctx context.Context, db *postgres.DB, tx pgx.Tx, n int64, random *rand.Rand) error {
	d := inside()
	if random.IntN(outsideIn) == 0 {
		d = outside()
	}
	var opts []jobs.Option
	if random.IntN(delayedIn) == 0 {
		opts = append(opts, jobs.In(time.Duration(random.IntN(5000))*time.Millisecond))
	}
	if random.IntN(2) == 0 {
		opts = append(opts, jobs.Queue("critical"))
	}
	if _, err := tx.Exec(ctx, `INSERT INTO recorded (n, kind) VALUES ($1, $2)`, n, d.Kind()); err != nil {
		return err
	}
	_, err := db.EnqueueTx(ctx, tx, d.With(numbered{n}, opts...))
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
	catalog, err := jobs.NewCatalog(inside(), outside())
	if err != nil {
		return err
	}
	r, err := relay.New(db, catalog, keys, client, relay.Config{
		Poll: 10 * time.Millisecond, Lease: 3 * time.Second, Overdue: overdue, Reconcile: 250 * time.Millisecond,
		Deferral: 30 * time.Second, Logger: p.logger(),
	})
	if err != nil {
		return err
	}
	return r.Run(ctx)
}

const concurrency = 8

// work verifies, and runs what verified.
func (p process) work(ctx context.Context) error {
	url := p.Database + map[bool]string{true: "&", false: "?"}[strings.Contains(p.Database, "?")] + fmt.Sprintf("pool_max_conns=%d", concurrency+2)
	db, err := open(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	app, err := pgxpool.New(ctx, p.Database)
	if err != nil {
		return err
	}
	defer app.Close()
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

	handlers := p.handlers(db, app)
	verify, err := worker.New(keys, worker.Config{Quarantine: db, Effects: db, Logger: p.logger()})
	if err != nil {
		return err
	}
	client.AddHook(verify.Hook())
	server := asynq.NewServerFromRedisClient(client, verify.Config(asynq.Config{
		Queues: queues(), Concurrency: concurrency, TaskCheckInterval: 20 * time.Millisecond,
		DelayedTaskCheckInterval: 200 * time.Millisecond, ShutdownTimeout: 5 * time.Second, LogLevel: asynq.ErrorLevel,
	}))
	if err := startOnce(ctx, client, server, verify.Handler(handlers)); err != nil {
		return err
	}
	tidy, err := janitor.New(client, db, janitor.Config{Queues: slices.Collect(maps.Keys(queues())), Every: time.Second, Logger: p.logger()})
	if err != nil {
		return err
	}
	err = tidy.Run(ctx)
	server.Shutdown()
	finishing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return errors.Join(err, handlers.Wait(finishing))
}

// open opens the database when it answers: a process that finds none ends, and whatever runs it would start it again.
func open(ctx context.Context, url string) (*postgres.DB, error) {
	for {
		db, err := postgres.Open(ctx, url)
		if err == nil || ctx.Err() != nil {
			return db, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// startOnce starts the server when Redis answers: asynq does not wait for it.
func startOnce(ctx context.Context, client *redis.Client, server *asynq.Server, h asynq.Handler) error {
	for client.Ping(ctx).Err() != nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return server.Start(h)
}

func (p process) handlers(db *postgres.DB, app *pgxpool.Pool) *worker.Handlers {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(p.Seed, 0))
	fails := func() error {
		mu.Lock()
		defer mu.Unlock()
		if random.IntN(failsIn) == 0 {
			return errOnPurpose
		}
		return nil
	}
	const insert = `INSERT INTO effects (n, kind) VALUES ($1, $2)`
	h := worker.NewHandlers(worker.HandlersConfig{Outbox: db, Logger: p.logger()})
	worker.HandleTx(h, db, inside(), func(ctx context.Context, tx pgx.Tx, j worker.Job[numbered]) error {
		if _, err := tx.Exec(ctx, insert, j.Args.N, inside().Kind()); err != nil {
			return err
		}
		return fails()
	})
	worker.Handle(h, outside(), func(ctx context.Context, j worker.Job[numbered]) error {
		if err := fails(); err != nil {
			return err
		}
		_, err := app.Exec(ctx, insert, j.Args.N, outside().Kind())
		return err
	})
	return h
}
