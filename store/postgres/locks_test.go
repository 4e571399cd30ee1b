package postgres_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/sweep"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/store/postgres"
)

var errUndo = errors.New("undone by the test")

// openUnmigratedRaw gives an empty database, and a way past the driver.
func openUnmigratedRaw(t *testing.T) (*postgres.DB, *pgxpool.Pool) {
	t.Helper()
	db, url := openUnmigrated(t)
	return db, rawPool(t, url)
}

// waitUntilBlocked returns when a session of the database waits for a lock.
func waitUntilBlocked(ctx context.Context, t testing.TB, raw *pgxpool.Pool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		var waiting int
		err := raw.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waiting)
		if err != nil {
			t.Fatalf("nobody waits for a lock: %v", err)
		}
		if waiting > 0 {
			return
		}
	}
}

func register(t testing.TB, db *postgres.DB, tx pgx.Tx, address string) accounts.SavedPending {
	t.Helper()
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce)
	saved, err := db.SavePending(t.Context(), tx, accounts.NewPending{
		ID: uuid.Must(uuid.NewV7()).String(), Email: address, EmailNorm: address,
		PasswordHash: accounts.NewPasswordHash("hash"), Nonce: nonce, TTL: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	return saved
}

// registered commits a registration with an activation key.
func registered(t testing.TB, db *postgres.DB, address string) {
	t.Helper()
	var saved accounts.SavedPending
	commit(t, db, func(tx pgx.Tx) error {
		saved = register(t, db, tx, address)
		return nil
	})
	draft := authjobs.MailDraft{PendingID: saved.ID, Generation: saved.Generation}
	if err := db.BindActivationKey(t.Context(), draft, "f7e2c87f", accounts.KeyHash("key of "+address)); err != nil {
		t.Fatal(err)
	}
}

func commit(t testing.TB, db *postgres.DB, fn func(tx pgx.Tx) error) {
	t.Helper()
	if err := db.InTx(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func TestOnceWaitsForTheRunThatCameFirst(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		ends error // how the first run ends
		done bool  // what the second one finds
	}{
		{"and finds the effect done where it commits", nil, true},
		{"and has the effect itself where it rolls back", errUndo, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			db, raw := open(t)
			effect := jobs.Effect{Kind: "test:note", ID: "one", Keep: time.Hour}
			ran := false
			type outcome struct {
				done bool
				err  error
			}
			second := make(chan outcome, 1)
			_, err := db.Once(t.Context(), effect, func(ctx context.Context, _ pgx.Tx) error {
				go func() {
					done, err := db.Once(ctx, effect, func(context.Context, pgx.Tx) error {
						ran = true
						return nil
					})
					second <- outcome{done, err}
				}()
				waitUntilBlocked(ctx, t, raw)
				return test.ends
			})
			if !errors.Is(err, test.ends) {
				t.Errorf("first run: want %v, got %v", test.ends, err)
			}
			got := <-second
			if got.err != nil || got.done != test.done || ran == test.done {
				t.Errorf("second run: want done %v, got done %v, fn called %v, error %v", test.done, got.done, ran, got.err)
			}
		})
	}
}

func TestARegistrationWaitsForTheActivationOfItsAddress(t *testing.T) {
	t.Parallel()
	db, raw := open(t)
	registered(t, db, "ada@example.org")
	second := make(chan error, 1)
	commit(t, db, func(tx pgx.Tx) error {
		_, err := db.ActivatePending(t.Context(), tx, accounts.Activation{KeyHash: accounts.KeyHash("key of ada@example.org")})
		go func() {
			second <- db.InTx(t.Context(), func(tx pgx.Tx) error {
				_, err := db.SavePending(t.Context(), tx, accounts.NewPending{
					ID: uuid.NewString(), Email: "ada@example.org", EmailNorm: "ada@example.org", Nonce: make([]byte, 16), TTL: time.Hour, ReplaceLive: true,
				})
				return err
			})
		}()
		waitUntilBlocked(t.Context(), t, raw)
		return err
	})
	if err := <-second; !errors.Is(err, accounts.ErrAlreadyActive) {
		t.Errorf("registration: want %v, got %v", accounts.ErrAlreadyActive, err)
	}
}

func renew(ctx context.Context, db *postgres.DB, tx pgx.Tx) (int, error) {
	renewed, err := db.RenewPending(ctx, tx, "f7e2c87f", 10, func() []byte { return make([]byte, 16) })
	return len(renewed), err
}

func TestAnActivationWaitsForTheRenewalOfItsKey(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		ends, want error // how the renewal ends, and the activation after it
	}{
		{"and finds the key dead where it commits", nil, accounts.ErrUnknownKey},
		{"and has the user where it rolls back", errUndo, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			db, raw := open(t)
			registered(t, db, "ada@example.org")
			second := make(chan error, 1)
			err := db.InTx(t.Context(), func(tx pgx.Tx) error {
				n, err := renew(t.Context(), db, tx)
				if err != nil || n != 1 {
					t.Errorf("renewed %d: %v", n, err)
				}
				go func() {
					second <- db.InTx(t.Context(), func(tx pgx.Tx) error {
						_, err := db.ActivatePending(t.Context(), tx, accounts.Activation{KeyHash: accounts.KeyHash("key of ada@example.org")})
						return err
					})
				}()
				waitUntilBlocked(t.Context(), t, raw)
				return test.ends
			})
			if !errors.Is(err, test.ends) {
				t.Errorf("renewal: want %v, got %v", test.ends, err)
			}
			if err := <-second; !errors.Is(err, test.want) {
				t.Errorf("activation: want %v, got %v", test.want, err)
			}
		})
	}
}

