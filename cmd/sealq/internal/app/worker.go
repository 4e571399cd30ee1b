package app

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/jobs/relay"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
	"github.com/sealq/sealq/worker/authworker"
	"github.com/sealq/sealq/worker/janitor"
)

// WorkerConfig of a Worker.
type WorkerConfig struct {
	// Redis should be a client of the worker's own: it gets a hook that stops fetching while the key alarm is raised.
	Redis  redis.UniversalClient
	Keys   *signing.Keys
	Sender *mail.Sender
	// BaseURL is where the links in mails lead.
	BaseURL string
	// Product names the app in mails. Zero: the base URL's host.
	Product string
	// MailDomain is what Message-IDs end in. Zero: the base URL's host.
	MailDomain string
	// Queues and their weights. Zero: DefaultQueues.
	Queues map[string]int
	// Concurrency is how many tasks run at once. Zero: 16.
	Concurrency int
	// TaskPoll is the pause between two looks at empty queues. Zero: 200 ms.
	TaskPoll time.Duration
	// ForwardPoll is the pause between two looks for delayed tasks that are due. Zero: 1 s.
	ForwardPoll time.Duration
	// Shutdown is how long running tasks may take to finish when the worker stops. Zero: 20 s.
	Shutdown time.Duration
	// Budgets of the quarantine. Zero: quarantine.DefaultBudgets.
	Budgets quarantine.Budgets
	// Relay of the outbox. Its Logger is the worker's where nil.
	Relay relay.Config
	// OnVerdict is told of every task. Zero: nobody is.
	OnVerdict func(context.Context, worker.Verdict)
	Logger    *slog.Logger
}

const defaultShutdown = 20 * time.Second

// DefaultQueues are the queues that a worker serves unless told otherwise.
func DefaultQueues() map[string]int {
	return map[string]int{jobs.QueueCritical: 6, jobs.QueueMail: 3, jobs.QueueDefault: 2, jobs.QueueMaintenance: 1}
}

// Worker runs tasks, relays the outbox into the queue, and keeps the queue in order.
type Worker struct {
	server   *asynq.Server
	verifier *worker.Verifier
	handler  asynq.Handler
	handlers *worker.Handlers
	relay    *relay.Relay
	keeper   *quarantine.Keeper
	janitor  *janitor.Janitor
	shutdown time.Duration
	logger   *slog.Logger
}

// Worker makes a worker, with its relay, on this database.
func (d database[Tx]) Worker(c WorkerConfig) (*Worker, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Relay.Logger == nil {
		c.Relay.Logger = c.Logger
	}
	catalog, err := jobs.NewCatalog(authjobs.Definitions()...)
	if err != nil {
		return nil, err
	}
	handlers := worker.NewHandlers(worker.HandlersConfig{Outbox: d.backend, Logger: c.Logger})
	err = authworker.Register(handlers, authworker.Store[Tx](d.backend), authworker.Config{
		Keys: c.Keys, Sender: c.Sender, BaseURL: c.BaseURL, Product: c.Product, MailDomain: c.MailDomain, Logger: c.Logger,
	})
	if err != nil {
		return nil, err
	}
	if err := handlers.Check(catalog); err != nil {
		return nil, err
	}
	keeper, err := quarantine.NewKeeper(d.backend, quarantine.Config{Budgets: c.Budgets, Logger: c.Logger})
	if err != nil {
		return nil, err
	}
	verifier, err := worker.New(c.Keys, worker.Config{
		Quarantine: keeper, Effects: d.backend, OnVerdict: c.OnVerdict, Logger: c.Logger,
	})
	if err != nil {
		return nil, err
	}
	r, err := relay.New(d.backend, catalog, c.Keys, c.Redis, c.Relay)
	if err != nil {
		return nil, err
	}
	c.Queues = orDefaultQueues(c.Queues)
	tidy, err := janitor.New(c.Redis, keeper, janitor.Config{Queues: slices.Sorted(maps.Keys(c.Queues)), Logger: c.Logger})
	if err != nil {
		return nil, err
	}
	c.Redis.AddHook(worker.Calm())
	c.Redis.AddHook(worker.Gate(verifier.MayFetch))
	return &Worker{
		server:   asynq.NewServerFromRedisClient(c.Redis, verifier.Config(c.server())),
		verifier: verifier, handler: verifier.Handler(handlers), handlers: handlers, relay: r, keeper: keeper, janitor: tidy, shutdown: orDefault(c.Shutdown, defaultShutdown),
		logger: c.Logger,
	}, nil
}

func (c WorkerConfig) server() asynq.Config {
	return asynq.Config{
		Queues: c.Queues, Concurrency: orDefault(c.Concurrency, 16),
		TaskCheckInterval:        orDefault(c.TaskPoll, 200*time.Millisecond),
		DelayedTaskCheckInterval: orDefault(c.ForwardPoll, time.Second),
		ShutdownTimeout:          orDefault(c.Shutdown, defaultShutdown),
		Logger:                   asynqLogger{c.Logger}, LogLevel: asynq.WarnLevel,
	}
}

func orDefaultQueues(queues map[string]int) map[string]int {
	if len(queues) == 0 {
		return DefaultQueues()
	}
	return queues
}

func orDefault[T int | time.Duration](v, zero T) T {
	if v <= 0 {
		return zero
	}
	return v
}

// Ready says why the worker should not be called ready, nil if nothing speaks against it.
func (w *Worker) Ready() error { return w.verifier.Alarm() }

// Detail is what the relay has to say.
func (w *Worker) Detail() string { return w.relay.Stats().String() }

// Nudge tells the relay that a job was just recorded by this process.
func (w *Worker) Nudge() { w.relay.Nudge() }

// Overflow is what this worker has refused and counted since it began, because the quarantine was full.
func (w *Worker) Overflow() map[signing.Reason]quarantine.Overflow { return w.keeper.Overflow() }

// Run works until ctx ends, then lets running tasks finish and stops the relay and the janitor.
func (w *Worker) Run(ctx context.Context) error {
	if err := w.server.Start(w.handler); err != nil {
		return fmt.Errorf("start worker: %w", err)
	}
	var g errgroup.Group
	g.Go(func() error { return w.relay.Run(ctx) })
	g.Go(func() error { return w.janitor.Run(ctx) })
	refusing, stopKeeper := context.WithCancel(context.WithoutCancel(ctx)) // as long as tasks may be refused
	defer stopKeeper()
	g.Go(func() error { return w.keeper.Run(refusing) })
	<-ctx.Done()
	w.server.Shutdown()
	// Runs that asynq has given up are still to be recorded: the database must not be closed under them.
	finishing, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.shutdown)
	defer cancel()
	if err := w.handlers.Wait(finishing); err != nil {
		w.logger.WarnContext(ctx, "jobs were still running, other workers take them up", slog.Any("error", err))
	}
	stopKeeper()
	return g.Wait() //nolint:wrapcheck // the relay's own
}
