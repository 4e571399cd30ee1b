package app_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/relay"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/mail/catcher"
	"github.com/sealq/sealq/signing"
)

const (
	patience = 60 * time.Second
	password = "correct horse battery staple"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("did not happen within %v: %s", patience, what)
		case <-tick.C:
		}
	}
}

// onBoth runs a test on PostgreSQL and on SQLite.
func onBoth(t *testing.T, test func(s *system)) {
	t.Helper()
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		test(newSystem(t, testservers.Postgres(t)))
	})
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		test(newSystem(t, "sqlite:"+filepath.Join(t.TempDir(), "sealq.db")))
	})
}

// system is sealq on real servers: a database, a Redis that tests stop and wipe, an SMTP server.
type system struct {
	t        *testing.T
	db       app.Database
	accounts app.Accounts
	queue    *testservers.RedisServer // nil where Redis has another form
	redis    redis.UniversalClient
	mails    *catcher.Catcher
	keys     *signing.Keys
	ringFile string
}

func newSystem(t *testing.T, databaseURL string) *system {
	t.Helper()
	queue := testservers.Redis(t)
	s := newSystemOn(t, databaseURL, queue.Client(t))
	s.queue = queue
	return s
}

// newSystemOn is one on a Redis of any form.
func newSystemOn(t *testing.T, databaseURL string, r redis.UniversalClient) *system {
	t.Helper()
	s := &system{t: t, ringFile: filepath.Join(t.TempDir(), "keys.json"), redis: r}
	ring, err := signing.NewRing(time.Now().Add(-48*time.Hour), 30*24*time.Hour)
	check(t, err)
	check(t, signing.NewFile(s.ringFile).Create(ring))
	s.keys = s.open(t, "test", time.Now)

	s.db, err = app.Open(t.Context(), databaseURL)
	check(t, err)
	t.Cleanup(func() { check(t, s.db.Close()) })
	_, err = s.db.Migrate(t.Context())
	check(t, err)
	s.accounts, err = s.db.Accounts(accounts.Config{Hash: accounts.HashCost{MemoryKiB: 8, Passes: 1, Lanes: 1}})
	check(t, err)
	s.mails = s.catch(nil)
	return s
}

// catch starts a mail server that does as hook says.
func (s *system) catch(hook catcher.Hook) *catcher.Catcher {
	s.t.Helper()
	c, err := catcher.StartWith("127.0.0.1:0", catcher.Options{Hook: hook})
	check(s.t, err)
	s.t.Cleanup(func() { check(s.t, c.Close()) })
	return c
}

func (s *system) open(t *testing.T, audience string, now func() time.Time) *signing.Keys {
	t.Helper()
	k, err := signing.OpenWith(t.Context(), signing.NewFile(s.ringFile), audience, signing.Options{Now: now})
	check(t, err)
	t.Cleanup(k.Close)
	return k
}

// work runs a worker until the test ends, and waits for it.
func (s *system) work(t *testing.T) {
	t.Helper()
	sender, err := mail.NewSender(mail.Config{URL: s.mails.URL(), From: "no-reply@app.example"})
	check(t, err)
	t.Cleanup(sender.Close)
	w, err := s.db.Worker(app.WorkerConfig{
		Redis: s.redis, Keys: s.keys, Sender: sender, BaseURL: "https://app.example",
		TaskPoll: 10 * time.Millisecond, ForwardPoll: 50 * time.Millisecond, Shutdown: 5 * time.Second,
		Relay: relay.Config{Poll: 5 * time.Millisecond, Overdue: 500 * time.Millisecond, Reconcile: 100 * time.Millisecond},
	})
	check(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() { stop(); check(t, <-ended) })
}

