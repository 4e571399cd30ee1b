package worker_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/worker"
)

// asynq has a line for each task that is refused, with its ID, which is whatever somebody wrote to Redis.
func TestAFloodOfRefusedTasksDoesNotFillTheLogWithLinesOfAsynq(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var log lines
	var ran gauge
	low := jobs.Define[int]("low", jobs.Policy{NoLedger: true})
	h := worker.NewHandlers(worker.HandlersConfig{})
	worker.Handle(h, low, func(context.Context, worker.Job[int]) error { ran.in(); return nil })
	for i := range 100 {
		if _, err := r.client.Enqueue(asynq.NewTask("low", nil), asynq.TaskID(fmt.Sprint("forged-", i))); err != nil {
			t.Fatal(err)
		}
	}
	enqueue(t, r.enqueuer(t), low, 1)
	_, stop := r.run(t, h, worker.ServerConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	eventually(t, "the job behind the flood has run", func() bool { return ran.all.Load() == 1 })
	stop()
	if got := log.get(); len(got) > 3 {
		t.Errorf("%d lines, such as %s", len(got), got[len(got)-1])
	}
}

// noShelf is a quarantine that is away.
type noShelf struct{}

func (noShelf) Keep(context.Context, jobs.Refused) error { return errAway }

func TestAFloodWhileTheQuarantineIsAwayDoesNotFillTheLog(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var log lines
	var ran gauge
	low := jobs.Define[int]("low", jobs.Policy{NoLedger: true})
	h := worker.NewHandlers(worker.HandlersConfig{})
	worker.Handle(h, low, func(context.Context, worker.Job[int]) error { ran.in(); return nil })
	for i := range 100 {
		if _, err := r.client.Enqueue(asynq.NewTask("low", nil), asynq.TaskID(fmt.Sprint("forged-", i))); err != nil {
			t.Fatal(err)
		}
	}
	enqueue(t, r.enqueuer(t), low, 1)
	v := r.verifier(t, worker.Config{Quarantine: noShelf{}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	_, stop := r.runBehind(t, v, h, worker.ServerConfig{})
	eventually(t, "the job behind the flood has run", func() bool { return ran.all.Load() == 1 })
	stop()
	if got := log.get(); len(got) > 3 {
		t.Errorf("%d lines, such as %s", len(got), got[len(got)-1])
	}
}
