package drill_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/cmd/sealq/internal/drill"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/mail/catcher"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// target is a system that is drilled: a real Redis, a database, a ring, and whatever worker a test starts.
type target struct {
	redis    *testservers.RedisServer
	client   *redis.Client
	db       app.Database
	ring     *signing.Ring
	ringFile string
}

func newTarget(t *testing.T) *target {
	t.Helper()
	s := &target{redis: testservers.Redis(t), ringFile: filepath.Join(t.TempDir(), "keys.json")}
	s.client = s.redis.Client(t)
	var err error
	s.ring, err = signing.NewRing(time.Now().Add(-48*time.Hour), 30*24*time.Hour)
	check(t, err)
	check(t, signing.NewFile(s.ringFile).Create(s.ring))
	s.db, err = app.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "sealq.db"))
	check(t, err)
	t.Cleanup(func() { check(t, s.db.Close()) })
	_, err = s.db.Migrate(t.Context())
	check(t, err)
	return s
}

// work runs sealq's own worker until the test ends, or stop.
func (s *target) work(t *testing.T, audience string) (ready func() error) {
	t.Helper()
	keys, err := signing.Open(t.Context(), "file:"+s.ringFile, audience)
	check(t, err)
	t.Cleanup(keys.Close)
	mails, err := catcher.Start("127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { check(t, mails.Close()) })
	sender, err := mail.NewSender(mail.Config{URL: mails.URL(), From: "no-reply@app.example"})
	check(t, err)
	t.Cleanup(sender.Close)
	w, err := s.db.Worker(app.WorkerConfig{
		Redis: s.redis.Client(t), Keys: keys, Sender: sender, BaseURL: "https://app.example",
		TaskPoll: 10 * time.Millisecond, ForwardPoll: 50 * time.Millisecond, Shutdown: 5 * time.Second,
	})
	check(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() { stop(); check(t, <-ended) })
	return w.Ready
}

// serve runs a plain asynq server with that handler until the test ends.
func (s *target) serve(t *testing.T, h asynq.Handler, guard func(asynq.Config) asynq.Config) {
	t.Helper()
	c := asynq.Config{
		Queues: app.DefaultQueues(), Concurrency: 8, TaskCheckInterval: 10 * time.Millisecond, DelayedTaskCheckInterval: 50 * time.Millisecond,
		LogLevel: asynq.FatalLevel, ShutdownTimeout: 2 * time.Second,
	}
	if guard != nil {
		c = guard(c)
	}
	server := asynq.NewServerFromRedisClient(s.redis.Client(t), c)
	check(t, server.Start(h))
	t.Cleanup(server.Shutdown)
}

func (s *target) config() drill.Config {
	ledger, _ := s.db.(drill.Ledger)
	return drill.Config{
		Queue: jobs.QueueMaintenance, OtherQueue: jobs.QueueDefault,
		Kind: "users:expire_pending", Args: []byte(`{"tick":"drill","limit":1}`), MaxAge: time.Hour,
		Quarantine: s.db, Ledger: ledger, Patience: 20 * time.Second,
	}
}

func (s *target) withKeys() drill.Config {
	c := s.config()
	c.Ring, c.Audience = s.ring, "test"
	c.KeyShots = 1000 // the one worker is proven by the genuine task that comes first
	return c
}

func newDrill(t *testing.T, c drill.Config) *drill.Drill {
	t.Helper()
	d, err := drill.New(c)
	check(t, err)
	return d
}

// requireClean requires that Redis holds no task, nor a trace of one in a list or set.
func (s *target) requireClean(t *testing.T) {
	t.Helper()
	keys, err := s.client.Keys(t.Context(), "asynq:{*").Result()
	check(t, err)
	keys = slices.DeleteFunc(keys, func(k string) bool { // asynq's figures
		return strings.Contains(k, "}:processed") || strings.Contains(k, "}:failed")
	})
	if len(keys) > 0 {
		t.Errorf("left in Redis: %q", keys)
	}
}

func requireVerdicts(t *testing.T, r drill.Report, want drill.Verdict) {
	t.Helper()
	for _, c := range r.Cases {
		if c.Verdict != want && c.Verdict != drill.NotFired {
			t.Errorf("%s: %s: want %s, got %s: expected %s, got %s", c.Class, c.Case, want, c.Verdict, c.Expected, c.Got)
		}
	}
}

func TestAnHonestWorkerHoldsEveryCase(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config func(*target) drill.Config
		least  int
	}{
		"with its keys": {(*target).withKeys, 200},
		"without":       {(*target).config, 40},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTarget(t)
			ready := s.work(t, "test")
			d := newDrill(t, c.config(s))
			plan := d.Plan()
			r, err := d.Run(t.Context(), s.client)
			check(t, err)
			requireVerdicts(t, r, drill.Held)
			if r.Held < c.least || r.Held != plan.Fired || r.NotFired != plan.Unfit || r.Failed+r.NotJudged > 0 {
				t.Errorf("of %+v got %d held, %d failed, %d not judged, %d not fired", plan, r.Held, r.Failed, r.NotJudged, r.NotFired)
			}
			if r.Removed > 0 {
				t.Errorf("%d tasks were left to be removed at the end", r.Removed)
			}
			if err := ready(); err != nil {
				t.Errorf("the drill raised an alarm: %v", err)
			}
			s.requireClean(t)
		})
	}
}

