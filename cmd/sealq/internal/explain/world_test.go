package explain_test

import (
	"database/sql"
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/cmd/sealq/internal/explain"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/rawtask"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/store/sqlite"
)

const (
	ada      = "Ada@example.com"
	password = "correct horse battery staple"
	kid      = "f7e2c87f"
)

// person is Ada, whose mail is asked about, with a database and a Redis.
type person struct {
	*testing.T

	db       *sqlite.DB
	raw      *sql.DB // past the driver
	accounts *accounts.Accounts[*sql.Tx]
	client   *redis.Client
	asynq    *asynq.Client

	id    string // of her registration, and of the user that it becomes
	row   jobs.RowInfo
	draft authjobs.MailDraft
	asked string
	away  string
}

func newPerson(t *testing.T) *person {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sealq.db")
	p := &person{T: t, asked: ada}
	var err error
	p.db, err = sqlite.Open(t.Context(), path)
	p.check(err)
	t.Cleanup(func() { p.check(p.db.Close()) })
	_, err = p.db.Migrate(t.Context())
	p.check(err)
	p.raw, err = sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)")
	p.check(err)
	t.Cleanup(func() { p.check(p.raw.Close()) })
	p.accounts, err = accounts.New(p.db, authjobs.NewNotifier(p.db), accounts.Config{
		RegisterAgain: accounts.NewGeneration, MailEvery: -1, Lockout: accounts.Lockout{Limit: 2, For: time.Hour},
	})
	p.check(err)
	p.client = testservers.Redis(t).Client(t)
	p.asynq = asynq.NewClientFromRedisClient(p.client)
	return p
}

