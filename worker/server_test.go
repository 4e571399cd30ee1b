package worker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/worker"
)

// run runs a Server until the test ends, or the function that it returns is called.
func (r *rig) run(t *testing.T, next asynq.Handler, c worker.ServerConfig) (s *worker.Server, stop func()) {
	t.Helper()
	return r.runBehind(t, r.verifier(t, worker.Config{}), next, c)
}

func (r *rig) runBehind(t *testing.T, v *worker.Verifier, next asynq.Handler, c worker.ServerConfig) (s *worker.Server, stop func()) {
	t.Helper()
	if c.ForwardPoll == 0 {
		c.ForwardPoll = 20 * time.Millisecond
	}
	if c.Shutdown == 0 {
		c.Shutdown = 5 * time.Second
	}
	s, err := worker.NewServer(r.redis, v, next, c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return s, stop
}

// gauge counts how many are in something at once.
type gauge struct{ now, most, all atomic.Int64 }

func (g *gauge) in() {
	g.all.Add(1)
	n := g.now.Add(1)
	for {
		most := g.most.Load()
		if n <= most || g.most.CompareAndSwap(most, n) {
			return
		}
	}
}

func (g *gauge) out() { g.now.Add(-1) }

func enqueue[A any](t *testing.T, e *jobs.Enqueuer, d jobs.Def[A], args A, opts ...jobs.Option) {
	t.Helper()
	if _, err := e.Enqueue(t.Context(), d.With(args, opts...)); err != nil {
		t.Fatal(err)
	}
}

func TestAServerRunsAsManyAsConfiguredHoweverManyFetch(t *testing.T) {
	t.Parallel()
	for _, fetchers := range []int{0, 1, 3, 64} {
		t.Run(fmt.Sprint(fetchers), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			low := jobs.Define[int]("low", jobs.Policy{Queue: "low", NoLedger: true})
			high := jobs.Define[int]("high", jobs.Policy{Queue: "high", NoLedger: true})
			var running gauge
			full := make(chan struct{})
			work := func(context.Context, worker.Job[int]) error {
				running.in()
				defer running.out()
				if running.now.Load() == 5 {
					select {
					case <-full:
					default:
						close(full)
					}
				}
				<-full // until all slots are taken
				return nil
			}
			h := worker.NewHandlers(worker.HandlersConfig{})
			worker.Handle(h, low, work)
			worker.Handle(h, high, work)
			e := r.enqueuer(t)
			for i := range 100 {
				enqueue(t, e, low, i)
				enqueue(t, e, high, i)
			}
			r.run(t, h, worker.ServerConfig{Queues: map[string]int{"high": 2, "low": 1}, Concurrency: 5, Fetchers: fetchers})
			eventually(t, "all have run", func() bool { return running.all.Load() == 200 })
			if running.most.Load() != 5 {
				t.Errorf("want five at once, got %d", running.most.Load())
			}
		})
	}
}

func TestAServerThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	v, h := r.verifier(t, worker.Config{}), worker.NewHandlers(worker.HandlersConfig{})
	for sentence, make := range map[string]func() (*worker.Server, error){
		"no client":   func() (*worker.Server, error) { return worker.NewServer(nil, v, h, worker.ServerConfig{}) },
		"no verifier": func() (*worker.Server, error) { return worker.NewServer(r.redis, nil, h, worker.ServerConfig{}) },
		"no handler":  func() (*worker.Server, error) { return worker.NewServer(r.redis, v, nil, worker.ServerConfig{}) },
		"a blank queue": func() (*worker.Server, error) {
			return worker.NewServer(r.redis, v, h, worker.ServerConfig{Queues: map[string]int{" ": 1}})
		},
		"braces": func() (*worker.Server, error) {
			return worker.NewServer(r.redis, v, h, worker.ServerConfig{Queues: map[string]int{"{a}": 1}})
		},
		"a weight of no": func() (*worker.Server, error) {
			return worker.NewServer(r.redis, v, h, worker.ServerConfig{Queues: map[string]int{"a": 0}})
		},
	} {
		if _, err := make(); err == nil {
			t.Errorf("%s: no error", sentence)
		}
	}
}

