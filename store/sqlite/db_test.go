package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/store/sqlite"
)

// migrated opens a fresh database. The path needs every kind of escaping that a URI knows.
func migrated(t testing.TB) (db *sqlite.DB, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "se alq?%41#&ü.db")
	db, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db, path
}

// raw is a connection that knows nothing of the driver, as another program has it.
func raw(t testing.TB, path string) *sql.DB {
	t.Helper()
	escaped := strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
	conn, err := sql.Open("sqlite", "file:"+escaped+"?mode=rw&_busy_timeout=5000&_foreign_keys=1")
	if err != nil {
		t.Fatal(err)
	}
	conn.SetMaxOpenConns(1)
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

func execRaw(t testing.TB, conn *sql.DB, statement string, args ...any) {
	t.Helper()
	if _, err := conn.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

type greeting struct {
	Name string `json:"name"`
}

func greet() jobs.Job {
	return jobs.Define[greeting]("test:greet", jobs.Policy{}).With(greeting{Name: "Ada"})
}

func enqueue(t testing.TB, db *sqlite.DB) {
	t.Helper()
	err := db.InTx(t.Context(), func(tx *sql.Tx) error {
		_, err := db.EnqueueTx(t.Context(), tx, greet())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAWriterInsideATransactionEndsInErrBusy(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sealq.db")
	synctest.Test(t, func(t *testing.T) { // the five seconds pass at once
		db, err := sqlite.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		err = db.InTx(t.Context(), func(tx *sql.Tx) error {
			_, err := db.ChargeAttempt(t.Context(), "ada@example.com", accounts.Lockout{Limit: 3, For: time.Minute})
			if !errors.Is(err, sqlite.ErrBusy) {
				t.Errorf("charged: %v", err)
			}
			_, err = db.EnqueueTx(t.Context(), tx, greet())
			return err
		})
		if err != nil {
			t.Errorf("the transaction itself: %v", err)
		}
		if waited := time.Since(begin); waited != 5*time.Second {
			t.Errorf("waited %v", waited)
		}
		if _, err := db.ChargeAttempt(t.Context(), "ada@example.com", accounts.Lockout{Limit: 3, For: time.Minute}); err != nil {
			t.Errorf("after the transaction: %v", err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestReadersDoNotWaitForAWriter(t *testing.T) {
	t.Parallel()
	db, _ := migrated(t)
	err := db.InTx(t.Context(), func(tx *sql.Tx) error {
		if _, err := db.EnqueueTx(t.Context(), tx, greet()); err != nil {
			return err
		}
		depth, _, err := db.OutboxDepth(t.Context())
		if err != nil {
			return err
		}
		if depth[jobs.RowQueued] != 0 {
			t.Error("a reader saw what is not committed")
		}
		_, err = db.AccountState(t.Context(), "ada@example.com")
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestAnotherProcessesWriterIsWaitedFor(t *testing.T) {
	t.Parallel()
	db, path := migrated(t)
	other := raw(t, path)
	conn, err := other.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{"BEGIN IMMEDIATE", "INSERT INTO schedules (name, cron, anchor, last_due_at) VALUES ('other', '@daily', 0, 0)"} {
		if _, err := conn.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	mine := jobs.Placement{Plans: []jobs.SchedulePlan{{Name: "mine", Cron: "@daily", CatchUp: jobs.CatchUpLatest, Source: jobs.FromCode}}, Actor: "test"}
	if err := db.PlaceSchedules(ctx, mine); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while the other one writes: %v", err)
	}
	placed := make(chan error, 1)
	go func() { placed <- db.PlaceSchedules(t.Context(), mine) }()
	if _, err := conn.ExecContext(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-placed; err != nil {
		t.Errorf("after the other one: %v", err)
	}
}

func TestACallersOwnConnectionMayCarryTheTransaction(t *testing.T) {
	t.Parallel()
	db, path := migrated(t)
	app := raw(t, path)
	tx, err := app.BeginTx(t.Context(), nil) // deferred: it has no lock until it writes
	if err != nil {
		t.Fatal(err)
	}
	enqueue(t, db) // so that a snapshot taken by now would be stale
	id, err := db.EnqueueTx(t.Context(), tx, greet())
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	rows, err := db.ClaimRows(t.Context(), jobs.Claim{Kinds: []jobs.Kind{"test:greet"}, Limit: 10, Lease: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 2 || rows[1].ID != id {
		t.Errorf("claimed %v, want two rows and the second to be %s", rows, id)
	}
}

func TestACallersStaleTransactionIsToldWhatToDo(t *testing.T) {
	t.Parallel()
	db, path := migrated(t)
	tx, err := raw(t, path).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	var rows int
	if err := tx.QueryRowContext(t.Context(), "SELECT count(*) FROM outbox").Scan(&rows); err != nil {
		t.Fatal(err)
	}
	enqueue(t, db)
	if _, err := db.EnqueueTx(t.Context(), tx, greet()); !errors.Is(err, sqlite.ErrBusy) || !strings.Contains(err.Error(), "BEGIN IMMEDIATE") {
		t.Errorf("got %v", err)
	}
}

func TestAPanicLeavesNoTransactionBehind(t *testing.T) {
	t.Parallel()
	db, _ := migrated(t)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = db.InTx(t.Context(), func(tx *sql.Tx) error {
			if _, err := db.EnqueueTx(t.Context(), tx, greet()); err != nil {
				t.Error(err)
			}
			panic("a handler's fault")
		})
	}()
	depth, _, err := db.OutboxDepth(t.Context())
	if err != nil || depth[jobs.RowQueued] != 0 {
		t.Errorf("depth %v, %v", depth, err)
	}
	enqueue(t, db)
}

func TestACommitIsOnTheDiskBeforeItReturns(t *testing.T) {
	t.Parallel()
	db, _ := migrated(t)
	err := db.InTx(t.Context(), func(tx *sql.Tx) error {
		got := map[string]string{}
		for _, pragma := range []string{"journal_mode", "synchronous", "foreign_keys", "trusted_schema"} {
			var value string
			if err := tx.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&value); err != nil {
				return err
			}
			got[pragma] = value
		}
		want := map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "trusted_schema": "0"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestATransactionThatItsContextEndedSaysSo(t *testing.T) {
	t.Parallel()
	db, _ := migrated(t)
	for name, end := range map[string]func(err error) error{
		"at its commit":   func(error) error { return nil },
		"by a statement":  func(err error) error { return err },
		"wrapped by them": func(err error) error { return fmt.Errorf("charge attempt: %w", err) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := db.InTx(ctx, func(tx *sql.Tx) error {
				cancel()
				for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
					if _, err := tx.ExecContext(context.WithoutCancel(ctx), "SELECT 1"); errors.Is(err, sql.ErrTxDone) {
						return end(err)
					}
				}
				return errors.New("the context does not end the transaction")
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("want the context's error, got %v", err)
			}
		})
	}
}
