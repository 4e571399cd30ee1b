package trips_test

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
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/internal/trips"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const pending = "asynq:{default}:pending"

// journal is a hook below the sharing: it notes what travels, and holds back what hold says.
type journal struct {
	mu   sync.Mutex
	sent []string // "evalsha", or "3 in a pipeline"
	hold func(ctx context.Context, what string) error
}

func (j *journal) note(ctx context.Context, cmd redis.Cmder, what string) error {
	if cmd.Name() == "hello" || cmd.Name() == "client" { // of go-redis's own, on a new connection
		return nil
	}
	j.mu.Lock()
	j.sent = append(j.sent, what)
	hold := j.hold
	j.mu.Unlock()
	if hold == nil {
		return nil
	}
	return hold(ctx, what)
}

func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	sent := j.sent
	j.sent = nil
	return sent
}

func (*journal) DialHook(next redis.DialHook) redis.DialHook { return next }

func (j *journal) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := j.note(ctx, cmd, cmd.Name()); err != nil {
			cmd.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}
}

func (j *journal) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if err := j.note(ctx, cmds[0], fmt.Sprintf("%d in a pipeline", len(cmds))); err != nil {
			return err
		}
		return next(ctx, cmds)
	}
}

// station is a Redis, an asynq client that shares trips to it, and a gate: while it is closed, calls that are not alone gather.
type station struct {
	server   *testservers.RedisServer
	redis    *redis.Client
	shared   redis.UniversalClient
	client   *asynq.Client
	journal  *journal
	gate     chan struct{}
	gathered func() int
	calls    sync.WaitGroup
}

func newStation(t *testing.T) *station {
	t.Helper()
	s := &station{server: testservers.Redis(t), journal: &journal{}, gate: make(chan struct{})}
	o := s.server.Options(t)
	o.MaxRetries, o.DialerRetries = -1, 1
	s.redis = redis.NewClient(o)
	t.Cleanup(func() { s.redis.Close() })
	s.redis.AddHook(s.journal)
	s.shared, s.gathered = trips.ShareYielding(s.redis, func() { <-s.gate })
	s.client = asynq.NewClientFromRedisClient(s.shared)
	s.enqueue(t.Context(), "warm") // the queue is announced, and Redis knows the script
	s.journal.take()
	return s
}

func (s *station) enqueue(ctx context.Context, id string) error {
	_, err := s.client.EnqueueContext(ctx, asynq.NewTask("test:note", nil), asynq.TaskID(id))
	return err
}

// together makes calls while another is under way, and returns when they have gathered behind the gate.
func (s *station) together(t *testing.T, calls ...func() error) (answers func() []error) {
	t.Helper()
	ahead := make(chan struct{})
	s.journal.mu.Lock()
	s.journal.hold = func(_ context.Context, what string) error {
		if what == "evalsha" {
			<-ahead
		}
		return nil
	}
	s.journal.mu.Unlock()
	var first error
	s.calls.Go(func() { first = s.enqueue(t.Context(), "ahead") })
	eventually(t, "a call under way", func() bool { s.journal.mu.Lock(); defer s.journal.mu.Unlock(); return len(s.journal.sent) > 0 })
	errs := make([]error, len(calls))
	for i, call := range calls {
		s.calls.Go(func() { errs[i] = call() })
		eventually(t, "the call to gather", func() bool { return s.gathered() == i+1 })
	}
	close(ahead)
	return func() []error {
		s.calls.Wait()
		if first != nil && !errors.Is(first, asynq.ErrTaskIDConflict) {
			errs = append(errs, first)
		}
		return errs
	}
}

func (s *station) named(ctx context.Context, ids ...string) (calls []func() error) {
	for _, id := range ids {
		calls = append(calls, func() error { return s.enqueue(ctx, id) })
	}
	return calls
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline, again := time.NewTimer(20*time.Second), time.NewTicker(time.Millisecond)
	defer deadline.Stop()
	defer again.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			t.Fatalf("waited for %s", what)
		case <-again.C:
		}
	}
}

func TestALoneCallMakesOneTrip(t *testing.T) {
	t.Parallel()
	s := newStation(t) // its gate is closed: who waited for others would never return
	for i := range 3 {
		if err := s.enqueue(t.Context(), fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"evalsha", "evalsha", "evalsha"}, s.journal.take()); diff != "" {
		t.Error(diff)
	}
}

