package doctor_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/cmd/sealq/internal/doctor"
	"github.com/sealq/sealq/cmd/sealq/internal/redisacl"
	"github.com/sealq/sealq/cmd/sealq/internal/redisurl"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/mail/catcher"
	"github.com/sealq/sealq/signing"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("did not happen: %s", what)
		case <-tick.C:
		}
	}
}

// patient is a system to look at. A test adds what it is about, and harms it.
type patient struct {
	doctor.Config

	redis *redis.Client // of the default user
	url   string        // of the database
	db    app.Database
	ring  string // its file
}

func onRedis(t *testing.T) *patient {
	t.Helper()
	top := testservers.SingleRedis(t, testservers.RedisOptions{Password: "admin"})
	p := &patient{Config: doctor.Config{Queues: []string{"critical", "mail"}}, redis: top.Admins()[0]}
	p.lookAt(t, top.URL())
	return p
}

func (p *patient) lookAt(t *testing.T, url string) {
	t.Helper()
	where, err := redisurl.Parse(url)
	check(t, err)
	p.Redis = &doctor.Redis{Server: where, Given: true}
}

func onSQLite(t *testing.T) *patient {
	t.Helper()
	return (&patient{}).on(t, "sqlite:"+filepath.Join(t.TempDir(), "sealq.db"))
}

func onPostgres(t *testing.T) *patient {
	t.Helper()
	return (&patient{}).on(t, testservers.Postgres(t))
}

// on adds a database that is up to date.
func (p *patient) on(t *testing.T, url string) *patient {
	t.Helper()
	p.url = url
	p.named(url)
	var err error
	p.db, err = app.Open(t.Context(), url)
	check(t, err)
	t.Cleanup(func() { _ = p.db.Close() })
	_, err = p.db.Migrate(t.Context())
	check(t, err)
	return p
}

func (p *patient) named(url string) {
	p.Database = &doctor.Database{Where: "the test's place", SQLite: strings.HasPrefix(url, "sqlite:"), Open: func(ctx context.Context) (app.Database, error) {
		db, err := app.Open(ctx, url)
		if err != nil {
			return nil, err
		}
		return db, db.Ping(ctx)
	}}
}

// sql changes the PostgreSQL database as nobody but a test does.
func (p *patient) sql(t *testing.T, statements string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), p.url)
	check(t, err)
	defer conn.Close(t.Context())
	_, err = conn.PgConn().Exec(t.Context(), statements).ReadAll()
	check(t, err)
}

// withRing adds a ring that was made so long ago.
func (p *patient) withRing(t *testing.T, ago time.Duration) *patient {
	t.Helper()
	p.ring = filepath.Join(t.TempDir(), "keys.json")
	ring, err := signing.NewRing(time.Now().Add(-ago), 30*24*time.Hour)
	check(t, err)
	check(t, signing.NewFile(p.ring).Create(ring))
	p.Keys = &doctor.Keys{Source: signing.NewFile(p.ring), Given: true, Audience: "test", RotateEvery: 30 * 24 * time.Hour}
	return p
}

func (p *patient) open(t *testing.T, audience string) *signing.Keys {
	t.Helper()
	k, err := signing.OpenWith(t.Context(), p.Keys.Source, audience, signing.Options{})
	check(t, err)
	t.Cleanup(k.Close)
	return k
}

// withMail adds a mail server.
func (p *patient) withMail(t *testing.T, o catcher.Options) *patient {
	t.Helper()
	c, err := catcher.StartWith("127.0.0.1:0", o)
	check(t, err)
	t.Cleanup(func() { check(t, c.Close()) })
	p.mailAt(t, c.URL())
	return p
}

func (p *patient) mailAt(t *testing.T, url string) {
	t.Helper()
	u, err := mail.ParseURL(url)
	check(t, err)
	s, err := mail.NewSender(mail.Config{URL: url, From: "no-reply@example.com"})
	check(t, err)
	p.Mail = &doctor.Mail{Sender: s, Where: "the test's mail server", TLS: u.TLS, Local: !u.Insecure}
}

