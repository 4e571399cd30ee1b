package jobstest_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/jobstest"
	"github.com/sealq/sealq/store/postgres"
	"github.com/sealq/sealq/store/sqlite"
)

var errRollBack = errors.New("roll back")

// openSQLite opens a migrated database of its own, and a connection of the app's to it.
func openSQLite(t *testing.T) (*sqlite.DB, *sql.DB) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sealq.db")
	db, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	app, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = app.Close() })
	return db, app
}

func openPostgres(t *testing.T) (*postgres.DB, *pgxpool.Pool) {
	t.Helper()
	url := testservers.Postgres(t)
	db, err := postgres.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	app, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(app.Close)
	return db, app
}

// recordAndLook records in two transactions, of which one rolls back.
func recordAndLook[Tx any](
	t *testing.T, box jobs.Outbox[Tx], inTx func(context.Context, func(Tx) error) error,
	inside func(Tx) jobstest.Source, outside jobstest.Source,
) {
	t.Helper()
	ctx := t.Context()
	def, cancel := greet(jobs.Policy{MaxAge: 2 * time.Hour}), jobs.Define[order]("orders:cancel", jobs.Policy{})
	due := time.Date(2126, 3, 1, 12, 0, 0, 0, time.UTC)
	job := def.With(greeting{User: 7}, jobs.Queue("slow"), jobs.At(due), jobs.MaxRetry(3), jobs.Header("trace", "x\x01"), jobs.UniqueKey("u7"))
	err := inTx(ctx, func(tx Tx) error {
		if _, err := box.EnqueueTx(t.Context(), tx, job); err != nil {
			return err
		}
		jobstest.RequireOneEnqueued(t, inside(tx), def)
		return errRollBack
	})
	if !errors.Is(err, errRollBack) {
		t.Fatal(err)
	}
	jobstest.RequireNotEnqueued(t, outside, def)

	if err := inTx(ctx, func(tx Tx) error {
		for _, j := range []jobs.Job{job, ship().With(order{ID: 5}), cancel.With(order{ID: 3}), cancel.With(order{ID: 1}), cancel.With(order{ID: 2})} {
			if _, err := box.EnqueueTx(ctx, tx, j); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want := jobstest.Enqueued[greeting]{Args: greeting{User: 7}, Row: jobstest.Row{State: jobs.RowQueued, Row: jobs.Row{
		Kind: "mail:greet", Queue: "slow", Payload: []byte(`{"user":7}`), Retries: 3, Headers: map[string]string{"trace": "x\x01"},
		UniqueKey: "u7", NotBefore: due, ExpiresAt: due.Add(2 * time.Hour), Life: 2 * time.Hour,
	}}}
	got := jobstest.RequireOneEnqueued(t, outside, def)
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(jobs.Row{}, "ID")); diff != "" {
		t.Errorf("enqueued (-want +got):\n%s", diff)
	}
	jobstest.RequireEnqueued(t, outside, cancel, order{ID: 3}, order{ID: 1}, order{ID: 2})
	if one := jobstest.RequireOneEnqueued(t, outside, ship()); one.UniqueKey != "" || one.Headers != nil {
		t.Errorf("a job without key and headers has %q and %v", one.UniqueKey, one.Headers)
	}
}

func TestFromSQLSeesWhatSQLiteHolds(t *testing.T) {
	t.Parallel()
	db, app := openSQLite(t)
	recordAndLook(t, db, db.InTx,
		func(tx *sql.Tx) jobstest.Source { return jobstest.FromSQL(tx.QueryContext) }, jobstest.FromSQL(app.QueryContext))
}

func TestFromSQLSeesWhatPostgreSQLHolds(t *testing.T) {
	t.Parallel()
	db, app := openPostgres(t)
	recordAndLook(t, db, db.InTx,
		func(tx pgx.Tx) jobstest.Source { return jobstest.FromSQL(tx.Query) }, jobstest.FromSQL(app.Query))
}

func TestADatabaseWithoutAnOutboxFailsTheRequirement(t *testing.T) {
	t.Parallel()
	app, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "empty.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = app.Close() })
	got := failureOf(t, func(t testing.TB) {
		t.Helper()
		jobstest.RequireNotEnqueued(t, jobstest.FromSQL(app.QueryContext), ship())
	})
	if !strings.Contains(got, "no such table: outbox") {
		t.Errorf("failed with %q", got)
	}
}

func TestAJobOfADatabaseIsRunAndItsRowCompletedWithItsEffect(t *testing.T) {
	t.Parallel()
	db, app := openSQLite(t)
	if _, err := app.ExecContext(t.Context(), `CREATE TABLE shipped (id INTEGER PRIMARY KEY)`); err != nil {
		t.Fatal(err)
	}
	def := ship()
	var rowID string
	if err := db.InTx(t.Context(), func(tx *sql.Tx) (err error) {
		rowID, err = db.EnqueueTx(t.Context(), tx, def.With(order{ID: 5}))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	h := newHandlers(db)
	handleTx(h, db, def)
	w := jobstest.NewWorker(t, catalog(t, def), h, jobstest.Config{Effects: db})

	job := jobstest.RequireOneEnqueued(t, jobstest.FromSQL(app.QueryContext), def)
	if job.ID != rowID {
		t.Errorf("the row is %s, want %s", job.ID, rowID)
	}
	if got := w.WorkRow(t, job.Row); got.Outcome != jobstest.Done {
		t.Errorf("the first run ended %v", got)
	}
	if got := w.WorkRow(t, job.Row); got.Outcome != jobstest.Duplicate {
		t.Errorf("the second run ended %v", got)
	}
	if state := jobstest.RequireOneEnqueued(t, jobstest.FromSQL(app.QueryContext), def).State; state != jobs.RowDone {
		t.Errorf("the row is %s", state)
	}
	var shipped int
	if err := app.QueryRowContext(t.Context(), `SELECT count(*) FROM shipped`).Scan(&shipped); err != nil || shipped != 1 {
		t.Errorf("shipped %d times: %v", shipped, err)
	}
}
