package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/store/postgres"
)

// A new password takes the user and then his counter. Whoever took them the other way round would wait for it for ever.
func TestAnOperatorsLockWaitsForItsUserBeforeItsCounter(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		lock time.Duration // zero lifts
	}{
		{"a lock, and then a disabled account", time.Hour},
		{"a lock that is lifted, and then a disabled account", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			db, raw := open(t)
			registered(t, db, "ada@example.org")
			var user accounts.User
			commit(t, db, func(tx pgx.Tx) (err error) {
				user, err = db.ActivatePending(t.Context(), tx, accounts.Activation{KeyHash: accounts.KeyHash("key of ada@example.org")})
				return err
			})
			if _, err := db.ChargeAttempt(t.Context(), "ada@example.org", accounts.Lockout{Limit: 3, For: time.Minute}); err != nil {
				t.Fatal(err)
			}
			second := make(chan error, 1)
			commit(t, db, func(tx pgx.Tx) error {
				if _, err := db.SetLock(t.Context(), tx, "ada@example.org", test.lock); err != nil {
					return err
				}
				go func() {
					second <- db.InTx(t.Context(), func(tx pgx.Tx) error {
						_, err := db.ChangePassword(t.Context(), tx, accounts.PasswordChange{
							UserID: user.ID, Verified: accounts.NewPasswordHash("hash"), PasswordHash: accounts.NewPasswordHash("new"),
						})
						return err
					})
				}()
				waitUntilBlocked(t.Context(), t, raw)
				_, err := db.SetDisabled(t.Context(), tx, user.ID, true)
				return err
			})
			if err := <-second; !errors.Is(err, accounts.ErrRefused) {
				t.Errorf("new password of an account that is disabled meanwhile: want %v, got %v", accounts.ErrRefused, err)
			}
		})
	}
}

// Whoever logs in while a new password, or Disable, commits was too late: his session would outlast what ended all of them.
func TestALoginWaitsForANewPasswordAndIsNone(t *testing.T) {
	t.Parallel()
	changes := map[string]func(ctx context.Context, db *postgres.DB, tx pgx.Tx, id string) error{
		"a new password": func(ctx context.Context, db *postgres.DB, tx pgx.Tx, id string) error {
			_, err := db.ChangePassword(ctx, tx, accounts.PasswordChange{
				UserID: id, Verified: accounts.NewPasswordHash("hash"), PasswordHash: accounts.NewPasswordHash("new"),
			})
			return err
		},
		"disable": func(ctx context.Context, db *postgres.DB, tx pgx.Tx, id string) error {
			_, err := db.SetDisabled(ctx, tx, id, true)
			return err
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, raw := open(t)
			registered(t, db, "ada@example.org")
			var user accounts.User
			commit(t, db, func(tx pgx.Tx) (err error) {
				user, err = db.ActivatePending(t.Context(), tx, accounts.Activation{KeyHash: accounts.KeyHash("key of ada@example.org")})
				return err
			})
			type recorded struct {
				current bool
				err     error
			}
			login := make(chan recorded, 1)
			commit(t, db, func(tx pgx.Tx) error {
				if err := change(t.Context(), db, tx, user.ID); err != nil {
					return err
				}
				go func() {
					current, err := db.RecordLogin(t.Context(), accounts.Login{
						UserID: user.ID, EmailNorm: "ada@example.org", Verified: accounts.NewPasswordHash("hash"),
					})
					login <- recorded{current, err}
				}()
				waitUntilBlocked(t.Context(), t, raw)
				return nil
			})
			if got := <-login; got.err != nil || got.current {
				t.Errorf("want a login that is none, got %+v", got)
			}
		})
	}
}

// Two transactions that do the same to one user in opposite orders wait for one another, and do not end in a deadlock.
func TestChangesOfOneUserInEitherOrderEndWithoutADeadlock(t *testing.T) {
	t.Parallel()
	type change = func(ctx context.Context, db *postgres.DB, tx pgx.Tx, id string) error
	disable := func(ctx context.Context, db *postgres.DB, tx pgx.Tx, id string) error {
		_, err := db.SetDisabled(ctx, tx, id, true)
		return err
	}
	enable := func(ctx context.Context, db *postgres.DB, tx pgx.Tx, id string) error {
		_, err := db.SetDisabled(ctx, tx, id, false)
		return err
	}
	role := func(has bool) change {
		return func(ctx context.Context, db *postgres.DB, tx pgx.Tx, id string) error {
			_, err := db.SetRole(ctx, tx, id, "had", has)
			return err
		}
	}
	request := accounts.NewRequest{ID: uuid.NewString(), EmailNorm: "ada@example.org", Mail: accounts.MailPasswordReset, TTL: time.Hour}
	ask := func(ctx context.Context, db *postgres.DB, tx pgx.Tx, _ string) error {
		_, err := db.SaveRequest(ctx, tx, request)
		return err
	}
	answer := func(ctx context.Context, db *postgres.DB, tx pgx.Tx, _ string) error {
		_, err := db.TakeRequest(ctx, tx, request.ID)
		if errors.Is(err, accounts.ErrNoSuchRequest) {
			return nil
		}
		return err
	}
	// The first two changes are one transaction's, the others of the one that comes between them.
	for name, test := range map[string]struct {
		had                      bool // the role, before
		first, then, other, last change
	}{
		"a role is given, and then the user disabled, against the other order":    {false, role(true), disable, disable, role(false)},
		"a role is taken, and then the user disabled, against the other order":    {true, role(false), disable, disable, role(true)},
		"the user disabled, and then a role is taken, against the other order":    {true, disable, role(false), role(false), enable},
		"the user disabled, and then a link asked for, against a worker's answer": {false, disable, ask, answer, enable},
		"a worker's answer, against a user disabled and a link asked for":         {false, answer, enable, disable, ask},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, raw := open(t)
			registered(t, db, "ada@example.org")
			var user accounts.User
			commit(t, db, func(tx pgx.Tx) (err error) {
				user, err = db.ActivatePending(t.Context(), tx, accounts.Activation{KeyHash: accounts.KeyHash("key of ada@example.org")})
				return err
			})
			commit(t, db, func(tx pgx.Tx) error { return ask(t.Context(), db, tx, user.ID) })
			commit(t, db, func(tx pgx.Tx) error { return role(test.had)(t.Context(), db, tx, user.ID) })
			second := make(chan error, 1)
			commit(t, db, func(tx pgx.Tx) error {
				if err := test.first(t.Context(), db, tx, user.ID); err != nil {
					return err
				}
				go func() {
					second <- db.InTx(t.Context(), func(tx pgx.Tx) error {
						if err := test.other(t.Context(), db, tx, user.ID); err != nil {
							return err
						}
						return test.last(t.Context(), db, tx, user.ID)
					})
				}()
				waitUntilBlocked(t.Context(), t, raw)
				return test.then(t.Context(), db, tx, user.ID)
			})
			if err := <-second; err != nil {
				t.Error(err)
			}
		})
	}
}
