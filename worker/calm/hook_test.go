package calm_test

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/worker/calm"
)

// asynqSource is the file of the asynq in use that holds its scripts.
func asynqSource(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/hibiken/asynq").Output()
	check(t, err)
	source, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "internal", "rdb", "rdb.go"))
	check(t, err)
	return string(source)
}

func TestTheScriptsAreThoseOfTheAsynqInUse(t *testing.T) {
	t.Parallel()
	inUse := make(map[string]bool)
	for _, m := range regexp.MustCompile("(?s)redis\\.NewScript\\(`(.*?)`\\)").FindAllStringSubmatch(asynqSource(t), -1) {
		sum := sha1.Sum([]byte(m[1]))
		inUse[hex.EncodeToString(sum[:])] = true
	}
	if len(inUse) < 20 {
		t.Fatalf("found but %d scripts", len(inUse))
	}
	ours, err := os.ReadFile("scripts.go")
	check(t, err)
	named := regexp.MustCompile(`"([0-9a-f]{40})"`).FindAllStringSubmatch(string(ours), -1)
	if len(named) < 15 {
		t.Fatalf("scripts.go names but %d scripts", len(named))
	}
	for _, m := range named {
		if !inUse[m[1]] {
			t.Errorf("scripts.go knows %s, which the asynq in use does not have: look what became of it", m[1])
		}
	}
}

// dequeues is asynq's dequeue command, but for its hash.
func dequeues(ctx context.Context, sha string) *redis.Cmd {
	return redis.NewCmd(ctx, "evalsha", sha, 4, "asynq:{q}:pending", "asynq:{q}:paused", "asynq:{q}:active", "asynq:{q}:lease", int64(1), "asynq:{q}:t:")
}

const known = "a8153319360adc71cdc370107f8ab9786f204765"

func TestAnUnknownDequeueScriptIsRefused(t *testing.T) {
	t.Parallel()
	hook := calm.New(calm.Config{})
	reached := func(context.Context, redis.Cmder) error { t.Error("it reached Redis"); return nil }
	if err := hook.ProcessHook(reached)(t.Context(), dequeues(t.Context(), strings.Repeat("0", 40))); !errors.Is(err, calm.ErrUnknownDequeue) {
		t.Errorf("got %v", err)
	}
	piped := func(context.Context, []redis.Cmder) error { t.Error("it reached Redis"); return nil }
	if err := hook.ProcessPipelineHook(piped)(t.Context(), []redis.Cmder{dequeues(t.Context(), known)}); !errors.Is(err, calm.ErrUnknownDequeue) {
		t.Errorf("in a pipeline: got %v", err)
	}
}

type redisError string

func (e redisError) Error() string { return string(e) }
func (redisError) RedisError()     {}

func TestFetchingWaitsLongerAndLongerWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	away := &net.OpError{Op: "dial", Err: errors.New("refused")}
	for sentence, test := range map[string]struct {
		err      error
		atLeast  time.Duration // for 20 fetches
		atMost   time.Duration
		dequeues bool
	}{
		"an empty queue":             {nil, 0, 0, true},
		"away":                       {away, 20 * time.Second, 45 * time.Second, true},
		"a script that fails":        {redisError("ERR out of memory"), 20 * time.Second, 45 * time.Second, true},
		"a command that is no fetch": {away, 0, 0, false},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				hook := calm.New(calm.Config{})
				tries := 0
				run := hook.ProcessHook(func(_ context.Context, cmd redis.Cmder) error {
					tries++
					cmd.(*redis.Cmd).SetVal([]any{int64(0), int64(0), ""})
					return test.err
				})
				began := time.Now()
				for range 20 {
					cmd := redis.NewCmd(t.Context(), "ping")
					if test.dequeues {
						cmd = dequeues(t.Context(), known)
					}
					if err := run(t.Context(), cmd); err == nil {
						t.Fatal("no error")
					}
				}
				if took := time.Since(began); took < test.atLeast || took > test.atMost || tries != 20 {
					t.Errorf("20 fetches took %v and %d tries", took, tries)
				}
			})
		})
	}
}

