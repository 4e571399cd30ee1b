package jobstest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/jobstest"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

func catalog(t *testing.T, defs ...jobs.Definition) *jobs.Catalog {
	t.Helper()
	c, err := jobs.NewCatalog(defs...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newHandlers(o worker.Outbox) *worker.Handlers {
	return worker.NewHandlers(worker.HandlersConfig{Outbox: o})
}

func handleTx(h *worker.Handlers, l worker.Ledger[*sql.Tx], def jobs.Def[order]) {
	worker.HandleTx(h, l, def, func(ctx context.Context, tx *sql.Tx, j worker.Job[order]) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO shipped (id) VALUES (?)`, j.Args.ID)
		return err
	})
}

// working makes a worker whose one handler returns what answer says.
func working(t *testing.T, def jobs.Def[greeting], o worker.Outbox, cfg jobstest.Config, answer func(worker.Job[greeting]) error) *jobstest.Worker {
	t.Helper()
	if cfg.Clock == nil {
		cfg.Clock = jobstest.NewClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	}
	h := worker.NewHandlers(worker.HandlersConfig{Outbox: o, Now: cfg.Clock.Now})
	worker.Handle(h, def, func(_ context.Context, j worker.Job[greeting]) error { return answer(j) })
	return jobstest.NewWorker(t, catalog(t, def), h, cfg)
}

func TestARunTellsWhatBecomesOfTheJob(t *testing.T) {
	t.Parallel()
	soon := func(failures int) time.Duration { return time.Duration(failures) * time.Minute }
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	errPrinter := errors.New("the printer is out of paper")
	for name, c := range map[string]struct {
		policy jobs.Policy
		answer func(worker.Job[greeting]) error
		want   jobstest.Result
		text   string
	}{
		"it is done": {jobs.Policy{}, func(worker.Job[greeting]) error { return nil }, jobstest.Result{Outcome: jobstest.Done}, "done"},
		"an encrypted one is done too": {
			jobs.Policy{Encrypt: true}, func(worker.Job[greeting]) error { return nil }, jobstest.Result{Outcome: jobstest.Done}, "done",
		},
		"it fails, and is tried again by its kind's backoff": {
			jobs.Policy{Backoff: soon},
			func(worker.Job[greeting]) error { return errPrinter },
			jobstest.Result{Outcome: jobstest.Again, After: time.Minute},
			"again after 1m0s: the printer is out of paper",
		},
		"it fails, and has no retries": {
			jobs.Policy{Retries: jobs.NoRetries},
			func(worker.Job[greeting]) error { return errPrinter },
			jobstest.Result{Outcome: jobstest.Dead},
			"dead: the printer is out of paper",
		},
		"it fails for good": {
			jobs.Policy{},
			func(worker.Job[greeting]) error { return worker.Permanent(errPrinter) },
			jobstest.Result{Outcome: jobstest.Dead},
			"dead: the printer is out of paper",
		},
		"it is put off": {
			jobs.Policy{},
			func(worker.Job[greeting]) error { return worker.Defer(noon.Add(time.Hour), errPrinter) },
			jobstest.Result{Outcome: jobstest.Later, After: time.Hour},
			"later after 1h0m0s: the printer is out of paper",
		},
		"it panics": {
			jobs.Policy{},
			func(worker.Job[greeting]) error { panic("no ink") },
			jobstest.Result{Outcome: jobstest.Again},
			"handler panicked: no ink",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			def := greet(c.policy)
			w := working(t, def, nil, jobstest.Config{}, c.answer)
			got := w.Work(t, def.With(greeting{User: 7}))
			if !strings.HasSuffix(got.String(), c.text) {
				t.Errorf("the result reads %q, want …%q", got, c.text)
			}
			if (got.Err == nil) != (got.Outcome == jobstest.Done) {
				t.Errorf("error %v of a job that is %s", got.Err, got.Outcome)
			}
			if got.Err = nil; c.want.After == 0 && got.Outcome == jobstest.Again {
				got.After = 0 // asynq's own, for a panic
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAHandlerGetsTheJobAsItWasEnqueued(t *testing.T) {
	t.Parallel()
	clock := jobstest.NewClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	def := greet(jobs.Policy{Queue: "mail", MaxAge: 90 * time.Minute})
	box := jobstest.Outbox[tx]{Now: clock.Now}
	enqueue(t, &box, def.With(greeting{User: 7, Lang: "de"}, jobs.In(30*24*time.Hour)))
	var got worker.Job[greeting]
	w := working(t, def, &box, jobstest.Config{Clock: clock}, func(j worker.Job[greeting]) error { got = j; return nil })
	job := jobstest.RequireOneEnqueued(t, &box, def)
	if end := w.WorkRow(t, job.Row); end.Outcome != jobstest.Done {
		t.Fatalf("ended %v", end)
	}
	due := time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)
	if !clock.Now().Equal(due) {
		t.Errorf("the clock shows %v, want the time at which the job is due", clock.Now())
	}
	text := fmt.Sprintf("%+v %s %s %v %v %s", got.Args, got.ID, got.Queue, got.IssuedAt.UTC(), got.ExpiresAt.UTC(), got.Effect().ID)
	want := fmt.Sprintf("%+v %s.1 mail %v %v %s", greeting{User: 7, Lang: "de"}, job.ID, due, due.Add(90*time.Minute), job.ID)
	if diff := cmp.Diff(want, text); diff != "" {
		t.Errorf("the handler's job (-want +got):\n%s", diff)
	}
	if state := jobstest.RequireOneEnqueued(t, &box, def).State; state != jobs.RowDone {
		t.Errorf("the row is %s", state)
	}
}

func TestFailuresOfOneJobCountUntilItIsDead(t *testing.T) {
	t.Parallel()
	def := greet(jobs.Policy{Retries: 2})
	var box jobstest.Outbox[tx]
	enqueue(t, &box, def.With(greeting{User: 7}))
	w := working(t, def, &box, jobstest.Config{Clock: jobstest.NewClock(time.Now())},
		func(worker.Job[greeting]) error { return errors.New("no paper") })
	row := jobstest.RequireOneEnqueued(t, &box, def).Row
	var got []jobstest.Outcome
	for range 4 {
		got = append(got, w.WorkRow(t, row).Outcome)
	}
	want := []jobstest.Outcome{jobstest.Again, jobstest.Again, jobstest.Dead, jobstest.Dropped}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("four runs (-want +got):\n%s", diff)
	}
	if state := jobstest.RequireOneEnqueued(t, &box, def).State; state != jobs.RowDead {
		t.Errorf("the row is %s", state)
	}
	if end := w.Work(t, def.With(greeting{User: 8})); end.Outcome != jobstest.Again {
		t.Errorf("a job that nobody recorded ended %v", end)
	}
}

func TestAnEffectInTheTestsTransactionHappensOnce(t *testing.T) {
	t.Parallel()
	def := ship()
	var box jobstest.Outbox[string]
	ledger := &jobstest.Ledger[string]{Tx: "the test's", Outbox: &box}
	if _, err := box.EnqueueTx(t.Context(), "", def.With(order{ID: 5})); err != nil {
		t.Fatal(err)
	}
	var effects []string
	fails := true
	h := newHandlers(&box)
	worker.HandleTx(h, ledger, def, func(_ context.Context, tx string, j worker.Job[order]) error {
		if fails {
			return errors.New("no paper")
		}
		effects = append(effects, fmt.Sprintf("%s %d", tx, j.Args.ID))
		return nil
	})
	row := jobstest.RequireOneEnqueued(t, &box, def).Row
	for name, asked := range map[string]worker.Effects{
		"with a ledger that can be asked": ledger,
		"decided by the ledger alone":     nil,
	} {
		w := jobstest.NewWorker(t, catalog(t, def), h, jobstest.Config{Effects: asked})
		if fails {
			if end := w.WorkRow(t, row); end.Outcome != jobstest.Again {
				t.Errorf("%s: a failed run ended %v", name, end)
			}
			fails = false
			if end := w.WorkRow(t, row); end.Outcome != jobstest.Done {
				t.Errorf("%s: the first run ended %v", name, end)
			}
		}
		if end := w.WorkRow(t, row); end.Outcome != jobstest.Duplicate {
			t.Errorf("%s: the second run ended %v", name, end)
		}
	}
	if diff := cmp.Diff([]string{"the test's 5"}, effects); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
	if state := jobstest.RequireOneEnqueued(t, &box, def).State; state != jobs.RowDone {
		t.Errorf("the row is %s", state)
	}
}

func TestWhatCannotBeRunEndsTheTest(t *testing.T) {
	t.Parallel()
	clock := jobstest.NewClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	def := greet(jobs.Policy{MaxAge: time.Hour})
	w := working(t, def, nil, jobstest.Config{Clock: clock}, func(worker.Job[greeting]) error { return nil })
	// The app that enqueues has a later version of the definition than the worker, which lets its tasks live longer.
	later := greet(jobs.Policy{MaxAge: 48 * time.Hour})
	row := recordedRow(t, later.With(greeting{User: 7}), clock)
	if end := w.WorkRow(t, row); end.Outcome != jobstest.Done {
		t.Errorf("the relay signs for no longer than the kind allows: %v", end)
	}
	drifted := jobs.Define[map[string]int]("mail:greet", jobs.Policy{})
	for name, c := range map[string]struct {
		job  jobs.Job
		want string
	}{
		"a faulty job":                 {def.With(greeting{Lang: "\xff"}), "invalid arguments"},
		"an unknown kind":              {ship().With(order{}), `unknown kind "orders:ship"`},
		"a queue that nobody serves":   {def.With(greeting{}, jobs.Queue("slow")), `queue "slow", and this worker serves default`},
		"arguments of another version": {drifted.With(map[string]int{"user": 7, "admin": 1}), "invalid arguments"},
		"a row that has expired":       {def.With(greeting{}, jobs.Until(clock.Now().Add(-time.Second))), "its row has expired"},
	} {
		if got := failureOf(t, func(t testing.TB) { t.Helper(); w.Work(t, c.job) }); !strings.Contains(got, c.want) {
			t.Errorf("%s: failed with %q, want …%q", name, got, c.want)
		}
	}
}

func TestWhatAWorkerRefusesIsRefused(t *testing.T) {
	t.Parallel()
	// The process that enqueues has an older version of the definition than the handlers.
	plain, secret := greet(jobs.Policy{}), greet(jobs.Policy{Encrypt: true})
	h := worker.NewHandlers(worker.HandlersConfig{})
	called := false
	worker.Handle(h, secret, func(context.Context, worker.Job[greeting]) error { called = true; return nil })
	worker.Handle(h, ship(), func(context.Context, worker.Job[order]) error { return nil })
	w := jobstest.NewWorker(t, catalog(t, plain, ship()), h, jobstest.Config{Effects: brokenLedger{}})
	got := w.Work(t, plain.With(greeting{User: 7}))
	if got.Outcome != jobstest.Refused || got.Reason != signing.ReasonMustBeEncrypted || called {
		t.Errorf("ended %v, handler called: %v", got, called)
	}
	if end := w.Work(t, ship().With(order{ID: 5})); end.Outcome != jobstest.Later {
		t.Errorf("a job whose ledger cannot be read ended %v", end)
	}
	if want := "refused (must_be_encrypted): "; !strings.HasPrefix(got.String(), want) {
		t.Errorf("the result reads %q, want %q…", got, want)
	}
}

type brokenLedger struct{}

func (brokenLedger) EffectDone(context.Context, jobs.Kind, string) (bool, error) {
	return false, errors.New("the disk is gone")
}

// recordedRow is a job's row, recorded at the clock's time.
func recordedRow(t testing.TB, j jobs.Job, clock *jobstest.Clock) jobstest.Row {
	t.Helper()
	box := jobstest.Outbox[tx]{Now: clock.Now}
	enqueue(t, &box, j)
	rows, err := box.Rows(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return rows[0]
}

func TestMistakesOfRegistrationEndTheTest(t *testing.T) {
	t.Parallel()
	h := worker.NewHandlers(worker.HandlersConfig{})
	got := failureOf(t, func(tb testing.TB) { tb.Helper(); jobstest.NewWorker(tb, catalog(t, ship()), h, jobstest.Config{}) })
	if want := "kind without a handler: orders:ship"; !strings.Contains(got, want) {
		t.Errorf("failed with %q, want …%q", got, want)
	}
}

func TestAHandlerThatEndsItsGoroutineFailsTheTestInsteadOfHangingIt(t *testing.T) {
	t.Parallel()
	def := greet(jobs.Policy{})
	w := working(t, def, nil, jobstest.Config{}, func(worker.Job[greeting]) error {
		runtime.Goexit() // as t.FailNow does
		return nil
	})
	got := failureOf(t, func(t testing.TB) { t.Helper(); w.Work(t, def.With(greeting{})) })
	if !strings.Contains(got, "the handler left its goroutine") {
		t.Errorf("failed with %q", got)
	}
}

func TestTheClockStandsStillUntilItIsMoved(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	clock := jobstest.NewClock(noon)
	clock.Advance(time.Hour)
	if got := clock.Now(); !got.Equal(noon.Add(time.Hour)) {
		t.Errorf("the clock shows %v", got)
	}
	defer func() {
		if recover() == nil {
			t.Error("the clock went back")
		}
	}()
	clock.Advance(-1)
}
