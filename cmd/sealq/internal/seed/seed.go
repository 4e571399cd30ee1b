// Package seed fills the embedded stack with a day of plausible life, so that a newcomer sees every page of the dashboard with something
// on it: people register, confirm, forget passwords and get locked; mails are taken, refused and held back; somebody who can write to
// Redis forges tasks; keys are rotated and one is revoked; a scheduler stands still for a while; operators work.
//
// Nearly all of it happens: worker, relay, scheduler and accounts are the production code, on a clock that runs through the last 24 hours
// in some seconds, and what is refused was forged. The same seed tells the same story; IDs, keys and passwords differ each time.
//
// It refuses a database that was there before, whoever made it.
package seed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/sync/errgroup"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/cmd/sealq/internal/embedded"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/relay"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/operators"
	"github.com/sealq/sealq/scheduler"
	"github.com/sealq/sealq/signing"
)

// Day is how long the story is.
const Day = 24 * time.Hour

// RingAge is how old the first key is to be, so that it is good for all of the story.
const RingAge = Day + time.Hour

// Config of a seeding.
type Config struct {
	// Stack is fresh, and nobody works on it. Required. Its mail catcher has the hook Refuse, and its ring the age RingAge.
	Stack *embedded.Stack
	// Audience of the signatures. Required.
	Audience string
	// From is the address that mails come from, and BaseURL where their links lead. Required.
	From, BaseURL string
	// Product names the app in mails. Zero: the base URL's host.
	Product string
	// Seed decides who does what when. Zero is one as any other.
	Seed uint64
	// End of the story. Zero: now.
	End time.Time
	// Logger hears what worker and scheduler have to say. Zero: nobody does.
	Logger *slog.Logger
}

// Told is what whoever uses the stack must know.
type Told struct {
	// Operators that may come to the dashboard, all with the same password. Admin is asked to enrol a second factor.
	Viewer, Operator, Admin, Password string
	// Address of somebody to whom much happened, and UserPassword of all users.
	Address, UserPassword string
}

// ErrNotFresh says that the stack has a life of its own.
var ErrNotFresh = errors.New("this database was there before, and example data is for a new one")

// Fill tells the story.
func Fill(ctx context.Context, c Config) (_ Told, err error) {
	if !c.Stack.Fresh {
		return Told{}, ErrNotFresh
	}
	if c.End.IsZero() {
		c.End = time.Now()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &story{cfg: c, clock: startAt(c.End.Add(-Day)), keyClock: startAt(c.End.Add(-Day)), dice: rand.New(rand.NewPCG(c.Seed, 1)), links: make(map[string]string)} //nolint:gosec // a story, no secret
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.open(ctx); err != nil {
		return Told{}, fmt.Errorf("seed: %w", err)
	}
	if err := s.tell(ctx); err != nil {
		return Told{}, fmt.Errorf("seed, %s before its end: %w", c.End.Sub(s.clock.now()).Round(time.Minute), err)
	}
	return s.told, nil
}

// story is a system at a time that is past.
type story struct {
	cfg   Config
	clock *clock
	// keyClock is put forward before the other, for the keys to confirm their ring in between: one that was not confirmed for some minutes
	// signs nothing.
	keyClock *clock
	dice     *rand.Rand
	told     Told

	db        app.Database
	keys      *signing.Keys
	users     app.Accounts
	ops       *operators.Operators
	worker    *app.Worker
	client    *asynq.Client
	inspector *asynq.Inspector
	links     map[string]string // by address: the key in the newest mail

	closers   []func() error
	schedules func() error // stops the scheduler; nil: it does not run
}

func (s *story) closes(f func() error) { s.closers = append(s.closers, f) }

func (s *story) close() error {
	var errs []error
	for _, f := range slices.Backward(s.closers) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// cheap is the cost of the users' password hashes, which their next logins upgrade.
func cheap() accounts.HashCost { return accounts.HashCost{MemoryKiB: 64, Passes: 1, Lanes: 1} }

func (s *story) open(ctx context.Context) (err error) {
	if s.db, err = app.OpenAt(ctx, s.cfg.Stack.DatabaseFile(), s.clock.now); err != nil {
		return err
	}
	s.closes(s.db.Close)
	if s.keys, err = s.keysOf(ctx, s.cfg.Audience); err != nil {
		return err
	}
	s.closes(func() error { s.keys.Close(); return nil })
	settings := accounts.Config{Hash: cheap(), TellOwner: true, RegisterAgain: accounts.NewGeneration, LockoutNotice: true, GateSize: -1, Now: s.clock.now}
	if s.users, err = s.db.Accounts(settings); err != nil {
		return err
	}
	if s.ops, err = operators.New(s.db, operators.Config{Now: s.clock.now}); err != nil {
		return err
	}
	s.client, s.inspector = asynq.NewClientFromRedisClient(s.cfg.Stack.Redis), asynq.NewInspectorFromRedisClient(s.cfg.Stack.Redis)
	sender, err := mail.NewSender(mail.Config{URL: s.cfg.Stack.Mail.URL(), From: s.cfg.From})
	if err != nil {
		return err
	}
	s.closes(func() error { sender.Close(); return nil }) //nolint:contextcheck // it bounds itself, and ctx has ended by then
	s.worker, err = s.db.Worker(app.WorkerConfig{
		Redis: s.cfg.Stack.Redis, Keys: s.keys, Sender: sender, BaseURL: s.cfg.BaseURL, Product: s.cfg.Product, MailServer: "mail.dev.example",
		Accounts: settings, MailLimits: authjobs.MailLimits{PerDomain: clubRate(), Hourly: 200, Daily: 500},
		TaskPoll: 2 * time.Millisecond, ForwardPoll: 100 * time.Millisecond, Shutdown: 5 * time.Second,
		Relay: relay.Config{Poll: 2 * time.Millisecond}, Now: s.clock.now, Logger: s.cfg.Logger,
	})
	if err != nil {
		return err
	}
	s.closes(run(ctx, s.worker.Run))
	s.closes(func() error { return s.stopScheduler() })
	return nil
}

// keysOf opens the ring as of the story's time.
func (s *story) keysOf(ctx context.Context, audience string) (*signing.Keys, error) {
	return signing.OpenWith(ctx, s.cfg.Stack.Ring, audience, signing.Options{Now: s.keyClock.now})
}

// run runs a part until what it returns is called, which waits for its end.
func run(ctx context.Context, part func(context.Context) error) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() error { return part(ctx) })
	return func() error { cancel(); return g.Wait() }
}

