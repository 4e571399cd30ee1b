package app

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/jobs/relay"
	"github.com/sealq/sealq/jobs/sweep"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/metrics"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
	"github.com/sealq/sealq/worker/authworker"
	"github.com/sealq/sealq/worker/janitor"
)

// WorkerConfig of a Worker.
type WorkerConfig struct {
	Redis  redis.UniversalClient
	Keys   *signing.Keys
	Sender *mail.Sender
	// BaseURL is where the links in mails lead.
	BaseURL string
	// ConfirmPath, ResetPath and EmailPath are the app's pages that take the keys of links. Zero: /confirm, /reset and /email.
	ConfirmPath, ResetPath, EmailPath string
	// Accounts is how long links work, and whether owners are told of lockouts.
	Accounts accounts.Config
	// Product names the app in mails. Zero: the base URL's host.
	Product string
	// Templates of the mails. Zero: the package mail's own.
	Templates *mail.Templates
	// MailDomain is what Message-IDs end in. Zero: the domain of Sender's address.
	MailDomain string
	// MailServer is the host that Sender sends to, kept with each try of a mail. Zero: it is not.
	MailServer string
	// WatchMail has the worker ask the mail server from the start on whether it lets us in, and say that it does not. Zero: the first mail finds out.
	WatchMail bool
	// Retention is how long what has ended is kept. Zero: see sweep.Retention.
	Retention sweep.Retention
	// MailLimits of the deployment. Zero: none.
	MailLimits authjobs.MailLimits
	// Queues and their weights. Zero: DefaultQueues.
	Queues map[string]int
	// Concurrency is how many tasks run at once. Zero: worker.DefaultConcurrency.
	Concurrency int
	// Fetchers is how many fetch loops there are. Zero: worker.DefaultFetchers.
	Fetchers int
	// TaskPoll is the pause between two looks at empty queues. Zero: calm.DefaultPoll.
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
	// OnEnd is told how each look at a task ended. Zero: nobody is.
	OnEnd func(context.Context, worker.End)
	// OnFind is told of what was put in order in the queues. Zero: nobody is.
	OnFind func(context.Context, janitor.Find)
	// OnMail is told what became of each try of a mail. Zero: nobody is.
	OnMail func(context.Context, authjobs.MailOutcome)
	// OnSweep is told how far a sweep is. Zero: nobody is.
	OnSweep func(context.Context, sweep.Progress)
	// TracerProvider makes the spans of relay and worker. Zero: none are made.
	TracerProvider trace.TracerProvider
	// Now is the clock of all but asynq, which has the host's. Zero: time.Now.
	Now    func() time.Time
	Logger *slog.Logger
}

// DefaultQueues are the queues that a worker serves unless told otherwise.
func DefaultQueues() map[string]int {
	return map[string]int{jobs.QueueCritical: 6, jobs.QueueMail: 3, jobs.QueueDefault: 2, jobs.QueueMaintenance: 1}
}

