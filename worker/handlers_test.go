package worker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

type welcome struct {
	UserID int `json:"user_id"`
}

func soon(int) time.Duration { return 0 }

// outbox is a fake of our own interface.
type outbox struct {
	mu   sync.Mutex
	done []string
	dead []string

	failures map[string]int
}

func (o *outbox) RowDone(_ context.Context, r jobs.RowRef) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.done = append(o.done, r.ID)
	return nil
}

func (o *outbox) RowFailed(_ context.Context, r jobs.RowRef, _ string, _ func(int) time.Duration) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failures == nil {
		o.failures = make(map[string]int)
	}
	o.failures[r.ID]++
	return o.failures[r.ID], nil
}

func (o *outbox) RowDead(_ context.Context, r jobs.RowRef, cause string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dead = append(o.dead, fmt.Sprintf("%s.%d: %s", r.ID, r.Attempt, cause))
	return nil
}

func (o *outbox) ends() (done, dead []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.done), slices.Clone(o.dead)
}

// ledger is a fake of our own interfaces, with a string for a transaction.
type ledger struct {
	mu      sync.Mutex
	entered map[string]bool
}

func (l *ledger) Once(ctx context.Context, e jobs.Effect, fn func(context.Context, string) error) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.entered[e.ID] {
		return true, nil
	}
	if err := fn(ctx, "tx of "+e.ID); err != nil {
		return false, err
	}
	if l.entered == nil {
		l.entered = make(map[string]bool)
	}
	l.entered[e.ID] = true
	return false, nil
}

func (l *ledger) EffectDone(_ context.Context, _ jobs.Kind, effect string) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entered[effect], nil
}

// row is a claimed outbox row of a job.
func row(t *testing.T, j jobs.Job) jobs.ClaimedRow {
	t.Helper()
	r, err := j.Row(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r.NotBefore, r.ExpiresAt = time.Now(), time.Now().Add(time.Hour)
	return jobs.ClaimedRow{Row: r, Attempt: 1, LeaseToken: "lease"}
}

func TestATypedHandlerGetsItsArgumentsAndCompletesItsRow(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var rows outbox
	h := worker.NewHandlers(worker.HandlersConfig{Outbox: &rows})
	def := jobs.Define[welcome]("mail:welcome", jobs.Policy{})
	got := make(chan worker.Job[welcome], 1)
	worker.Handle(h, def, func(_ context.Context, j worker.Job[welcome]) error { got <- j; return nil })
	r.serve(t, r.verifier(t, worker.Config{}), h, asynq.Config{})
	claimed := row(t, def.With(welcome{UserID: 7}))
	if _, err := r.enqueuer(t).EnqueueRow(t.Context(), claimed, def); err != nil {
		t.Fatal(err)
	}
	j := <-got
	want := worker.Job[welcome]{Args: welcome{UserID: 7}, ID: claimed.ID + ".1", Queue: "default", Try: 1}
	if diff := cmp.Diff(want, j, cmpopts.IgnoreUnexported(worker.Job[welcome]{}), cmpopts.IgnoreFields(worker.Job[welcome]{}, "IssuedAt", "ExpiresAt")); diff != "" {
		t.Errorf("job (-want +got):\n%s", diff)
	}
	if e := j.Effect(); e.ID != claimed.ID || e.Kind != "mail:welcome" || e.Keep < r.keys.MaxLifetime() {
		t.Errorf("the effect must be the row's and be kept longer than any signature lives: %+v", e)
	}
	eventually(t, "the row is completed", func() bool { done, _ := rows.ends(); return slices.Equal(done, []string{claimed.ID}) })
}

func TestTheEffectOfATransactionHappensOnceHoweverOftenItsTaskComes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var book ledger
	h := worker.NewHandlers(worker.HandlersConfig{})
	def := jobs.Define[welcome]("mail:welcome", jobs.Policy{})
	var effects, outcomes calls
	worker.HandleTx(h, &book, def, func(_ context.Context, tx string, _ worker.Job[welcome]) error { effects.add(tx); return nil })
	v := r.verifier(t, worker.Config{Effects: &book, OnVerdict: func(_ context.Context, v worker.Verdict) { outcomes.add(string(v.Outcome)) }})
	r.serve(t, v, h, asynq.Config{})
	claimed := row(t, def.With(welcome{UserID: 7}))
	for attempt := range 3 {
		claimed.Attempt = attempt + 1
		if _, err := r.enqueuer(t).EnqueueRow(t.Context(), claimed, def); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "three attempts have left the queue", func() bool {
		return !r.exists(t, "default", claimed.ID+".1") && !r.exists(t, "default", claimed.ID+".2") && !r.exists(t, "default", claimed.ID+".3")
	})
	if diff := cmp.Diff([]string{"tx of " + claimed.ID}, effects.all()); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
}

