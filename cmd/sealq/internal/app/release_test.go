package app_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/relay"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/store"
	"github.com/sealq/sealq/store/postgres"
	"github.com/sealq/sealq/store/sqlite"
	"github.com/sealq/sealq/worker"
)

// registrations counts the rows, expired ones too, past what accounts tells.
func registrations(t *testing.T, url string) (n int) {
	t.Helper()
	db, err := store.Open(t.Context(), url)
	check(t, err)
	defer func() { check(t, db.Close()) }()
	const count = "SELECT count(*) FROM pending_users"
	switch db := db.(type) {
	case *postgres.DB:
		check(t, db.InTx(t.Context(), func(tx pgx.Tx) error { return tx.QueryRow(t.Context(), count).Scan(&n) }))
	case *sqlite.DB:
		check(t, db.InTx(t.Context(), func(tx *sql.Tx) error { return tx.QueryRowContext(t.Context(), count).Scan(&n) }))
	}
	return n
}

// serving runs a worker of its own for some queues, and counts its duplicates.
func (s *system) serving(t *testing.T, queues map[string]int) (duplicates *atomic.Int64, stop func()) {
	t.Helper()
	sender, err := mail.NewSender(mail.Config{URL: s.mails.URL(), From: "no-reply@app.example"})
	check(t, err)
	client := redis.NewClient(s.queue.Options(t))
	duplicates = new(atomic.Int64)
	w, err := s.db.Worker(app.WorkerConfig{
		Redis: client, Keys: s.keys, Sender: sender, BaseURL: "https://app.example", Queues: queues,
		TaskPoll: 10 * time.Millisecond, ForwardPoll: 50 * time.Millisecond, Shutdown: 5 * time.Second,
		Relay: relay.Config{Poll: 5 * time.Millisecond},
		OnVerdict: func(_ context.Context, v worker.Verdict) {
			if v.Outcome == worker.Duplicate {
				duplicates.Add(1)
			}
		},
	})
	check(t, err)
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	return duplicates, func() {
		t.Helper()
		end()
		check(t, <-ended)
		sender.Close()
		check(t, client.Close())
	}
}

// message is a task as it stands in Redis.
type message struct{ id, bytes string }

// put writes the message as somebody with a Redis client can: into any list.
func (m message) put(t *testing.T, client redis.UniversalClient, queue string) {
	t.Helper()
	check(t, client.HSet(t.Context(), "asynq:{"+queue+"}:t:"+m.id, "msg", m.bytes, "state", "pending", "pending_since", time.Now().UnixNano()).Err())
	check(t, client.LPush(t.Context(), "asynq:{"+queue+"}:pending", m.id).Err())
}

// A sweep that deletes one registration a run shows how often it ran.
func TestAReleasedTaskHasItsEffectOnceThoughItsBytesAreReplayed(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]func(t *testing.T) string{
		"PostgreSQL": func(t *testing.T) string { t.Helper(); return testservers.Postgres(t) },
		"SQLite": func(t *testing.T) string {
			t.Helper()
			return "sqlite:" + filepath.Join(t.TempDir(), "sealq.db")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := url(t)
			s := newSystem(t, database)
			short, err := s.db.Accounts(accounts.Config{PendingTTL: time.Millisecond, Hash: accounts.HashCost{MemoryKiB: 8, Passes: 1, Lanes: 1}})
			check(t, err)
			for _, address := range people(6) {
				_, err := short.Register(t.Context(), accounts.Registration{Email: address, Password: password})
				check(t, err)
			}
			// make signs a sweep of one registration and takes its message out of Redis.
			make := func(id string, keys *signing.Keys, expires time.Duration) message {
				t.Helper()
				task := signing.Task{Kind: string(authjobs.KindExpirePending), ID: id, Queue: jobs.QueueMaintenance, MaxRetry: 103, Payload: []byte(`{"tick":"","limit":1}`)}
				sig, _, err := keys.Sign(task, signing.Validity{Expires: time.Now().Add(expires)})
				check(t, err)
				_, err = asynq.NewClientFromRedisClient(s.redis).Enqueue(asynq.NewTaskWithHeaders(task.Kind, task.Payload, map[string]string{signing.SignatureHeader: sig}),
					asynq.TaskID(task.ID), asynq.Queue(task.Queue), asynq.MaxRetry(task.MaxRetry))
				check(t, err)
				bytes, err := s.redis.HGet(t.Context(), "asynq:{maintenance}:t:"+id, "msg").Result()
				check(t, err)
				s.queue.Flush(t)
				return message{id, bytes}
			}
			yesterday := s.open(t, "test", func() time.Time { return time.Now().Add(-24 * time.Hour) })
			misplaced, late := make("misplaced", s.keys, time.Hour), make("late", yesterday, -23*time.Hour)

			// A worker that serves another queue refuses one for its queue, and the other is too old for any.
			_, stop := s.serving(t, map[string]int{jobs.QueueCritical: 1})
			misplaced.put(t, s.redis, jobs.QueueCritical)
			if e := s.quarantined(t, misplaced.id); e.Reason != signing.ReasonWrongQueue {
				t.Fatalf("refused as %s", e.Reason)
			}
			stop()
			s.queue.Flush(t)
			duplicates, stop := s.serving(t, nil)
			defer func() { stop() }()
			late.put(t, s.redis, jobs.QueueMaintenance)
			if e := s.quarantined(t, late.id); e.Reason != signing.ReasonExpired {
				t.Fatalf("refused as %s", e.Reason)
			}
			if n := registrations(t, database); n != 6 {
				t.Fatalf("%d registrations are left: a refused task had an effect", n)
			}

			for i, m := range []message{misplaced, late} {
				released, err := s.db.Release(t.Context(), s.keys, s.quarantined(t, m.id).ID, "cli:alice")
				check(t, err)
				eventually(t, m.id+" has its effect", func() bool { return registrations(t, database) == 6-i-1 })
				for range 3 {
					before := duplicates.Load()
					m.put(t, s.redis, jobs.QueueMaintenance)
					eventually(t, "the replay of "+m.id+" is found done", func() bool { return duplicates.Load() > before })
					eventually(t, "it has left Redis", func() bool { // else its end would take the next one with it
						n, err := s.redis.Exists(t.Context(), "asynq:{maintenance}:t:"+m.id).Result()
						check(t, err)
						return n == 0
					})
				}
				eventually(t, "the row of the release ends", func() bool {
					unfinished, _, err := s.db.OutboxDepth(t.Context())
					check(t, err)
					return unfinished[jobs.RowEnqueued]+unfinished[jobs.RowClaimed] == 0
				})
				if n := registrations(t, database); n != 6-i-1 {
					t.Errorf("%s, released as %s, was replayed: %d registrations are left, want %d", m.id, released.ReleasedAs, n, 6-i-1)
				}
			}
			check(t, app.LinkAudit(t.Context(), s.db))
			if head, err := audit.Verify(t.Context(), s.db, audit.Head{}); err != nil || head.Position != 6+2 { // registrations and releases
				t.Errorf("the audit log has %d links, %v", head.Position, err)
			}
		})
	}
}
