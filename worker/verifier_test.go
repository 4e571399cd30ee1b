package worker_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

func genuine(id string) signing.Task {
	return signing.Task{Kind: "mail:welcome", ID: id, Queue: "mail", MaxRetry: 3, Payload: []byte(`{"to":7}`)}
}

func TestForgedTasksReachNoHandlerAndStandInQuarantine(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	foreign := r.open(t, "another deployment"[:7])
	dir := t.TempDir()
	v := r.verifier(t, worker.Config{QuarantineDir: dir})
	var reached calls
	mux := asynq.NewServeMux()
	mux.HandleFunc("mail:", func(_ context.Context, task *asynq.Task) error { reached.add(task.Type()); return nil })
	mux.HandleFunc("mail:welcome", func(_ context.Context, task *asynq.Task) error { reached.add(string(task.Payload())); return nil })
	r.serve(t, v, mux, asynq.Config{Queues: map[string]int{"mail": 1, "low": 1}})

	type forgery struct {
		stored, signed signing.Task
		keys           *signing.Keys
		want           signing.Reason
	}
	with := func(id string, change func(*signing.Task)) signing.Task {
		task := genuine(id)
		change(&task)
		return task
	}
	cases := map[string]forgery{
		"unsigned":          {genuine("unsigned"), signing.Task{}, nil, signing.ReasonMissingSignature},
		"payload altered":   {with("altered", func(t *signing.Task) { t.Payload = []byte(`{"to":8}`) }), genuine("altered"), r.keys, signing.ReasonBadSignature},
		"kind relabelled":   {with("kind", func(t *signing.Task) { t.Kind = "mail:other" }), genuine("kind"), r.keys, signing.ReasonBadSignature},
		"queue changed":     {with("queue", func(t *signing.Task) { t.Queue = "low" }), genuine("queue"), r.keys, signing.ReasonBadSignature},
		"ID changed":        {genuine("id-2"), genuine("id-1"), r.keys, signing.ReasonBadSignature},
		"max retry changed": {with("retry", func(t *signing.Task) { t.MaxRetry = 99 }), genuine("retry"), r.keys, signing.ReasonBadSignature},
		"header added":      {with("header", func(t *signing.Task) { t.Headers = map[string]string{"tenant": "b"} }), genuine("header"), r.keys, signing.ReasonBadSignature},
		"foreign audience":  {genuine("foreign"), genuine("foreign"), foreign, signing.ReasonBadSignature},
		"signed, but a kind that only a prefix matches": {
			with("prefix", func(t *signing.Task) { t.Kind = "mail:welcome:evil" }),
			with("prefix", func(t *signing.Task) { t.Kind = "mail:welcome:evil" }), r.keys, signing.ReasonKindNotAllowed,
		},
		"signed, but a kind with a NUL": {
			with("nul", func(t *signing.Task) { t.Kind = "mail:welcome\x00" }),
			with("nul", func(t *signing.Task) { t.Kind = "mail:welcome\x00" }), r.keys, signing.ReasonKindNotAllowed,
		},
	}
	for _, f := range cases {
		r.put(t, f.stored, f.signed, f.keys)
	}
	quarantine, err := worker.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var entries []jobs.Refused
	eventually(t, "every forgery stands in quarantine", func() bool {
		entries, err = quarantine.QuarantineList(t.Context(), 100)
		if err != nil {
			t.Fatal(err)
		}
		return len(entries) == len(cases)
	})
	for name, f := range cases {
		i := slices.IndexFunc(entries, func(e jobs.Refused) bool { return e.TaskID == f.stored.ID })
		if i < 0 {
			t.Errorf("%s: no entry", name)
			continue
		}
		e, err := quarantine.QuarantineShow(t.Context(), entries[i].ID)
		if err != nil {
			t.Fatal(err)
		}
		if e.Reason != f.want {
			t.Errorf("%s: want %s, got %s", name, f.want, e.Reason)
		}
		if !bytes.Equal(e.Payload, f.stored.Payload) || e.PayloadSHA256 != sha256.Sum256(f.stored.Payload) || e.Size != int64(len(f.stored.Payload)) {
			t.Errorf("%s: the entry does not hold the task's bytes, hash and size: %+v", name, e)
		}
	}
	eventually(t, "every forgery has left the queue", func() bool {
		return !slices.ContainsFunc(entries, func(e jobs.Refused) bool { return r.exists(t, e.Queue, e.TaskID) })
	})
	r.put(t, genuine("good"), genuine("good"), r.keys)
	eventually(t, "a genuine task among them is handled", func() bool { return len(reached.all()) > 0 })
	if diff := cmp.Diff([]string{`{"to":7}`}, reached.all()); diff != "" {
		t.Errorf("what handlers saw (-want +got):\n%s", diff)
	}
}

