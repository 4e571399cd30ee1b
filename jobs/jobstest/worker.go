package jobstest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker" //nolint:depguard // see outbox.go
)

// Config of a Worker.
type Config struct {
	// Clock says what time it is for signing and verifying. Nil: one that shows the time at which the worker is made.
	// Give its Now to worker.HandlersConfig and Outbox too.
	Clock *Clock
	// Effects is asked whether an effect has happened, as worker.Config.Effects is: give it the ledger. Nil: nobody is,
	// and a second run ends as Done without its handler being called.
	Effects worker.Effects
	// Queues are those that the worker serves. Nil: those of the catalog's kinds.
	Queues []string
}

// Worker runs jobs through an app's own handlers, one at a time. Everything is real but the server in which asynq keeps
// its tasks, which is a part of the test's process, and the clock.
type Worker struct {
	clock    *Clock
	catalog  *jobs.Catalog
	keys     *signing.Keys
	enqueuer *jobs.Enqueuer
	guarded  asynq.Config // as the verifier guards it: knows what becomes of a task
	queues   []string
	gone     func(queue, id string) bool // whether asynq holds the task no longer

	mu      sync.Mutex     // one run at a time
	verdict worker.Verdict // of the run, on asynq's goroutine
	ended   chan run
}

// run is what the verifier and the handler made of a task.
type run struct {
	verdict worker.Verdict
	err     error
}

// errGoexit is what a run ends in whose handler left by runtime.Goexit.
var errGoexit = errors.New("the handler left its goroutine: t.FailNow and t.Fatal belong into the test's own, in a handler use t.Error")

// NewWorker checks the handlers against the catalog as an app does at its start, and ends the test where that fails.
// The worker ends with the test.
func NewWorker(t testing.TB, catalog *jobs.Catalog, h *worker.Handlers, cfg Config) *Worker {
	t.Helper()
	if err := h.Check(catalog); err != nil {
		t.Fatalf("jobstest: %v", err)
	}
	if cfg.Clock == nil {
		cfg.Clock = NewClock(time.Now()) //nolint:forbidigo // the default of the injected clock
	}
	w := &Worker{clock: cfg.Clock, catalog: catalog, queues: cfg.Queues, ended: make(chan run, 1)}
	if w.queues == nil {
		w.queues = queuesOf(catalog)
	}
	if err := w.start(t, h, cfg.Effects); err != nil {
		t.Fatalf("jobstest: start the worker: %v", err)
	}
	return w
}

func queuesOf(catalog *jobs.Catalog) []string {
	queues := make(map[string]bool)
	for _, kind := range catalog.Kinds() {
		if def, err := catalog.Lookup(kind); err == nil { // the catalog knows its kinds
			queues[def.Policy().Queue] = true
		}
	}
	return slices.Sorted(maps.Keys(queues))
}

func (w *Worker) start(t testing.TB, h *worker.Handlers, effects worker.Effects) error {
	t.Helper()
	server, err := miniredis.Run()
	if err != nil {
		return err //nolint:wrapcheck // NewWorker does
	}
	t.Cleanup(server.Close)
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { _ = client.Close() }) // the server that it talks to ends next
	w.gone = func(queue, id string) bool { return !server.Exists("asynq:{" + queue + "}:t:" + id) }
	w.keys = openKeys(t, w.clock.Now)
	t.Cleanup(w.keys.Close)
	w.enqueuer, err = jobs.NewEnqueuer(asynq.NewClientFromRedisClient(client), w.keys, jobs.Config{Now: w.clock.Now})
	if err != nil {
		return err
	}
	verifier, err := worker.New(w.keys, worker.Config{
		Archive: true, // what is refused is told by the verdict, and stands nowhere
		Effects: effects, Now: w.clock.Now,
		OnVerdict: func(_ context.Context, v worker.Verdict) { w.verdict = v },
	})
	if err != nil {
		return err
	}
	priorities := make(map[string]int, len(w.queues))
	for _, queue := range w.queues {
		priorities[queue] = 1
	}
	w.guarded = verifier.Config(asynq.Config{
		Queues: priorities, Concurrency: 1, LogLevel: asynq.FatalLevel,
		TaskCheckInterval: 2 * time.Millisecond, ShutdownTimeout: time.Second,
	})
	srv := asynq.NewServerFromRedisClient(client, w.guarded)
	verified := verifier.Handler(h)
	if err := srv.Start(asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
		w.verdict = worker.Verdict{}
		err := errGoexit
		defer func() { w.ended <- run{w.verdict, err} }()
		err = verified.ProcessTask(ctx, task)
		return nil // what would become of the task is the test's to see: asynq is done with it
	})); err != nil {
		return err //nolint:wrapcheck // NewWorker does
	}
	t.Cleanup(srv.Shutdown)
	return nil
}