func TestRenewalsPassOverLockedRows(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	for i := range 3 {
		registered(t, db, fmt.Sprintf("%d@example.org", i))
	}
	want := func(n int) {
		t.Helper()
		commit(t, db, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), "SET LOCAL lock_timeout = '10s'"); err != nil { // if it waited, it would wait for ever
				return err
			}
			got, err := renew(t.Context(), db, tx)
			if got != n {
				t.Errorf("renewed: want %d, got %d", n, got)
			}
			return err
		})
	}
	commit(t, db, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), "SELECT FROM pending_users WHERE email_norm = '1@example.org' FOR UPDATE")
		want(2)
		return err
	})
	want(1)
}

func TestALongTransactionActivatesNothingThatHasExpiredMeanwhile(t *testing.T) {
	t.Parallel()
	db, raw := open(t)
	registered(t, db, "ada@example.org")
	commit(t, db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), "SELECT now()"); err != nil {
			return err
		}
		// By now(), which stands still in tx, the registration would have a moment left.
		exec(t, raw, "UPDATE pending_users SET expires_at = clock_timestamp()")
		_, err := db.ActivatePending(t.Context(), tx, accounts.Activation{KeyHash: accounts.KeyHash("key of ada@example.org")})
		if !errors.Is(err, accounts.ErrUnknownKey) {
			t.Errorf("activation: want %v, got %v", accounts.ErrUnknownKey, err)
		}
		return nil
	})
}