func TestPrefixPatternsPassWhereTheAppAsksForThem(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	v := r.verifier(t, worker.Config{PrefixPatterns: true})
	var reached calls
	mux := asynq.NewServeMux()
	mux.HandleFunc("image:", func(_ context.Context, task *asynq.Task) error { reached.add(task.Type()); return nil })
	r.serve(t, v, mux, asynq.Config{})
	if _, err := jobs.Wrap(r.client, r.keys).Enqueue(asynq.NewTask("image:resize", nil)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the prefix's handler runs", func() bool { return slices.Equal(reached.all(), []string{"image:resize"}) })
}

func TestATaskSignedForAQueueThatIsNotServedIsRefusedAndItsRowIsLeftAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var kept memory
	v := r.verifier(t, worker.Config{Quarantine: &kept})
	var reached calls
	r.serve(t, v, asynq.HandlerFunc(func(context.Context, *asynq.Task) error { reached.add("ran"); return nil }),
		asynq.Config{Queues: map[string]int{"critical": 1}})
	// The genuine task of an outbox row waits in "mail"; somebody copies its bytes into "critical".
	task := signing.Task{
		Kind: "mail:welcome", ID: "0197c6a0-0000-7000-8000-00000000000b.1", Queue: "mail", MaxRetry: 3,
		Headers: map[string]string{signing.EffectHeader: "0197c6a0-0000-7000-8000-00000000000b"}, Payload: []byte(`{}`),
	}
	r.put(t, task, task, r.keys)
	raw, err := r.redis.HGet(t.Context(), "asynq:{mail}:t:"+task.ID, "msg").Result()
	if err != nil {
		t.Fatal(err)
	}
	r.redis.HSet(t.Context(), "asynq:{critical}:t:copy", "msg", raw, "state", "pending")
	r.redis.LPush(t.Context(), "asynq:{critical}:pending", "copy")
	eventually(t, "the copy stands in quarantine", func() bool { _, ok := kept.get(task.ID); return ok })
	entry, _ := kept.get(task.ID)
	if entry.Reason != signing.ReasonWrongQueue || !entry.Authentic {
		t.Errorf("want an authentic %s, got %s (authentic: %v)", signing.ReasonWrongQueue, entry.Reason, entry.Authentic)
	}
	if entry.RowID != "" || entry.Attempt != 0 {
		t.Errorf("a copy must not end the genuine row: entry names row %q attempt %d", entry.RowID, entry.Attempt)
	}
	if !r.exists(t, "mail", task.ID) {
		t.Error("the genuine task is gone from its own queue")
	}
	if got := reached.all(); len(got) != 0 {
		t.Errorf("the handler ran %d times", len(got))
	}
}

