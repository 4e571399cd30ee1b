package worker_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

// countingLedger counts how often it is asked, and may be away.
type countingLedger struct {
	ledger

	asked  atomic.Int32
	away   atomic.Bool
	direct atomic.Bool // the last effect that was entered
}

var errAway = errors.New("the database is away")

func (l *countingLedger) Once(ctx context.Context, e jobs.Effect, fn func(context.Context, string) error) (bool, error) {
	if l.away.Load() {
		return false, errAway
	}
	l.direct.Store(e.Direct)
	return l.ledger.Once(ctx, e, fn)
}

func (l *countingLedger) EffectDone(ctx context.Context, kind jobs.Kind, effect string) (bool, error) {
	l.asked.Add(1)
	if l.away.Load() {
		return false, errAway
	}
	return l.ledger.EffectDone(ctx, kind, effect)
}

func TestTheLedgersEntryDecidesWithoutAQuestionBefore(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var book countingLedger
	var effects, outcomes calls
	h := worker.NewHandlers(worker.HandlersConfig{})
	def := jobs.Define[welcome]("mail:welcome", jobs.Policy{})
	worker.HandleTx(h, &book, def, func(_ context.Context, tx string, _ worker.Job[welcome]) error { effects.add(tx); return nil })
	v := r.verifier(t, worker.Config{Effects: &book, OnVerdict: func(_ context.Context, v worker.Verdict) { outcomes.add(string(v.Outcome)) }})
	r.serve(t, v, h, asynq.Config{Concurrency: 1})
	claimed := row(t, def.With(welcome{UserID: 7}))
	for attempt := range 3 {
		claimed.Attempt = attempt + 1
		if _, err := r.enqueuer(t).EnqueueRow(t.Context(), claimed, def); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "three attempts have a verdict", func() bool { return len(outcomes.all()) >= 3 })
	if diff := cmp.Diff([]string{"passed", "duplicate", "duplicate"}, outcomes.all()); diff != "" {
		t.Errorf("verdicts (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"tx of " + claimed.ID}, effects.all()); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
	if book.direct.Load() {
		t.Error("a row's job passes for a direct one: its row would not be completed")
	}
	if n := book.asked.Load(); n != 0 {
		t.Errorf("the ledger was asked %d times", n)
	}
}

// An effect that is done ends as done, whatever else would refuse its task by now.
func TestATaskWhoseEffectIsDoneIsNotRefused(t *testing.T) {
	t.Parallel()
	for name, payload := range map[string]string{"expired": `{"user_id":7}`, "undecodable": `{"user_id":"seven"}`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			book := countingLedger{ledger: ledger{entered: map[string]bool{"done": true}}}
			var outcomes calls
			var kept memory
			h := worker.NewHandlers(worker.HandlersConfig{})
			def := jobs.Define[welcome]("mail:welcome", jobs.Policy{})
			worker.HandleTx(h, &book, def, func(context.Context, string, worker.Job[welcome]) error { return nil })
			v := r.verifier(t, worker.Config{Effects: &book, Quarantine: &kept, OnVerdict: func(_ context.Context, v worker.Verdict) {
				outcomes.add(string(v.Outcome) + string(v.Reason))
			}})
			life := time.Hour
			if name == "expired" {
				life = -5 * time.Minute
			}
			for _, id := range []string{"done", "not-done"} {
				enqueueLived(t, r, signing.Task{Kind: "mail:welcome", ID: id, Queue: "default", MaxRetry: 105, Payload: []byte(payload)}, life)
			}
			r.serve(t, v, h, asynq.Config{Concurrency: 1})
			eventually(t, "one task stands in quarantine, one has ended", func() bool {
				return kept.count() == 1 && slices.Contains(outcomes.all(), "duplicate")
			})
			if _, ok := kept.get("not-done"); !ok {
				t.Error("the task whose effect is done stands in quarantine")
			}
		})
	}
}

