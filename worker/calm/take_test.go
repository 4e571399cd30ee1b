package calm_test

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

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/jobs/rawtask"
	"github.com/sealq/sealq/worker/calm"
)

// strays is what a hook found.
type strays struct {
	mu     sync.Mutex
	found  []calm.Stray
	broken bool
}

var errFull = errors.New("the disk is full")

func (s *strays) keep(_ context.Context, found calm.Stray) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken {
		return errFull
	}
	s.found = append(s.found, found)
	return nil
}

func (s *strays) all() []calm.Stray {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.found)
}

func TestAsynqNeverGetsWhatIsNoTaskOfItsQueue(t *testing.T) {
	t.Parallel()
	for sentence, test := range map[string]struct {
		id    string
		bytes []byte
		cause error
	}{
		"no protobuf":                     {"bad", []byte("\xff\xff\xff"), rawtask.ErrUndecodable},
		"a copy under another ID":         {"copy", message("genuine", "default"), calm.ErrMisplaced},
		"a copy of another queue":         {"genuine", message("genuine", "other"), calm.ErrMisplaced},
		"a copy under its own, decorated": {"genuine.", message("genuine", "default"), calm.ErrMisplaced},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			var kept strays
			q.put(t, "default", test.id, test.bytes)
			q.put(t, "other", "genuine", message("genuine", "other"))
			q.put(t, "default", "next", message("next", "default"))
			var runs seen
			// A handler that refuses all: asynq deletes by the ID in the message.
			serve(t, q.behind(t, calm.New(calm.Config{Stray: kept.keep})), func(_ context.Context, task *asynq.Task) error {
				runs.add(task)
				return asynq.RevokeTask
			}, asynq.Config{})
			eventually(t, "the next task has run, and nothing is left", func() bool { return len(runs.all()) > 0 && len(q.left(t, "default")) == 0 })
			if diff := cmp.Diff([]string{"next"}, runs.all()); diff != "" {
				t.Errorf("runs (-want +got):\n%s", diff)
			}
			found := kept.all()
			if len(found) != 1 || found[0].Queue != "default" || found[0].ID != test.id || string(found[0].Message) != string(test.bytes) || !errors.Is(found[0].Cause, test.cause) {
				t.Errorf("strays: %+v", found)
			}
			if n, err := q.Exists(t.Context(), "asynq:{other}:t:genuine").Result(); n != 1 || err != nil {
				t.Errorf("the genuine task is gone, %v", err)
			}
		})
	}
}

// asynq ends a task by the ID in its message. The genuine task waits while its copy is fetched and refused.
func TestRefusingACopyDoesNotDeleteTheGenuineTask(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	const genuine = "genuine"
	release := make(chan struct{})
	var runs seen
	q.put(t, "default", genuine, message(genuine, "default"))
	serve(t, q.behind(t, calm.New(calm.Config{})), func(_ context.Context, task *asynq.Task) error {
		runs.add(task)
		if len(runs.all()) == 1 { // the genuine one, which is active while the copy comes
			<-release
			return errFailed
		}
		return asynq.RevokeTask
	}, asynq.Config{})
	eventually(t, "the genuine task runs", func() bool { return len(runs.all()) == 1 })
	q.put(t, "default", "copy", message(genuine, "default"))
	eventually(t, "the copy is fetched", func() bool {
		n, err := q.LLen(t.Context(), "asynq:{default}:pending").Result()
		return err == nil && n == 0
	})
	q.put(t, "default", "later", message("later", "default"))
	eventually(t, "what came after the copy has ended", func() bool {
		n, err := q.Exists(t.Context(), "asynq:{default}:t:later").Result()
		return err == nil && n == 0
	})
	close(release)
	inspector := asynq.NewInspectorFromRedisClient(q.Client)
	eventually(t, "the genuine task waits for its retry", func() bool {
		info, err := inspector.GetTaskInfo("default", genuine)
		return err == nil && info.State == asynq.TaskStateRetry
	})
	if diff := cmp.Diff([]string{genuine, "later"}, runs.all()); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
	// Without Config.Stray the copy's bytes stay under its key.
	if got, err := q.HGet(t.Context(), "asynq:{default}:t:copy", "msg").Result(); err != nil || got != string(message(genuine, "default")) {
		t.Errorf("the copy's bytes: %q, %v", got, err)
	}
}

func TestListEntriesWithoutATaskDoNotStopAQueue(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	for i := range 500 {
		check(t, q.LPush(t.Context(), "asynq:{default}:pending", fmt.Sprint("ghost-", i)).Err())
	}
	check(t, q.Set(t.Context(), "asynq:{default}:t:ghost-7", "no hash", 0).Err())
	q.enqueue(t, "a")
	var runs seen
	serve(t, q.behind(t, calm.New(calm.Config{})), func(_ context.Context, task *asynq.Task) error {
		runs.add(task)
		return nil
	}, asynq.Config{})
	eventually(t, "the task behind them runs", func() bool { return len(runs.all()) == 1 })
	eventually(t, "nothing is left of them but the key that is no task's", func() bool {
		return slices.Equal(q.left(t, "default"), []string{"asynq:{default}:t:ghost-7"})
	})
}

