package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/accounts"
)

// Every attempt writes its row. With an index over what it writes, each would write the index too, and leave an entry to be cleaned up.
func TestAttemptsOfADayAreWrittenInPlace(t *testing.T) {
	t.Parallel()
	db, raw := open(t)
	const attempts = 20
	for range attempts {
		if _, err := db.ChargeAttempt(t.Context(), "ada@example.org", accounts.Lockout{Limit: 1000, For: time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil { // its sessions report what they did
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		written := scalar(t, raw, `SELECT n_tup_upd || ' updates, ' || n_tup_hot_upd || ' in place' FROM pg_stat_user_tables WHERE relname = 'login_state' AND schemaname = current_schema`)
		if written == fmt.Sprintf("%d updates, %[1]d in place", attempts-1) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("want all of %d updates in place, got %s", attempts-1, written)
		}
	}
}

func TestASweepWaitsForNoAttempt(t *testing.T) {
	t.Parallel()
	db, raw := open(t)
	for _, address := range []string{"ada@example.org", "bob@example.org"} {
		if _, err := db.ChargeAttempt(t.Context(), address, accounts.Lockout{Limit: 3, For: time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
	backdate(t, raw, 40*24*time.Hour)
	commit(t, db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `SELECT FROM login_state WHERE email_norm = 'ada@example.org' FOR UPDATE`); err != nil {
			return err
		}
		return db.InTx(t.Context(), func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), `SET LOCAL lock_timeout = '5s'`); err != nil {
				return err
			}
			n, err := db.ForgetAttempts(t.Context(), tx, 30*24*time.Hour, 10)
			if err == nil && n != 1 {
				t.Errorf("want the one forgotten that nobody holds, got %d", n)
			}
			return err
		})
	})
	if left := scalar(t, raw, `SELECT string_agg(email_norm, ' ') FROM login_state`); left != "ada@example.org" {
		t.Errorf("left: want the one that somebody held, got %s", left)
	}
}
