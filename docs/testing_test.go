package docs_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/jobstest"
	"github.com/sealq/sealq/store/sqlite"
	"github.com/sealq/sealq/worker"
)

// Signups is a part of an app: it takes the outbox by its interface.
type Signups struct{ Outbox jobs.Outbox[*sql.Tx] }

func (s Signups) SignUp(ctx context.Context, tx *sql.Tx, userID int64) error {
	_, err := s.Outbox.EnqueueTx(ctx, tx, Welcome.With(WelcomeArgs{UserID: userID}, jobs.In(time.Hour)))
	return err
}

func TestSignUpWelcomes(t *testing.T) {
	t.Parallel()
	var outbox jobstest.Outbox[*sql.Tx]
	signups := Signups{Outbox: &outbox}

	if err := signups.SignUp(t.Context(), nil, 7); err != nil {
		t.Fatal(err)
	}

	job := jobstest.RequireEnqueued(t, &outbox, Welcome, WelcomeArgs{UserID: 7})[0]
	if job.Queue != "letters" {
		t.Errorf("the welcome went into the queue %s", job.Queue)
	}
	jobstest.RequireNotEnqueued(t, &outbox, Invoice)
}

func TestBuyingRecordsAnInvoice(t *testing.T) {
	t.Parallel()
	db, app := openApp(t) // a migrated database, and the app's own connection to it

	if err := BuyWithSQL(t.Context(), db, "a hat"); err != nil {
		t.Fatal(err)
	}

	committed := jobstest.FromSQL(app.QueryContext) // with pgx: jobstest.FromSQL(pool.Query), or tx.Query
	job := jobstest.RequireOneEnqueued(t, committed, Invoice)
	if job.Args.OrderID == 0 {
		t.Error("the invoice names no order")
	}
}

func newWorker(t *testing.T, db *sqlite.DB, m Mailer) *jobstest.Worker {
	t.Helper()
	catalog, err := jobs.NewCatalog(Welcome, Invoice)
	if err != nil {
		t.Fatal(err)
	}
	return jobstest.NewWorker(t, catalog, Handlers(db, m), jobstest.Config{Effects: db})
}

func TestAnInvoiceIsWrittenOnce(t *testing.T) {
	t.Parallel()
	db, app := openApp(t)
	if err := BuyWithSQL(t.Context(), db, "a hat"); err != nil {
		t.Fatal(err)
	}
	job := jobstest.RequireOneEnqueued(t, jobstest.FromSQL(app.QueryContext), Invoice)

	w := newWorker(t, db, make(mailer, 1))
	if end := w.WorkRow(t, job.Row); end.Outcome != jobstest.Done {
		t.Fatalf("the invoice ended %v", end)
	}
	if end := w.WorkRow(t, job.Row); end.Outcome != jobstest.Duplicate {
		t.Fatalf("the replayed invoice ended %v", end)
	}
}

type unknownUser struct{}

func (unknownUser) Welcome(context.Context, int64, string) error { return ErrNoSuchUser }

func TestAWelcomeOfNobodyIsDead(t *testing.T) {
	t.Parallel()
	db, app := openApp(t)
	signups := Signups{Outbox: db}
	if err := db.InTx(t.Context(), func(tx *sql.Tx) error { return signups.SignUp(t.Context(), tx, 7) }); err != nil {
		t.Fatal(err)
	}
	committed := jobstest.FromSQL(app.QueryContext)
	job := jobstest.RequireOneEnqueued(t, committed, Welcome)
	w := newWorker(t, db, unknownUser{})
	if end := w.WorkRow(t, job.Row); end.Outcome != jobstest.Dead {
		t.Errorf("ended %v", end)
	}
	if state := jobstest.RequireOneEnqueued(t, committed, Welcome).State; state != jobs.RowDead {
		t.Errorf("the row is %s", state)
	}
}

func TestAWelcomeIsPutOffUntilTheMailServerIsBack(t *testing.T) {
	t.Parallel()
	clock := jobstest.NewClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	away := true
	h := worker.NewHandlers(worker.HandlersConfig{Now: clock.Now})
	worker.Handle(h, Welcome, func(context.Context, worker.Job[WelcomeArgs]) error {
		if away {
			return worker.Defer(clock.Now().Add(time.Minute), errors.New("no mail server"))
		}
		return nil
	})
	catalog, err := jobs.NewCatalog(Welcome)
	if err != nil {
		t.Fatal(err)
	}
	w := jobstest.NewWorker(t, catalog, h, jobstest.Config{Clock: clock})

	end := w.Work(t, Welcome.With(WelcomeArgs{UserID: 7}))
	if end.Outcome != jobstest.Later || end.After != time.Minute {
		t.Errorf("the welcome ended %v", end)
	}
	away = false
	clock.Advance(time.Minute)
	if end := w.Work(t, Welcome.With(WelcomeArgs{UserID: 7})); end.Outcome != jobstest.Done {
		t.Errorf("the welcome ended %v", end)
	}
}

func TestAnInvoiceInTheTestsOwnTransaction(t *testing.T) {
	t.Parallel()
	_, app := openApp(t)
	tx, err := app.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()

	ledger := &jobstest.Ledger[*sql.Tx]{Tx: tx}
	h := worker.NewHandlers(worker.HandlersConfig{})
	worker.HandleTx(h, ledger, Invoice, func(ctx context.Context, tx *sql.Tx, j worker.Job[InvoiceArgs]) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO invoices (order_id) VALUES (?)`, j.Args.OrderID)
		return err
	})
	catalog, err := jobs.NewCatalog(Invoice)
	if err != nil {
		t.Fatal(err)
	}
	w := jobstest.NewWorker(t, catalog, h, jobstest.Config{Effects: ledger})
	if end := w.Work(t, Invoice.With(InvoiceArgs{OrderID: 17})); end.Outcome != jobstest.Done {
		t.Fatalf("the invoice ended %v", end)
	}
	var written int
	if err := tx.QueryRowContext(t.Context(), `SELECT count(*) FROM invoices WHERE order_id = 17`).Scan(&written); err != nil || written != 1 {
		t.Errorf("%d invoices are written: %v", written, err)
	}
}
