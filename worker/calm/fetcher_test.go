package calm_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/worker/calm"
)

// crew is several asynq servers over one fetcher.
type crew struct {
	fetcher *calm.Fetcher
	servers []*asynq.Server
}

func work(t *testing.T, q *queue, lanes, slots int, c calm.FetchConfig, hook calm.Config, handle asynq.HandlerFunc) {
	t.Helper()
	workOn(t, q.behind(t), lanes, slots, c, hook, handle)
}

func workOn(t *testing.T, client redis.UniversalClient, lanes, slots int, c calm.FetchConfig, hook calm.Config, handle asynq.HandlerFunc) {
	t.Helper()
	w := &crew{fetcher: calm.NewFetcher(client, calm.New(hook), c)}
	for range lanes {
		srv := asynq.NewServerFromRedisClient(w.fetcher.Lane(slots), asynq.Config{
			Queues: c.Queues, StrictPriority: c.Strict, Concurrency: slots, TaskCheckInterval: time.Millisecond, DelayedTaskCheckInterval: 20 * time.Millisecond,
			LogLevel: asynq.FatalLevel, ShutdownTimeout: time.Second,
		})
		check(t, srv.Start(handle))
		w.servers = append(w.servers, srv)
	}
	t.Cleanup(func() { w.end(t) })
}

func (w *crew) end(t *testing.T) {
	t.Helper()
	w.fetcher.Stop()
	var ending sync.WaitGroup
	for _, srv := range w.servers {
		ending.Go(srv.Shutdown)
	}
	ending.Wait()
	w.servers = nil
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	check(t, w.fetcher.GiveBack(ctx))
}

// fill puts n tasks into a queue.
func (q *queue) fill(t *testing.T, name string, n int) {
	t.Helper()
	prefix := "asynq:{" + name + "}:"
	_, err := q.Pipelined(t.Context(), func(p redis.Pipeliner) error {
		for i := range n {
			id := fmt.Sprintf("%s-%d", name, i)
			p.HSet(t.Context(), prefix+"t:"+id, "msg", message(id, name), "state", "pending")
			p.LPush(t.Context(), prefix+"pending", id)
		}
		return nil
	})
	check(t, err)
}

func TestEachTaskRunsOnceHoweverManyFetch(t *testing.T) {
	t.Parallel()
	for _, lanes := range []int{1, 4} {
		t.Run(fmt.Sprint(lanes), func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			q.fill(t, "a", 500)
			q.fill(t, "b", 500)
			var runs seen
			var now, most atomic.Int64
			work(t, q, lanes, 4, calm.FetchConfig{Queues: map[string]int{"a": 1, "b": 1}}, calm.Config{}, func(_ context.Context, task *asynq.Task) error {
				if n := now.Add(1); n > most.Load() {
					most.Store(n)
				}
				runs.add(task)
				now.Add(-1)
				return nil
			})
			eventually(t, "nothing is left", func() bool { return len(q.left(t, "a"))+len(q.left(t, "b")) == 0 })
			got := runs.all()
			slices.Sort(got)
			if len(got) != 1000 || len(slices.Compact(got)) != 1000 {
				t.Errorf("%d runs of %d tasks", len(got), len(slices.Compact(got)))
			}
			if most.Load() > int64(4*lanes) {
				t.Errorf("%d ran at once, of %d slots", most.Load(), 4*lanes)
			}
		})
	}
}

// pipelines counts those with asynq's scripts.
type pipelines struct{ n atomic.Int64 }

func (*pipelines) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (*pipelines) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (p *pipelines) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() == "evalsha" {
			p.n.Add(1)
		}
		return next(ctx, cmds)
	}
}

func TestTasksThatEndTogetherShareARoundTrip(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	var shared pipelines
	const slots = 8
	arrived := make(chan struct{}, slots)
	var gate atomic.Pointer[chan struct{}]
	workOn(t, q.behind(t, &shared), 1, slots, calm.FetchConfig{Queues: map[string]int{"a": 1}}, calm.Config{}, func(context.Context, *asynq.Task) error {
		opens := *gate.Load()
		arrived <- struct{}{}
		<-opens
		return nil
	})
	eventually(t, "tasks share a trip", func() bool {
		opens := make(chan struct{})
		gate.Store(&opens)
		q.fill(t, "a", slots)
		for range slots {
			<-arrived
		}
		close(opens)
		eventually(t, "nothing is left", func() bool { return len(q.left(t, "a")) == 0 })
		return shared.n.Load() > 0
	})
}