func TestAServerThatStopsIsNotReadyFirstAndLetsWhatRunsFinish(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	def := jobs.Define[int]("slow", jobs.Policy{NoLedger: true})
	begun, release := make(chan struct{}, 10), make(chan struct{})
	var done atomic.Int64
	h := worker.NewHandlers(worker.HandlersConfig{})
	worker.Handle(h, def, func(context.Context, worker.Job[int]) error {
		begun <- struct{}{}
		<-release
		done.Add(1)
		return nil
	})
	e := r.enqueuer(t)
	for i := range 10 {
		enqueue(t, e, def, i)
	}
	s, stop := r.run(t, h, worker.ServerConfig{Concurrency: 2, Fetchers: 2})
	<-begun
	<-begun
	if err := s.Ready(); err != nil {
		t.Errorf("it works, and says %v", err)
	}
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	eventually(t, "it is not ready while it drains", func() bool { return errors.Is(s.Ready(), worker.ErrStopping) })
	if n := done.Load(); n != 0 {
		t.Errorf("%d were done before they were released", n)
	}
	close(release)
	<-stopped
	if n := done.Load(); n != 2 {
		t.Errorf("want the two that ran to finish, and no other to begin: %d are done", n)
	}
	info, err := asynq.NewInspectorFromRedisClient(r.redis).GetQueueInfo("default")
	if err != nil || info.Pending != 8 || info.Active != 0 {
		t.Errorf("what was not begun waits for others: %+v, %v", info, err)
	}
}