// oneMailEach waits for the mails of all addresses, lets whatever is still under way end, and finds one each.
func (s *system) oneMailEach(t *testing.T, addresses []string) {
	t.Helper()
	got := func() []string {
		var to []string
		for _, m := range s.mails.Messages() {
			to = append(to, m.To[0])
		}
		slices.Sort(to)
		return to
	}
	eventually(t, "a mail for each", func() bool { return len(slices.Compact(got())) == len(addresses) })
	for _, address := range addresses {
		eventually(t, "the mail to "+address+" is recorded", func() bool {
			status, err := s.accounts.Show(t.Context(), address)
			check(t, err)
			return status.SentAt != nil
		})
	}
	eventually(t, "the queue is empty", func() bool {
		for _, list := range []string{"pending", "active"} {
			if n, err := s.redis.LLen(t.Context(), "asynq:{mail}:"+list).Result(); err != nil || n > 0 {
				return false
			}
		}
		return true
	})
	slices.Sort(addresses)
	if diff := cmp.Diff(addresses, got()); diff != "" {
		t.Errorf("recipients, each once (-want +got):\n%s", diff)
	}
}

func people(n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("user%03d@example.org", i))
	}
	return all
}

func (s *system) register(t *testing.T, address string) {
	t.Helper()
	_, err := s.accounts.Register(t.Context(), accounts.Registration{Email: address, Password: password})
	check(t, err)
}

func TestEveryMailIsSentOnceThoughRedisIsAwayWhileUsersRegister(t *testing.T) {
	t.Parallel()
	onBoth(t, func(s *system) {
		t := s.t
		s.work(t)
		all := people(60)
		for i, address := range all {
			switch i {
			case 20:
				s.queue.Stop(t)
			case 40:
				s.queue.Start(t)
			}
			s.register(t, address)
		}
		s.oneMailEach(t, all)
	})
}

func TestEveryMailIsSentOnceThoughRedisIsFlushedAgainAndAgain(t *testing.T) {
	t.Parallel()
	onBoth(t, func(s *system) {
		t := s.t
		s.work(t)
		all := people(60)
		for i, address := range all {
			s.register(t, address)
			if i%7 == 3 {
				s.queue.Flush(t)
			}
		}
		s.queue.Flush(t)
		s.oneMailEach(t, all)
	})
}

func TestEveryMailIsSentOnceByManyWorkersWithManyRelays(t *testing.T) {
	t.Parallel()
	onBoth(t, func(s *system) {
		t := s.t
		for range 3 {
			s.work(t)
		}
		all := people(60)
		turns := make(chan struct{}, 4) // each hashes a password in its transaction, and SQLite has one writer
		var g sync.WaitGroup
		for _, address := range all {
			turns <- struct{}{}
			g.Go(func() { s.register(t, address); <-turns })
		}
		g.Wait()
		s.oneMailEach(t, all)
	})
}

