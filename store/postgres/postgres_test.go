package postgres_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/store/postgres"
	"github.com/sealq/sealq/store/storetest"
)

var _ storetest.Store[pgx.Tx] = (*postgres.DB)(nil)

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) storetest.Harness[pgx.Tx] {
		t.Helper()
		db, raw := open(t)
		return storetest.Harness[pgx.Tx]{
			DB: db,
			Backdate: func(t testing.TB, d time.Duration) {
				t.Helper()
				backdate(t, raw, d)
			},
			Exec: func(t testing.TB, statement string) {
				t.Helper()
				exec(t, raw, statement)
			},
			Settle: func(t testing.TB) {
				t.Helper()
				settle(t, db, raw)
			},
			Unguard: func(t testing.TB) {
				t.Helper()
				exec(t, raw, "ALTER TABLE audit_log DISABLE TRIGGER USER")
			},
			Try: func(t testing.TB, statement string) error {
				t.Helper()
				_, err := raw.Exec(t.Context(), statement)
				return err
			},
			Scalar: func(t testing.TB, query string) string {
				t.Helper()
				return scalar(t, raw, query)
			},
		}
	})
}

// open gives a migrated database of its own, and a way past the driver.
func open(t *testing.T) (*postgres.DB, *pgxpool.Pool) {
	t.Helper()
	db, url := openUnmigrated(t)
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db, rawPool(t, url)
}

func openUnmigrated(t *testing.T) (db *postgres.DB, url string) {
	t.Helper()
	url = withParameter(testservers.Postgres(t), "pool_max_conns=20")
	db, err := postgres.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db, url
}

func rawPool(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	raw, err := pgxpool.New(t.Context(), withParameter(url, "pool_max_conns=2"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(raw.Close)
	return raw
}

func withParameter(url, parameter string) string {
	if strings.Contains(url, "?") {
		return url + "&" + parameter
	}
	return url + "?" + parameter
}

func exec(t testing.TB, q *pgxpool.Pool, statement string) {
	t.Helper()
	if _, err := q.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func scalar(t testing.TB, q *pgxpool.Pool, query string) string {
	t.Helper()
	var text *string
	err := q.QueryRow(t.Context(), "SELECT value::text FROM ("+query+") AS q (value)").Scan(&text)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Fatalf("%s: %v", query, err)
	}
	if text == nil {
		return ""
	}
	return *text
}

// backdate moves every timestamp of every table into the past, in one transaction.
func backdate(t testing.TB, q *pgxpool.Pool, d time.Duration) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), q, func(tx pgx.Tx) error {
		rows, err := tx.Query(t.Context(), `
			SELECT format('UPDATE %I SET %s', table_name,
			              string_agg(format('%I = %I - interval ''%s microseconds''', column_name, column_name, $1::bigint), ', '))
			FROM information_schema.columns
			WHERE table_schema = current_schema AND data_type = 'timestamp with time zone' AND table_name <> 'audit_log'
			GROUP BY table_name`, d.Microseconds())
		if err != nil {
			return err
		}
		statements, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		if len(statements) == 0 {
			return errors.New("no timestamps found")
		}
		// By the day of the last attempt, where it is known.
		statements = append(statements, fmt.Sprintf(
			`UPDATE login_state SET attempted_on = coalesce((last_failed_at AT TIME ZONE 'UTC')::date, attempted_on - %d)`, int(d.Hours()/24)))
		for _, statement := range statements {
			if _, err := tx.Exec(t.Context(), statement); err != nil {
				return fmt.Errorf("%s: %w", statement, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("backdate: %v", err)
	}
}

// settle waits until the server has ended the sessions of connections that the driver has closed.
func settle(t testing.TB, db *postgres.DB, raw *pgxpool.Pool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		var sessions int
		err := raw.QueryRow(t.Context(),
			"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'sealq'").Scan(&sessions)
		if err != nil {
			t.Fatal(err)
		}
		if sessions <= db.Connections() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server has %d sessions of the driver's %d connections", sessions, db.Connections())
		}
	}
}

func TestAScheduleWithATimeThatIsNoneHidesNoOther(t *testing.T) {
	t.Parallel()
	db, raw := open(t)
	plans := []jobs.SchedulePlan{
		{Name: "endless", Cron: "@daily", CatchUp: jobs.CatchUpLatest, Source: jobs.FromCode}, {Name: "sound", Cron: "@daily", CatchUp: jobs.CatchUpLatest, Source: jobs.FromCode},
	}
	place := func() error {
		return db.PlaceSchedules(t.Context(), jobs.Placement{Plans: plans, Actor: "test"})
	}
	if err := place(); err != nil {
		t.Fatal(err)
	}
	for _, times := range []string{"anchor = 'infinity'", "last_due_at = '-infinity'"} {
		if _, err := raw.Exec(t.Context(), "UPDATE schedules SET "+times+" WHERE name = 'endless'"); err != nil {
			t.Fatal(err)
		}
		book, err := db.ScheduleBook(t.Context(), 0)
		if err != nil || len(book.Schedules) != 2 || book.Schedules[1].Anchor.Year() < 2000 {
			t.Errorf("%s: %+v, %v", times, book.Schedules, err)
		}
		if reports, _, err := db.ScheduleReports(t.Context()); err != nil || len(reports) != 2 {
			t.Errorf("%s: %+v, %v", times, reports, err)
		}
		if err := place(); err != nil {
			t.Errorf("%s: %v", times, err)
		}
	}
}
