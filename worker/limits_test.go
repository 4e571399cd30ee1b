package worker_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/worker"
)

func TestAKindKeepsToItsConcurrencyAndTheOthersGoOn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	few := jobs.Define[int]("few", jobs.Policy{Queue: "few", NoLedger: true})
	other := jobs.Define[int]("other", jobs.Policy{Queue: "many", NoLedger: true})
	var limited, all gauge
	release := make(chan struct{})
	h := worker.NewHandlers(worker.HandlersConfig{Limits: map[jobs.Kind]worker.Limit{"few": {Concurrency: 2}}})
	worker.Handle(h, few, func(context.Context, worker.Job[int]) error {
		limited.in()
		defer limited.out()
		<-release
		return nil
	})
	worker.Handle(h, other, func(context.Context, worker.Job[int]) error { all.in(); all.out(); return nil })
	e := r.enqueuer(t)
	for i := range 20 {
		enqueue(t, e, few, i)
		enqueue(t, e, other, i)
	}
	r.run(t, h, worker.ServerConfig{Queues: map[string]int{"few": 9, "many": 1}, Concurrency: 8, Fetchers: 2})
	eventually(t, "the others have run beside it", func() bool { return all.all.Load() == 20 })
	info, err := asynq.NewInspectorFromRedisClient(r.redis).GetQueueInfo("few")
	if err != nil || info.Active != 2 || info.Pending != 18 || info.Retry != 0 {
		t.Errorf("what cannot run is not fetched: %+v, %v", info, err)
	}
	close(release)
	eventually(t, "all have run", func() bool { return limited.all.Load() == 20 })
	if limited.most.Load() != 2 {
		t.Errorf("%d ran at once", limited.most.Load())
	}
}

func TestAJobInAnotherQueueThanItsKindsIsPutOffWithoutATry(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	few := jobs.Define[int]("few", jobs.Policy{Queue: "few", NoLedger: true})
	var limited gauge
	release := make(chan struct{})
	h := worker.NewHandlers(worker.HandlersConfig{Limits: map[jobs.Kind]worker.Limit{"few": {Concurrency: 1}}})
	worker.Handle(h, few, func(context.Context, worker.Job[int]) error {
		limited.in()
		defer limited.out()
		<-release
		return nil
	})
	e := r.enqueuer(t)
	for i := range 3 {
		enqueue(t, e, few, i, jobs.Queue("elsewhere"))
	}
	r.run(t, h, worker.ServerConfig{Queues: map[string]int{"few": 1, "elsewhere": 1}, Concurrency: 8})
	inspector := asynq.NewInspectorFromRedisClient(r.redis)
	eventually(t, "one runs, two wait", func() bool {
		info, err := inspector.GetQueueInfo("elsewhere")
		return err == nil && info.Active == 1 && info.Retry == 2
	})
	waiting, err := inspector.ListRetryTasks("elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range waiting {
		if task.Retried != 0 {
			t.Errorf("waiting used up %d tries", task.Retried)
		}
	}
	close(release)
	eventually(t, "all have run", func() bool { return limited.all.Load() == 3 })
	if limited.most.Load() != 1 {
		t.Errorf("%d ran at once", limited.most.Load())
	}
}

func TestKindsThatShareALimitKeepToItTogether(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	defs := []jobs.Def[int]{
		jobs.Define[int]("one", jobs.Policy{Queue: "few", NoLedger: true}), jobs.Define[int]("two", jobs.Policy{Queue: "few", NoLedger: true}),
	}
	var limited gauge
	release := make(chan struct{})
	h := worker.NewHandlers(worker.HandlersConfig{Shared: []worker.SharedLimit{{Kinds: []jobs.Kind{"one", "two"}, Limit: worker.Limit{Concurrency: 2}}}})
	e := r.enqueuer(t)
	for _, def := range defs {
		worker.Handle(h, def, func(context.Context, worker.Job[int]) error {
			limited.in()
			defer limited.out()
			<-release
			return nil
		})
	}
	for i := range 5 {
		for _, def := range defs {
			enqueue(t, e, def, i)
		}
	}
	r.run(t, h, worker.ServerConfig{Queues: map[string]int{"few": 1}, Concurrency: 8})
	eventually(t, "two run", func() bool { return limited.all.Load() == 2 })
	info, err := asynq.NewInspectorFromRedisClient(r.redis).GetQueueInfo("few")
	if err != nil || info.Active != 2 || info.Pending != 8 || info.Retry != 0 {
		t.Errorf("what cannot run is not fetched: %+v, %v", info, err)
	}
	close(release)
	eventually(t, "all have run", func() bool { return limited.all.Load() == 10 })
	if limited.most.Load() != 2 {
		t.Errorf("%d ran at once", limited.most.Load())
	}
}