func TestAJobThatKeepsFailingIsDeadAfterItsRetriesAndItsRowWithIt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var rows outbox
	h := worker.NewHandlers(worker.HandlersConfig{Outbox: &rows})
	def := jobs.Define[welcome]("mail:welcome", jobs.Policy{Retries: 2, Backoff: soon})
	var tries calls
	worker.Handle(h, def, func(_ context.Context, j worker.Job[welcome]) error {
		tries.add(fmt.Sprint(j.Try))
		return errApp
	})
	r.serve(t, r.verifier(t, worker.Config{}), h, asynq.Config{})
	claimed := row(t, def.With(welcome{}))
	if _, err := r.enqueuer(t).EnqueueRow(t.Context(), claimed, def); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the row is dead", func() bool {
		_, dead := rows.ends()
		return slices.Equal(dead, []string{claimed.ID + ".1: " + errApp.Error()})
	})
	inspector := asynq.NewInspectorFromRedisClient(r.redis)
	eventually(t, "its task is archived", func() bool {
		info, err := inspector.GetTaskInfo("default", claimed.ID+".1")
		return err == nil && info.State == asynq.TaskStateArchived
	})
	if diff := cmp.Diff([]string{"1", "2", "3"}, tries.all()); diff != "" {
		t.Errorf("tries (-want +got):\n%s", diff)
	}
}

func TestAPermanentErrorEndsAJobAtOnceAndADeferredOneUsesUpNoTry(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var rows outbox
	h := worker.NewHandlers(worker.HandlersConfig{Outbox: &rows})
	permanent := jobs.Define[welcome]("mail:permanent", jobs.Policy{Backoff: soon})
	deferred := jobs.Define[welcome]("mail:deferred", jobs.Policy{Retries: jobs.NoRetries})
	worker.Handle(h, permanent, func(context.Context, worker.Job[welcome]) error { return worker.Permanent(errApp) })
	var tries calls
	worker.Handle(h, deferred, func(_ context.Context, j worker.Job[welcome]) error {
		tries.add(fmt.Sprint(j.Try))
		if len(tries.all()) < 4 {
			return worker.Defer(time.Now(), errApp)
		}
		return nil
	})
	r.serve(t, r.verifier(t, worker.Config{}), h, asynq.Config{})
	dead, late := row(t, permanent.With(welcome{})), row(t, deferred.With(welcome{}))
	for _, c := range []struct {
		row jobs.ClaimedRow
		def jobs.Definition
	}{{dead, permanent}, {late, deferred}} {
		if _, err := r.enqueuer(t).EnqueueRow(t.Context(), c.row, c.def); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "one is dead, the other done", func() bool {
		gotDone, gotDead := rows.ends()
		return slices.Equal(gotDone, []string{late.ID}) && slices.Equal(gotDead, []string{dead.ID + ".1: " + errApp.Error()})
	})
	if diff := cmp.Diff([]string{"1", "1", "1", "1"}, tries.all()); diff != "" {
		t.Errorf("tries of the deferred job (-want +got):\n%s", diff)
	}
}

func TestAHandlerThatIgnoresItsTimeoutIsWaitedForAndNeverRunsTwiceAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	h := worker.NewHandlers(worker.HandlersConfig{})
	def := jobs.Define[welcome]("mail:slow", jobs.Policy{Timeout: 10 * time.Millisecond, Backoff: soon})
	var mu sync.Mutex
	running, most := 0, 0
	var causes calls
	worker.Handle(h, def, func(ctx context.Context, _ worker.Job[welcome]) error {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		<-ctx.Done()
		causes.add(context.Cause(ctx).Error())
		stubborn := time.NewTimer(100 * time.Millisecond) // its context is over, it goes on all the same
		<-stubborn.C
		mu.Lock()
		running--
		mu.Unlock()
		if len(causes.all()) < 3 {
			return ctx.Err()
		}
		return nil
	})
	r.serve(t, r.verifier(t, worker.Config{}), h, asynq.Config{})
	rec, err := r.enqueuer(t).Enqueue(t.Context(), def.With(welcome{}))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the third run ends it", func() bool { return len(causes.all()) == 3 && !r.exists(t, rec.Queue, rec.ID) })
	if most != 1 {
		t.Errorf("%d runs at once", most)
	}
	if got := causes.all()[0]; !strings.Contains(got, "timeout of 10ms") {
		t.Errorf("the context's cause does not name the timeout: %s", got)
	}
}

