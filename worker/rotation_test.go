package worker_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

// The rotation test's processes are this test binary, told by these variables what to be.
const (
	roleEnv  = "SEALQ_TEST_ROLE"
	ringEnv  = "SEALQ_TEST_RING"
	redisEnv = "SEALQ_TEST_REDIS_ADDR"
	nameEnv  = "SEALQ_TEST_NAME"
)

// goRedis is a goroutine that go-redis v9.23.0 leaves behind where two connections of a new client begin at once.
const goRedis = "github.com/redis/go-redis/v9/maintnotifications.(*CircuitBreakerManager).cleanupLoop"

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(roleEnv) {
	case "":
		// No server, hook or verifier leaves a goroutine behind.
		goleak.VerifyTestMain(m, goleak.IgnoreTopFunction(goRedis))
	case "enqueuer":
		err = enqueueUntilStopped()
	case "worker":
		err = workUntilStopped()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// tally is what a process says at its end.
type tally struct {
	Enqueued int            `json:"enqueued"`
	Verdicts map[string]int `json:"verdicts"` // by outcome and reason
	Done     map[string]int `json:"done"`     // runs by task ID
}

func stopped() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGTERM)
}

// noSkew is a tolerance of zero milliseconds; zero itself would mean the default.
const noSkew = time.Nanosecond

func openRing(ctx context.Context) (*signing.Keys, error) {
	return signing.OpenWith(ctx, signing.NewFile(os.Getenv(ringEnv)), "rotation", signing.Options{Skew: noSkew})
}

func ticking() jobs.Def[int] {
	return jobs.Define[int]("tick", jobs.Policy{Backoff: soon})
}

func enqueueUntilStopped() error {
	ctx, stop := stopped()
	defer stop()
	keys, err := openRing(context.Background())
	if err != nil {
		return err
	}
	defer keys.Close()
	client := redis.NewClient(&redis.Options{Addr: os.Getenv(redisEnv)})
	defer func() { _ = client.Close() }()
	e, err := jobs.NewEnqueuer(asynq.NewClientFromRedisClient(client), keys, jobs.Config{})
	if err != nil {
		return err
	}
	var t tally
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	for {
		select {
		case <-ctx.Done():
			return json.NewEncoder(os.Stdout).Encode(t)
		case <-pace.C:
			id := os.Getenv(nameEnv) + "-" + strconv.Itoa(t.Enqueued)
			if _, err := e.Enqueue(context.Background(), ticking().With(t.Enqueued, jobs.ID(id))); err != nil {
				return fmt.Errorf("enqueue %s: %w", id, err)
			}
			t.Enqueued++
		}
	}
}

func workUntilStopped() error {
	ctx, stop := stopped()
	defer stop()
	keys, err := openRing(context.Background())
	if err != nil {
		return err
	}
	defer keys.Close()
	t := tally{Verdicts: make(map[string]int), Done: make(map[string]int)}
	var mu sync.Mutex
	v, err := worker.New(keys, worker.Config{
		QuarantineDir: filepath.Join(filepath.Dir(os.Getenv(ringEnv)), "quarantine"),
		OnVerdict: func(_ context.Context, v worker.Verdict) {
			mu.Lock()
			defer mu.Unlock()
			t.Verdicts[string(v.Outcome)+" "+string(v.Reason)]++
		},
	})
	if err != nil {
		return err
	}
	h := worker.NewHandlers(worker.HandlersConfig{})
	worker.Handle(h, ticking(), func(_ context.Context, j worker.Job[int]) error {
		mu.Lock()
		defer mu.Unlock()
		t.Done[j.ID]++
		return nil
	})
	client := redis.NewClient(&redis.Options{Addr: os.Getenv(redisEnv)})
	defer func() { _ = client.Close() }()
	srv := asynq.NewServerFromRedisClient(client, v.Config(asynq.Config{
		Concurrency: 4, TaskCheckInterval: 10 * time.Millisecond, DelayedTaskCheckInterval: 100 * time.Millisecond, LogLevel: asynq.FatalLevel,
	}))
	if err := srv.Start(v.Handler(h)); err != nil {
		return err
	}
	<-ctx.Done()
	srv.Shutdown()
	return json.NewEncoder(os.Stdout).Encode(t)
}

// process is one running role.
type process struct {
	cmd *exec.Cmd
	out *bufio.Reader
}