func TestQueuesGetTheirSharesHoweverManyFetch(t *testing.T) {
	t.Parallel()
	for _, lanes := range []int{1, 4} {
		t.Run(fmt.Sprint(lanes), func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			weights := map[string]int{"critical": 6, "mail": 3, "default": 2, "maintenance": 1}
			for name := range weights {
				q.fill(t, name, 2000)
			}
			var mu sync.Mutex
			counts, all := make(map[string]int), 0
			work(t, q, lanes, 4, calm.FetchConfig{Queues: weights}, calm.Config{}, func(_ context.Context, task *asynq.Task) error {
				mu.Lock()
				defer mu.Unlock()
				if all++; all <= 1200 { // all queues have tasks until then
					name, _, _ := strings.Cut(string(task.Payload()), "-")
					counts[name]++
				}
				return nil
			})
			eventually(t, "1200 tasks have run", func() bool { mu.Lock(); defer mu.Unlock(); return all >= 1200 })
			mu.Lock()
			defer mu.Unlock()
			for name, weight := range weights {
				// 1,200 draws at p = weight/12: four standard deviations, and the batches under way.
				want, slack := 100*weight, 65+16
				if got := counts[name]; got < want-slack || got > want+slack {
					t.Errorf("%s: want about %d of 1200, got %d", name, want, got)
				}
			}
		})
	}
}

func TestAHeavierQueueGoesFirstUnderStrictPriority(t *testing.T) {
	t.Parallel()
	for _, lanes := range []int{1, 4} {
		t.Run(fmt.Sprint(lanes), func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			q.fill(t, "low", 200)
			q.fill(t, "high", 200)
			var runs seen
			work(t, q, lanes, 4, calm.FetchConfig{Queues: map[string]int{"high": 2, "low": 1}, Strict: true}, calm.Config{}, func(_ context.Context, task *asynq.Task) error {
				runs.add(task)
				return nil
			})
			eventually(t, "all have run", func() bool { return len(runs.all()) == 400 })
			// What runs side by side may overtake: as many as there are slots.
			for i, id := range runs.all()[:200-4*lanes] {
				if !strings.HasPrefix(id, "high-") {
					t.Errorf("run %d was %s", i, id)
				}
			}
		})
	}
}

func TestOneLanePollsForAllWhileTheQueuesAreEmpty(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	var runs seen
	work(t, q, 4, 4, calm.FetchConfig{Queues: map[string]int{"a": 4, "b": 3, "c": 2, "d": 1}, Poll: 20 * time.Millisecond}, calm.Config{}, func(_ context.Context, task *asynq.Task) error {
		runs.add(task)
		return nil
	})
	q.fill(t, "c", 1)
	eventually(t, "a task has run", func() bool { return len(q.left(t, "c")) == 0 && len(runs.all()) == 1 })
	commands := func() (n int64) {
		info, err := q.InfoMap(t.Context(), "stats").Result()
		check(t, err)
		_, err = fmt.Sscan(info["Stats"]["total_commands_processed"], &n)
		check(t, err)
		return n
	}
	before, began := commands(), time.Now()
	eventually(t, "two seconds are over", func() bool { return time.Since(began) > 2*time.Second })
	// 50 looks a second; the forwarder's 50 × 8 scripts of two commands each, for this test's impatience, and this test's own.
	if perSecond := float64(commands()-before) / time.Since(began).Seconds(); perSecond > 50*1.4+50*16+50 {
		t.Errorf("%.0f commands a second", perSecond)
	}
	for i := range 50 {
		id := fmt.Sprint("late-", i)
		q.put(t, "b", id, message(id, "b"))
		eventually(t, "it is picked up", func() bool { return slices.Contains(runs.all(), id) })
	}
}

