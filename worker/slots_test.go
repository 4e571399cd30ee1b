package worker_test

import (
	"context"
	"testing"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/worker"
)

// A forgery that is put off on its last try may wait in no slot that honest work needs: not in the only one, nor in a queue that a limit lets one task at a time out of.
func TestAForgeryOnItsLastTryDoesNotHoldTheOnlySlot(t *testing.T) {
	t.Parallel()
	for sentence, test := range map[string]struct {
		concurrency int
		limits      map[jobs.Kind]worker.Limit
	}{
		"one slot":     {1, nil},
		"a limit of 1": {4, map[jobs.Kind]worker.Limit{"mail:note": {Concurrency: 1}}},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			r, stranger := newRig(t), newRig(t)
			note := jobs.Define[int]("mail:note", jobs.Policy{Queue: "mail", NoLedger: true})
			var ran gauge
			h := worker.NewHandlers(worker.HandlersConfig{Limits: test.limits})
			worker.Handle(h, note, func(context.Context, worker.Job[int]) error { ran.in(); return nil })
			task := genuine("forged")
			task.MaxRetry = 0 // put off by an unknown key, and on its last try
			r.put(t, task, task, stranger.keys)
			enqueue(t, r.enqueuer(t), note, 1)
			r.run(t, h, worker.ServerConfig{Queues: map[string]int{"mail": 1}, Concurrency: test.concurrency})
			eventually(t, "the genuine job runs", func() bool { return ran.all.Load() == 1 })
		})
	}
}