func TestAKindKeepsToItsRate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	slow := jobs.Define[int]("slow", jobs.Policy{Queue: "slow", NoLedger: true})
	var runs gauge
	h := worker.NewHandlers(worker.HandlersConfig{Limits: map[jobs.Kind]worker.Limit{"slow": {PerSecond: 10, Burst: 2}}})
	worker.Handle(h, slow, func(context.Context, worker.Job[int]) error { runs.in(); runs.out(); return nil })
	e := r.enqueuer(t)
	for i := range 12 {
		enqueue(t, e, slow, i)
	}
	began := time.Now()
	r.run(t, h, worker.ServerConfig{Queues: map[string]int{"slow": 1}})
	eventually(t, "some have run", func() bool { return runs.all.Load() >= 5 })
	if info, err := asynq.NewInspectorFromRedisClient(r.redis).GetQueueInfo("slow"); err != nil || info.Retry != 0 {
		t.Errorf("the others are not fetched: %+v, %v", info, err)
	}
	eventually(t, "all have run", func() bool { return runs.all.Load() == 12 })
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("12 at 10 a second, after a burst of 2, took %v", took)
	}
}

func TestLimitsAndBreakersAreCheckedWithTheHandlers(t *testing.T) {
	t.Parallel()
	catalog, err := jobs.NewCatalog()
	if err != nil {
		t.Fatal(err)
	}
	b, err := worker.NewBreaker(worker.BreakerConfig{System: "smtp", Kinds: []jobs.Kind{"mail"}})
	if err != nil {
		t.Fatal(err)
	}
	for sentence, test := range map[string]struct {
		config worker.HandlersConfig
		want   string
	}{
		"a limit of a kind that is not there":   {worker.HandlersConfig{Limits: map[jobs.Kind]worker.Limit{"ghost": {Concurrency: 1}}}, "ghost"},
		"a breaker of a kind that is not there": {worker.HandlersConfig{Breakers: []*worker.Breaker{b}}, "mail"},
		"a kind with two limits": {worker.HandlersConfig{
			Limits: map[jobs.Kind]worker.Limit{"few": {Concurrency: 1}}, Shared: []worker.SharedLimit{{Kinds: []jobs.Kind{"few"}, Limit: worker.Limit{Concurrency: 1}}},
		}, "two limits"},
		"a shared limit below zero": {worker.HandlersConfig{Shared: []worker.SharedLimit{{Kinds: []jobs.Kind{"few"}, Limit: worker.Limit{Burst: -1}}}}, "few"},
		"a limit below zero":        {worker.HandlersConfig{Limits: map[jobs.Kind]worker.Limit{"few": {PerSecond: -1}}}, "few"},
	} {
		if err := worker.NewHandlers(test.config).Check(catalog); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", sentence, err)
		}
	}
	if _, err := worker.NewBreaker(worker.BreakerConfig{System: "smtp"}); err == nil {
		t.Error("a breaker without kinds: no error")
	}
}

var errDown = errors.New("535 authentication failed")

