package postgres_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs/sweep"
	"github.com/sealq/sealq/store/postgres"
)

var registrations = sweep.Walk{Part: sweep.Registrations}

// expired makes registrations n…m that expired, the first of them the longest ago. Nothing vacuums them.
func expired(t *testing.T, raw *pgxpool.Pool, n, m int) {
	t.Helper()
	exec(t, raw, `ALTER TABLE pending_users SET (autovacuum_enabled = off)`)
	exec(t, raw, fmt.Sprintf(`
		INSERT INTO pending_users (id, email_norm, email, password_hash, nonce, generation, expires_at)
		SELECT gen_random_uuid(), n::text, '', '', '0123456789abcdef', 1, now() - interval '1 day' + n * interval '1 ms' FROM generate_series(%d, %d) n`, n, m))
}

// sweepOf deletes what is due, in batches, and says how many there were.
func sweepOf(t *testing.T, db *postgres.DB, w sweep.Walk, limit int) (gone int) {
	t.Helper()
	for {
		b, err := db.SweepBatch(t.Context(), w, limit)
		if err != nil {
			t.Fatal(err)
		}
		gone += b.Gone
		if !b.More || b.Gone == 0 {
			return gone
		}
	}
}

// pages is how many pages the statement of an empty sweep reads from there on.
func pages(t *testing.T, raw *pgxpool.Pool, sql, from string) int {
	t.Helper()
	var text []byte
	err := pgx.BeginFunc(t.Context(), raw, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), "PREPARE probe AS "+sql); err != nil {
			return err
		}
		defer func() { _, _ = tx.Exec(t.Context(), "DEALLOCATE probe") }()
		return tx.QueryRow(t.Context(), "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE probe (1000, now(), "+from+")", pgx.QueryExecModeSimpleProtocol).Scan(&text)
	})
	var plans []struct {
		Plan struct {
			Rows int `json:"Actual Rows"`
			Hit  int `json:"Shared Hit Blocks"`
			Read int `json:"Shared Read Blocks"`
		}
	}
	if err == nil {
		err = json.Unmarshal(text, &plans)
	}
	if err != nil || len(plans) != 1 || plans[0].Plan.Rows != 0 {
		t.Fatalf("%s: %v", text, err)
	}
	return plans[0].Plan.Hit + plans[0].Plan.Read
}

// A transaction that is open keeps every dead entry from being skipped at once: so it was when an empty sweep took 12 s.
func TestTheFirstEmptySweepAfterABigOneReadsFewPagesBeforeAnyVacuum(t *testing.T) {
	t.Parallel()
	db, raw := open(t)
	expired(t, raw, 1, 20_000)
	commit(t, db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pending_users"); err != nil {
			return err
		}
		if gone := sweepOf(t, db, registrations, 1000); gone != 20_000 {
			t.Errorf("swept %d", gone)
		}
		sql := postgres.SweepSQL(sweep.Registrations, "from")
		naive, ours := pages(t, raw, sql, literal("-infinity")), pages(t, raw, sql, literal(scalar(t, raw, "SELECT mark FROM sweep_marks WHERE part = 'registrations'")))
		if naive < 300 || ours > 10 {
			t.Errorf("pages: from the oldest end %d, from the mark %d", naive, ours)
		}
		return nil
	})
}

func TestAWalkBeginsAtTheMarkAndNowAndThenAtTheOldestEnd(t *testing.T) {
	t.Parallel()
	for sentence, c := range map[string]struct {
		meanwhile string
		want      int
	}{
		"at the mark otherwise":            {"SELECT", 0},
		"after six hours":                  {"UPDATE sweep_marks SET full_at = full_at - interval '6 h'", 1},
		"when the clock was set back":      {"UPDATE sweep_marks SET mark = now() + interval '1 h'", 1},
		"when the clock was set back much": {"UPDATE sweep_marks SET full_at = now() + interval '1 y'", 1},
		"when nobody knows of a mark":      {"DELETE FROM sweep_marks", 1},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			db, raw := open(t)
			expired(t, raw, 1001, 2000)
			if gone := sweepOf(t, db, registrations, 300); gone != 1000 {
				t.Errorf("swept %d", gone)
			}
			expired(t, raw, 1, 1) // restored, say
			exec(t, raw, c.meanwhile)
			if gone := sweepOf(t, db, registrations, 300); gone != c.want {
				t.Errorf("swept %d before the mark, want %d", gone, c.want)
			}
			expired(t, raw, 86_100_000, 86_100_007) // five minutes ago
			if gone := sweepOf(t, db, registrations, 300); gone != 8 {
				t.Errorf("swept %d behind the mark", gone)
			}
		})
	}
}

func TestRowsThatWereLockedAreSweptByTheNextSweepAndHoldNothingUp(t *testing.T) {
	t.Parallel()
	db, raw := open(t)
	expired(t, raw, 1, 5000)
	commit(t, db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), "SELECT FROM pending_users WHERE email_norm IN ('1', '2', '2500', '5000') FOR UPDATE"); err != nil {
			return err
		}
		if gone := sweepOf(t, db, registrations, 1000); gone != 4996 {
			t.Errorf("swept %d", gone)
		}
		if n := pages(t, raw, postgres.SweepSQL(sweep.Registrations, "from"), literal(scalar(t, raw, "SELECT mark FROM sweep_marks"))); n > 10 {
			t.Errorf("a walk behind the mark reads %d pages", n)
		}
		if gone := sweepOf(t, db, registrations, 1000); gone != 0 {
			t.Errorf("swept %d that are locked", gone)
		}
		_, err := tx.Exec(t.Context(), "UPDATE pending_users SET expires_at = now() + interval '1 h' WHERE email_norm = '2'") // registered again
		return err
	})
	if gone := sweepOf(t, db, registrations, 1000); gone != 3 {
		t.Errorf("swept %d of three that are free again", gone)
	}
	if held := scalar(t, raw, "SELECT count(*) FROM sweep_held"); held != "0" {
		t.Errorf("%s are still held", held)
	}
}