func (p *person) check(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// tick waits for the next millisecond of the database's clock, so that what happened before stands before.
func (p *person) tick() {
	p.Helper()
	var before, now float64
	for read := &before; now <= before; read = &now {
		p.check(p.raw.QueryRowContext(p.Context(), `SELECT round(unixepoch('subsec') * 1000)`).Scan(read))
		if read == &before {
			now = before
		}
	}
}

func (p *person) inTx(do func(tx *sql.Tx) error) {
	p.Helper()
	p.tick()
	p.check(p.db.InTx(p.Context(), do))
}

// sql changes the database as nobody but a test does.
func (p *person) sql(statement string, args ...any) {
	p.Helper()
	_, err := p.raw.ExecContext(p.Context(), statement, args...)
	p.check(err)
}

func (p *person) config() explain.Config {
	c := explain.Config{Records: p.db, Away: p.away}
	if p.away == "" {
		c.Queue = rawtask.NewLister(p.client)
	}
	return c
}

// register leaves a row in the outbox.
func (p *person) register() {
	p.Helper()
	p.inTx(func(tx *sql.Tx) error {
		pending, err := p.accounts.Register(p.Context(), tx, accounts.Registration{Email: ada, Password: password})
		p.id = pending.ID
		return err
	})
	p.look()
}

// look reads the newest row of hers.
func (p *person) look() {
	p.Helper()
	mails, err := p.db.MailsOf(p.Context(), p.id, 1)
	p.check(err)
	if len(mails) == 0 {
		p.Fatal("there is no row")
	}
	p.row = mails[0].Row
}

// relay does what a relay does: the row's task lies in Redis, and the row is marked.
func (p *person) relay() {
	p.Helper()
	p.tick()
	rows, err := p.db.ClaimRows(p.Context(), jobs.Claim{Kinds: []jobs.Kind{p.row.Kind}, Limit: 1, Lease: time.Minute})
	p.check(err)
	for i := range rows {
		rows[i].KID = kid
		_, err := p.asynq.EnqueueContext(p.Context(), asynq.NewTask(string(p.row.Kind), nil), asynq.TaskID(p.row.TaskID()), asynq.Queue(p.row.Queue))
		p.check(err)
	}
	p.check(p.db.RowsEnqueued(p.Context(), rows))
}

// work does what a worker does before it asks the mail server.
func (p *person) work() {
	p.Helper()
	p.tick()
	var err error
	p.draft, err = p.db.ClaimConfirmation(p.Context(), authjobs.MailClaim{
		MailID: p.row.ID, PendingID: p.id, Generation: 1, MessageID: p.row.ID + "@example.com", Lease: time.Minute,
	})
	p.check(err)
	p.check(p.db.BindActivationKey(p.Context(), p.draft, kid, accounts.KeyHash(key())))
}

// key is the one in her link.
func key() string { return strings.Repeat("A", 43) }

func (p *person) ref() jobs.RowRef {
	return jobs.RowRef{ID: p.row.ID, Kind: p.row.Kind, Attempt: p.row.Attempt}
}

// mailed is a mail server that took the mail.
func (p *person) mailed() {
	p.Helper()
	p.register()
	p.relay()
	p.work()
	p.inTx(func(tx *sql.Tx) error {
		return p.db.MailSent(p.Context(), tx, p.draft, authjobs.MailAnswer{Code: 250, Reply: "2.0.0 queued as 4711"})
	})
	p.tick()
	p.check(p.db.RowDone(p.Context(), p.ref()))
}

// failed is a mail server that did not.
func (p *person) failed(code int, reply, cause string) {
	p.Helper()
	p.register()
	p.relay()
	p.work()
	p.check(p.db.MailFailed(p.Context(), p.draft, authjobs.MailAnswer{Code: code, Reply: reply}, cause))
}

func (p *person) activated() {
	p.Helper()
	p.mailed()
	p.inTx(func(tx *sql.Tx) error {
		_, err := p.accounts.Activate(p.Context(), tx, key())
		return err
	})
}

// operator does what Eve does about the account.
func (p *person) operator(do func(eve accounts.Operator[*sql.Tx], tx *sql.Tx) error) {
	p.Helper()
	p.inTx(func(tx *sql.Tx) error { return do(p.accounts.Operator("cli:eve"), tx) })
}

// guess is a stranger who tries passwords.
func (p *person) guess(times int) {
	p.Helper()
	for range times {
		if _, err := p.accounts.Authenticate(p.Context(), ada, "wrong horse battery staple"); !errors.Is(err, accounts.ErrRefused) {
			p.Fatalf("a wrong password: %v", err)
		}
	}
}

// bounced is a mail server that knows no such address.
func (p *person) bounced() {
	p.Helper()
	p.register()
	p.relay()
	p.work()
	p.check(p.db.MailFailed(p.Context(), p.draft, authjobs.MailAnswer{
		Code: 550, Reply: "5.1.1 no such user", Stage: "rcpt", Outcome: authjobs.MailPermanent, Bounced: true,
	}, "smtp rcpt: the server answered 550 (permanent)"))
	p.tick()
	p.check(p.db.RowDead(p.Context(), p.ref(), "smtp rcpt: the server answered 550 (permanent)"))
	p.archive()
}

// limited is a deployment that has used up its hour.
func (p *person) limited(d time.Duration) {
	p.Helper()
	p.register()
	p.relay()
	p.tick()
	p.sql(`INSERT INTO mail_limits VALUES ('hour', 0, 0)`)
	p.sql(`INSERT INTO mail_usage SELECT 'hour', created_at, 7 FROM outbox`)
	_, err := p.db.ClaimConfirmation(p.Context(), authjobs.MailClaim{
		MailID: p.row.ID, PendingID: p.id, Generation: 1, MessageID: p.row.ID + "@example.com", Lease: time.Minute, Limits: authjobs.MailLimits{Hourly: 7},
	})
	if e, ok := errors.AsType[*authjobs.LimitedError](err); !ok || e.Until.Before(time.Now().Add(d)) {
		p.Fatalf("want a *LimitedError, got %v", err)
	}
}

// withheld is a further mail, that a worker does not send because of that.
func (p *person) withheld() {
	p.Helper()
	p.tick()
	p.register()
	p.relay()
	p.tick()
	_, err := p.db.ClaimConfirmation(p.Context(), authjobs.MailClaim{
		MailID: p.row.ID, PendingID: p.id, Generation: 2, MessageID: p.row.ID + "@example.com", Lease: time.Minute,
	})
	if _, ok := errors.AsType[*authjobs.SuppressedError](err); !ok {
		p.Fatalf("want a *SuppressedError, got %v", err)
	}
	p.check(p.db.RowDone(p.Context(), p.ref()))
}

// refuse puts a task into quarantine that calls itself her row's. Of an authentic one the row ends.
func (p *person) refuse(reason signing.Reason, authentic bool) {
	p.Helper()
	p.tick()
	r := jobs.Refused{
		ID: "0199a1b2-0000-7000-8000-00000000000" + map[bool]string{true: "1", false: "2"}[authentic], TaskID: p.row.TaskID(), Queue: "mail",
		Kind: string(p.row.Kind), Payload: []byte("x"), Size: 1, Reason: reason, Authentic: authentic, ReceivedAt: time.Now(),
	}
	if authentic {
		r.KID, r.RowID, r.RowKind, r.Attempt = kid, p.row.ID, p.row.Kind, p.row.Attempt
	}
	p.check(p.db.Keep(p.Context(), r))
	if authentic { // whatever the two clocks say
		p.sql(`UPDATE outbox SET ended_at = ended_at + (expires_at - created_at) / 100`)
	}
}

// archive is asynq, which archives what is past its deadline.
func (p *person) archive() {
	p.Helper()
	p.check(asynq.NewInspectorFromRedisClient(p.client).ArchiveTask(p.row.Queue, p.row.TaskID()))
}

// told is what matters of a story, without what differs from run to run.
type told struct{ Status, Redis, Steps, Missing, Advice string }

func (p *person) told() told {
	p.Helper()
	story, err := explain.Explain(p.Context(), p.config(), p.asked)
	p.check(err)
	steps := make([]string, len(story.Steps))
	for i, s := range story.Steps {
		steps[i] = s.Step
	}
	return told{
		Status: string(story.Status), Redis: story.Redis, Steps: strings.Join(steps, " "), Missing: story.Missing, Advice: p.settled(story.Advice),
	}
}

// settled takes out what differs from run to run.
func (p *person) settled(text string) string {
	for _, r := range []struct{ pattern, with string }{
		{regexp.QuoteMeta(p.row.ID), "ROW"},
		{regexp.QuoteMeta(p.id), "ACCOUNT"},
		{`\b0199a1b2-0000-7000-8000-00000000000([12])\b`, "ENTRY-$1"},
		{`\b20[0-9]{2}-[0-9-]+T[0-9:]+Z`, "TIME"},
		{`\([0-9hm]*[0-9]+s\)`, "(AGE)"},
	} {
		if r.pattern != "" {
			text = regexp.MustCompile(r.pattern).ReplaceAllString(text, r.with)
		}
	}
	return text
}
