package dashboard_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/store/postgres"
)

const (
	queues   = 20
	audience = "bench"
	token    = "sealq-bench-sealq-bench-sealq-bench-sealq-A" // 32 bytes in base64, as sessions' tokens are
)

func queueName(i int) string { return fmt.Sprintf("queue%02d", i) }

// fixture is what the dashboard looks at, and the dashboard.
type fixture struct {
	b              *testing.B
	tasks, refused int
	server         *testservers.RedisServer
	redis          *redis.Client
	url            string // of the database
	db             *postgres.DB
	pool           *pgxpool.Pool
	ring           string // --keys
	keys           *signing.Keys
	address        string // of the dashboard
	client         *http.Client

	middle, later, entry, user, mail, schedule string // of each one
}

func newFixture(b *testing.B, tasks, refused int) *fixture {
	b.Helper()
	f := &fixture{b: b, tasks: tasks, refused: refused, server: testservers.Redis(b), url: testservers.Postgres(b), client: &http.Client{}}
	f.redis = f.server.Client(b)
	f.server.Flush(b)
	var err error
	f.db, err = postgres.Open(b.Context(), f.url)
	f.must(err)
	b.Cleanup(func() { _ = f.db.Close() })
	_, err = f.db.Migrate(b.Context())
	f.must(err)
	f.pool, err = pgxpool.New(b.Context(), f.url)
	f.must(err)
	b.Cleanup(f.pool.Close)
	ring, err := signing.NewRing(time.Now().Add(-time.Minute), 720*time.Hour)
	f.must(err)
	path := filepath.Join(b.TempDir(), "keys.json")
	f.must(signing.NewFile(path).Create(ring))
	f.ring = "file:" + path
	f.keys, err = signing.Open(b.Context(), f.ring, audience)
	f.must(err)
	b.Cleanup(f.keys.Close)
	return f
}

func (f *fixture) must(err error) {
	f.b.Helper()
	if err != nil {
		f.b.Fatal(err)
	}
}

// letIn makes an admin with a second factor and his session, past the login: the benchmark is of pages.
func (f *fixture) letIn() {
	f.b.Helper()
	hash := sha256.Sum256([]byte(token))
	f.sql(`INSERT INTO operators (id, name, password_hash, role) VALUES ('018f0000-0000-7000-8000-000000000001', 'ann', 'none', 'admin')`)
	f.sql(`INSERT INTO totp (operator_id, secret, last_step) SELECT id, sha256('secret'), 0 FROM operators`)
	f.sql(`INSERT INTO operator_sessions (token_hash, id, operator_id, complete, expires_at, agent, remote)
		SELECT $1, gen_random_uuid(), id, true, now() + interval '12 hours', 'bench', '127.0.0.1' FROM operators`, hash[:])
}

func (f *fixture) sql(statement string, args ...any) {
	f.b.Helper()
	_, err := f.pool.Exec(f.b.Context(), statement, args...)
	f.must(err)
}

// start builds and runs `sealq dashboard`, until the benchmark ends.
func (f *fixture) start() {
	f.b.Helper()
	program := filepath.Join(f.b.TempDir(), "sealq")
	build := exec.CommandContext(f.b.Context(), "go", "build", "-o", program, "./cmd/sealq")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		f.b.Fatalf("build sealq: %v\n%s", err, out)
	}
	var served []string
	for i := range queues {
		served = append(served, queueName(i)+"=1")
	}
	run := exec.CommandContext(context.WithoutCancel(f.b.Context()), program, "dashboard", "--listen", "127.0.0.1:0", "--queues", strings.Join(served, ","))
	run.Env = append(os.Environ(), "SEALQ_REDIS_URL="+f.server.URL(), "SEALQ_DATABASE_URL="+f.url, "SEALQ_KEYS="+f.ring, "SEALQ_AUDIENCE="+audience)
	logs, err := run.StderrPipe()
	f.must(err)
	f.must(run.Start())
	lines := bufio.NewScanner(logs)
	started := regexp.MustCompile(`listen="?(127\.0\.0\.1:\d+)`)
	var said strings.Builder
	for f.address == "" && lines.Scan() {
		fmt.Fprintln(&said, lines.Text())
		if found := started.FindStringSubmatch(lines.Text()); found != nil {
			f.address = "http://" + found[1]
		}
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for lines.Scan() {
			if strings.Contains(lines.Text(), "ERROR") {
				fmt.Fprintln(os.Stderr, lines.Text())
			}
		}
	}()
	f.b.Cleanup(func() {
		_ = run.Process.Signal(syscall.SIGTERM)
		<-drained
		_ = run.Wait()
	})
	if f.address == "" {
		f.b.Fatalf("sealq dashboard did not start:\n%s", said.String())
	}
}