func TestForgedTasksStandInTheDatabasesQuarantineUndecoded(t *testing.T) {
	t.Parallel()
	onBoth(t, func(s *system) {
		t := s.t
		s.work(t)
		task := func(id string) signing.Task {
			// Were one of these ever decoded and run, it would be refused as bad_payload.
			return signing.Task{Kind: string(authjobs.KindExpirePending), ID: id, Queue: jobs.QueueMaintenance, MaxRetry: 100, Payload: []byte("not JSON \x00\xff")}
		}
		altered, relabelled := task("altered"), task("relabelled")
		altered.Payload = append(altered.Payload, '!')
		relabelled.Kind = string(authjobs.KindResetLockouts)
		yesterday := s.open(t, "test", func() time.Time { return time.Now().Add(-24 * time.Hour) })
		forgeries := map[signing.Reason][]struct {
			stored, signed signing.Task
			keys           *signing.Keys
			expires        time.Duration
		}{
			signing.ReasonMissingSignature: {{stored: task("unsigned")}},
			signing.ReasonBadSignature: {
				{altered, task("altered"), s.keys, time.Hour},
				{relabelled, task("relabelled"), s.keys, time.Hour},
				{task("foreign"), task("foreign"), s.open(t, "another", time.Now), time.Hour},
			},
			signing.ReasonExpired:    {{task("expired"), task("expired"), yesterday, -23 * time.Hour}},
			signing.ReasonBadPayload: {{task("genuine, but not JSON"), task("genuine, but not JSON"), s.keys, time.Hour}},
		}
		client := asynq.NewClientFromRedisClient(s.redis)
		for reason, all := range forgeries {
			for _, f := range all {
				headers := map[string]string{}
				if f.keys != nil {
					sig, _, err := f.keys.Sign(f.signed, signing.Validity{Expires: time.Now().Add(f.expires)})
					check(t, err)
					headers[signing.SignatureHeader] = sig
				}
				_, err := client.Enqueue(asynq.NewTaskWithHeaders(f.stored.Kind, f.stored.Payload, headers),
					asynq.TaskID(f.stored.ID), asynq.Queue(f.stored.Queue), asynq.MaxRetry(f.stored.MaxRetry))
				check(t, err)
				e := s.quarantined(t, f.stored.ID)
				if e.Reason != reason {
					t.Errorf("%s: want %s, got %s", f.stored.ID, reason, e.Reason)
				}
				if !bytes.Equal(e.Payload, f.stored.Payload) || e.PayloadSHA256 != sha256.Sum256(f.stored.Payload) {
					t.Errorf("%s: the entry does not hold the task's bytes and their hash: %+v", f.stored.ID, e)
				}
			}
		}
	})
}

func (s *system) quarantined(t *testing.T, taskID string) jobs.Refused {
	t.Helper()
	var found jobs.Refused
	eventually(t, taskID+" stands in quarantine", func() bool {
		list, err := s.db.QuarantineList(t.Context(), 100)
		check(t, err)
		i := slices.IndexFunc(list, func(e jobs.Refused) bool { return e.TaskID == taskID })
		if i >= 0 {
			found, err = s.db.QuarantineShow(t.Context(), list[i].ID)
			check(t, err)
		}
		return i >= 0
	})
	return found
}

func TestTwoSchedulersMakeEveryTickOnce(t *testing.T) {
	t.Parallel()
	onBoth(t, func(s *system) {
		t := s.t
		ctx, stop := context.WithCancel(context.Background())
		var running sync.WaitGroup
		t.Cleanup(running.Wait)
		t.Cleanup(stop)
		var made ticks
		for range 2 {
			sched, _, err := app.NewScheduler(s.db, app.SchedulerConfig{Crons: app.Crons{ExpirePending: "@every 1s", ResetLockouts: "@daily"}, Logger: slog.New(&made)})
			check(t, err)
			running.Go(func() { _ = sched.Run(ctx) }) // ends with ctx, without an error
		}
		eventually(t, "four ticks", func() bool { return len(made.all()) >= 4 })
		stop()
		running.Wait()
		due := made.all()
		slices.SortFunc(due, time.Time.Compare)
		for i := 1; i < len(due); i++ {
			if step := due[i].Sub(due[i-1]); step <= 0 || step%time.Second != 0 {
				t.Errorf("ticks at %v and %v: one is doubled, or not a second's multiple after the other", due[i-1], due[i])
			}
		}
		// Each tick has its one job, and nobody works here.
		unfinished, _, err := s.db.OutboxDepth(t.Context())
		check(t, err)
		if got := unfinished[jobs.RowQueued]; got != int64(len(due)) {
			t.Errorf("%d ticks made %d jobs", len(due), got)
		}
	})
}

// ticks listens to schedulers' logs for the ticks that they made.
type ticks struct {
	mu  sync.Mutex
	due []time.Time
}

func (l *ticks) all() []time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.due)
}

func (l *ticks) Enabled(context.Context, slog.Level) bool { return true }

func (l *ticks) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "tick made" {
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == "due" {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.due = append(l.due, a.Value.Time())
			}
			return true
		})
	}
	return nil
}

func (l *ticks) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *ticks) WithGroup(string) slog.Handler      { return l }