func TestArgumentsThatDoNotDecodeAreRefusedAsAuthentic(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var kept memory
	h := worker.NewHandlers(worker.HandlersConfig{})
	def := jobs.Define[welcome]("mail:welcome", jobs.Policy{})
	worker.Handle(h, def, func(context.Context, worker.Job[welcome]) error { t.Error("the handler ran"); return nil })
	r.serve(t, r.verifier(t, worker.Config{Quarantine: &kept}), h, asynq.Config{})
	const rowID = "0197c6a0-0000-7000-8000-00000000000b"
	for i, payload := range []string{`{"user_id":"seven"}`, `{"user_id":7,"user_id":8}`, `{"user_id":7}{}`, `{"admin":true}`, `{"USER_ID":7}`, "", "\xff"} {
		task := signing.Task{
			Kind: "mail:welcome", ID: fmt.Sprintf("%s.%d", rowID, i+1), Queue: "default", MaxRetry: 110,
			Headers: map[string]string{signing.EffectHeader: rowID}, Payload: []byte(payload),
		}
		r.put(t, task, task, r.keys)
		eventually(t, "it stands in quarantine: "+payload, func() bool { _, ok := kept.get(task.ID); return ok })
		e, _ := kept.get(task.ID)
		if e.Reason != signing.ReasonBadPayload || !e.Authentic {
			t.Errorf("%q: want an authentic bad_payload, got %+v", payload, e)
		}
		// The first attempts leave the row alone: a newer worker may be on its way.
		if ends := i+1 > 3; ends != (e.RowID == rowID && e.Attempt == i+1 && e.RowKind == "mail:welcome") || !ends && e.RowID != "" {
			t.Errorf("attempt %d names row %q, kind %q, attempt %d", i+1, e.RowID, e.RowKind, e.Attempt)
		}
	}
}

func TestAKindsDemandsAreHeld(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var kept memory
	h := worker.NewHandlers(worker.HandlersConfig{})
	worker.Handle(h, jobs.Define[welcome]("mail:short", jobs.Policy{MaxAge: time.Minute}), func(context.Context, worker.Job[welcome]) error { t.Error("ran"); return nil })
	worker.Handle(h, jobs.Define[welcome]("mail:secret", jobs.Policy{Encrypt: true}), func(context.Context, worker.Job[welcome]) error { t.Error("ran"); return nil })
	r.serve(t, r.verifier(t, worker.Config{Quarantine: &kept}), h, asynq.Config{})
	for kind, want := range map[string]signing.Reason{
		"mail:short":   signing.ReasonLifetimeExceeded, // put signs for an hour
		"mail:secret":  signing.ReasonMustBeEncrypted,
		"mail:unknown": signing.ReasonKindNotAllowed,
		"mail:":        signing.ReasonKindNotAllowed,
		"mail:shorter": signing.ReasonKindNotAllowed,
	} {
		task := signing.Task{Kind: kind, ID: "of " + kind, Queue: "default", MaxRetry: 3, Payload: []byte(`{"user_id":7}`)}
		r.put(t, task, task, r.keys)
		eventually(t, kind+" stands in quarantine", func() bool { _, ok := kept.get(task.ID); return ok })
		if e, _ := kept.get(task.ID); e.Reason != want {
			t.Errorf("%s: want %s, got %s", kind, want, e.Reason)
		}
	}
}

func TestMistakesOfRegistrationAreReportedByTheKindsName(t *testing.T) {
	t.Parallel()
	nothing := func(context.Context, worker.Job[welcome]) error { return nil }
	a, b := jobs.Define[welcome]("a", jobs.Policy{}), jobs.Define[welcome]("b", jobs.Policy{})
	catalog, err := jobs.NewCatalog(a, b)
	if err != nil {
		t.Fatal(err)
	}
	h := worker.NewHandlers(worker.HandlersConfig{})
	worker.Handle(h, a, nothing)
	worker.Handle(h, a, nothing)
	worker.Handle(h, jobs.Define[welcome]("c", jobs.Policy{}), nothing)
	worker.Handle(h, jobs.Define[welcome](" ", jobs.Policy{}), nothing)
	err = h.Check(catalog)
	for _, want := range []error{jobs.ErrDuplicateKind, worker.ErrNoHandler, jobs.ErrUnknownKind, jobs.ErrInvalidName} {
		if !errors.Is(err, want) {
			t.Errorf("Check does not report %q: %v", want, err)
		}
	}
	for _, name := range []string{"handle a:", "handler: b", `"c"`} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("Check does not name %s: %v", name, err)
		}
	}
}

