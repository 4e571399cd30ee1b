package authworker_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/relay"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/mail/catcher"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/store/sqlite"
	"github.com/sealq/sealq/worker"
	"github.com/sealq/sealq/worker/authworker"
)

const (
	patience = 20 * time.Second
	password = "correct horse battery staple"
)

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("did not happen within %v: %s", patience, what)
		case <-tick.C:
		}
	}
}

// system is everything from registration to mail, on a SQLite file, a real Redis and a real SMTP server.
type system struct {
	db       *sqlite.DB
	path     string
	server   *testservers.RedisServer
	redis    *redis.Client
	keys     *signing.Keys
	ringFile string
	mails    *catcher.Catcher
	smtp     string // where mails are sent
	accounts *accounts.Accounts[*sql.Tx]
	relay    *relay.Relay
	relaying bool
	breaker  *worker.Breaker
	ahead    atomic.Int64 // how far the breaker's clock is
	outcomes outcomes
	tweaks   []func(*authworker.Config)
	swept    authworker.Accounts[*sql.Tx]
}

// outcomes count what became of mails.
type outcomes struct{ counts sync.Map }

func (o *outcomes) add(_ context.Context, outcome authjobs.MailOutcome) {
	n, _ := o.counts.LoadOrStore(outcome, new(atomic.Int32))
	n.(*atomic.Int32).Add(1)
}

func (o *outcomes) all() map[authjobs.MailOutcome]int32 {
	all := make(map[authjobs.MailOutcome]int32)
	o.counts.Range(func(outcome, n any) bool {
		all[outcome.(authjobs.MailOutcome)] = n.(*atomic.Int32).Load()
		return true
	})
	return all
}

// backend is the store that the worker sees; a test may put itself in between.
type backend = authworker.Store[*sql.Tx]

func newSystem(t *testing.T, hook catcher.Hook, between func(backend) backend, tweaks ...func(*authworker.Config)) *system {
	t.Helper()
	s := newIdleSystem(t, hook, tweaks...)
	var store backend = s.db
	if between != nil {
		store = between(store)
		if counts, ok := store.(authworker.Accounts[*sql.Tx]); ok {
			s.swept = counts
		}
	}
	s.serve(t, store)
	return s
}

// newIdleSystem has no worker and no relay yet.
func newIdleSystem(t *testing.T, hook catcher.Hook, tweaks ...func(*authworker.Config)) *system {
	t.Helper()
	s := &system{ringFile: filepath.Join(t.TempDir(), "keys.json"), path: filepath.Join(t.TempDir(), "sealq.db"), tweaks: tweaks}
	ring, err := signing.NewRing(time.Now().Add(-time.Hour), 30*24*time.Hour)
	check(t, err)
	check(t, signing.NewFile(s.ringFile).Create(ring))
	s.mails, err = catcher.StartWith("127.0.0.1:0", catcher.Options{Hook: hook})
	check(t, err)
	t.Cleanup(func() { check(t, s.mails.Close()) })
	s.smtp = s.mails.URL()
	s.server = testservers.Redis(t)
	s.redis = s.server.Client(t)
	check(t, s.open(t.Context()))
	t.Cleanup(s.keys.Close)
	t.Cleanup(func() { check(t, s.db.Close()) })
	_, err = s.db.Migrate(t.Context())
	check(t, err)
	return s
}

// open opens what the system's paths name.
func (s *system) open(ctx context.Context) (err error) {
	if s.keys, err = signing.Open(ctx, "file:"+s.ringFile, "test"); err != nil {
		return err
	}
	if s.db, err = sqlite.Open(ctx, s.path); err != nil {
		return err
	}
	s.accounts, err = accounts.New(s.db, authjobs.NewNotifier[*sql.Tx](s.db), accounts.Config{
		Hash: accounts.HashCost{MemoryKiB: 8, Passes: 1, Lanes: 1}, LockoutNotice: true,
	})
	s.swept = s.accounts
	return err
}

