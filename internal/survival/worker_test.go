package survival_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/store/postgres"
	"github.com/sealq/sealq/worker"
	"github.com/sealq/sealq/worker/janitor"
)

const (
	concurrency = 8
	forwardPoll = 200 * time.Millisecond
	shutdown    = 5 * time.Second
)

// work verifies, runs what verified, and keeps the queues in order.
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
	keeper, err := quarantine.NewKeeper(db, quarantine.Config{Logger: p.logger()})
	if err != nil {
		return err
	}
	handlers := p.handlers(db, app)
	verify, err := worker.New(keys, worker.Config{Quarantine: keeper, Effects: db, Logger: p.logger(), Now: p.now})
	if err != nil {
		return err
	}
	tidy, err := janitor.New(client, keeper, janitor.Config{
		Queues: slices.Collect(maps.Keys(queues())), Every: time.Second, Grace: p.Grace, Logger: p.logger(), Now: p.now,
	})
	if err != nil {
		return err
	}
	serve := p.server
	if p.DropIn {
		serve = dropIn
	}
	run, err := serve(client, verify, handlers)
	if err != nil {
		return err
	}
	if err := answering(ctx, client); err != nil {
		return err
	}
	refusing, stopKeeper := context.WithCancel(context.WithoutCancel(ctx)) // as long as tasks may be refused
	var g errgroup.Group
	g.Go(func() error { return keeper.Run(refusing) })
	g.Go(func() error { return tidy.Run(ctx) })
	g.Go(func() error {
		defer stopKeeper()
		err := run(ctx)
		finishing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*shutdown)
		defer cancel()
		return errors.Join(err, handlers.Wait(finishing))
	})
	return g.Wait()
}

// server is what sealq's own command runs.
func (p process) server(client redis.UniversalClient, v *worker.Verifier, h *worker.Handlers) (func(context.Context) error, error) {
	s, err := worker.NewServer(client, v, h, worker.ServerConfig{
		Queues: queues(), Concurrency: concurrency, Fetchers: 2, ForwardPoll: forwardPoll, Shutdown: shutdown, Logger: p.logger(),
	})
	if err != nil {
		return nil, err
	}
	return s.Run, nil
}

// dropIn is an app's own asynq server, with a Verifier around its handler.
func dropIn(client redis.UniversalClient, v *worker.Verifier, h *worker.Handlers) (func(context.Context) error, error) {
	client.AddHook(v.Hook())
	server := asynq.NewServerFromRedisClient(client, v.Config(asynq.Config{
		Queues: queues(), Concurrency: concurrency, TaskCheckInterval: 50 * time.Millisecond,
		DelayedTaskCheckInterval: forwardPoll, ShutdownTimeout: shutdown, LogLevel: asynq.ErrorLevel,
	}))
	return func(ctx context.Context) error {
		if err := server.Start(v.Handler(h)); err != nil {
			return err
		}
		<-ctx.Done()
		server.Shutdown()
		return nil
	}, nil
}

// runs are the handlers of one process.
type runs struct {
	process
	app *pgxpool.Pool

	mu     sync.Mutex
	random *rand.Rand
}

func (p process) handlers(db *postgres.DB, app *pgxpool.Pool) *worker.Handlers {
	r := &runs{process: p, app: app, random: rand.New(rand.NewPCG(p.Seed, 0))}
	h := worker.NewHandlers(worker.HandlersConfig{Outbox: db, Logger: p.logger(), Now: p.now})
	worker.HandleTx(h, db, inside(), func(ctx context.Context, tx pgx.Tx, j worker.Job[numbered]) error {
		return r.take(ctx, tx, j.Args.N, string(inside().Kind()), p.Dwell)
	})
	worker.Handle(h, outside(), func(ctx context.Context, j worker.Job[numbered]) error {
		return r.take(ctx, app, j.Args.N, string(outside().Kind()), p.Dwell)
	})
	// In a transaction the ledger's entry would keep a second run waiting: nobody would see that a lease did not hold.
	worker.Handle(h, long(), func(ctx context.Context, j worker.Job[numbered]) error {
		return r.take(ctx, app, j.Args.N, string(long().Kind()), longRun)
	})
	worker.HandleTx(h, db, swept(), func(ctx context.Context, tx pgx.Tx, j worker.Job[sweep]) error {
		_, err := tx.Exec(ctx, `INSERT INTO swept (tick) VALUES ($1)`, j.Args.Tick)
		return err
	})
	return h
}

// take has an effect, or fails after it in a transaction, or before it outside of one. A run that takes its time and is not to
// fail says so when it begins.
func (r *runs) take(ctx context.Context, on interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}, n int64, kind string, dwell time.Duration,
) error {
	_, inTx := on.(pgx.Tx)
	fails := kind != string(long().Kind()) && r.fails()
	if fails && !inTx {
		return errOnPurpose
	}
	if dwell > 0 && !fails {
		if _, err := r.app.Exec(ctx, `INSERT INTO begun (n, kind, process) VALUES ($1, $2, $3)`, n, kind, r.Number); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(dwell):
		}
	}
	_, err := on.Exec(ctx, `INSERT INTO effects (n, kind, process, at) VALUES ($1, $2, $3, $4)`, n, kind, r.Number, time.Now().UnixMilli())
	if err == nil && fails {
		err = errOnPurpose
	}
	return err
}

func (r *runs) fails() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.random.IntN(failsIn) == 0
}