func TestAQueueWithKeysOfAnotherTypeDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"pending", "active", "lease"} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			q.put(t, "high", "stuck", message("stuck", "high"))
			check(t, q.Del(t.Context(), "asynq:{high}:"+key).Err())
			check(t, q.Set(t.Context(), "asynq:{high}:"+key, "no list", 0).Err())
			q.put(t, "low", "a", message("a", "low"))
			var runs seen
			serve(t, q.behind(t, calm.New(calm.Config{})), func(_ context.Context, task *asynq.Task) error {
				runs.add(task)
				return nil
			}, asynq.Config{Queues: map[string]int{"high": 2, "low": 1}, StrictPriority: true})
			eventually(t, "the other queue's task runs", func() bool { return len(runs.all()) == 1 })
			check(t, q.Del(t.Context(), "asynq:{high}:"+key).Err())
			if key == "pending" {
				check(t, q.LPush(t.Context(), "asynq:{high}:pending", "stuck").Err())
			}
			eventually(t, "and its own, once the key is mended", func() bool { return len(runs.all()) == 2 })
		})
	}
}

func TestAStrayThatCannotBeKeptComesAgain(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	kept := strays{broken: true}
	q.put(t, "default", "bad", []byte("\xff"))
	q.put(t, "default", "good", message("good", "default"))
	var runs seen
	serve(t, q.behind(t, calm.New(calm.Config{Stray: kept.keep})), func(_ context.Context, task *asynq.Task) error {
		runs.add(task)
		return nil
	}, asynq.Config{})
	eventually(t, "the good task runs", func() bool { return len(runs.all()) == 1 })
	if n, err := q.Exists(t.Context(), "asynq:{default}:t:bad").Result(); n != 1 || err != nil {
		t.Errorf("the stray is gone, %v", err)
	}
	kept.mu.Lock()
	kept.broken = false
	kept.mu.Unlock()
	eventually(t, "the stray is kept, and leaves the queue", func() bool { return len(kept.all()) == 1 && len(q.left(t, "default")) == 0 })
}

// Genuine tasks come with strays in one trip, and wait for them: a quarantine that hangs must not be asked for each. Whoever writes to Redis makes
// as many as he likes, and none makes a line in the log.
func TestManyStraysHoldUpNothingAndFillNoLog(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	const flood = 20
	var asked atomic.Int64
	var logged logs
	broken := atomic.Bool{}
	broken.Store(true)
	for i := range flood {
		q.put(t, "default", fmt.Sprint("bad-", i), []byte("\xff"))
	}
	q.put(t, "default", "good", message("good", "default"))
	fetcher := calm.NewFetcher(q.behind(t), calm.New(calm.Config{Logger: slog.New(slog.NewTextHandler(&logged, nil)), Stray: func(context.Context, calm.Stray) error {
		asked.Add(1)
		if broken.Load() {
			return errFull
		}
		return nil
	}}), calm.FetchConfig{Queues: map[string]int{"default": 1}})
	var before atomic.Int64
	var runs seen
	serve(t, fetcher.Lane(2*flood), func(_ context.Context, task *asynq.Task) error {
		before.Store(asked.Load())
		broken.Store(false)
		runs.add(task)
		return nil
	}, asynq.Config{Concurrency: 2 * flood})
	eventually(t, "the good task runs and the strays are gone", func() bool { return len(runs.all()) == 1 && len(q.left(t, "default")) == 0 })
	if n := before.Load(); n > flood/2 {
		t.Errorf("the good task waited until %d strays were asked for", n)
	}
	if lines := strings.Count(logged.String(), "\n"); lines > 4 {
		t.Errorf("%d lines:\n%s", lines, logged.String())
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Trying again helps nothing before somebody gives the user the right: that is what the log says, and not that Redis is away.
func TestALackOfRightsIsNotCalledAnOutage(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	if err := q.Do(t.Context(), "ACL", "SETUSER", "calm-low", "on", ">secret", "+ping").Err(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Do(context.WithoutCancel(t.Context()), "ACL", "DELUSER", "calm-low").Err() })
	options := q.server.Options(t)
	options.Username, options.Password = "calm-low", "secret"
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	var logged logs
	client.AddHook(calm.New(calm.Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))}))
	serve(t, client, func(context.Context, *asynq.Task) error { return nil }, asynq.Config{})
	eventually(t, "it is told", func() bool { return strings.Contains(logged.String(), "the Redis user lacks a right") })
	if text := logged.String(); strings.Contains(text, "does not answer") || !strings.Contains(text, "sealq redis-acl worker") {
		t.Error(text)
	}
}

// logs keeps what is logged.
type logs struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