func TestUnsignedTasksPassWhileObservingAndNoForgedOneDoes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var kept memory
	var outcomes calls
	v := r.verifier(t, worker.Config{
		Quarantine: &kept, UnsignedUntil: time.Now().Add(24 * time.Hour),
		OnVerdict: func(_ context.Context, v worker.Verdict) { outcomes.add(string(v.Outcome)) },
	})
	var reached calls
	r.serve(t, v, asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error { reached.add(string(task.Payload())); return nil }),
		asynq.Config{Queues: map[string]int{"mail": 1}})
	r.put(t, genuine("unsigned"), signing.Task{}, nil)
	altered := genuine("altered")
	altered.Payload = []byte("altered")
	r.put(t, altered, genuine("altered"), r.keys)
	eventually(t, "the altered task stands in quarantine", func() bool { _, ok := kept.get("altered"); return ok })
	eventually(t, "the unsigned task is handled", func() bool { return slices.Equal(reached.all(), []string{`{"to":7}`}) })
	if _, ok := kept.get("unsigned"); ok {
		t.Error("the unsigned task stands in quarantine while observing")
	}
	eventually(t, "each is counted", func() bool {
		got := outcomes.all()
		return slices.Contains(got, string(worker.Unsigned)) && slices.Contains(got, string(worker.Refused))
	})
}

func TestObservingEndsAtItsDateAndMayNotLastLongerThanThirtyDays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if _, err := worker.New(r.keys, worker.Config{QuarantineDir: t.TempDir(), UnsignedUntil: time.Now().Add(31 * 24 * time.Hour)}); err == nil {
		t.Error("31 days of observing were accepted")
	}
	var kept memory
	v := r.verifier(t, worker.Config{Quarantine: &kept, UnsignedUntil: time.Now().Add(-time.Second)})
	r.serve(t, v, asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return nil }), asynq.Config{Queues: map[string]int{"mail": 1}})
	r.put(t, genuine("late"), signing.Task{}, nil)
	eventually(t, "an unsigned task after the date is refused", func() bool { _, ok := kept.get("late"); return ok })
}

func TestAServerWhoseConfigWasNotGuardedRunsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	v := r.verifier(t, worker.Config{})
	ran := false
	h := v.Handler(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { ran = true; return nil }))
	err := h.ProcessTask(t.Context(), asynq.NewTask("mail:welcome", nil))
	if !errors.Is(err, worker.ErrUnguarded) {
		t.Errorf("want ErrUnguarded, got %v", err)
	}
	if ran {
		t.Error("the handler ran")
	}
}

func TestARefusedTaskStaysInTheQueueWhileTheQuarantineCannotBeWritten(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	kept := memory{broken: true}
	clock := newClock()
	v := r.verifier(t, worker.Config{Quarantine: &kept, Now: clock.now})
	r.serve(t, v, asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return nil }), asynq.Config{Queues: map[string]int{"mail": 1}})
	r.put(t, genuine("forged"), signing.Task{}, nil)
	eventually(t, "the quarantine was tried", func() bool { return kept.triedTimes() > 0 })
	inspector := asynq.NewInspectorFromRedisClient(r.redis)
	eventually(t, "the task waits for its retry", func() bool {
		info, err := inspector.GetTaskInfo("mail", "forged")
		return err == nil && info.State == asynq.TaskStateRetry
	})
	info, err := inspector.GetTaskInfo("mail", "forged")
	if err != nil {
		t.Fatal(err)
	}
	if info.Retried != 0 {
		t.Errorf("waiting for the quarantine used up %d tries", info.Retried)
	}
	kept.setBroken(false)
	if err := inspector.RunTask("mail", "forged"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it stands in quarantine at last", func() bool { _, ok := kept.get("forged"); return ok })
}

func TestRefusedTasksGoToTheArchiveWhereTheAppAsksForIt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	v := r.verifier(t, worker.Config{Archive: true})
	r.serve(t, v, asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return nil }), asynq.Config{Queues: map[string]int{"mail": 1}})
	r.put(t, genuine("forged"), signing.Task{}, nil)
	inspector := asynq.NewInspectorFromRedisClient(r.redis)
	eventually(t, "it is archived", func() bool {
		info, err := inspector.GetTaskInfo("mail", "forged")
		return err == nil && info.State == asynq.TaskStateArchived
	})
}