// user makes a user of `sealq redis-acl`, changed by further rules, and logs in as it.
func (p *patient) user(t *testing.T, role redisacl.Role, queues []string, rules ...string) {
	t.Helper()
	const password = "the password of a test"
	hash, err := redisacl.Hash(password)
	check(t, err)
	users, err := redisacl.Users(redisacl.Config{Queues: queues, Prefix: "sealq-", Hashes: map[redisacl.Role]string{role: hash}}, role)
	check(t, err)
	var command []any
	for word := range strings.FieldsSeq(users[0].SetUser() + " " + strings.Join(rules, " ")) {
		command = append(command, word)
	}
	check(t, p.redis.Do(t.Context(), command...).Err())
	address := p.redis.Options().Addr
	p.lookAt(t, "redis://sealq-"+string(role)+":"+strings.ReplaceAll(password, " ", "%20")+"@"+address)
}

// closedPort is an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	check(t, l.Close())
	return l.Addr().String()
}

// silence is an address where somebody listens and never says a word.
func silence(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { check(t, l.Close()) }) // connections wait in its backlog
	return l.Addr().String()
}

// finds is what a check says.
func (p *patient) finds(t *testing.T, group, name string) doctor.Finding {
	t.Helper()
	return findIn(t, p.run(t), group, name)
}

// run makes all checks, with time enough for a machine that is busy.
func (p *patient) run(t *testing.T) doctor.Report {
	t.Helper()
	c := p.Config
	if c.Reach == 0 {
		c.Reach, c.Look = time.Minute, time.Minute
	}
	return doctor.Run(t.Context(), c)
}

func findIn(t *testing.T, r doctor.Report, group, name string) doctor.Finding {
	t.Helper()
	worst := doctor.Finding{}
	for _, f := range r.Checks {
		if f.Group == group && f.Check == name && (worst.Check == "" || rank(f.Status) > rank(worst.Status)) {
			worst = f
		}
	}
	if worst.Check == "" {
		t.Fatalf("no check %s of %s in %+v", name, group, r.Checks)
	}
	return worst
}

func rank(s doctor.Status) int {
	return map[doctor.Status]int{doctor.OK: 1, doctor.Skipped: 0, doctor.Warning: 2, doctor.Problem: 3}[s]
}

// says requires a status, and that message and advice contain these.
func says(t *testing.T, f doctor.Finding, status doctor.Status, message, advice string) {
	t.Helper()
	if f.Status != status || !strings.Contains(f.Message, message) || !strings.Contains(f.Advice, advice) {
		t.Errorf("want %s, %q, %q; got %+v", status, message, advice, f)
	}
	if (f.Status == doctor.Problem || f.Status == doctor.Warning) && f.Advice == "" {
		t.Errorf("it does not say what to do: %+v", f)
	}
}

// without requires that there is no problem.
func without(t *testing.T, r doctor.Report) {
	t.Helper()
	for _, f := range r.Checks {
		if f.Status == doctor.Problem {
			t.Errorf("of what is healthy: %+v", f)
		}
	}
}

func asynqClient(p *patient) *asynq.Client { return asynq.NewClientFromRedisClient(p.redis) }

func contains(text, part string) bool { return strings.Contains(text, part) }

// dump is all that Redis holds.
func dump(t *testing.T, c *redis.Client) string {
	t.Helper()
	keys, err := c.Keys(t.Context(), "*").Result()
	check(t, err)
	slices.Sort(keys)
	var all strings.Builder
	for _, key := range keys {
		text, err := c.Dump(t.Context(), key).Result()
		check(t, err)
		fmt.Fprintf(&all, "%q %x\n", key, text)
	}
	return all.String()
}

// drop drops a role of the server, with what it has in this database.
func (p *patient) drop(t *testing.T, role string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	conn, err := pgx.Connect(ctx, p.url)
	check(t, err)
	defer conn.Close(ctx)
	_, err = conn.PgConn().Exec(ctx, "DROP OWNED BY "+role+"; DROP ROLE "+role).ReadAll()
	check(t, err)
}