func (s *story) startScheduler(ctx context.Context, crons app.Crons) error {
	ticks, refused, err := app.NewScheduler(s.db, app.SchedulerConfig{Crons: crons, Poll: 2 * time.Millisecond, Now: s.clock.now, Logger: s.cfg.Logger})
	if err := errors.Join(append(refused, err)...); err != nil {
		return err
	}
	s.schedules = run(ctx, ticks.Run)
	return nil
}

func (s *story) stopScheduler() error {
	if s.schedules == nil {
		return nil
	}
	err := s.schedules()
	s.schedules = nil
	return err
}

// patience is how long anything may take to come to rest, on a machine that is busy with other things too.
const patience = time.Minute

// settle waits until all that is due is done, or put off.
func (s *story) settle(ctx context.Context) error {
	s.worker.Nudge()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for quiet := 0; quiet < 2; { // a handler may have asked for a job between two looks
		busy, err := s.busy(ctx)
		if err != nil {
			return err
		}
		quiet++
		if busy != "" {
			quiet = 0
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s did not come to rest: %w", busy, ctx.Err())
		case <-again.C:
		}
	}
	return s.readMails()
}

// busy names something that is under way.
func (s *story) busy(ctx context.Context) (string, error) {
	if s.schedules != nil {
		kinds, err := app.Kinds()
		if err != nil {
			return "", err
		}
		reports, now, err := s.db.ScheduleReports(ctx)
		if err != nil {
			return "", err
		}
		for _, r := range reports {
			if next := scheduler.Judge(r, kinds, now).NextAt; !r.Paused && !next.IsZero() && !next.After(now) {
				return "the schedule " + r.Name, nil
			}
		}
	}
	backlog, err := s.db.OutboxBacklog(ctx)
	if err != nil {
		return "", err
	}
	for _, b := range backlog {
		if (b.State == "queued" || b.State == "claimed") && b.Rows > 0 {
			return "the outbox", nil
		}
	}
	for queue := range app.DefaultQueues() {
		if queue == pausedQueue {
			continue
		}
		for _, list := range []string{"pending", "active"} {
			n, err := s.cfg.Stack.Redis.LLen(ctx, "asynq:{"+queue+"}:"+list).Result()
			if err != nil {
				return "", fmt.Errorf("look at the queues: %w", err)
			}
			if n > 0 {
				return "the queue " + queue, nil
			}
		}
		// What was put off for a moment alone.
		n, err := s.cfg.Stack.Redis.ZCount(ctx, "asynq:{"+queue+"}:retry", "-inf", fmt.Sprint(time.Now().Add(5*time.Second).Unix())).Result()
		if err != nil {
			return "", fmt.Errorf("look at the queues: %w", err)
		}
		if n > 0 {
			return "the queue " + queue, nil
		}
	}
	return "", nil
}
