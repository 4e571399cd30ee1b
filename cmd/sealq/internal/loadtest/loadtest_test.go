package loadtest_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/cmd/sealq/internal/loadtest"
	"github.com/sealq/sealq/internal/testservers"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// inhabited is a Redis with somebody else's queue, which is to be as it was.
func inhabited(t *testing.T) *redis.Client {
	t.Helper()
	client := testservers.Redis(t).Client(t)
	for _, id := range []string{"one", "two"} {
		_, err := asynq.NewClientFromRedisClient(client).EnqueueContext(t.Context(), asynq.NewTask("note", nil), asynq.TaskID(id))
		check(t, err)
	}
	return client
}

// content is all that a Redis holds, as DUMP gives it.
func content(t *testing.T, client *redis.Client) map[string]string {
	t.Helper()
	keys, err := client.Keys(t.Context(), "*").Result()
	check(t, err)
	content := make(map[string]string)
	for _, key := range keys {
		content[key], err = client.Dump(t.Context(), key).Result()
		check(t, err)
	}
	return content
}

func requireSame(t *testing.T, before map[string]string, client *redis.Client) {
	t.Helper()
	if diff := cmp.Diff(before, content(t, client)); diff != "" {
		t.Errorf("Redis is not as it was (-want +got):\n%s", diff)
	}
}

// place is a database, and what is in it that a run could leave behind.
type place struct {
	url     string
	content func() []string
}

func databases() map[string]func(t *testing.T) place {
	return map[string]func(t *testing.T) place{
		"SQLite": func(t *testing.T) place {
			t.Helper()
			folder := t.TempDir()
			return place{"sqlite:" + filepath.Join(folder, "sealq.db"), func() []string {
				entries, err := os.ReadDir(folder)
				check(t, err)
				var names []string
				for _, e := range entries {
					names = append(names, e.Name())
				}
				return names
			}}
		},
		"PostgreSQL": func(t *testing.T) place {
			t.Helper()
			url := testservers.Postgres(t)
			return place{url, func() []string {
				conn, err := pgx.Connect(t.Context(), url)
				check(t, err)
				defer conn.Close(context.WithoutCancel(t.Context()))
				rows, err := conn.Query(t.Context(), `SELECT n.nspname || '.' || coalesce(c.relname, '') FROM pg_namespace AS n LEFT JOIN pg_class AS c
					ON c.relnamespace = n.oid WHERE n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema' ORDER BY 1`)
				check(t, err)
				names, err := pgx.CollectRows(rows, pgx.RowTo[string])
				check(t, err)
				return names
			}}
		},
	}
}

func small() loadtest.Config {
	return loadtest.Config{Jobs: 60, Concurrency: 8, Payload: 100, Patience: time.Minute}
}

