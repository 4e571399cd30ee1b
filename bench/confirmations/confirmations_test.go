package confirmations_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealq/sealq/bench/internal/rounds"
	"github.com/sealq/sealq/bench/internal/slow"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/relay"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/worker"
	"github.com/sealq/sealq/worker/authworker"
)

const (
	all      = 10_000 // confirmations of the whole
	compared = 1000   // of a run that is compared
	trip     = 5 * time.Millisecond
)

// BenchmarkConfirmationsTable prints the tables.
func BenchmarkConfirmationsTable(b *testing.B) {
	f := newFixture(b)
	far := slow.Proxy(b, f.inbox.addr, trip)
	whole := func(addr string, connections int) func(int, *rounds.Timer) error {
		return f.way(func(s *setup) error { return s.authworker(addr, connections) })
	}
	const usual = 10 // connections
	tables := []rounds.Table{
		{
			Title: fmt.Sprintf("%d confirmations from outbox to inbox, all settings as sealq worker has them", all), N: all, Cores: true, CPU: f.meters,
			Ways: []rounds.Way{{Name: "outbox, relay, Redis, worker, mail server", Run: whole(f.inbox.addr, usual)}},
		},
		{
			Title: fmt.Sprintf("the same with %d, without one of the servers, and otherwise", compared), N: compared, Cores: true, CPU: f.meters,
			Ways: []rounds.Way{
				{Name: "the whole, 10 connections to the mail server", Run: whole(f.inbox.addr, usual)},
				{Name: "written, and not sent", Run: f.way((*setup).unsent)},
				{Name: "sent, and not recorded: tasks from Redis, no database", Run: f.unrecorded},
				{Name: "the mail server alone: no queue, no database", Run: f.unqueued},
				{Name: "the whole, 1 connection", Run: whole(f.inbox.addr, 1)},
				{Name: "the whole, 40 connections", Run: whole(f.inbox.addr, 40)},
				{Name: "the whole, 10 connections, 5 ms away", Run: whole(far, usual)},
			},
		},
	}
	for b.Loop() {
		for _, table := range tables {
			table.Print(b)
		}
	}
}

// setup is what a way runs on.
type setup struct {
	*fixture
	handlers *worker.Handlers
	sender   *mail.Sender
	mails    bool // they are sent
}

// connect opens a sender, and lets as many mails run as it has connections, as sealq worker does.
func (s *setup) connect(addr string, connections int) (err error) {
	s.sender, err = mail.NewSender(mail.Config{URL: "smtp://" + addr + "?tls=none", From: "no-reply@app.example", MaxConns: connections})
	if err != nil {
		return err
	}
	limits := make(map[jobs.Kind]worker.Limit)
	for _, kind := range authworker.MailKinds() {
		limits[kind] = worker.Limit{Concurrency: connections}
	}
	s.handlers = worker.NewHandlers(worker.HandlersConfig{Outbox: s.db, Limits: limits})
	return nil
}

// authworker are the handlers of sealq worker.
func (s *setup) authworker(addr string, connections int) error {
	if err := s.connect(addr, connections); err != nil {
		return err
	}
	s.mails = true
	return authworker.Register(s.handlers, authworker.Store[tx](s.db), s.accounts, authworker.Config{
		Keys: s.keys, Sender: s.sender, BaseURL: "https://app.example", Product: "App", Server: "127.0.0.1",
	})
}

// unsent does with a confirmation all that authworker does, but for the mail server.
func (s *setup) unsent() error {
	if err := s.connect(s.inbox.addr, 10); err != nil {
		return err
	}
	worker.Handle(s.handlers, authjobs.MailConfirmation(), func(ctx context.Context, j worker.Job[authjobs.Confirmation]) error {
		d, err := s.db.ClaimConfirmation(ctx, authjobs.MailClaim{
			MailID: j.Effect().ID, PendingID: j.Args.PendingID, Generation: j.Args.Generation, MessageID: j.Effect().ID + "@app.example", Lease: 16 * time.Minute,
		})
		if err != nil {
			return err
		}
		message, kid, hash, err := s.write(d)
		if err != nil {
			return err
		}
		if err := s.db.BindActivationKey(ctx, d, kid, hash); err != nil {
			return err
		}
		if _, err := s.sender.Render(message); err != nil {
			return err
		}
		if err := s.db.ConfirmationWanted(ctx, d); err != nil {
			return err
		}
		_, err = s.db.Once(ctx, j.Effect(), func(ctx context.Context, tx tx) error {
			return s.db.MailSent(ctx, tx, d, authjobs.MailAnswer{Code: 250, Reply: "2.0.0 OK: queued", Server: "127.0.0.1", Outcome: authjobs.MailDelivered})
		})
		return err
	})
	return nil
}