func TestCallsAtTheSameTimeShareATripAndHaveTheirOwnAnswers(t *testing.T) {
	t.Parallel()
	s := newStation(t)
	ids := []string{"a", "b", "warm", "c"}
	answers := s.together(t, s.named(t.Context(), ids...)...)
	close(s.gate)
	for i, err := range answers() {
		if want := ids[i] == "warm"; want != errors.Is(err, asynq.ErrTaskIDConflict) || !want && err != nil {
			t.Errorf("%s: %v", ids[i], err)
		}
	}
	if diff := cmp.Diff([]string{"evalsha", "4 in a pipeline"}, s.journal.take()); diff != "" {
		t.Error(diff)
	}
	want := []string{"warm", "ahead", "a", "b", "c"}
	got := s.redis.LRange(t.Context(), pending, 0, -1).Val()
	slices.Reverse(got)
	slices.Sort(want[1:])
	slices.Sort(got[1:]) // "ahead" and the pipeline are under way at once
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCommandsThatTheCallerMadeShareATripToo(t *testing.T) {
	t.Parallel()
	s := newStation(t)
	process := trips.ProcessOf(s.shared)
	words := []string{"a", "b", "c"}
	var calls []func() error
	for _, word := range words {
		calls = append(calls, func() error {
			cmd := redis.NewStringCmd(t.Context(), "echo", word)
			if err := process(t.Context(), cmd); err != nil {
				return err
			}
			if cmd.Val() != word {
				return fmt.Errorf("answered %q", cmd.Val())
			}
			return nil
		})
	}
	calls = append(calls, func() error { return process(t.Context(), redis.NewStatusCmd(t.Context(), "nonsense")) })
	answers := s.together(t, calls...)
	close(s.gate)
	for i, err := range answers() {
		if wrong := i == len(words); wrong != (err != nil) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	if diff := cmp.Diff([]string{"evalsha", "4 in a pipeline"}, s.journal.take()); diff != "" {
		t.Error(diff)
	}
	if err := process(t.Context(), redis.NewStringCmd(t.Context(), "echo", "alone")); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"echo"}, s.journal.take()); diff != "" {
		t.Error(diff)
	}
}

func TestATripHasAnEnd(t *testing.T) {
	t.Parallel()
	s := newStation(t)
	var ids []string
	for i := range 128 {
		ids = append(ids, fmt.Sprint(i))
	}
	calls := s.named(t.Context(), ids[:127]...)
	answers := s.together(t, calls...)
	s.calls.Go(func() { _ = s.enqueue(t.Context(), ids[127]) }) // fills the trip
	eventually(t, "the trip to be full", func() bool { return s.gathered() == 0 })
	s.calls.Go(func() { _ = s.enqueue(t.Context(), "next") })
	eventually(t, "another trip", func() bool { return s.gathered() == 1 })
	close(s.gate)
	if err := errors.Join(answers()...); err != nil {
		t.Error(err)
	}
	sent := s.journal.take()
	slices.Sort(sent)
	if diff := cmp.Diff([]string{"128 in a pipeline", "evalsha", "evalsha"}, sent); diff != "" {
		t.Error(diff)
	}
}

func TestOnAClusterATripIsOneQueues(t *testing.T) {
	t.Parallel()
	s := newStation(t)
	trips.Spread(s.shared)
	var calls []func() error
	for i := range 6 {
		calls = append(calls, func() error {
			_, err := s.client.EnqueueContext(t.Context(), asynq.NewTask("test:note", nil), asynq.Queue([]string{"x", "default"}[i%2]))
			return err
		})
	}
	answers := s.together(t, calls...)
	close(s.gate)
	if err := errors.Join(answers()...); err != nil {
		t.Error(err)
	}
	sent := slices.DeleteFunc(s.journal.take(), func(what string) bool { return what == "sadd" })
	if diff := cmp.Diff([]string{"evalsha", "3 in a pipeline", "3 in a pipeline"}, sent); diff != "" {
		t.Error(diff)
	}
}

func TestACallWhoseContextEndsReturnsAndTheOthersDoNotSuffer(t *testing.T) {
	t.Parallel()
	for name, gaveUp := range map[string]int{"the first of the trip": 0, "another": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStation(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ids := []string{"a", "b", "c"}
			calls := s.named(t.Context(), ids...)
			returned := make(chan error, 1)
			calls[gaveUp] = func() error { returned <- s.enqueue(ctx, ids[gaveUp]); return nil }
			held := make(chan struct{})
			answers := s.together(t, calls...)
			s.journal.mu.Lock()
			s.journal.hold = func(ctx context.Context, _ string) error {
				<-held
				return ctx.Err()
			}
			s.journal.mu.Unlock()
			close(s.gate)
			eventually(t, "the pipeline under way", func() bool {
				s.journal.mu.Lock()
				defer s.journal.mu.Unlock()
				return slices.Contains(s.journal.sent, "3 in a pipeline")
			})
			cancel()
			if err := <-returned; err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
				t.Errorf("it returned %v", err)
			}
			close(held)
			if err := errors.Join(answers()...); err != nil {
				t.Error(err)
			}
			if n := s.redis.LLen(t.Context(), pending).Val(); n != 5 {
				t.Errorf("%d tasks are pending", n)
			}
		})
	}
}