// Work records a job, as an outbox would, and runs it once. It ends the test where the job cannot be run at all. A job
// that is due later is run when it is due: the clock moves on to then.
func (w *Worker) Work(t testing.TB, j jobs.Job) Result {
	t.Helper()
	row, err := recorded(j, w.clock.Now())
	if err != nil {
		t.Fatalf("jobstest: %v", err)
	}
	return w.WorkRow(t, row)
}

// WorkRow runs a recorded job once, as Work does. Running it again is what happens when asynq tries it again, or
// when somebody replays its task.
func (w *Worker) WorkRow(t testing.TB, row Row) Result {
	t.Helper()
	def, err := w.catalog.Lookup(row.Kind)
	if err != nil {
		t.Fatalf("jobstest: %v", err)
	}
	if !slices.Contains(w.queues, row.Queue) {
		t.Fatalf("jobstest: the %s job goes into queue %q, and this worker serves %s: see Config.Queues",
			row.Kind, row.Queue, strings.Join(w.queues, ", "))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock.reach(row.NotBefore)
	if now := w.clock.Now(); now.After(row.ExpiresAt) {
		t.Fatalf("jobstest: the %s job ended at %s, and the clock shows %s: its row has expired", row.Kind,
			row.ExpiresAt.Format(time.RFC3339), now.Format(time.RFC3339))
	}
	if err := w.keys.Reload(t.Context()); err != nil { // confirms the ring at the clock's time
		t.Fatalf("jobstest: %v", err)
	}
	task, err := w.enqueuer.EnqueueRow(t.Context(), jobs.ClaimedRow{Row: row.Row, Attempt: 1}, def)
	if err != nil {
		t.Fatalf("jobstest: %v", err)
	}
	var ended run
	select {
	case ended = <-w.ended:
	case <-t.Context().Done():
		t.Fatalf("jobstest: %s did not end before the test did", row.Kind)
	}
	if errors.Is(ended.err, errGoexit) {
		t.Fatalf("jobstest: %s: %v", row.Kind, ended.err)
	}
	for !w.gone(task.Queue, task.ID) { // or the next run of this row would find its ID taken
		select {
		case <-time.After(time.Millisecond):
		case <-t.Context().Done():
			t.Fatalf("jobstest: asynq was not done with %s before the test was", row.Kind)
		}
	}
	return w.result(ended)
}

// Outcome is what becomes of a job after one run.
type Outcome string

// The outcomes.
const (
	Done      Outcome = "done"      // the handler returned nil
	Again     Outcome = "again"     // it failed, and is tried again after a pause
	Later     Outcome = "later"     // it is put off, and no try is used up
	Dead      Outcome = "dead"      // it failed, and is never tried again
	Dropped   Outcome = "dropped"   // it failed, and its row has ended or is none of the database's
	Duplicate Outcome = "duplicate" // its effect had happened before: the handler was not called
	Refused   Outcome = "refused"   // the worker refused it: see Reason
)

// Result tells of one run.
type Result struct {
	Outcome Outcome
	// Reason is why, where Refused.
	Reason signing.Reason
	// After is the pause, where Again or Later.
	After time.Duration
	// Err has the handler's words, and is nil where Done or Duplicate. It does not unwrap to the handler's own error:
	// that one ends at the worker, and asynq sees none of it either.
	Err error
}

// String is a sentence for a test's message.
func (r Result) String() string {
	s := string(r.Outcome)
	if r.Reason != "" {
		s += fmt.Sprintf(" (%s)", r.Reason)
	}
	if r.After != 0 {
		s += fmt.Sprintf(" after %v", r.After)
	}
	if r.Err != nil {
		s += ": " + r.Err.Error()
	}
	return s
}

func (w *Worker) result(r run) Result {
	switch {
	case r.err == nil && r.verdict.Outcome == worker.Duplicate:
		return Result{Outcome: Duplicate}
	case r.err == nil:
		return Result{Outcome: Done}
	case r.verdict.Outcome == worker.Refused:
		return Result{Outcome: Refused, Reason: r.verdict.Reason, Err: r.err}
	case errors.Is(r.err, asynq.SkipRetry):
		return Result{Outcome: Dead, Err: r.err}
	case errors.Is(r.err, asynq.RevokeTask):
		return Result{Outcome: Dropped, Err: r.err}
	case !w.guarded.IsFailure(r.err):
		return Result{Outcome: Later, After: w.guarded.RetryDelayFunc(0, r.err, nil), Err: r.err}
	default:
		return Result{Outcome: Again, After: w.guarded.RetryDelayFunc(0, r.err, nil), Err: r.err}
	}
}