func TestSweepsLeaveLockedRowsForLater(t *testing.T) {
	t.Parallel()
	db, raw := open(t)
	for i := range 3 {
		registered(t, db, fmt.Sprintf("%d@example.org", i))
		if _, err := db.ChargeAttempt(t.Context(), fmt.Sprintf("%d@example.org", i), accounts.Lockout{Limit: 1, For: time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
	backdate(t, raw, 2*time.Hour)
	sweep := func(want int) {
		t.Helper()
		for name, sweep := range map[string]func(context.Context, int) (int, error){
			"registrations": func(ctx context.Context, limit int) (int, error) {
				b, err := db.SweepBatch(ctx, sweep.Walk{Part: sweep.Registrations}, limit)
				return b.Gone, err
			}, "LiftLockouts": func(ctx context.Context, limit int) (n int, err error) {
				err = db.InTx(ctx, func(tx pgx.Tx) error {
					lifted, err := db.LiftLockouts(ctx, tx, limit, false)
					n = len(lifted)
					return err
				})
				return n, err
			},
		} {
			n, err := sweep(t.Context(), 10)
			if err != nil || n != want {
				t.Errorf("%s: want %d, got %d, %v", name, want, n, err)
			}
		}
	}
	commit(t, db, func(tx pgx.Tx) error {
		for _, lock := range []string{
			"SELECT FROM pending_users WHERE email_norm = '1@example.org' FOR UPDATE",
			"SELECT FROM login_state WHERE email_norm = '1@example.org' FOR UPDATE",
		} {
			if _, err := tx.Exec(t.Context(), lock); err != nil {
				return err
			}
		}
		sweep(2)
		return nil
	})
	sweep(1)
}

func TestASweepGivesUpOnALockedTableSoon(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	commit(t, db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), "LOCK TABLE pending_users, login_state"); err != nil {
			return err
		}
		if _, err := db.SweepBatch(t.Context(), sweep.Walk{Part: sweep.Registrations}, 10); err == nil || !strings.Contains(err.Error(), "try again") {
			t.Errorf("registrations: want an error of the lock's timeout, got %v", err)
		}
		err := db.InTx(t.Context(), func(sweep pgx.Tx) error {
			_, err := db.LiftLockouts(t.Context(), sweep, 10, true)
			return err
		})
		if err == nil || !strings.Contains(err.Error(), "try again") {
			t.Errorf("lockouts: want an error of the lock's timeout, got %v", err)
		}
		return nil
	})
	for range 30 { // the timeout was for the sweep alone, whichever connection it had
		if err := db.InTx(t.Context(), func(tx pgx.Tx) error {
			var timeout string
			err := tx.QueryRow(t.Context(), "SELECT current_setting('lock_timeout')").Scan(&timeout)
			if timeout != "0" {
				t.Errorf("lock_timeout: want the server's 0, got %s", timeout)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestClaimsPassOverLockedRows(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	var ids []string
	commit(t, db, func(tx pgx.Tx) error {
		for range 3 {
			id, err := db.EnqueueTx(t.Context(), tx, note())
			if err != nil {
				return err
			}
			ids = append(ids, id)
		}
		return nil
	})
	commit(t, db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), "SELECT FROM outbox WHERE id = $1 FOR UPDATE", ids[1]); err != nil {
			return err
		}
		rows, err := db.ClaimRows(t.Context(), jobs.Claim{Kinds: []jobs.Kind{"test:note"}, Limit: 10, Lease: time.Minute})
		if err != nil {
			return err
		}
		if len(rows) != 2 || rows[0].ID != ids[0] || rows[1].ID != ids[2] {
			t.Errorf("claimed: want all but %s, got %v", ids[1], rows)
		}
		return nil
	})
}

// The release enters the effect and leaves the row as it ended: a row that is reissued after the wait would run its job twice.
func TestAReissueWaitsForTheReleaseOfItsRowAndFindsItsEffectDone(t *testing.T) {
	t.Parallel()
	db, raw := open(t)
	commit(t, db, func(tx pgx.Tx) error {
		_, err := db.EnqueueTx(t.Context(), tx, note())
		return err
	})
	rows, err := db.ClaimRows(t.Context(), jobs.Claim{Kinds: []jobs.Kind{"test:note"}, Limit: 1, Lease: time.Minute})
	if err != nil || len(rows) != 1 {
		t.Fatalf("claimed %v: %v", rows, err)
	}
	row := jobs.RowRef{ID: rows[0].ID, Kind: "test:note", Attempt: rows[0].Attempt}
	if err := db.Keep(t.Context(), jobs.Refused{
		ID: uuid.NewString(), Kind: "test:note", Reason: signing.ReasonBadPayload, Authentic: true, RowID: row.ID, RowKind: row.Kind, Attempt: row.Attempt,
	}); err != nil {
		t.Fatal(err)
	}
	second := make(chan error, 1)
	commit(t, db, func(tx pgx.Tx) error {
		err := db.EnterReleased(t.Context(), tx, jobs.Effect{Kind: row.Kind, ID: row.ID, Keep: time.Hour}, uuid.NewString())
		if err != nil {
			return err
		}
		go func() {
			second <- db.ReissueRow(t.Context(), row, audit.Entry{Actor: "cli:alice", Action: "tasks.reissue", Subject: row.ID})
		}()
		waitUntilBlocked(t.Context(), t, raw)
		return nil
	})
	if err := <-second; !errors.Is(err, jobs.ErrRowDone) {
		t.Errorf("reissue: want %v, got %v", jobs.ErrRowDone, err)
	}
	info, err := db.RowInfo(t.Context(), row.ID)
	if err != nil || info.State != jobs.RowRefused {
		t.Errorf("row: want it refused as before, got %s, %v", info.State, err)
	}
}
