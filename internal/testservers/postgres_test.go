package testservers_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/internal/testservers"
)

// fatalTB is a test whose failure is what another test looks at.
type fatalTB struct {
	testing.TB
	said string
}

func (f *fatalTB) Fatal(args ...any) {
	f.said = fmt.Sprint(args...)
	runtime.Goexit()
}

func (f *fatalTB) Fatalf(format string, args ...any) { f.Fatal(fmt.Sprintf(format, args...)) }

// wantFatal fails t unless fn ends its test with the words in want, and shows no secret.
func wantFatal(t *testing.T, want string, fn func(testing.TB)) {
	t.Helper()
	tb := &fatalTB{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn(tb)
	}()
	<-done
	if !strings.Contains(tb.said, want) {
		t.Errorf("it said %q, want %q in it", tb.said, want)
	}
	if strings.Contains(tb.said, "secret") {
		t.Errorf("it printed the secret: %q", tb.said)
	}
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) }) // a test may have cut it
	return conn
}

func execute(t *testing.T, conn *pgx.Conn, statement string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

//nolint:tparallel // the subtest is a test's whole life: what follows looks at what it leaves
func TestPostgresGivesEachTestADatabaseOfItsOwn(t *testing.T) {
	t.Parallel()
	var url string
	t.Run("the test", func(t *testing.T) {
		url = testservers.Postgres(t)
		execute(t, connect(t, url), "CREATE TABLE here (id int)")
		execute(t, connect(t, testservers.Postgres(t)), "CREATE TABLE here (id int)")
	})
	conn, err := pgx.Connect(t.Context(), url)
	if err == nil {
		t.Error("the database is still there after its test")
		_ = conn.Close(t.Context())
	}
}

// postgresServer is what every kind of server has to do.
func postgresServer(t *testing.T, server *testservers.PostgresInstance) {
	t.Helper()
	execute(t, connect(t, server.URL()), "CREATE TABLE here (id int)")
	for name, end := range map[string]func(testing.TB){"Stop": server.Stop, "Kill": server.Kill} {
		open := connect(t, server.URL())
		end(t)
		if _, err := open.Exec(t.Context(), "SELECT 1"); err == nil {
			t.Errorf("an open connection answers after %s", name)
		}
		if conn, err := pgx.Connect(t.Context(), server.URL()); err == nil {
			t.Errorf("the server answers after %s", name)
			_ = conn.Close(t.Context())
		}
		server.Start(t)
		execute(t, connect(t, server.URL()), "SELECT * FROM here")
	}
}

func TestPrivatePostgresServer(t *testing.T) {
	t.Parallel()
	postgresServer(t, testservers.PostgresServer(t))
}

func TestAPostgresServerHasTheSettingsThatItsTestWants(t *testing.T) {
	t.Parallel()
	server := testservers.PostgresServer(t, "fsync=on", "work_mem=5MB")
	for setting, want := range map[string]string{"fsync": "on", "work_mem": "5MB", "full_page_writes": "off"} {
		var got string
		if err := connect(t, server.URL()).QueryRow(t.Context(), "SHOW "+setting).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, want %q: %v", setting, got, want, err)
		}
	}
}

func TestProxiedPostgresServer(t *testing.T) {
	t.Parallel()
	// The server behind the proxy is one that nobody stops.
	postgresServer(t, testservers.ProxiedPostgres(t, testservers.PostgresServer(t).URL()))
}

// Not parallel: it changes the environment.
func TestWithoutAPostgresTheTestFailsWithASentence(t *testing.T) {
	for name, c := range map[string]struct{ url, want string }{
		"no URL":             {"", "run `make test`, or set SEALQ_TEST_POSTGRES_URL"},
		"a URL that is none": {"secret", "SEALQ_TEST_POSTGRES_URL is no PostgreSQL URL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(testservers.PostgresURLEnv, c.url)
			wantFatal(t, c.want, func(tb testing.TB) { tb.Helper(); testservers.Postgres(tb) })
		})
	}
}
