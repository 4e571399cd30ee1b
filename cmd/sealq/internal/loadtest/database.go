package loadtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/relay"
	"github.com/sealq/sealq/store"
	"github.com/sealq/sealq/store/postgres"
	"github.com/sealq/sealq/store/sqlite"
	"github.com/sealq/sealq/worker"
)

// backend is what a job that goes through a database needs of its driver.
type backend[Tx any] interface {
	InTx(ctx context.Context, fn func(tx Tx) error) error
	jobs.Outbox[Tx]
	relay.Rows
	worker.Ledger[Tx]
	worker.Effects
	worker.Outbox
	OutboxDepth(ctx context.Context) (unfinished map[jobs.RowState]int64, oldest time.Duration, err error)
}

var (
	_ backend[pgx.Tx]  = (*postgres.DB)(nil)
	_ backend[*sql.Tx] = (*sqlite.DB)(nil)
)

// throughDatabase measures with the run's own tables.
func (b *bench) throughDatabase(ctx context.Context, own store.DB, r *Report) error {
	switch db := own.(type) {
	case *postgres.DB:
		return through(ctx, b, db, r)
	case *sqlite.DB:
		return through(ctx, b, db, r)
	default:
		return fmt.Errorf("measure the database: no driver for %T", db)
	}
}

// ErrUnfinished means that the outbox says another thing than the ledger.
var ErrUnfinished = errors.New("rows of the outbox are not done, though the effects of all are committed")

func through[Tx any](ctx context.Context, b *bench, db backend[Tx], r *Report) error {
	all := (b.Jobs + recorded - 1) / recorded
	committed := &ledger[Tx]{Ledger: db, bench: b, numbers: make(map[string]int), tally: newTally(all), alone: make(chan time.Time, effects)}
	enqueue := func(ctx context.Context, n int, follow func(id string)) error {
		return db.InTx(ctx, func(tx Tx) error {
			id, err := db.EnqueueTx(ctx, tx, b.record.With(b.args(n)))
			follow(id)
			return err
		})
	}
	record, err := b.concurrently(ctx, StageRecord, all, func(ctx context.Context, n int) error {
		return enqueue(ctx, n, func(id string) { committed.expect(id, n) })
	})
	if err != nil {
		return err
	}
	r.Record = &record

	handlers := worker.NewHandlers(worker.HandlersConfig{Outbox: db, Now: b.Now})
	worker.HandleTx(handlers, committed, b.record, func(context.Context, Tx, worker.Job[args]) error { return nil })
	catalog, err := jobs.NewCatalog(b.record)
	if err != nil {
		return err
	}
	relaying, err := relay.New(db, catalog, b.keys, b.redis, relay.Config{Now: b.Now})
	if err != nil {
		return err
	}
	began := b.Now()
	err = b.serve(ctx, handlers, catalog, db, func(ctx context.Context) error {
		running, stop := context.WithCancel(ctx)
		var group errgroup.Group
		group.Go(func() error { return relaying.Run(running) })
		defer func() { stop(); _ = group.Wait() }() // Run returns nil
		if err := b.await(ctx, StageRelayAndWork, committed.tally); err != nil {
			return err
		}
		rate := rateOf(all, b.Now().Sub(began))
		waits, err := b.oneByOne(ctx, StageRecordToEffect, min(b.Jobs, effects), relayPause, func(ctx context.Context, n int) (time.Time, error) {
			if err := enqueue(context.WithoutCancel(ctx), n, committed.expectAlone); err != nil {
				return time.Time{}, err
			}
			return receive(ctx, b.Patience, committed.alone)
		})
		r.RelayAndWork, r.RecordToEffect = &rate, &waits
		return err
	})
	if err != nil {
		return err
	}
	return finished(ctx, db)
}

// relayPause is that of a relay which has just found something: relay.Config's Poll. After longer rests it grows to eight
// times that.
const relayPause = 50 * time.Millisecond

// finished requires that the outbox says so, too.
func finished[Tx any](ctx context.Context, db backend[Tx]) error {
	unfinished, _, err := db.OutboxDepth(ctx)
	if err != nil {
		return err
	}
	for state, n := range unfinished {
		if n > 0 {
			return fmt.Errorf("%w: %d are %s", ErrUnfinished, n, state)
		}
	}
	return nil
}

// ledger is a driver's, and sees what it commits.
type ledger[Tx any] struct {
	worker.Ledger[Tx]
	bench *bench
	tally *tally
	alone chan time.Time // with room for all: when effects were committed that nobody tallies

	mu      sync.Mutex
	numbers map[string]int // of jobs, by row
}

// alone is the number of effects that nobody tallies.
const alone = -1

func (l *ledger[Tx]) expect(id string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.numbers[id] = n
}

func (l *ledger[Tx]) expectAlone(id string) { l.expect(id, alone) }

// Once implements worker.Ledger.
func (l *ledger[Tx]) Once(ctx context.Context, e jobs.Effect, fn func(ctx context.Context, tx Tx) error) (was bool, err error) {
	was, err = l.Ledger.Once(ctx, e, fn)
	if err != nil {
		return was, err
	}
	now := l.bench.Now()
	if was {
		l.bench.repeated.Add(1)
		return was, nil
	}
	l.mu.Lock()
	n, ok := l.numbers[e.ID]
	l.mu.Unlock()
	switch {
	case ok && n == alone:
		l.alone <- now
	case ok:
		l.tally.count(n, &l.bench.repeated)
	}
	return was, nil
}
