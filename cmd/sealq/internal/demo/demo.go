// Package demo tells sealq's story on the embedded stack, step by step: each step does something through the
// production code, checks what came of it, and prints one line with the facts. A step that does not hold ends
// the demo with an error.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/cmd/sealq/internal/embedded"
	"github.com/sealq/sealq/jobs/relay"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

const (
	audience = "demo"
	// ringAge lets the story hold a task that was signed before the demo began.
	ringAge = 48 * time.Hour
	// patience is how long any one thing may take before its step has failed, on a machine that is busy with other things too.
	patience = 30 * time.Second
)

// The story's policies are short, so that it can be told in seconds.
const (
	shortTTL     = 900 * time.Millisecond
	lockoutLimit = 3
	lockoutFor   = 1200 * time.Millisecond
)

// Run tells the story to out. It needs no server and leaves nothing behind.
func Run(ctx context.Context, out io.Writer) (err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	stack, err := embedded.Start(ctx, embedded.Config{RingAge: ringAge})
	if err != nil {
		return fmt.Errorf("start the embedded stack: %w", err)
	}
	defer func() { err = errors.Join(err, stack.Close()) }()
	app.LogRedis(slog.New(slog.DiscardHandler))

	keys, err := signing.Open(ctx, "file:"+stack.RingFile, audience)
	if err != nil {
		return err
	}
	defer keys.Close()
	s := &story{stack: stack, keys: keys, out: out, began: time.Now(), sweeps: &sweeps{rows: make(map[string]int64)}, verdicts: make(chan worker.Verdict, 1024)}
	return s.run(ctx)
}

// story is the running system and what is being told of it.
type story struct {
	stack *embedded.Stack
	keys  *signing.Keys
	site  *served
	users app.Accounts // with the usual policies
	hasty app.Accounts // whose registrations end almost at once

	sender   *mail.Sender
	worker   *app.Worker
	verdicts chan worker.Verdict
	sweeps   *sweeps

	out   io.Writer
	began time.Time
	steps int
}

func (s *story) run(ctx context.Context) (err error) {
	if err := s.open(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.site.close()) }()
	defer s.sender.Close() //nolint:contextcheck // it bounds itself, and ctx has ended by then
	ctx, stop := context.WithCancel(ctx)
	g, running := errgroup.WithContext(ctx)
	defer func() {
		stop()
		err = errors.Join(err, g.Wait())
	}()
	ticks, _, err := app.NewScheduler(s.stack.Database, app.SchedulerConfig{Crons: app.Crons{ExpirePending: "@every 1s", ResetLockouts: "@every 1s"}})
	if err != nil {
		return err
	}
	g.Go(func() error { return s.worker.Run(running) })
	g.Go(func() error { return ticks.Run(running) })

	fmt.Fprintf(s.out, "sealq demo: SQLite, miniredis and a mail catcher inside this process; all else is the production code.\n\n")
	for _, step := range []func(context.Context) (string, error){
		s.register, s.mailArrives, s.activate, s.logIn,
		s.registrationExpires,
		s.lock, s.lockLifts,
		s.wipeQueue,
	} {
		facts, err := step(running)
		if err != nil {
			return fmt.Errorf("step %d: %w", s.steps+1, err)
		}
		s.tell(facts)
	}
	fmt.Fprintf(s.out, "\nNow somebody who can write to Redis puts tasks into it:\n\n")
	if err := s.attacks(running); err != nil {
		return err
	}
	fmt.Fprintf(s.out, whatNext, time.Since(s.began).Round(100*time.Millisecond))
	return nil
}

// open makes the accounts, the page that links lead to, and the worker.
func (s *story) open(ctx context.Context) (err error) {
	lockout := accounts.Lockout{Limit: lockoutLimit, For: lockoutFor}
	usual := accounts.Config{Lockout: lockout}
	if s.users, err = s.stack.Database.Accounts(usual); err != nil {
		return err
	}
	if s.hasty, err = s.stack.Database.Accounts(accounts.Config{Lockout: lockout, PendingTTL: shortTTL}); err != nil {
		return err
	}
	if s.site, err = openSite(ctx, s.stack, usual); err != nil {
		return err
	}
	s.sender, err = mail.NewSender(mail.Config{URL: s.stack.Mail.URL(), From: "sealq demo <no-reply@demo.example>"})
	if err != nil {
		return errors.Join(err, s.site.close())
	}
	s.worker, err = s.stack.Database.Worker(app.WorkerConfig{
		Redis: s.stack.Redis, Keys: s.keys, Sender: s.sender, BaseURL: s.site.url, Product: "the demo",
		TaskPoll: 20 * time.Millisecond, ForwardPoll: 100 * time.Millisecond, Shutdown: time.Second,
		Relay:     relay.Config{Poll: 20 * time.Millisecond, Overdue: time.Second, Reconcile: 200 * time.Millisecond},
		Logger:    slog.New(s.sweeps),
		OnVerdict: func(_ context.Context, v worker.Verdict) { s.verdicts <- v },
	})
	if err != nil {
		return errors.Join(err, s.site.close())
	}
	return nil
}

// tell prints one step.
func (s *story) tell(facts string) {
	s.steps++
	fmt.Fprintf(s.out, "%4.1fs  %2d  %s\n", time.Since(s.began).Seconds(), s.steps, facts)
}

const whatNext = `
Everything above held, in %v. What next?

  an app that has asynq already     examples/dropin/README.md: signing in under 15 changed lines
  an app that needs the auth jobs   docs/getting-started.md, or at once:
                                    go run ./cmd/sealq migrate up --database-url sqlite:sealq.db
  an operator                       go run ./cmd/sealq keys init && go run ./cmd/sealq serve --help
`