func (s *system) serve(t *testing.T, store backend) {
	t.Helper()
	sender, err := mail.NewSender(mail.Config{URL: s.smtp, From: "no-reply@app.example"})
	check(t, err)
	t.Cleanup(sender.Close)
	srv, handler, err := s.assemble(sender, store)
	check(t, err)
	check(t, srv.Start(handler))
	t.Cleanup(srv.Shutdown)
	if s.relaying { // one is enough for all workers, and SQLite has one writer
		return
	}
	s.relaying = true
	ctx, stop := context.WithCancel(context.Background())
	ended, moving := make(chan error, 1), s.relay
	go func() { ended <- moving.Run(ctx) }()
	t.Cleanup(func() { stop(); check(t, <-ended) })
}

// assemble makes a worker and its relay.
func (s *system) assemble(sender *mail.Sender, store backend) (srv *asynq.Server, handler asynq.Handler, err error) {
	s.breaker, err = worker.NewBreaker(worker.BreakerConfig{
		System: authworker.MailSystem, Kinds: authworker.MailKinds(), Now: func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) },
	})
	if err != nil {
		return nil, nil, err
	}
	handlers := worker.NewHandlers(worker.HandlersConfig{Outbox: s.db, Breakers: []*worker.Breaker{s.breaker}})
	config := authworker.Config{
		Keys: s.keys, Sender: sender, BaseURL: "https://app.example/base", Product: "App", MailDomain: "mail.app.example", Server: "mx.app.example",
		OnMail: s.outcomes.add,
	}
	for _, tweak := range s.tweaks {
		tweak(&config)
	}
	if err := authworker.Register(handlers, store, s.swept, config); err != nil {
		return nil, nil, err
	}
	verifier, err := worker.New(s.keys, worker.Config{Quarantine: s.db, Effects: s.db})
	if err != nil {
		return nil, nil, err
	}
	catalog, err := jobs.NewCatalog(authjobs.Definitions()...)
	if err != nil {
		return nil, nil, err
	}
	if err := handlers.Check(catalog); err != nil {
		return nil, nil, err
	}
	if s.relay == nil {
		if s.relay, err = relay.New(s.db, catalog, s.keys, s.redis, relay.Config{Poll: 5 * time.Millisecond}); err != nil {
			return nil, nil, err
		}
	}
	return asynq.NewServerFromRedisClient(s.redis, verifier.Config(asynq.Config{
		Queues: map[string]int{"critical": 1, "mail": 1, "maintenance": 1}, Concurrency: 4,
		TaskCheckInterval: 5 * time.Millisecond, DelayedTaskCheckInterval: 10 * time.Millisecond,
		LogLevel: asynq.FatalLevel, ShutdownTimeout: 5 * time.Second,
	})), verifier.Handler(handlers), nil
}

// sql changes the database as nobody but a test does.
func (s *system) sql(t *testing.T, statement string) {
	t.Helper()
	raw, err := sql.Open("sqlite", "file:"+s.path+"?_pragma=busy_timeout(5000)")
	check(t, err)
	_, err = raw.ExecContext(t.Context(), statement)
	check(t, errors.Join(err, raw.Close()))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *system) register(t *testing.T, address string) {
	t.Helper()
	check(t, s.db.InTx(t.Context(), func(tx *sql.Tx) error {
		_, err := s.accounts.Register(t.Context(), tx, accounts.Registration{Email: address, Password: password})
		return err
	}))
	if s.relay != nil { // it is in this process
		s.relay.Nudge()
	}
}

// sent waits until nothing of the outbox is unfinished, then lists what came.
func (s *system) sent(t *testing.T) []catcher.Caught {
	t.Helper()
	s.settled(t)
	return s.mails.Messages()
}

func (s *system) settled(t *testing.T) {
	t.Helper()
	eventually(t, "every outbox row ends", func() bool {
		unfinished, _, err := s.db.OutboxDepth(t.Context())
		check(t, err)
		var n int64
		for _, rows := range unfinished {
			n += rows
		}
		return n == 0
	})
}