func TestABreakerKeepsJobsInTheirQueueUntilTheSystemIsBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	mail := jobs.Define[int]("mail", jobs.Policy{Queue: "mail", NoLedger: true, Retries: jobs.NoRetries})
	other := jobs.Define[int]("other", jobs.Policy{NoLedger: true})
	b, err := worker.NewBreaker(worker.BreakerConfig{System: "smtp", Kinds: []jobs.Kind{"mail"}, Failures: 2, Pause: 300 * time.Millisecond, LongestPause: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	var down atomic.Bool
	down.Store(true)
	var tried, sent, others gauge
	h := worker.NewHandlers(worker.HandlersConfig{Breakers: []*worker.Breaker{b}})
	worker.Handle(h, mail, func(context.Context, worker.Job[int]) error {
		tried.in()
		defer tried.out()
		if down.Load() {
			return worker.Outage("smtp", errDown)
		}
		sent.in()
		return nil
	})
	worker.Handle(h, other, func(context.Context, worker.Job[int]) error { others.in(); return nil })
	e := r.enqueuer(t)
	for i := range 200 {
		enqueue(t, e, mail, i)
	}
	s, _ := r.run(t, h, worker.ServerConfig{Queues: map[string]int{"mail": 5, "default": 1}, Concurrency: 4})
	eventually(t, "the breaker opens", func() bool { return strings.Contains(s.Detail(), "smtp is down") })
	if err := s.Ready(); err != nil {
		t.Errorf("the other jobs go on, and it says %v", err)
	}
	before := tried.all.Load()
	began := time.Now()
	for i := range 20 {
		enqueue(t, e, other, i)
	}
	eventually(t, "other queues go on", func() bool { return others.all.Load() == 20 })
	eventually(t, "a second is over", func() bool { return time.Since(began) > time.Second })
	// One a pause, of 225 to 375 ms.
	if probes := tried.all.Load() - before; probes > 8 {
		t.Errorf("%d jobs met the outage in %v", probes, time.Since(began))
	}
	info, err := asynq.NewInspectorFromRedisClient(r.redis).GetQueueInfo("mail")
	if err != nil || info.Pending < 150 || info.Archived != 0 || info.Failed != 0 {
		t.Errorf("the jobs wait in their queue: %+v, %v", info, err)
	}
	down.Store(false)
	eventually(t, "those in the queue are sent, and the breaker is closed", func() bool { return sent.all.Load() >= int64(info.Pending)-1 && s.Detail() == "" })
}

func TestABreakersPauseDoublesUpToItsBoundAndOneJobTries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mail := jobs.Define[int]("mail", jobs.Policy{Queue: "mail", NoLedger: true})
		b, err := worker.NewBreaker(worker.BreakerConfig{System: "smtp", Kinds: []jobs.Kind{"mail"}, Failures: 1, Pause: time.Second, LongestPause: 4 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		h := worker.NewHandlers(worker.HandlersConfig{Breakers: []*worker.Breaker{b}})
		worker.Handle(h, mail, func(context.Context, worker.Job[int]) error { return nil })
		if !h.MayFetch("mail") || h.InHand("mail") < 1000 {
			t.Error("it begins closed")
		}
		for _, most := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 4 * time.Second} {
			worker.Leave(b, worker.Outage("smtp", errDown))
			if h.MayFetch("mail") || h.InHand("mail") != 0 || h.InHand("other") < 1000 || b.Open() == nil {
				t.Error("it opens, for its own queue")
			}
			began := time.Now()
			for !h.MayFetch("mail") {
				time.Sleep(10 * time.Millisecond) // the bubble's
			}
			if took := time.Since(began); took < most*3/4-20*time.Millisecond || took > most*5/4+20*time.Millisecond {
				t.Errorf("the pause is %v, want %v", took, most)
			}
			if h.InHand("mail") != 1 {
				t.Error("then one may be fetched")
			}
			if _, ok := worker.Enter(b); !ok {
				t.Error("and try")
			}
			if retry, ok := worker.Enter(b); ok || !retry.After(time.Now()) {
				t.Error("but no second beside it")
			}
		}
		worker.Leave(b, nil)
		if h.InHand("mail") < 1000 || b.Open() != nil {
			t.Error("a success closes it")
		}
		worker.Leave(b, worker.Outage("ldap", errDown))
		worker.Leave(b, errDown)
		if b.Open() != nil {
			t.Error("what is no outage of its system does not open it")
		}
	})
}
