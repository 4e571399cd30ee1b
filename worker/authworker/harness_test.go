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
	redis    *redis.Client
	keys     *signing.Keys
	ringFile string
	mails    *catcher.Catcher
	accounts *accounts.Accounts[*sql.Tx]
	relay    *relay.Relay
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
	s := &system{ringFile: filepath.Join(t.TempDir(), "keys.json"), tweaks: tweaks}
	ring, err := signing.NewRing(time.Now().Add(-time.Hour), 30*24*time.Hour)
	check(t, err)
	check(t, signing.NewFile(s.ringFile).Create(ring))
	s.keys, err = signing.Open(t.Context(), "file:"+s.ringFile, "test")
	check(t, err)
	t.Cleanup(s.keys.Close)

	s.path = filepath.Join(t.TempDir(), "sealq.db")
	s.db, err = sqlite.Open(t.Context(), s.path)
	check(t, err)
	t.Cleanup(func() { check(t, s.db.Close()) })
	_, err = s.db.Migrate(t.Context())
	check(t, err)
	s.accounts, err = accounts.New(s.db, authjobs.NewNotifier[*sql.Tx](s.db), accounts.Config{
		Hash: accounts.HashCost{MemoryKiB: 8, Passes: 1, Lanes: 1}, LockoutNotice: true,
	})
	check(t, err)

	s.mails, err = catcher.StartWith("127.0.0.1:0", catcher.Options{Hook: hook})
	check(t, err)
	t.Cleanup(func() { check(t, s.mails.Close()) })
	s.redis = testservers.Redis(t).Client(t)
	var store backend = s.db
	s.swept = s.accounts
	if between != nil {
		store = between(store)
		if counts, ok := store.(authworker.Accounts[*sql.Tx]); ok {
			s.swept = counts
		}
	}
	s.serve(t, store)
	return s
}

func (s *system) serve(t *testing.T, store backend) {
	t.Helper()
	sender, err := mail.NewSender(mail.Config{URL: s.mails.URL(), From: "no-reply@app.example"})
	check(t, err)
	t.Cleanup(sender.Close)
	s.breaker, err = worker.NewBreaker(worker.BreakerConfig{
		System: authworker.MailSystem, Kinds: authworker.MailKinds(), Now: func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) },
	})
	check(t, err)
	handlers := worker.NewHandlers(worker.HandlersConfig{Outbox: s.db, Breakers: []*worker.Breaker{s.breaker}})
	config := authworker.Config{
		Keys: s.keys, Sender: sender, BaseURL: "https://app.example/base", Product: "App", MailDomain: "mail.app.example", Server: "mx.app.example",
		OnMail: s.outcomes.add,
	}
	for _, tweak := range s.tweaks {
		tweak(&config)
	}
	check(t, authworker.Register(handlers, store, s.swept, config))
	verifier, err := worker.New(s.keys, worker.Config{Quarantine: s.db, Effects: s.db})
	check(t, err)
	catalog, err := jobs.NewCatalog(authjobs.Definitions()...)
	check(t, err)
	check(t, handlers.Check(catalog))
	s.relay, err = relay.New(s.db, catalog, s.keys, s.redis, relay.Config{Poll: 5 * time.Millisecond})
	check(t, err)
	srv := asynq.NewServerFromRedisClient(s.redis, verifier.Config(asynq.Config{
		Queues: map[string]int{"critical": 1, "mail": 1, "maintenance": 1}, Concurrency: 4,
		TaskCheckInterval: 5 * time.Millisecond, DelayedTaskCheckInterval: 10 * time.Millisecond,
		LogLevel: asynq.FatalLevel, ShutdownTimeout: 5 * time.Second,
	}))
	check(t, srv.Start(verifier.Handler(handlers)))
	t.Cleanup(srv.Shutdown)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.relay.Run(ctx) }()
	t.Cleanup(func() { stop(); check(t, <-ended) })
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
	s.relay.Nudge()
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