// Worker runs tasks, relays the outbox into the queue, and keeps the queue in order.
type Worker struct {
	server   *worker.Server
	handlers *worker.Handlers
	relay    *relay.Relay
	keeper   *quarantine.Keeper
	janitor  *janitor.Janitor
	sources  metrics.Sources
	watch    *mailWatch // nil: there is none
	mends    *mends
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
	if c.Relay.Now == nil {
		c.Relay.Now = c.Now
	}
	if c.Relay.TracerProvider == nil {
		c.Relay.TracerProvider = c.TracerProvider
	}
	catalog, err := jobs.NewCatalog(authjobs.Definitions()...)
	if err != nil {
		return nil, err
	}
	mailServer, err := worker.NewBreaker(worker.BreakerConfig{System: authworker.MailSystem, Kinds: authworker.MailKinds(), Now: c.Now, Logger: c.Logger})
	if err != nil {
		return nil, err
	}
	var watch *mailWatch
	breakers := []metrics.Breaker{mailServer}
	if c.WatchMail {
		watch = &mailWatch{ping: c.Sender.Ping, where: c.MailServer, logger: c.Logger}
		breakers = []metrics.Breaker{watchedBreaker{mailServer, watch}}
		told := c.OnMail
		c.OnMail = func(ctx context.Context, o authjobs.MailOutcome) {
			watch.mailed(ctx, o)
			if told != nil {
				told(ctx, o)
			}
		}
	}
	users, err := accounts.New(d.backend, authjobs.NewNotifier(d.backend), c.Accounts)
	if err != nil {
		return nil, err
	}
	handlers := worker.NewHandlers(worker.HandlersConfig{
		Outbox: d.backend, Breakers: []*worker.Breaker{mailServer}, Shared: []worker.SharedLimit{mailLimit(c.Sender)}, Now: c.Now, Logger: c.Logger,
	})
	err = authworker.Register(handlers, authworker.Store[Tx](d.backend), users, authworker.Config{
		Keys: c.Keys, Sender: c.Sender, BaseURL: c.BaseURL, ConfirmPath: c.ConfirmPath, ResetPath: c.ResetPath, EmailPath: c.EmailPath,
		Product: c.Product, MailDomain: c.MailDomain, Templates: c.Templates, Server: c.MailServer, OnMail: c.OnMail, Limits: c.MailLimits, Logger: c.Logger,
		Retention: c.Retention, OnSweep: c.OnSweep, Now: c.Now,
	})
	if err != nil {
		return nil, err
	}
	if err := handlers.Check(catalog); err != nil {
		return nil, err
	}
	keeper, err := quarantine.NewKeeper(d.backend, quarantine.Config{Budgets: c.Budgets, Now: c.Now, Logger: c.Logger})
	if err != nil {
		return nil, err
	}
	mended := &mends{}
	verifier, err := worker.New(c.Keys, worker.Config{
		Quarantine: keeper, Effects: d.backend, OnVerdict: c.OnVerdict, OnEnd: c.OnEnd, OnMend: mended.add,
		TracerProvider: c.TracerProvider, Now: c.Now, Logger: c.Logger,
	})
	if err != nil {
		return nil, err
	}
	r, err := relay.New(d.backend, catalog, c.Keys, c.Redis, c.Relay)
	if err != nil {
		return nil, err
	}
	c.Queues = orDefaultQueues(c.Queues)
	tidy, err := janitor.New(c.Redis, keeper, janitor.Config{Queues: slices.Sorted(maps.Keys(c.Queues)), OnFind: c.OnFind, Logger: c.Logger})
	if err != nil {
		return nil, err
	}
	if c.Shutdown <= 0 {
		c.Shutdown = worker.DefaultShutdown
	}
	server, err := worker.NewServer(c.Redis, verifier, handlers, worker.ServerConfig{
		Queues: c.Queues, Concurrency: c.Concurrency, Fetchers: c.Fetchers, Poll: c.TaskPoll, ForwardPoll: c.ForwardPoll,
		Shutdown: c.Shutdown, Logger: c.Logger,
	})
	if err != nil {
		return nil, err
	}
	return &Worker{
		server: server, handlers: handlers, relay: r, keeper: keeper, janitor: tidy, watch: watch, mends: mended, shutdown: c.Shutdown, logger: c.Logger,
		sources: metrics.Sources{
			Ring: c.Keys, Relay: r, Kinds: catalog.Kinds(), Overflow: keeper, Quarantine: d.backend, Budgets: c.Budgets,
			Redis: c.Redis, Queues: slices.Sorted(maps.Keys(c.Queues)), Breakers: breakers,
			Connections: func() metrics.Connections { return metrics.Connections(c.Sender.Stats()) },
			Alarms:      map[string]func() error{"key_refusals": verifier.Alarm},
		},
	}, nil
}

// mailLimit lets no more mails run than there may be connections to the mail server: the others would wait in a slot that another task could have.
func mailLimit(s *mail.Sender) worker.SharedLimit {
	return worker.SharedLimit{Kinds: authworker.MailKinds(), Limit: worker.Limit{Concurrency: s.MaxConns()}}
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
func (w *Worker) Ready() error { return w.server.Ready() }

// Detail is what the relay has to say, which outside systems' jobs wait, and whether the mail server was away from the start on.
func (w *Worker) Detail() string {
	waits := w.server.Detail()
	if waits == "" && w.watch != nil {
		if err := w.watch.err(); err != nil {
			waits = err.Error()
		}
	}
	return strings.Join(slices.DeleteFunc([]string{w.relay.Stats().String(), waits}, func(s string) bool { return s == "" }), "; ")
}

// Sources are what metrics can be read of a worker. The map of alarms is the caller's to add to.
func (w *Worker) Sources() metrics.Sources {
	s := w.sources
	s.Alarms = maps.Clone(s.Alarms)
	return s
}

// Nudge tells the relay that a job was just recorded by this process.
func (w *Worker) Nudge() { w.relay.Nudge() }

// Overflow is what this worker has refused and counted since it began, because the quarantine was full.
func (w *Worker) Overflow() map[signing.Reason]quarantine.Overflow { return w.keeper.Overflow() }

// Run works until ctx ends, then lets running tasks finish and stops the relay and the janitor.
func (w *Worker) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	refusing, stopKeeper := context.WithCancel(context.WithoutCancel(ctx)) // as long as tasks may be refused
	g.Go(func() error { return w.keeper.Run(refusing) })
	g.Go(func() error { return w.relay.Run(ctx) })
	g.Go(func() error { return w.janitor.Run(ctx) })
	if w.watch != nil {
		g.Go(func() error { return w.watch.run(ctx) })
	}
	g.Go(func() error {
		defer stopKeeper()
		err := w.server.Run(ctx)
		// Runs that asynq has given up are still to be recorded: the database must not be closed under them.
		finishing, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.shutdown)
		defer cancel()
		if waitErr := w.handlers.Wait(finishing); waitErr != nil {
			w.logger.WarnContext(ctx, "jobs were still running, other workers take them up", slog.Any("error", waitErr))
		}
		return err
	})
	return g.Wait() //nolint:wrapcheck // the parts' own
}