func TestMoreLockedRowsThanAreRememberedHoldTheMarkBack(t *testing.T) {
	t.Parallel()
	db, raw := open(t)
	expired(t, raw, 1, 3000)
	commit(t, db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), "SELECT FROM pending_users WHERE email_norm::int <= 1500 FOR UPDATE"); err != nil {
			return err
		}
		if gone := sweepOf(t, db, registrations, 2000); gone != 1500 {
			t.Errorf("swept %d", gone)
		}
		if held := scalar(t, raw, "SELECT count(*) FROM sweep_held"); held != "1000" {
			t.Errorf("%s are remembered one by one", held)
		}
		return nil
	})
	total := 0
	for range 3 {
		total += sweepOf(t, db, registrations, 2000)
	}
	if left := scalar(t, raw, "SELECT count(*) FROM pending_users"); total != 1500 || left != "0" {
		t.Errorf("swept %d when they were free, %s left", total, left)
	}
}

func TestTwoSweepersAtOnceDeleteEveryRowOnce(t *testing.T) {
	t.Parallel()
	db, raw := open(t)
	expired(t, raw, 1, 3000)
	outcomes := make([]sweep.Outcome, 2)
	errs := make([]error, 2)
	var both sync.WaitGroup
	for i := range outcomes {
		both.Go(func() {
			runner, err := sweep.NewRunner(db, db, sweep.Config{})
			if err == nil {
				outcomes[i], err = runner.Run(t.Context(), sweep.Order{Sweep: "test:sweep", Tick: "t", Steps: sweep.Of(db, sweep.Expiry())})
			}
			errs[i] = err
		})
	}
	both.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if left := scalar(t, raw, "SELECT count(*) FROM pending_users"); left != "0" || outcomes[0].Rows+outcomes[1].Rows != 3000 {
		t.Errorf("%s left after %+v", left, outcomes)
	}
	for i, o := range outcomes { // who came while the other was at it has done nothing
		if o.Taken && (o.Rows > 0 || outcomes[1-i].Rows != 3000) {
			t.Errorf("%+v", outcomes)
		}
	}
}

func TestABatchThatIsRolledBackMovesNoMark(t *testing.T) {
	t.Parallel()
	db, raw := open(t)
	for i := range 3 {
		if _, err := db.ChargeAttempt(t.Context(), fmt.Sprintf("%d@example.org", i), accounts.Lockout{Limit: 1, For: time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
	backdate(t, raw, time.Hour)
	lift := func(want int, end error) {
		t.Helper()
		err := db.InTx(t.Context(), func(tx pgx.Tx) error {
			lifted, err := db.LiftLockouts(t.Context(), tx, 10, false)
			if err != nil || len(lifted) != want {
				t.Errorf("lifted %d, want %d: %v", len(lifted), want, err)
			}
			return end
		})
		if end == nil && err != nil {
			t.Fatal(err)
		}
	}
	lift(3, errUndo)
	lift(3, nil)
	lift(0, nil)
}

func TestASweepChangesNoSettingOfAnotherTransactionNorOfItsCaller(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	commits := func(tx pgx.Tx) {
		t.Helper()
		var mode string
		if err := tx.QueryRow(t.Context(), "SELECT current_setting('synchronous_commit')").Scan(&mode); err != nil || mode != "on" {
			t.Errorf("synchronous_commit: want the server's on, got %s, %v", mode, err)
		}
	}
	commit(t, db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), "SET LOCAL lock_timeout = '7s'"); err != nil {
			return err
		}
		_, err := db.LiftLockouts(t.Context(), tx, 10, false)
		commits(tx) // it is the caller's to say how durable his transaction is, and how long it waits
		var patience string
		if err := tx.QueryRow(t.Context(), "SELECT current_setting('lock_timeout')").Scan(&patience); err != nil || patience != "7s" {
			t.Errorf("lock_timeout: want the caller's 7s, got %s, %v", patience, err)
		}
		return err
	})
	for range 10 {
		sweepOf(t, db, registrations, 10)
		if had, err := db.TellSweep(t.Context(), sweep.Progress{Sweep: "s", Holder: "h"}, time.Minute); err != nil || !had {
			t.Fatal(had, err)
		}
		commit(t, db, func(tx pgx.Tx) error { commits(tx); return nil })
	}
}

func TestTheTablesThatAreSweptAreVacuumedSoonAndHaveRoomForUpdates(t *testing.T) {
	t.Parallel()
	_, raw := open(t)
	for table, fill := range map[string]string{
		"pending_users": "85", "login_state": "70", "owner_requests": "", "ledger": "", "outbox": "70", "ticks": "", "mails": "80", "mail_attempts": "",
		"quarantine": "", "user_tokens": "", "audit_log": "",
	} {
		for option, want := range map[string]string{"fillfactor": fill, "autovacuum_vacuum_scale_factor": "0.01", "autovacuum_vacuum_threshold": "1000"} {
			got := scalar(t, raw, fmt.Sprintf(`SELECT option_value FROM pg_class, pg_options_to_table(reloptions) WHERE oid = '%s'::regclass AND option_name = '%s'`, table, option))
			if got != want {
				t.Errorf("%s: %s is %q, want %q", table, option, got, want)
			}
		}
	}
}