func TestEveryJobRunsOnceAndNothingIsLeft(t *testing.T) {
	t.Parallel()
	for name, make := range databases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := inhabited(t)
			before, db := content(t, client), make(t)
			tables := db.content()
			c := small()
			c.Database = db.url
			r, err := loadtest.Run(t.Context(), client, c)
			check(t, err)
			if !strings.HasPrefix(r.Queue, "sealq-bench-") {
				t.Errorf("the queue is %q", r.Queue)
			}
			type counts struct{ jobs, concurrency, payload, enqueued, worked, pickedUp, recorded, relayed, effects, repeated int }
			want := counts{60, 8, 100, 60, 60, 60, 6, 6, 50, 0}
			got := counts{
				r.Jobs, r.Concurrency, r.PayloadBytes, r.Enqueue.Jobs, r.Work.Jobs, r.PickUp.Jobs,
				r.Record.Jobs, r.RelayAndWork.Jobs, r.RecordToEffect.Jobs, r.Repeated,
			}
			if got != want {
				t.Errorf("want %+v, got %+v", want, got)
			}
			for what, rate := range map[string]loadtest.Rate{
				"enqueue": r.Enqueue.Rate, "work": r.Work, "record": r.Record.Rate, "relay and work": *r.RelayAndWork,
			} {
				if product := rate.Seconds * rate.JobsPerSecond; rate.Seconds <= 0 || product < float64(rate.Jobs)*0.999 || product > float64(rate.Jobs)*1.001 {
					t.Errorf("%s: %+v", what, rate)
				}
			}
			for what, s := range map[string]loadtest.Spread{
				"enqueue": r.Enqueue.Spread, "pick up": r.PickUp.Spread, "record": r.Record.Spread, "record to effect": r.RecordToEffect.Spread,
			} {
				if s.P50MS <= 0 || s.P95MS < s.P50MS || s.P99MS < s.P95MS {
					t.Errorf("%s: %+v", what, s)
				}
			}
			requireSame(t, before, client)
			if diff := cmp.Diff(tables, db.content()); diff != "" {
				t.Errorf("the database is not as it was (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnInterruptedStageLeavesNothing(t *testing.T) {
	t.Parallel()
	for database, make := range databases() {
		for _, stage := range []loadtest.Stage{
			loadtest.StageEnqueue, loadtest.StageWork, loadtest.StagePickUp,
			loadtest.StageRecord, loadtest.StageRelayAndWork, loadtest.StageRecordToEffect,
		} {
			t.Run(database+", "+string(stage), func(t *testing.T) {
				t.Parallel()
				client := inhabited(t)
				before, db := content(t, client), make(t)
				tables := db.content()
				ctx, interrupt := context.WithCancel(t.Context())
				defer interrupt()
				c, last := small(), loadtest.Stage("") // of those that measure
				c.Database = db.url
				c.Progress = func(s loadtest.Stage, _, _ int) {
					if s == loadtest.StageRemove {
						return
					}
					if last = s; s == stage {
						interrupt()
					}
				}
				_, err := loadtest.Run(ctx, client, c)
				if !errors.Is(err, context.Canceled) || last != stage {
					t.Errorf("want it interrupted in %s, got in %s: %v", stage, last, err)
				}
				requireSame(t, before, client)
				if diff := cmp.Diff(tables, db.content()); diff != "" {
					t.Errorf("the database is not as it was (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// eventually asks until it is true.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			t.Fatalf("did not happen within a minute: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestInterruptedAmongManyGoroutinesThatEnqueueNothingIsLeft(t *testing.T) {
	t.Parallel()
	client := inhabited(t)
	before := content(t, client)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	c, ended := loadtest.Config{Jobs: loadtest.MaxJobs, Concurrency: 64, Payload: 64, Queue: loadtest.NewQueue()}, make(chan error, 1)
	go func() {
		_, err := loadtest.Run(ctx, client, c)
		ended <- err
	}()
	eventually(t, "more than two pages of tasks are in the queue", func() bool {
		n, err := client.LLen(t.Context(), "asynq:{"+c.Queue+"}:pending").Result()
		check(t, err)
		return n > 2500
	})
	interrupt()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("want it interrupted, got %v", err)
	}
	requireSame(t, before, client)
}

func TestAQueueThatExistsIsLeftAlone(t *testing.T) {
	t.Parallel()
	for name, put := range map[string][]any{
		"a task waits":          {"LPUSH", "asynq:{sealq-bench-taken}:pending", "id"},
		"it is paused":          {"SET", "asynq:{sealq-bench-taken}:paused", "1"},
		"it was worked off":     {"SET", "asynq:{sealq-bench-taken}:processed", "1"},
		"it is among the names": {"SADD", "asynq:queues", "sealq-bench-taken"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := inhabited(t)
			check(t, client.Do(t.Context(), put...).Err())
			before, c := content(t, client), small()
			c.Queue = "sealq-bench-taken"
			if _, err := loadtest.Run(t.Context(), client, c); !errors.Is(err, loadtest.ErrQueueExists) {
				t.Errorf("want ErrQueueExists, got %v", err)
			}
			requireSame(t, before, client)
		})
	}
}

func TestATaskOfSomebodyElseInTheQueueEndsTheRun(t *testing.T) {
	t.Parallel()
	client := inhabited(t)
	before, c := content(t, client), small()
	c.Queue = loadtest.NewQueue()
	var once sync.Once
	c.Progress = func(s loadtest.Stage, _, _ int) {
		if s == loadtest.StageWork {
			once.Do(func() {
				_, err := asynq.NewClientFromRedisClient(client).EnqueueContext(t.Context(), asynq.NewTask("forged", nil), asynq.Queue(c.Queue))
				check(t, err)
			})
		}
	}
	if _, err := loadtest.Run(t.Context(), client, c); !errors.Is(err, loadtest.ErrRefused) || !strings.Contains(err.Error(), "missing_signature") {
		t.Errorf("want ErrRefused and why, got %v", err)
	}
	requireSame(t, before, client)
}

func TestARunThatStandsStillIsGivenUp(t *testing.T) {
	t.Parallel()
	client := inhabited(t)
	before, c := content(t, client), small()
	c.Queue, c.Patience = loadtest.NewQueue(), 100*time.Millisecond
	c.Progress = func(s loadtest.Stage, _, _ int) {
		if s == loadtest.StageEnqueue { // somebody pauses the queue: the worker fetches nothing
			check(t, client.Set(t.Context(), "asynq:{"+c.Queue+"}:paused", 1, 0).Err())
		}
	}
	_, err := loadtest.Run(t.Context(), client, c)
	if !errors.Is(err, loadtest.ErrStalled) || !strings.Contains(err.Error(), "work is at 0 of 60") {
		t.Errorf("want ErrStalled, got %v", err)
	}
	requireSame(t, before, client)
}

func TestWhatCannotBeMeasuredIsRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		jobs, concurrency, payload int
		want                       string // "": nothing is wrong
	}{
		"the least":                 {1, 1, 64, ""},
		"many jobs":                 {1_000_000, 1024, 1024, ""},
		"no job":                    {0, 1, 64, "--jobs must be 1 to 1000000"},
		"too many jobs":             {1_000_001, 1, 64, "--jobs must be 1 to 1000000"},
		"nobody at work":            {1, 0, 64, "--concurrency must be 1 to 1024"},
		"too many at once":          {1, 1025, 64, "--concurrency must be 1 to 1024"},
		"too small a payload":       {1, 1, 63, "--payload must be 64 to 262144"},
		"too large a payload":       {1, 1, 262_145, "--payload must be 64 to 262144"},
		"more than Redis is to get": {100_000, 1, 100_000, "--jobs times --payload is more than 1024 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := loadtest.Config{Jobs: test.jobs, Concurrency: test.concurrency, Payload: test.payload}.Check()
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("want %q, got %v", test.want, err)
			}
		})
	}
}