func TestWhatWasFetchedAndNotBegunGoesBackInItsOrder(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.fill(t, "a", 8)
	begun := make(chan struct{}, 8)
	release := make(chan struct{})
	var runs seen
	// asynq is told of fewer slots than the lane: three of the four that are fetched at once wait in memory.
	f := calm.NewFetcher(q.behind(t), calm.New(calm.Config{}), calm.FetchConfig{Queues: map[string]int{"a": 1}})
	srv := asynq.NewServerFromRedisClient(f.Lane(4), asynq.Config{
		Queues: map[string]int{"a": 1}, Concurrency: 1, LogLevel: asynq.FatalLevel, ShutdownTimeout: 10 * time.Second,
	})
	check(t, srv.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		runs.add(task)
		begun <- struct{}{}
		<-release
		return nil
	})))
	<-begun
	f.Stop()
	close(release)
	srv.Shutdown()
	check(t, f.GiveBack(t.Context()))
	if got := runs.all(); !slices.Equal(got, []string{"a-0"}) {
		t.Errorf("runs: %q", got)
	}
	for list, want := range map[string][]string{"pending": {"a-7", "a-6", "a-5", "a-4", "a-3", "a-2", "a-1"}, "active": {}} {
		if got, err := q.LRange(t.Context(), "asynq:{a}:"+list, 0, -1).Result(); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: want %q, got %q, %v", list, want, got, err)
		}
	}
	for id, want := range map[string]string{"a-1": "pending", "a-3": "pending", "a-7": "pending"} {
		if got, err := q.HGet(t.Context(), "asynq:{a}:t:"+id, "state").Result(); err != nil || got != want {
			t.Errorf("%s: want %s, got %s, %v", id, want, got, err)
		}
	}
	if n, err := q.ZCard(t.Context(), "asynq:{a}:lease").Result(); n != 0 || err != nil {
		t.Errorf("%d leases are left, %v", n, err)
	}
}

func TestNoMoreOfAQueueAreInHandThanAllowed(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.fill(t, "few", 100)
	q.fill(t, "many", 500)
	hook := calm.Config{InHand: func(queue string) int {
		if queue == "few" {
			return 3
		}
		return 1000
	}}
	var now, most atomic.Int64
	var runs seen
	work(t, q, 2, 8, calm.FetchConfig{Queues: map[string]int{"few": 8, "many": 1}}, hook, func(_ context.Context, task *asynq.Task) error {
		runs.add(task)
		if strings.HasPrefix(string(task.Payload()), "few-") {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer now.Add(-1)
			runtime.Gosched()
		}
		return nil
	})
	eventually(t, "all have run", func() bool { return len(runs.all()) == 600 })
	if most.Load() > 3 {
		t.Errorf("%d of the limited queue ran at once", most.Load())
	}
}

func TestWhatALimitKeptInItsQueueIsFetchedAsSoonAsThereIsRoom(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.fill(t, "few", 4)
	hook := calm.Config{InHand: func(string) int { return 2 }}
	release := make(chan struct{})
	var runs seen
	work(t, q, 2, 8, calm.FetchConfig{Queues: map[string]int{"few": 1, "other": 1}, Poll: time.Hour}, hook, func(_ context.Context, task *asynq.Task) error {
		runs.add(task)
		<-release
		return nil
	})
	began := time.Now()
	eventually(t, "the pauses are longer than any test waits", func() bool { return time.Since(began) > 2*time.Second })
	if n := len(runs.all()); n != 2 {
		t.Errorf("%d run at once", n)
	}
	close(release)
	freed := time.Now()
	eventually(t, "the others run", func() bool { return len(runs.all()) == 4 })
	if took := time.Since(freed); took > 5*time.Second {
		t.Errorf("that took %v", took)
	}
}

func TestLanesGoOnAfterRedisWasAway(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	var runs seen
	work(t, q, 2, 4, calm.FetchConfig{Queues: map[string]int{"a": 1}}, calm.Config{}, func(_ context.Context, task *asynq.Task) error {
		runs.add(task)
		return nil
	})
	q.fill(t, "a", 10)
	eventually(t, "all have run", func() bool { return len(q.left(t, "a")) == 0 })
	q.link.cut()
	before := q.link.dialed()
	began := time.Now()
	eventually(t, "two seconds are over", func() bool { return time.Since(began) > 2*time.Second })
	if dials := q.link.dialed() - before; dials > 300 {
		t.Errorf("%d dials in two seconds", dials)
	}
	q.link.mend()
	q.put(t, "a", "after", message("after", "a"))
	eventually(t, "a later task runs", func() bool { return slices.Contains(runs.all(), "after") })
}

func TestALaneRefusesAnUnknownDequeueScript(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	f := calm.NewFetcher(q.behind(t), calm.New(calm.Config{}), calm.FetchConfig{Queues: map[string]int{"q": 1}})
	keys := []string{"asynq:{q}:pending", "asynq:{q}:paused", "asynq:{q}:active", "asynq:{q}:lease"}
	if err := f.Lane(1).Eval(t.Context(), "return nil -- another", keys, 1, "asynq:{q}:t:").Err(); !errors.Is(err, calm.ErrUnknownDequeue) {
		t.Errorf("got %v", err)
	}
}