func TestAnEndedContextJoinsNoTrip(t *testing.T) {
	t.Parallel()
	s := newStation(t)
	answers := s.together(t, s.named(t.Context(), "a", "b")...)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.enqueue(ended, "c"); err == nil {
		t.Error("it was enqueued")
	}
	close(s.gate)
	if err := errors.Join(answers()...); err != nil {
		t.Error(err)
	}
	if n := s.redis.Exists(t.Context(), "asynq:{default}:t:c").Val(); n != 0 {
		t.Error("it was enqueued")
	}
}

func TestWhileRedisIsAwayEveryCallGetsAnError(t *testing.T) {
	t.Parallel()
	s := newStation(t)
	answers := s.together(t, s.named(t.Context(), "a", "b", "c")...)
	s.server.Stop(t)
	close(s.gate)
	for i, err := range answers()[:3] {
		if err == nil {
			t.Errorf("call %d got none", i)
		}
	}
	s.server.Start(t) // empty: it knows no script
	s.gate = make(chan struct{})
	answers = s.together(t, s.named(t.Context(), "d", "e", "f")...)
	close(s.gate)
	if err := errors.Join(answers()...); err != nil {
		t.Error(err)
	}
	if n := s.redis.LLen(t.Context(), pending).Val(); n != 4 {
		t.Errorf("%d tasks are pending", n)
	}
}

func TestAHookThatPanicsIsAnErrorOfEachCall(t *testing.T) {
	t.Parallel()
	s := newStation(t)
	answers := s.together(t, s.named(t.Context(), "a", "b")...)
	s.journal.mu.Lock()
	s.journal.hold = func(context.Context, string) error { panic("a hook's") }
	s.journal.mu.Unlock()
	close(s.gate)
	for i, err := range answers() {
		if err == nil || !strings.Contains(err.Error(), "a hook's") {
			t.Errorf("call %d got %v", i, err)
		}
	}
}

func TestManyAtOnceMakeFewerTripsAndLoseNoOrder(t *testing.T) {
	t.Parallel()
	s := newStation(t)
	client := asynq.NewClientFromRedisClient(trips.Share(s.redis))
	const goroutines, each = 64, 50
	var all sync.WaitGroup
	for g := range goroutines {
		all.Go(func() {
			for i := range each {
				if _, err := client.EnqueueContext(t.Context(), asynq.NewTask("test:note", nil), asynq.TaskID(fmt.Sprintf("%02d-%02d", g, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if sent := len(s.journal.take()); sent >= goroutines*each {
		t.Errorf("%d trips for %d calls", sent, goroutines*each)
	}
	ids := s.redis.LRange(t.Context(), pending, 0, -1).Val()
	slices.Reverse(ids)
	next := make(map[string]int)
	for _, id := range ids[1:] { // without "warm"
		g, i, _ := strings.Cut(id, "-")
		if want := fmt.Sprintf("%02d", next[g]); i != want {
			t.Fatalf("goroutine %s: want task %s, got %s", g, want, i)
		}
		next[g]++
	}
	if len(ids) != goroutines*each+1 {
		t.Errorf("%d tasks are pending", len(ids))
	}
}

func TestWhatDoesNotEnqueuePassesStraightThrough(t *testing.T) {
	t.Parallel()
	s := newStation(t)
	answers := s.together(t, s.named(t.Context(), "a")...)
	if err := s.shared.Set(t.Context(), "x", 1, 0).Err(); err != nil { // not behind the gate
		t.Error(err)
	}
	if err := s.shared.Eval(t.Context(), "return 1", nil).Err(); err != nil {
		t.Error(err)
	}
	if _, err := s.shared.Pipelined(t.Context(), func(p redis.Pipeliner) error { return p.Get(t.Context(), "x").Err() }); err != nil {
		t.Error(err)
	}
	close(s.gate)
	if err := errors.Join(answers()...); err != nil {
		t.Error(err)
	}
}
