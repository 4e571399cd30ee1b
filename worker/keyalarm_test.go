package worker_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

const genuineTasks = 300

func TestAWorkerWithTheWrongAudienceDoesNotEmptyTheQueueIntoQuarantine(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for n := range genuineTasks {
		id := fmt.Sprintf("genuine-%d", n)
		r.put(t, genuine(id), genuine(id), r.keys)
	}
	var kept memory
	var deferred calls
	wrong, err := worker.New(r.open(t, "staging"), worker.Config{Quarantine: &kept, OnVerdict: func(_ context.Context, v worker.Verdict) {
		if v.Outcome == worker.Deferred {
			deferred.add(string(v.Reason))
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	gated := r.gated(t, wrong.MayFetch)
	stop := serveOn(t, gated, wrong, asynq.HandlerFunc(func(context.Context, *asynq.Task) error { t.Error("a handler ran"); return nil }),
		asynq.Config{Queues: map[string]int{"mail": 1}})
	eventually(t, "the alarm is raised", func() bool { return errors.Is(wrong.Alarm(), worker.ErrKeyAlarm) })
	eventually(t, "it stops fetching", func() bool {
		active, err := r.redis.LLen(t.Context(), "asynq:{mail}:active").Result()
		return err == nil && active == 0
	})
	stop()
	if n := kept.count(); n < 19 || n > 19+4 { // four run at once
		t.Errorf("%d genuine tasks stand in quarantine", n)
	}
	waiting, err := r.redis.LLen(t.Context(), "asynq:{mail}:pending").Result()
	if err != nil {
		t.Fatal(err)
	}
	if waiting < genuineTasks-40 {
		t.Errorf("only %d of %d tasks still wait in the queue", waiting, genuineTasks)
	}

	// The operator corrects the audience: what waits is done, what was deferred keeps all its tries.
	var done calls
	right := r.verifier(t, worker.Config{})
	r.serve(t, right, asynq.HandlerFunc(func(ctx context.Context, _ *asynq.Task) error {
		retried, _ := asynq.GetRetryCount(ctx)
		done.add(fmt.Sprint(retried))
		return nil
	}), asynq.Config{Queues: map[string]int{"mail": 1}})
	inspector := asynq.NewInspectorFromRedisClient(r.redis)
	if _, err := inspector.RunAllRetryTasks("mail"); err != nil {
		t.Fatal(err)
	}
	want := genuineTasks - kept.count()
	eventually(t, "all others are done", func() bool { return len(done.all()) == want })
	for _, retried := range done.all() {
		if retried != "0" {
			t.Errorf("waiting for the alarm used up %s tries", retried)
		}
	}
}

func TestTheAlarmEndsWhenATaskVerifies(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var kept memory
	v := r.verifier(t, worker.Config{Quarantine: &kept})
	var done calls
	stop := serveOn(t, r.gated(t, v.MayFetch), v, asynq.HandlerFunc(func(context.Context, *asynq.Task) error { done.add("x"); return nil }),
		asynq.Config{Queues: map[string]int{"mail": 1}})
	defer stop()
	foreign := r.open(t, "another")
	for n := range 60 {
		id := fmt.Sprintf("forged-%d", n)
		r.put(t, genuine(id), genuine(id), foreign)
	}
	eventually(t, "a flood of forgeries raises the alarm", func() bool { return v.Alarm() != nil })
	r.put(t, genuine("good"), genuine("good"), r.keys)
	// Probes take one task now and then; here the operator does not wait for them.
	eventually(t, "a probe finds the genuine task and the alarm ends", func() bool {
		id, err := r.redis.LIndex(t.Context(), "asynq:{mail}:pending", -1).Result()
		if err == nil && id != "good" {
			r.redis.LMove(t.Context(), "asynq:{mail}:pending", "asynq:{mail}:pending", "RIGHT", "LEFT")
		}
		return v.Alarm() == nil && len(done.all()) == 1
	})
}

func TestFewRefusalsOrOtherReasonsOrVerifiedTasksRaiseNoAlarm(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		forged, unsigned, verified int
		raised                     bool
	}{
		"nineteen key refusals":              {forged: 19},
		"twenty key refusals":                {forged: 20, raised: true},
		"unsigned tasks":                     {unsigned: 40},
		"as many unsigned as forged":         {forged: 20, unsigned: 20},
		"more forged than unsigned":          {forged: 21, unsigned: 20, raised: true},
		"forged, but one verified among all": {forged: 40, verified: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			var verdicts calls
			v := r.verifier(t, worker.Config{Quarantine: &memory{}, OnVerdict: func(_ context.Context, v worker.Verdict) { verdicts.add(string(v.Outcome)) }})
			put := func(n int, kind string, keys *signing.Keys) {
				for i := range n {
					task := genuine(fmt.Sprintf("%s-%d", kind, i))
					r.put(t, task, task, keys)
				}
			}
			put(c.unsigned, "unsigned", nil)
			put(c.verified, "verified", r.keys)
			put(c.forged, "forged", r.open(t, "another"))
			r.serve(t, v, asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return nil }),
				asynq.Config{Queues: map[string]int{"mail": 1}, Concurrency: 1})
			eventually(t, "each task has its verdict", func() bool { return len(verdicts.all()) >= c.unsigned+c.verified+c.forged })
			if got := v.Alarm() != nil; got != c.raised {
				t.Errorf("want alarm %v, got %v", c.raised, got)
			}
		})
	}
}
