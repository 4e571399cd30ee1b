package sqlite_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/store/sqlite"
)

// crashingWriter names, in the environment, the file that a copy of this test program writes to until it is killed.
const crashingWriter = "SEALQ_TEST_CRASHING_WRITER"

func TestMain(m *testing.M) {
	if path := os.Getenv(crashingWriter); path != "" {
		fmt.Fprintln(os.Stderr, writeUntilKilled(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeUntilKilled prints the ID of each row after its commit.
func writeUntilKilled(path string) error {
	ctx := context.Background() // its owner kills it
	db, err := sqlite.Open(ctx, path)
	if err != nil {
		return err
	}
	for {
		var id string
		err := db.InTx(ctx, func(tx *sql.Tx) (err error) {
			id, err = db.EnqueueTx(ctx, tx, greet())
			return err
		})
		if err != nil {
			return err
		}
		fmt.Println(id)
	}
}

func TestWhatWasCommittedSurvivesAKill(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sealq.db")
	db, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	writer := exec.CommandContext(t.Context(), os.Args[0])
	writer.Env = append(os.Environ(), crashingWriter+"="+path)
	writer.Stderr = os.Stderr
	out, err := writer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	printed := make(map[string]bool)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if printed[lines.Text()] = true; len(printed) == 200 {
			if err := writer.Process.Kill(); err != nil { // what it printed meanwhile is still read
				t.Fatal(err)
			}
		}
	}
	if exit, ok := errors.AsType[*exec.ExitError](writer.Wait()); !ok || exit.Exited() {
		t.Fatalf("the writer was to be killed: %v", exit)
	}

	db, err = sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	rows, err := db.ClaimRows(t.Context(), jobs.Claim{Kinds: []jobs.Kind{"test:greet"}, Limit: 2*len(printed) + 1000, Lease: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		delete(printed, row.ID)
	}
	if len(rows) < 200 || len(printed) > 0 {
		t.Errorf("%d rows found; of those that were committed these are missing: %v", len(rows), printed)
	}
}

// Two handles on one file lock each other out as two processes do.
func TestTwoProcessesCountTogether(t *testing.T) {
	t.Parallel()
	mine, path := migrated(t)
	other, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	var allowed atomic.Int64
	var group sync.WaitGroup
	for i := range 60 {
		db := []*sqlite.DB{mine, other}[i%2]
		group.Go(func() {
			charge, err := db.ChargeAttempt(t.Context(), "ada@example.com", accounts.Lockout{Limit: 3, For: time.Hour})
			if err != nil {
				t.Error(err)
			}
			if charge.Allowed {
				allowed.Add(1)
			}
		})
	}
	group.Wait()
	state, err := mine.AccountState(t.Context(), "ada@example.com")
	if err != nil {
		t.Fatal(err)
	}
	if allowed.Load() != 3 || state.FailedAttempts != 60 || !state.Locked {
		t.Errorf("%d attempts allowed, want 3; state %+v", allowed.Load(), state)
	}
}