func TestHandlersReachedPastTheVerifierRunNothing(t *testing.T) {
	t.Parallel()
	h := worker.NewHandlers(worker.HandlersConfig{})
	worker.Handle(h, jobs.Define[welcome]("a", jobs.Policy{}), func(context.Context, worker.Job[welcome]) error { t.Error("ran"); return nil })
	if err := h.ProcessTask(t.Context(), asynq.NewTask("a", []byte(`{"user_id":7}`))); !errors.Is(err, worker.ErrNotVerified) {
		t.Errorf("want ErrNotVerified, got %v", err)
	}
}

func TestATypedHandlerThatPanicsIsAFailedTryLikeAnyOther(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var rows outbox
	h := worker.NewHandlers(worker.HandlersConfig{Outbox: &rows})
	def := jobs.Define[welcome]("mail:welcome", jobs.Policy{Retries: 1, Backoff: soon})
	var tries calls
	worker.Handle(h, def, func(_ context.Context, j worker.Job[welcome]) error {
		tries.add(fmt.Sprint(j.Try))
		panic("out of order")
	})
	r.serve(t, r.verifier(t, worker.Config{}), h, asynq.Config{})
	claimed := row(t, def.With(welcome{}))
	if _, err := r.enqueuer(t).EnqueueRow(t.Context(), claimed, def); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the row is dead", func() bool {
		_, dead := rows.ends()
		return slices.Equal(dead, []string{claimed.ID + ".1: handler panicked: out of order"})
	})
	if diff := cmp.Diff([]string{"1", "2"}, tries.all()); diff != "" {
		t.Errorf("tries (-want +got):\n%s", diff)
	}
}

// A key may be for one kind alone: its holder must not reach the rows of another by naming them in a header.
func TestATaskReachesOnlyRowsOfItsOwnKind(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	refs := make(chan jobs.RowRef, 3)
	h := worker.NewHandlers(worker.HandlersConfig{Outbox: refOutbox(refs)})
	def := jobs.Define[welcome]("partner:ping", jobs.Policy{})
	worker.Handle(h, def, func(context.Context, worker.Job[welcome]) error { return nil })
	r.serve(t, r.verifier(t, worker.Config{}), h, asynq.Config{})
	const rowID = "0197c6a0-0000-7000-8000-00000000000b" // of another kind
	task := signing.Task{
		Kind: "partner:ping", ID: rowID + ".1", Queue: "default", MaxRetry: 110,
		Headers: map[string]string{signing.EffectHeader: rowID}, Payload: []byte(`{"user_id":7}`),
	}
	r.put(t, task, task, r.keys)
	if got := <-refs; got.ID != rowID || got.Kind != "partner:ping" {
		t.Errorf("the outbox was told of %+v, without the task's own kind", got)
	}
}

// refOutbox notes which rows it is told of.
type refOutbox chan jobs.RowRef

func (o refOutbox) RowDone(_ context.Context, r jobs.RowRef) error { o <- r; return nil }
func (o refOutbox) RowFailed(_ context.Context, r jobs.RowRef, _ string, _ func(int) time.Duration) (int, error) {
	o <- r
	return 1, nil
}
func (o refOutbox) RowDead(_ context.Context, r jobs.RowRef, _ string) error { o <- r; return nil }

func TestForgeriesOnTheirLastTryDoNotHoldTheWorkersSlots(t *testing.T) {
	t.Parallel()
	r, stranger := newRig(t), newRig(t)
	var done calls
	v := r.verifier(t, worker.Config{})
	for n := range 8 {
		task := genuine(fmt.Sprintf("forged-%d", n))
		task.MaxRetry = 0 // put off by an unknown key, and on its last try
		r.put(t, task, task, stranger.keys)
	}
	r.put(t, genuine("good"), genuine("good"), r.keys)
	stop := serveOn(t, r.redis, v, asynq.HandlerFunc(func(context.Context, *asynq.Task) error { done.add("ran"); return nil }),
		asynq.Config{Queues: map[string]int{"mail": 1}, Concurrency: 2})
	eventually(t, "the genuine task runs beside them", func() bool { return slices.Equal(done.all(), []string{"ran"}) })
	stop()
}
