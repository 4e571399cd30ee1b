package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/store"
	"github.com/sealq/sealq/store/postgres"
	"github.com/sealq/sealq/store/sqlite"
)

func TestOpenTakesTheDriverThatTheURLNames(t *testing.T) {
	t.Parallel()
	server := testservers.Postgres(t)
	for _, test := range []struct{ name, url, want string }{
		{"postgres", server, "*postgres.DB"},
		{"postgresql", strings.Replace(server, "postgres://", "postgresql://", 1), "*postgres.DB"},
		{"sqlite", "sqlite:" + filepath.Join(t.TempDir(), "sealq.db"), "*sqlite.DB"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			db, err := store.Open(t.Context(), test.url)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if got := fmt.Sprintf("%T", db); got != test.want {
				t.Errorf("driver: want %s, got %s", test.want, got)
			}
			if err := db.Ping(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOpenRefusesOtherURLsWithoutRepeatingThem(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"", "s3cret", "mysql://u:s3cret@localhost/db", "postgres:s3cret", "POSTGRES://u:s3cret@localhost/db",
		"sqlite", "sqlite:", "sqlite://s3cret.db", "sqlite3:s3cret.db", "host=localhost password=s3cret",
	} {
		db, err := store.Open(t.Context(), url)
		if !errors.Is(err, store.ErrUnknownURL) || db != nil {
			t.Errorf("%q: want %v, got %v, %v", url, store.ErrUnknownURL, db, err)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q is repeated: %v", url, err)
		}
	}
}

func TestOpenReturnsNoDriverWithAnError(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"postgres://u:s3cret@127.0.0.1:1/db?sslmode=disable",
		"sqlite:" + filepath.Join(t.TempDir(), "no", "such", "folder", "sealq.db"),
	} {
		if db, err := store.Open(t.Context(), url); db != nil || err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: want an error alone, without the password, got %v, %v", url, db, err)
		}
	}
}

func Example() {
	folder, err := os.MkdirTemp("", "sealq")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(folder)

	ctx := context.Background()
	db, err := store.Open(ctx, "sqlite:"+filepath.Join(folder, "sealq.db"))
	if err != nil {
		panic(err)
	}
	defer db.Close()
	if _, err := db.Migrate(ctx); err != nil {
		panic(err)
	}
	switch db.(type) {
	case *postgres.DB:
		fmt.Println("transactions are pgx.Tx")
	case *sqlite.DB:
		fmt.Println("transactions are *sql.Tx")
	}
	// Output: transactions are *sql.Tx
}
