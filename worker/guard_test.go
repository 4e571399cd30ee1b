package worker_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

var errApp = errors.New("the app's own failure")

func TestTheServersOtherCallbacksSeeOnlyTasksThatVerified(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var kept memory
	v := r.verifier(t, worker.Config{Quarantine: &kept})
	var handled, delayed, judged calls
	r.serve(t, v, asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return errApp }), asynq.Config{
		Queues: map[string]int{"mail": 1},
		ErrorHandler: asynq.ErrorHandlerFunc(func(_ context.Context, task *asynq.Task, err error) {
			handled.add(string(task.Payload()) + ": " + err.Error())
		}),
		RetryDelayFunc: func(_ int, err error, task *asynq.Task) time.Duration {
			delayed.add(string(task.Payload()) + ": " + err.Error())
			return time.Hour
		},
		IsFailure: func(err error) bool {
			judged.add(err.Error())
			return errors.Is(err, errApp)
		},
	})
	forged := genuine("forged")
	forged.Payload = []byte("forged bytes")
	r.put(t, forged, signing.Task{}, nil)
	eventually(t, "the forged task stands in quarantine", func() bool { _, ok := kept.get("forged"); return ok })
	r.put(t, genuine("good"), genuine("good"), r.keys)
	inspector := asynq.NewInspectorFromRedisClient(r.redis)
	eventually(t, "the genuine task waits for its retry", func() bool {
		info, err := inspector.GetTaskInfo("mail", "good")
		return err == nil && info.State == asynq.TaskStateRetry
	})
	want := []string{`{"to":7}: ` + errApp.Error()}
	if got := handled.all(); !slices.Equal(want, got) {
		t.Errorf("ErrorHandler: want %q, got %q", want, got)
	}
	if got := delayed.all(); !slices.Equal(want, got) {
		t.Errorf("RetryDelayFunc: want %q, got %q", want, got)
	}
	if got := judged.all(); !slices.Equal([]string{errApp.Error()}, got) {
		t.Errorf("IsFailure: want the app's error once, got %q", got)
	}
}

func TestConfigTakesTheAggregatorOutAndLeavesTheRest(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	v := r.verifier(t, worker.Config{})
	c := v.Config(asynq.Config{
		Concurrency:     7,
		GroupAggregator: asynq.GroupAggregatorFunc(func(string, []*asynq.Task) *asynq.Task { return nil }),
	})
	if c.GroupAggregator != nil {
		t.Error("an aggregator would see unverified tasks")
	}
	if c.Concurrency != 7 || c.ErrorHandler != nil {
		t.Errorf("fields that are not guarded changed: %+v", c)
	}
	if !c.IsFailure(errApp) || c.IsFailure(nil) {
		t.Error("IsFailure without the app's own: want every error to be a failure")
	}
}

func TestAHandlerThatWritesToItsTaskDoesNotBreakTheRetry(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var kept memory
	v := r.verifier(t, worker.Config{Quarantine: &kept})
	var seen calls
	r.serve(t, v, asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		seen.add(string(task.Payload()) + task.Headers()["tenant"])
		for i := range task.Payload() {
			task.Payload()[i] = 'X'
		}
		task.Headers()["tenant"] = "changed"
		task.Headers()["more"] = "added"
		if len(seen.all()) < 3 {
			return errApp
		}
		return nil
	}), asynq.Config{Queues: map[string]int{"mail": 1}, RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return 0 }})
	task := genuine("scribbled")
	task.Headers = map[string]string{"tenant": "a"}
	r.put(t, task, task, r.keys)
	eventually(t, "it runs three times as it was signed", func() bool {
		if e, ok := kept.get("scribbled"); ok {
			t.Fatalf("the retried task was refused: %s", e.Detail)
		}
		return slices.Equal(seen.all(), []string{`{"to":7}a`, `{"to":7}a`, `{"to":7}a`})
	})
}

func TestAPlainHandlerGetsTheDecryptedPayloadAndItsResultWriter(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	v := r.verifier(t, worker.Config{})
	var seen calls
	mux := asynq.NewServeMux()
	mux.HandleFunc("secret", func(_ context.Context, task *asynq.Task) error { seen.add(string(task.Payload())); return nil })
	mux.HandleFunc("report", func(_ context.Context, task *asynq.Task) error {
		_, err := task.ResultWriter().Write([]byte("42"))
		return err
	})
	r.serve(t, v, mux, asynq.Config{})
	secret := jobs.Define[string]("secret", jobs.Policy{Encrypt: true})
	if _, err := r.enqueuer(t).Enqueue(t.Context(), secret.With("hush")); err != nil {
		t.Fatal(err)
	}
	info, err := jobs.Wrap(r.client, r.keys).Enqueue(asynq.NewTask("report", nil), asynq.Retention(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the secret arrives", func() bool { return slices.Equal(seen.all(), []string{`"hush"`}) })
	inspector := asynq.NewInspectorFromRedisClient(r.redis)
	eventually(t, "the result is kept", func() bool {
		got, err := inspector.GetTaskInfo("default", info.ID)
		return err == nil && got.State == asynq.TaskStateCompleted && string(got.Result) == "42"
	})
}

func TestAPanicIsAFailedTryAndTheWorkerGoesOn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	v := r.verifier(t, worker.Config{})
	var seen calls
	r.serve(t, v, asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		seen.add(string(task.Payload()))
		if len(seen.all()) == 1 {
			panic("out of order")
		}
		return nil
	}), asynq.Config{Queues: map[string]int{"mail": 1}, RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return 0 }})
	r.put(t, genuine("panics"), genuine("panics"), r.keys)
	eventually(t, "it is tried again and leaves the queue", func() bool {
		return len(seen.all()) == 2 && !r.exists(t, "mail", "panics")
	})
}

func TestATaskWhoseKeyIsOnItsWayIsDeferredWithoutUsingUpATry(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	other := newRig(t) // its ring is not ours
	var outcomes calls
	v := r.verifier(t, worker.Config{OnVerdict: func(_ context.Context, v worker.Verdict) {
		outcomes.add(string(v.Outcome) + " " + string(v.Reason))
	}})
	r.serve(t, v, asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return nil }), asynq.Config{Queues: map[string]int{"mail": 1}})
	r.put(t, genuine("early"), genuine("early"), other.keys)
	inspector := asynq.NewInspectorFromRedisClient(r.redis)
	eventually(t, "it waits for its retry", func() bool {
		info, err := inspector.GetTaskInfo("mail", "early")
		return err == nil && info.State == asynq.TaskStateRetry
	})
	info, err := inspector.GetTaskInfo("mail", "early")
	if err != nil {
		t.Fatal(err)
	}
	if info.Retried != 0 {
		t.Errorf("waiting for a key used up %d tries", info.Retried)
	}
	if got := outcomes.all(); !slices.Contains(got, "deferred unknown_key") {
		t.Errorf("verdicts: %q", got)
	}
}

func TestACountThatNobodySignedDoesNotPutATaskOffForWeeks(t *testing.T) {
	t.Parallel()
	var kept memory
	delay := newRig(t).verifier(t, worker.Config{Quarantine: &kept}).Config(asynq.Config{}).RetryDelayFunc
	for _, retried := range []int{-7000, 0, 5, 50, 7000, math.MaxInt} {
		if got := delay(retried, context.DeadlineExceeded, nil); got <= 0 || got > 15*time.Minute {
			t.Errorf("after %d tries, as the message says, the next one is in %s", retried, got)
		}
	}
}
