package confirmations_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/bench/internal/rounds"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/store/postgres"
	"github.com/sealq/sealq/worker"
)

type tx = pgx.Tx

// fixture are the servers, and the registrations as they were before anything was sent.
type fixture struct {
	b         *testing.B
	redis     *redis.Client
	db        *postgres.DB
	raw       *pgxpool.Pool // to fill and to look
	keys      *signing.Keys
	accounts  *accounts.Accounts[tx]
	catalog   *jobs.Catalog
	templates *mail.Templates
	inbox     *inbox
	meters    []rounds.Meter
	nobody    string
	at        time.Time
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func newFixture(b *testing.B) *fixture {
	b.Helper()
	f := &fixture{b: b, inbox: startInbox(b), redis: testservers.Redis(b).Client(b), nobody: uuid.NewString(), at: time.Now()}
	url := testservers.Postgres(b)
	var err error
	f.raw, err = pgxpool.New(b.Context(), url)
	must(b, err)
	b.Cleanup(f.raw.Close)
	f.db, err = postgres.Open(b.Context(), url)
	must(b, err)
	b.Cleanup(func() { _ = f.db.Close() })
	_, err = f.db.Migrate(b.Context())
	must(b, err)
	f.accounts, err = accounts.New(f.db, authjobs.NewNotifier[tx](f.db), accounts.Config{Hash: accounts.HashCost{MemoryKiB: 8, Passes: 1, Lanes: 1}})
	must(b, err)
	f.catalog, err = jobs.NewCatalog(authjobs.Definitions()...)
	must(b, err)
	f.templates, err = mail.DefaultTemplates()
	must(b, err)
	ring, err := signing.NewRing(time.Now().Add(-time.Minute), 720*time.Hour)
	must(b, err)
	path := filepath.Join(b.TempDir(), "keys.json")
	must(b, signing.NewFile(path).Create(ring))
	f.keys, err = signing.Open(b.Context(), "file:"+path, "bench")
	must(b, err)
	b.Cleanup(f.keys.Close)
	f.meters = []rounds.Meter{
		rounds.OwnCPU(), rounds.ProcessCPU("mail server's", f.inbox.pid), rounds.RedisCPU(b.Context(), f.redis), rounds.PostgresCPU(b.Context(), f.raw),
	}
	f.register()
	return f
}

func address(number int) string   { return fmt.Sprintf("user%05d@example.org", number) }
func messageID(number int) string { return fmt.Sprintf("%05d@app.example", number) }

// register registers everybody, and keeps what the database has then.
func (f *fixture) register() {
	f.b.Helper()
	ctx := f.b.Context()
	for first := 0; first < all; first += 500 {
		must(f.b, f.db.InTx(ctx, func(t tx) error {
			for n := range 500 {
				if _, err := f.accounts.Register(ctx, t, accounts.Registration{Email: address(first + n), Password: "correct horse battery staple"}); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	_, err := f.raw.Exec(ctx, `CREATE TABLE kept_users AS SELECT * FROM pending_users ORDER BY email; CREATE TABLE kept_outbox AS SELECT * FROM outbox`)
	must(f.b, err)
}

// fill puts n registrations and their jobs into the database, and nothing else.
func (f *fixture) fill(ctx context.Context, n int) error {
	if err := f.redis.FlushDB(ctx).Err(); err != nil {
		return err
	}
	_, err := f.raw.Exec(ctx, fmt.Sprintf(`
		TRUNCATE pending_users, outbox, ledger, mails, mail_attempts;
		INSERT INTO pending_users SELECT * FROM kept_users ORDER BY email LIMIT %d;
		INSERT INTO outbox SELECT o.* FROM kept_outbox o JOIN pending_users u ON convert_from(o.payload, 'UTF8')::jsonb->>'pending_id' = u.id::text ORDER BY o.id`, n))
	return err
}

func (f *fixture) enqueue(ctx context.Context, n int) error {
	enqueuer, err := jobs.NewEnqueuer(asynq.NewClientFromRedisClient(f.redis), f.keys, jobs.Config{})
	if err != nil {
		return err
	}
	for i := range n {
		if _, err := enqueuer.Enqueue(ctx, note().With(i)); err != nil {
			return err
		}
	}
	return nil
}

// server is a worker as sealq worker has it. done is closed when n jobs have ended well.
func (f *fixture) server(h *worker.Handlers, n int) (s *worker.Server, done chan struct{}, err error) {
	done = make(chan struct{})
	var ended atomic.Int64
	v, err := worker.New(f.keys, worker.Config{Quarantine: f.db, Effects: f.db, OnEnd: func(_ context.Context, e worker.End) {
		if e.Result == worker.ResultDone && ended.Add(1) == int64(n) {
			close(done)
		}
	}})
	if err != nil {
		return nil, nil, err
	}
	s, err = worker.NewServer(f.redis, v, h, worker.ServerConfig{
		Queues: map[string]int{jobs.QueueCritical: 6, jobs.QueueMail: 3, jobs.QueueDefault: 2, jobs.QueueMaintenance: 1},
	})
	return s, done, err
}

// write is what authworker does between the claim and the mail server.
func (s *setup) write(d authjobs.MailDraft) (m mail.Message, kid string, hash [32]byte, err error) {
	key, used, err := s.keys.Token(signing.KID{}, "confirmation", d.AccountID(), d.Generation, d.Nonce)
	if err != nil {
		return m, "", hash, err
	}
	content, err := s.templates.Confirmation(mail.ConfirmationData{Product: "App", Link: "https://app.example/confirm?key=" + key, ExpiresAt: d.ExpiresAt})
	m = mail.Message{ID: d.MessageID, To: d.To, Subject: content.Subject, Text: content.Text, HTML: content.HTML, Date: d.Date}
	return m, used.String(), accounts.KeyHash(key), err
}

// verify requires that n rows are done, that n mails are recorded as sent at their first try, and, if they were sent, that each recipient has
// one mail, whose Message-ID is that in the database.
func (f *fixture) verify(ctx context.Context, n int, sent bool) error {
	var open, first int
	err := f.raw.QueryRow(ctx, `SELECT (SELECT count(*) FROM outbox WHERE state <> 'done'),
		(SELECT count(*) FROM mail_attempts WHERE outcome = 'delivered' AND smtp_code = 250 AND try = 1)`).Scan(&open, &first)
	if err != nil {
		return err
	}
	if open != 0 || first != n {
		return fmt.Errorf("%d rows are not done, and %d of %d mails are recorded as delivered at once", open, first, n)
	}
	rows, err := f.raw.Query(ctx, `SELECT u.email, m.message_id FROM mails m JOIN pending_users u ON u.id = m.pending_id WHERE m.sent_at IS NOT NULL AND u.sent_at IS NOT NULL`)
	if err != nil {
		return err
	}
	want := make(map[string]string, n)
	var email, id string
	if _, err := pgx.ForEachRow(rows, []any{&email, &id}, func() error { want[email] = id; return nil }); err != nil {
		return err
	}
	if len(want) != n {
		return fmt.Errorf("%d of %d recipients are recorded", len(want), n)
	}
	if !sent {
		want = nil
	}
	return f.compare(want)
}

// arrived requires the n mails that send makes.
func (f *fixture) arrived(n int) error {
	want := make(map[string]string, n)
	for i := range n {
		want[address(i)] = messageID(i)
	}
	return f.compare(want)
}

// compare requires that each recipient has one mail, with this Message-ID.
func (f *fixture) compare(want map[string]string) error {
	got, err := f.inbox.take()
	if err != nil {
		return err
	}
	seen := make(map[string]bool)
	for to, ids := range got {
		if len(ids) != 1 || ids[0] != want[to] || seen[ids[0]] {
			return fmt.Errorf("%s has the mails %s, want %q alone", to, strings.Join(ids, ", "), want[to])
		}
		seen[ids[0]] = true
	}
	if len(got) != len(want) {
		return fmt.Errorf("%d mails came, want %d", len(got), len(want))
	}
	return nil
}