func (r *rig) start(t *testing.T, role, name string) *process {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+role, nameEnv+"="+name, ringEnv+"="+r.ringFile, redisEnv+"="+r.redis.Options().Addr)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return &process{cmd: cmd, out: bufio.NewReader(out)}
}

// end stops the process in order and reads its tally.
func (p *process) end(t *testing.T) tally {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(p.out)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Fatalf("%v: a process restarted or died: %s", err, text)
	}
	var all tally
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return all
}

const (
	rotateFor   = time.Minute
	rotateEvery = 500 * time.Millisecond
	stopFrom    = 15 * time.Second // into the test, one enqueuer stands still
	stopTo      = 35 * time.Second
)

// Two enqueuers, one of which stands still for a third of the time, and three workers, each in a process of its own that
// reloads by itself, while the key that signs changes twice a second.
func TestRotatingTwiceASecondRefusesNoTaskAndRestartsNobody(t *testing.T) {
	t.Parallel()
	r := &rig{ringFile: filepath.Join(t.TempDir(), "keys.json"), redis: testservers.Redis(t).Client(t)}
	file := signing.NewFile(r.ringFile)
	ring, err := signing.NewRing(time.Now(), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Create(ring); err != nil {
		t.Fatal(err)
	}
	var workers []*process
	for n := range 3 {
		workers = append(workers, r.start(t, "worker", fmt.Sprint("worker", n)))
	}
	steady, halting := r.start(t, "enqueuer", "steady"), r.start(t, "enqueuer", "halting")

	began, rotations, halted := time.Now(), 0, false
	tick := time.NewTicker(rotateEvery)
	defer tick.Stop()
	for elapsed := time.Duration(0); elapsed < rotateFor; elapsed = time.Since(began) {
		if want := elapsed >= stopFrom && elapsed < stopTo; want != halted {
			halted = want
			stop := map[bool]syscall.Signal{true: syscall.SIGSTOP, false: syscall.SIGCONT}[halted]
			if err := halting.cmd.Process.Signal(stop); err != nil {
				t.Fatal(err)
			}
		}
		rotate(t, file)
		rotations++
		<-tick.C
	}
	sent := map[string]int{"steady": steady.end(t).Enqueued, "halting": halting.end(t).Enqueued}
	eventually(t, "the queue is empty", func() bool {
		for list, length := range map[string]func(context.Context, string) *redis.IntCmd{
			"pending": r.redis.LLen, "active": r.redis.LLen, "retry": r.redis.ZCard, "scheduled": r.redis.ZCard,
		} {
			if n, err := length(t.Context(), "asynq:{default}:"+list).Result(); err != nil || n > 0 {
				return false
			}
		}
		return true
	})
	verdicts, done := make(map[string]int), make(map[string]int)
	for _, w := range workers {
		all := w.end(t)
		for name, n := range all.Verdicts {
			verdicts[name] += n
		}
		for id, n := range all.Done {
			done[id] += n
		}
	}
	t.Logf("%d rotations, enqueued %v, verdicts %v", rotations, sent, verdicts)
	maps.DeleteFunc(verdicts, func(name string, _ int) bool {
		return name == string(worker.Passed)+" " || name == string(worker.Deferred)+" "+string(signing.ReasonUnknownKey)
	})
	if len(verdicts) != 0 {
		t.Errorf("every task passes or waits for its key, but: %v", verdicts)
	}
	for name, n := range sent {
		if n < 200 {
			t.Errorf("%s enqueued only %d tasks", name, n)
		}
		for i := range n {
			if id := fmt.Sprintf("%s-%d", name, i); done[id] != 1 {
				t.Errorf("%s was done %d times", id, done[id])
			}
		}
	}
}

// rotate publishes a key and lets the one that was published last time sign.
func rotate(t *testing.T, file *signing.File) {
	t.Helper()
	ring, err := file.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range ring.Keys() {
		if k.State != signing.Published {
			continue
		}
		if _, err := file.Update(t.Context(), func(r *signing.Ring) (*signing.Ring, error) { return r.PromoteForced(k.KID, time.Now()) }); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := file.Update(t.Context(), func(r *signing.Ring) (*signing.Ring, error) { return r.Rotate(time.Now(), nil) }); err != nil {
		t.Fatal(err)
	}
}
