package postgres_test

import (
	"context"
	"errors"
	"net/url"
	"runtime"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/store/postgres"
)

func TestOpenRefusesURLsAndSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, url, want string }{
		{"another scheme", "mysql://u:s3cret@localhost/db", "does not begin with postgres://"},
		{"no URL", "host=localhost password=s3cret", "does not begin with postgres://"},
		{"nothing", "", "does not begin with postgres://"},
		{"an @ within the password", "postgres://u:s3cret@s3cret@localhost/db", "%40"},
		{"a / within the password", "postgres://u:s3cret/s3cret@localhost/db", "%2F"},
		{"a ? within the password", "postgres://u:s3cret?s3cret@localhost/db", "%3F"},
		{"a # within the password", "postgresql://u:s3cret#s3cret@localhost/db", "%23"},
		{"a parameter that is not understood", "postgres://u:s3cret@localhost/db?sslmode=nonsense", "sslmode"},
		{"a port that is none", "postgres://u:s3cret@localhost:port/db", "not understood"},
		{"an escape that is none", "postgres://u:s3cret%zz@localhost/db", "not understood"},
		{"a password in a parameter beside a faulty one", "postgres://localhost/db?password=s3cret&pool_max_conns=many", "pool_max_conns"},
		{"a server that is not there", "postgres://u:s3cret@127.0.0.1:1/db?sslmode=disable", "check that it is running"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := postgres.Open(t.Context(), test.url)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("want an error with %q, got %v", test.want, err)
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

func TestThePoolHasRoomForSixteenUnlessTheURLSaysElse(t *testing.T) {
	t.Parallel()
	for suffix, want := range map[string]int{"": max(16, runtime.NumCPU()), "&pool_max_conns=3": 3} {
		db, err := postgres.Open(t.Context(), testservers.Postgres(t)+suffix)
		if err != nil {
			t.Fatal(err)
		}
		if got := db.MaxConns(); got != want {
			t.Errorf("%q: want %d connections, got %d", suffix, want, got)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenSaysThatTheDatabaseDoesNotExist(t *testing.T) {
	t.Parallel()
	address, err := url.Parse(testservers.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	address.Path += "_missing"
	_, err = postgres.Open(t.Context(), address.String())
	if err == nil || !strings.Contains(err.Error(), "createdb") {
		t.Fatalf("want advice to create the database, got %v", err)
	}
}

func TestPingFailsWhenTheServerIsGone(t *testing.T) {
	t.Parallel()
	server := testservers.PostgresServer(t)
	db, err := postgres.Open(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Stop(t)
	if err := db.Ping(t.Context()); err == nil {
		t.Error("ping without a server: want an error")
	}
	server.Start(t)
	// Connections that died are found out by use: each fails at most once.
	for range 10 {
		if err = db.Ping(t.Context()); err == nil {
			return
		}
	}
	t.Errorf("ping after the server came back: %v", err)
}

func TestATransactionWhoseContextEndsIsRolledBack(t *testing.T) {
	t.Parallel()
	db, raw := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := db.InTx(ctx, func(tx pgx.Tx) error {
		_, err := db.EnqueueTx(ctx, tx, note())
		cancel()
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error: want %v, got %v", context.Canceled, err)
	}
	if got := scalar(t, raw, "SELECT count(*) FROM outbox"); got != "0" {
		t.Errorf("rows in the outbox: want 0, got %s", got)
	}
	if err := db.Ping(t.Context()); err != nil {
		t.Errorf("the pool after that: %v", err)
	}
}

func TestWithoutMigrationMethodsSaySo(t *testing.T) {
	t.Parallel()
	db, _ := openUnmigrated(t)
	_, claim := db.ClaimRows(t.Context(), jobs.Claim{Limit: 1})
	_, list := db.QuarantineList(t.Context(), 1)
	_, book := db.ScheduleBook(t.Context(), 0)
	enqueue := db.InTx(t.Context(), func(tx pgx.Tx) error {
		_, err := db.EnqueueTx(t.Context(), tx, note())
		return err
	})
	for name, err := range map[string]error{
		"ClaimRows": claim, "QuarantineList": list, "ScheduleBook": book, "EnqueueTx": enqueue, "Keep": db.Keep(t.Context(), jobs.Refused{}),
	} {
		if !errors.Is(err, postgres.ErrNotMigrated) {
			t.Errorf("%s: want %v, got %v", name, postgres.ErrNotMigrated, err)
		}
	}
}

// note makes a job.
func note(opts ...jobs.Option) jobs.Job {
	type args struct {
		Note string `json:"note"`
	}
	return jobs.Define[args]("test:note", jobs.Policy{}).With(args{Note: "hello"}, opts...)
}