// asynq's syncer tries with a context that its own function has cancelled.
func TestATaskIsEndedThoughTheContextIsOver(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(time.Hour))
	cancel()
	for sentence, test := range map[string]struct {
		answer error
		want   error
	}{
		"it is ended now":          {nil, nil},
		"it was ended before":      {redisError("NOT FOUND"), nil},
		"Redis is still away":      {errDown, errDown},
		"the command is not taken": {redisError("WRONGTYPE"), redisError("WRONGTYPE")},
	} {
		run := calm.New(calm.Config{}).ProcessHook(func(ctx context.Context, _ redis.Cmder) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return test.answer
		})
		const done = "1241eaa1c73409baaf1fea0c08d203a4911bda15"
		cmd := redis.NewCmd(ctx, "evalsha", done, 3, "asynq:{q}:active", "asynq:{q}:lease", "asynq:{q}:t:id", "id")
		if err := run(ctx, cmd); !errors.Is(err, test.want) {
			t.Errorf("%s: want %v, got %v", sentence, test.want, err)
		}
	}
}

// asynq's syncer would try it again and again, for one task after the other, while its workers wait: a task that somebody has written into its
// list twice is ended once and not found the second time.
func TestEndingATaskThatIsNotActiveIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	for script, sha := range map[string]string{
		"done": "1241eaa1c73409baaf1fea0c08d203a4911bda15", "retry": "65fa409c88198a681c53e0892d8276eca0145694",
	} {
		tries := 0
		var logged logs
		run := calm.New(calm.Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))}).ProcessHook(func(_ context.Context, cmd redis.Cmder) error {
			tries++
			cmd.SetErr(redisError("NOT FOUND"))
			return redisError("NOT FOUND")
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // the lease
		cmd := redis.NewCmd(ctx, "evalsha", sha, 3, "asynq:{q}:active", "asynq:{q}:lease", "asynq:{q}:t:id", "id")
		if err := run(ctx, cmd); err != nil || cmd.Err() != nil || tries != 1 {
			t.Errorf("%s: %v, %v, %d tries", script, err, cmd.Err(), tries)
		}
		if !strings.Contains(logged.String(), "not active any more") {
			t.Errorf("%s: %s", script, logged.String())
		}
		cancel()
	}
}

func TestCloseEndsTheWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hook := calm.New(calm.Config{})
		run := hook.ProcessHook(func(context.Context, redis.Cmder) error { return errors.New("away") })
		began := time.Now()
		go func() {
			time.Sleep(time.Millisecond) // the bubble's
			hook.Close()
		}()
		for range 1000 {
			_ = run(t.Context(), dequeues(t.Context(), known))
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// asynq's client tells its set of queues once. Without the hook the queue is not known until that client is made anew.
func TestAQueueIsKnownAgainAfterSomebodyEmptiedRedis(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	client := asynq.NewClientFromRedisClient(q.behind(t, calm.New(calm.Config{})))
	enqueue := func() {
		_, err := client.Enqueue(asynq.NewTask("work", nil), asynq.Queue("low"))
		check(t, err)
	}
	enqueue()
	q.server.Flush(t)
	inspector := asynq.NewInspectorFromRedisClient(q.Client)
	eventually(t, "the queue is known after a later task", func() bool {
		enqueue()
		names, err := inspector.Queues()
		check(t, err)
		return slices.Contains(names, "low")
	})
}

func TestAQueueThatIsNotAllowedIsNotFetchedFrom(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.put(t, "closed", "a", message("a", "closed"))
	q.put(t, "open", "b", message("b", "open"))
	var runs seen
	hook := calm.New(calm.Config{InHand: func(queue string) int {
		if queue == "closed" {
			return 0
		}
		return 1
	}})
	serve(t, q.behind(t, hook), func(_ context.Context, task *asynq.Task) error {
		runs.add(task)
		return nil
	}, asynq.Config{Queues: map[string]int{"closed": 2, "open": 1}, StrictPriority: true})
	eventually(t, "the open queue's task has run", func() bool { return len(q.left(t, "open")) == 0 })
	if got := runs.all(); !slices.Equal(got, []string{"b"}) {
		t.Errorf("runs: %q", got)
	}
}