func TestALedgerThatIsAwayUsesUpNoTry(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var book countingLedger
	book.away.Store(true)
	var outcomes calls
	h := worker.NewHandlers(worker.HandlersConfig{})
	def := jobs.Define[welcome]("mail:welcome", jobs.Policy{Retries: jobs.NoRetries})
	worker.HandleTx(h, &book, def, func(context.Context, string, worker.Job[welcome]) error { return nil })
	v := r.verifier(t, worker.Config{Effects: &book, OnVerdict: func(_ context.Context, v worker.Verdict) { outcomes.add(string(v.Outcome)) }})
	r.serve(t, v, h, asynq.Config{})
	receipt, err := r.enqueuer(t).Enqueue(t.Context(), def.With(welcome{UserID: 7}))
	if err != nil {
		t.Fatal(err)
	}
	inspector := asynq.NewInspectorFromRedisClient(r.redis)
	eventually(t, "the task is put off", func() bool {
		info, err := inspector.GetTaskInfo("default", receipt.ID)
		return err == nil && info.State == asynq.TaskStateRetry && info.Retried == 0
	})
	book.away.Store(false)
	if err := inspector.RunTask("default", receipt.ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the job is done", func() bool { return !r.exists(t, "default", receipt.ID) })
	if !book.direct.Load() {
		t.Error("a direct job passes for a row's")
	}
	if diff := cmp.Diff([]string{"passed"}, outcomes.all()); diff != "" {
		t.Errorf("verdicts (-want +got):\n%s", diff)
	}
}

// enqueueLived stores a task whose signature was made half an hour ago and ends after life.
func enqueueLived(t *testing.T, r *rig, task signing.Task, life time.Duration) {
	t.Helper()
	then := time.Now().Add(-30 * time.Minute)
	keys, err := signing.OpenWith(t.Context(), signing.NewFile(r.ringFile), "test", signing.Options{Now: func() time.Time { return then }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(keys.Close)
	sig, _, err := keys.Sign(task, signing.Validity{Expires: time.Now().Add(life)})
	if err != nil {
		t.Fatal(err)
	}
	headers := map[string]string{signing.SignatureHeader: sig}
	_, err = r.client.Enqueue(asynq.NewTaskWithHeaders(task.Kind, task.Payload, headers),
		asynq.TaskID(task.ID), asynq.Queue(task.Queue), asynq.MaxRetry(task.MaxRetry))
	if err != nil {
		t.Fatal(err)
	}
}

func TestAHandlerThatEntersItsEffectItselfIsAskedForOnceAndItsRowIsItsOwn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var book countingLedger
	var rows outbox
	var effects, outcomes calls
	h := worker.NewHandlers(worker.HandlersConfig{Outbox: &rows})
	def := jobs.Define[welcome]("mail:welcome", jobs.Policy{})
	worker.HandleEntering(h, def, func(ctx context.Context, j worker.Job[welcome]) error {
		effects.add(j.Effect().ID)
		_, err := book.Once(ctx, j.Effect(), func(context.Context, string) error { return nil })
		return err
	})
	book.away.Store(true)
	v := r.verifier(t, worker.Config{Effects: &book, OnVerdict: func(_ context.Context, v worker.Verdict) { outcomes.add(string(v.Outcome)) }})
	r.serve(t, v, h, asynq.Config{Concurrency: 1})
	claimed := row(t, def.With(welcome{UserID: 7}))
	claimed.Attempt = 1
	if _, err := r.enqueuer(t).EnqueueRow(t.Context(), claimed, def); err != nil {
		t.Fatal(err)
	}
	inspector := asynq.NewInspectorFromRedisClient(r.redis)
	name := claimed.TaskID()
	eventually(t, "it is put off while nobody can be asked, without a try used up", func() bool {
		info, err := inspector.GetTaskInfo("default", name)
		return err == nil && info.State == asynq.TaskStateRetry && info.Retried == 0
	})
	if len(outcomes.all()) != 0 || len(effects.all()) != 0 {
		t.Errorf("it ran, or has a verdict: %q, %q", effects.all(), outcomes.all())
	}
	book.away.Store(false)
	book.asked.Store(0)
	if err := inspector.RunTask("default", name); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it passes", func() bool { return len(outcomes.all()) == 1 })
	claimed.Attempt = 2
	if _, err := r.enqueuer(t).EnqueueRow(t.Context(), claimed, def); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another attempt is a duplicate", func() bool { return len(outcomes.all()) == 2 })
	if diff := cmp.Diff([]string{"passed", "duplicate"}, outcomes.all()); diff != "" {
		t.Errorf("verdicts (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{claimed.ID}, effects.all()); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
	if n := book.asked.Load(); n != 2 {
		t.Errorf("the ledger was asked %d times of two attempts", n)
	}
	if done, _ := rows.ends(); len(done) != 0 {
		t.Errorf("the row was completed past the ledger: %q", done)
	}
}