func TestAWorkerThatThrowsTasksAwayFails(t *testing.T) {
	t.Parallel()
	s := newTarget(t)
	s.serve(t, asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return asynq.RevokeTask }), nil)
	r, err := newDrill(t, s.config()).Run(t.Context(), s.client)
	check(t, err)
	requireVerdicts(t, r, drill.Failed)
	if r.Failed < 40 {
		t.Errorf("only %d cases failed", r.Failed)
	}
	s.requireClean(t)

	_, err = newDrill(t, s.withKeys()).Run(t.Context(), s.client)
	if !errors.Is(err, drill.ErrGenuine) || !strings.Contains(err.Error(), "not in the ledger") {
		t.Errorf("want a refusal to judge a target that runs nothing, got %v", err)
	}
	s.requireClean(t)
}

func TestAWorkerThatRunsWhateverComesFailsEveryCase(t *testing.T) {
	t.Parallel()
	s := newTarget(t)
	s.serve(t, asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return nil }), nil)
	r, err := newDrill(t, s.config()).Run(t.Context(), s.client)
	check(t, err)
	requireVerdicts(t, r, drill.Failed)

	c := s.config()
	c.Quarantine, c.Ledger = nil, nil
	r, err = newDrill(t, c).Run(t.Context(), s.client)
	check(t, err)
	if r.Held > 0 || r.NotJudged < 30 {
		t.Errorf("without a quarantine nothing that left the queue can be judged: %d held, %d not judged", r.Held, r.NotJudged)
	}
	s.requireClean(t)
}

// altering is a quarantine that does not keep what came.
type altering struct{ worker.Quarantine }

func (a altering) Keep(ctx context.Context, r jobs.Refused) error {
	if len(r.Payload) > 0 {
		r.Payload = slices.Clone(r.Payload)
		r.Payload[0] ^= 1
	} else {
		r.Size++
	}
	return a.Quarantine.Keep(ctx, r)
}

func TestAQuarantineThatKeepsOtherBytesFails(t *testing.T) {
	t.Parallel()
	s := newTarget(t)
	dir, err := worker.OpenDir(t.TempDir())
	check(t, err)
	keys, err := signing.Open(t.Context(), "file:"+s.ringFile, "test")
	check(t, err)
	t.Cleanup(keys.Close)
	v, err := worker.New(keys, worker.Config{Quarantine: altering{dir}})
	check(t, err)
	mux := asynq.NewServeMux()
	s.serve(t, v.Handler(mux), v.Config)
	c := s.config()
	c.Quarantine, c.Ledger = dir, nil
	r, err := newDrill(t, c).Run(t.Context(), s.client)
	check(t, err)
	for _, got := range r.Cases {
		want := drill.Failed
		if strings.HasPrefix(got.Expected, "deferred") {
			want = drill.Held
		}
		if got.Verdict != want && got.Verdict != drill.NotFired {
			t.Errorf("%s: %s: got %s", got.Case, got.Verdict, got.Got)
		}
	}
}