func TestAServerThatStopsLeavesNothingFetched(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	def := jobs.Define[int]("quick", jobs.Policy{NoLedger: true})
	e := r.enqueuer(t)
	for round := range 5 {
		for i := range 300 {
			enqueue(t, e, def, i)
		}
		var done atomic.Int64
		some := make(chan struct{})
		h := worker.NewHandlers(worker.HandlersConfig{})
		worker.Handle(h, def, func(context.Context, worker.Job[int]) error {
			if done.Add(1) == int64(20+10*round) {
				close(some)
			}
			return nil
		})
		_, stop := r.run(t, h, worker.ServerConfig{Fetchers: 2})
		<-some
		stop()
		info, err := asynq.NewInspectorFromRedisClient(r.redis).GetQueueInfo("default")
		if err != nil || info.Active != 0 || info.Pending+int(done.Load()) != 300 {
			t.Fatalf("%d are done, and the rest is not waiting for others: %+v, %v", done.Load(), info, err)
		}
		if err := r.redis.FlushDB(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAServerStopsInTimeThoughAHandlerDoesNot(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	def := jobs.Define[int]("stuck", jobs.Policy{NoLedger: true})
	begun, release := make(chan struct{}), make(chan struct{})
	h := worker.NewHandlers(worker.HandlersConfig{})
	worker.Handle(h, def, func(context.Context, worker.Job[int]) error {
		close(begun)
		<-release
		return nil
	})
	t.Cleanup(func() { close(release) })
	enqueue(t, r.enqueuer(t), def, 1)
	_, stop := r.run(t, h, worker.ServerConfig{Shutdown: 100 * time.Millisecond})
	<-begun
	began := time.Now()
	stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	info, err := asynq.NewInspectorFromRedisClient(r.redis).GetQueueInfo("default")
	if err != nil || info.Pending != 1 || info.Active != 0 {
		t.Errorf("the job goes back into its queue: %+v, %v", info, err)
	}
}

// asynq gives the slot of a task away whose context somebody has ended, though the handler goes on.
func TestAHandlerThatWasCancelledHoldsItsSlotUntilItReturns(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	def := jobs.Define[int]("one", jobs.Policy{NoLedger: true})
	var running gauge
	begun, release := make(chan string, 2), make(chan struct{})
	h := worker.NewHandlers(worker.HandlersConfig{})
	worker.Handle(h, def, func(_ context.Context, j worker.Job[int]) error {
		running.in()
		defer running.out()
		begun <- j.ID
		<-release
		return nil
	})
	e := r.enqueuer(t)
	enqueue(t, e, def, 1)
	r.run(t, h, worker.ServerConfig{Concurrency: 1})
	first := <-begun
	inspector := asynq.NewInspectorFromRedisClient(r.redis)
	eventually(t, "the cancel arrives", func() bool {
		if err := inspector.CancelProcessing(first); err != nil {
			t.Fatal(err)
		}
		info, err := inspector.GetTaskInfo("default", first)
		return err == nil && info.State == asynq.TaskStateRetry
	})
	enqueue(t, e, def, 2)
	eventually(t, "the second is fetched", func() bool {
		info, err := inspector.GetQueueInfo("default")
		return err == nil && info.Active == 1
	})
	began := time.Now()
	eventually(t, "some time is over", func() bool { return time.Since(began) > 200*time.Millisecond })
	close(release)
	eventually(t, "the second runs", func() bool { return running.all.Load() == 2 })
	if running.most.Load() != 1 {
		t.Errorf("%d ran at once, of one slot", running.most.Load())
	}
}

// asynq begins a second run beside a handler that ignores its timeout.
func TestAPlainHandlerThatIgnoresItsTimeoutNeverRunsTwiceAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var verdicts calls
	v := r.verifier(t, worker.Config{OnVerdict: func(_ context.Context, v worker.Verdict) { verdicts.add(string(v.Outcome)) }})
	var running gauge
	release := make(chan struct{})
	t.Cleanup(sync.OnceFunc(func() { close(release) }))
	r.serve(t, v, asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		running.in()
		defer running.out()
		<-release
		return nil
	}), asynq.Config{RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return 0 }})
	if _, err := jobs.Wrap(r.client, r.keys).Enqueue(asynq.NewTask("stuck", nil), asynq.Timeout(time.Second)); err != nil {
		t.Fatal(err)
	}
	// asynq's own error of a context that ended waits as its default says: bring it forward.
	inspector := asynq.NewInspectorFromRedisClient(r.redis)
	eventually(t, "it is verified again while it runs", func() bool {
		_, _ = inspector.RunAllRetryTasks("default")
		return len(verdicts.all()) >= 2
	})
	if running.most.Load() != 1 {
		t.Errorf("%d ran at once", running.most.Load())
	}
}

// lines keeps what is logged.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(b))
	return len(b), nil
}

func (l *lines) get() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.all)
}

func TestAServerSaysLittleWhileRedisIsAwayAndStopsInTime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	def := jobs.Define[int]("any", jobs.Policy{NoLedger: true})
	h := worker.NewHandlers(worker.HandlersConfig{})
	worker.Handle(h, def, func(context.Context, worker.Job[int]) error { return nil })
	var log lines
	logger := slog.New(slog.NewTextHandler(&log, nil))
	options := *r.redis.Options()
	options.Addr = "127.0.0.1:1" // nobody is there
	client := redis.NewClient(&options)
	t.Cleanup(func() { _ = client.Close() })
	s, err := worker.NewServer(client, r.verifier(t, worker.Config{Logger: logger}), h, worker.ServerConfig{
		Fetchers: 4, ForwardPoll: 50 * time.Millisecond, Shutdown: 100 * time.Millisecond, Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	began := time.Now()
	eventually(t, "three seconds are over", func() bool { return time.Since(began) > 3*time.Second })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("stopping took %v", took)
	}
	if got := log.get(); len(got) > 15 || !strings.Contains(strings.Join(got, ""), "Redis does not answer") {
		t.Errorf("%d lines:\n%s", len(got), strings.Join(got, ""))
	}
}