// way fills the outbox, and times relay and worker until each row is done.
func (f *fixture) way(register func(*setup) error) func(int, *rounds.Timer) error {
	return func(n int, t *rounds.Timer) (err error) {
		ctx := f.b.Context()
		if err := f.fill(ctx, n); err != nil {
			return err
		}
		s := &setup{fixture: f}
		if err := register(s); err != nil {
			return err
		}
		defer s.sender.Close()
		server, done, err := f.server(s.handlers, n)
		if err != nil {
			return err
		}
		moving, err := relay.New(f.db, f.catalog, f.keys, f.redis, relay.Config{})
		if err != nil {
			return err
		}
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		var g errgroup.Group
		t.Start()
		g.Go(func() error { return moving.Run(ctx) })
		g.Go(func() error { return server.Run(ctx) })
		err = await(done, n)
		t.Stop()
		stop()
		if err := errors.Join(err, g.Wait()); err != nil {
			return err
		}
		return f.verify(f.b.Context(), n, s.mails)
	}
}

// note is a mail that no database knows.
func note() jobs.Def[int] {
	return jobs.Define[int]("bench:mail", jobs.Policy{NoLedger: true, Queue: jobs.QueueMail})
}

// unrecorded has a worker write and send mails whose tasks are in Redis, and keep nothing of them.
func (f *fixture) unrecorded(n int, t *rounds.Timer) error {
	ctx := f.b.Context()
	if err := f.redis.FlushDB(ctx).Err(); err != nil {
		return err
	}
	if err := f.enqueue(ctx, n); err != nil {
		return err
	}
	s := &setup{fixture: f}
	if err := s.connect(f.inbox.addr, 10); err != nil {
		return err
	}
	defer s.sender.Close()
	s.handlers = worker.NewHandlers(worker.HandlersConfig{Limits: map[jobs.Kind]worker.Limit{note().Kind(): {Concurrency: 10}}})
	worker.Handle(s.handlers, note(), func(ctx context.Context, j worker.Job[int]) error { return s.send(ctx, j.Args) })
	server, done, err := f.server(s.handlers, n)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var g errgroup.Group
	t.Start()
	g.Go(func() error { return server.Run(ctx) })
	err = await(done, n)
	t.Stop()
	stop()
	if err := errors.Join(err, g.Wait()); err != nil {
		return err
	}
	return f.arrived(n)
}

// unqueued writes and sends mails, ten at once.
func (f *fixture) unqueued(n int, t *rounds.Timer) error {
	s := &setup{fixture: f}
	if err := s.connect(f.inbox.addr, 10); err != nil {
		return err
	}
	defer s.sender.Close()
	var next atomic.Int64
	g, ctx := errgroup.WithContext(f.b.Context())
	t.Start()
	for range 10 {
		g.Go(func() error {
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				if err := s.send(ctx, i-1); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := g.Wait()
	t.Stop()
	if err != nil {
		return err
	}
	return f.arrived(n)
}

// send writes and sends the mail of a draft that no database has.
func (s *setup) send(ctx context.Context, number int) error {
	message, _, _, err := s.write(authjobs.MailDraft{
		PendingID: s.nobody, Generation: 1, To: address(number), Nonce: make([]byte, 16), MessageID: messageID(number), Date: s.at, ExpiresAt: s.at.Add(24 * time.Hour),
	})
	if err != nil {
		return err
	}
	_, err = s.sender.Send(ctx, message, nil)
	return err
}

// await waits for n jobs to end.
func await(done <-chan struct{}, n int) error {
	select {
	case <-done:
		return nil
	case <-time.After(3 * time.Minute):
		return fmt.Errorf("%d confirmations were not sent within three minutes", n)
	}
}