func TestAnAppWithAMuxAndAFolderHoldsAllThatNeedsNoLedger(t *testing.T) {
	t.Parallel()
	s := newTarget(t)
	dir, err := worker.OpenDir(t.TempDir())
	check(t, err)
	keys, err := signing.Open(t.Context(), "file:"+s.ringFile, "test")
	check(t, err)
	t.Cleanup(keys.Close)
	v, err := worker.New(keys, worker.Config{Quarantine: dir})
	check(t, err)
	mux := asynq.NewServeMux()
	var mu sync.Mutex
	ran := map[string]int{}
	for _, pattern := range []string{"note", "note:write"} {
		mux.HandleFunc(pattern, func(_ context.Context, task *asynq.Task) error {
			mu.Lock()
			defer mu.Unlock()
			ran[task.Type()+" "+string(task.Payload())]++
			return nil
		})
	}
	s.serve(t, v.Handler(mux), v.Config)
	c := s.withKeys()
	c.Kind, c.Args, c.Queue, c.MaxAge, c.Quarantine, c.Ledger = "note:write", []byte(`{"text":"drill"}`), "default", 0, dir, nil
	c.OtherQueue = "critical"
	d := newDrill(t, c)
	r, err := d.Run(t.Context(), s.client)
	check(t, err)
	requireVerdicts(t, r, drill.Held)
	if diff := cmp.Diff(map[string]int{`note:write {"text":"drill"}`: d.Plan().Genuine}, ran); diff != "" {
		t.Errorf("what the handlers ran (-want +got):\n%s", diff)
	}
	s.requireClean(t)
}

func TestAnotherRingThanTheTargetsIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	s := newTarget(t)
	s.work(t, "another")
	_, err := newDrill(t, s.withKeys()).Run(t.Context(), s.client)
	if !errors.Is(err, drill.ErrGenuine) || !strings.Contains(err.Error(), "refused bad_signature") {
		t.Errorf("want the genuine task's refusal, got %v", err)
	}
	s.requireClean(t)
}

func TestAQueueThatNobodyServesIsSaid(t *testing.T) {
	t.Parallel()
	s := newTarget(t)
	c := s.config()
	c.Patience = 300 * time.Millisecond
	_, err := newDrill(t, c).Run(t.Context(), s.client)
	if !errors.Is(err, drill.ErrNotServed) || !strings.Contains(err.Error(), jobs.QueueMaintenance) {
		t.Errorf("want ErrNotServed about the queue, got %v", err)
	}
	s.requireClean(t)
}

func TestATaskThatLiesWhereAShotWouldIsLeftAlone(t *testing.T) {
	t.Parallel()
	s := newTarget(t)
	// One case swaps a task's ID with its kind.
	_, err := asynq.NewClientFromRedisClient(s.client).Enqueue(asynq.NewTask("users:expire_pending", []byte("somebody's")),
		asynq.TaskID("users:expire_pending"), asynq.Queue(jobs.QueueMaintenance), asynq.ProcessIn(time.Hour))
	check(t, err)
	s.work(t, "test")
	r, err := newDrill(t, s.withKeys()).Run(t.Context(), s.client)
	check(t, err)
	if r.Failed != 1 {
		t.Errorf("want one case that could not be fired, got %d", r.Failed)
	}
	for _, c := range r.Cases {
		if c.Verdict == drill.Failed && c.Got != drill.ErrTaken.Error() {
			t.Errorf("%s: %s", c.Case, c.Got)
		}
	}
	info, err := asynq.NewInspectorFromRedisClient(s.client).GetTaskInfo(jobs.QueueMaintenance, "users:expire_pending")
	if err != nil || info.State != asynq.TaskStateScheduled || string(info.Payload) != "somebody's" {
		t.Errorf("somebody else's task is %+v, %v", info, err)
	}
}

func TestAnInterruptedRunRemovesItsTasksAndNobodyElses(t *testing.T) {
	t.Parallel()
	s := newTarget(t)
	client := asynq.NewClientFromRedisClient(s.client)
	for _, id := range []string{"drill-somebodys", "users:expire_pending"} {
		_, err := client.Enqueue(asynq.NewTask("users:expire_pending", nil), asynq.TaskID(id), asynq.Queue(jobs.QueueMaintenance))
		check(t, err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	d, ended := newDrill(t, s.config()), make(chan error, 1)
	go func() {
		_, err := d.Run(ctx, s.client)
		ended <- err
	}()
	waiting := func() int64 {
		n, err := s.client.LLen(t.Context(), "asynq:{maintenance}:pending").Result()
		check(t, err)
		return n
	}
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for waiting() < 5 {
		select {
		case <-deadline.C:
			t.Fatal("nothing was fired")
		case <-time.After(10 * time.Millisecond):
		}
	}
	interrupt()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("want it interrupted, got %v", err)
	}
	left, err := s.client.LRange(t.Context(), "asynq:{maintenance}:pending", 0, -1).Result()
	check(t, err)
	slices.Sort(left)
	if diff := cmp.Diff([]string{"drill-somebodys", "users:expire_pending"}, left); diff != "" {
		t.Errorf("what waits in the queue (-want +got):\n%s", diff)
	}
}
