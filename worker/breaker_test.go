package worker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/worker"
)

// A job that ends without having asked says nothing of the system: neither that it is back, nor that the outages before were none.
func TestAJobThatNeededNoSystemNeitherClosesItsBreakerNorResetsItsCount(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	kind := jobs.Define[string]("mail", jobs.Policy{Queue: "mail", NoLedger: true, Retries: jobs.NoRetries})
	var ahead atomic.Int64
	b, err := worker.NewBreaker(worker.BreakerConfig{
		System: "smtp", Kinds: []jobs.Kind{"mail"}, Failures: 2, Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
	})
	if err != nil {
		t.Fatal(err)
	}
	var ran gauge
	h := worker.NewHandlers(worker.HandlersConfig{Breakers: []*worker.Breaker{b}})
	worker.Handle(h, kind, func(_ context.Context, j worker.Job[string]) error {
		defer ran.in()
		if j.Args == "needs it" {
			return worker.Outage("smtp", errDown)
		}
		return worker.ErrNotNeeded
	})
	e := r.enqueuer(t)
	r.run(t, h, worker.ServerConfig{Queues: map[string]int{"mail": 1}, Concurrency: 1})
	for n, args := range []string{"needs it", "withdrawn", "needs it"} {
		enqueue(t, e, kind, args)
		eventually(t, "it has run", func() bool { return ran.all.Load() == int64(n+1) })
	}
	eventually(t, "two outages in a row open it", func() bool { return b.Open() != nil })
	ahead.Store(int64(time.Hour))
	enqueue(t, e, kind, "withdrawn")
	eventually(t, "one that needs nothing is let through", func() bool { return ran.all.Load() == 4 })
	info, err := asynq.NewInspectorFromRedisClient(r.redis).GetQueueInfo("mail")
	if err != nil || info.Archived != 0 || info.Retry != 2 {
		t.Errorf("it has ended well: %+v, %v", info, err)
	}
	if b.Open() == nil || h.InHand("mail") != 1 {
		t.Error("nobody has asked the system, and the breaker is closed")
	}
}

// A system that refuses one job for what the job is has answered.
func TestAnAnswerThatFailsItsJobClosesTheBreaker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, err := worker.NewBreaker(worker.BreakerConfig{System: "smtp", Kinds: []jobs.Kind{"mail"}, Failures: 2})
		if err != nil {
			t.Fatal(err)
		}
		refused := errors.New("no such mailbox")
		down := func() { worker.Leave(b, worker.Outage("smtp", errDown)) }
		down()
		worker.Leave(b, worker.Permanent(worker.Answered("smtp", refused)))
		if down(); b.Open() != nil {
			t.Error("two outages that are not in a row open it")
		}
		if down(); b.Open() == nil {
			t.Fatal("two in a row do not")
		}
		time.Sleep(time.Minute) // the bubble's
		for what, err := range map[string]error{"another system's answer": worker.Answered("ldap", refused), "an error that says nothing": refused, "a job that needed nothing": worker.ErrNotNeeded} {
			if _, ok := worker.Enter(b); !ok {
				t.Fatal("one may try")
			}
			if worker.Leave(b, err); b.Open() == nil {
				t.Errorf("%s closes it", what)
			}
		}
		if _, ok := worker.Enter(b); !ok {
			t.Fatal("one may try")
		}
		if worker.Leave(b, worker.Answered("smtp", refused)); b.Open() != nil {
			t.Errorf("its own answer does not close it: %v", b.Open())
		}
	})
}
