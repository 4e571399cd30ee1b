package scheduler_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/scheduler"
	"github.com/sealq/sealq/signing"
)

func newKeys(t *testing.T) *signing.Keys {
	t.Helper()
	ring, err := signing.NewRing(time.Now().Add(-time.Hour), 30*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := signing.NewFile(path).Create(ring); err != nil {
		t.Fatal(err)
	}
	keys, err := signing.OpenWith(t.Context(), signing.NewFile(path), "test", signing.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(keys.Close)
	return keys
}

func TestWithoutADatabaseSeveralProcessesEnqueueEachTickOnce(t *testing.T) {
	t.Parallel()
	redis := testservers.Redis(t).Client(t)
	enqueuer, err := jobs.NewEnqueuer(asynq.NewClientFromRedisClient(redis), newKeys(t), jobs.Config{})
	if err != nil {
		t.Fatal(err)
	}
	def := jobs.Define[string]("sweep", jobs.Policy{})
	unique := jobs.Define[string]("unique", jobs.Policy{Unique: true})
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	var mu sync.Mutex
	made := make(map[string]int)
	for range 3 {
		s, err := scheduler.New(scheduler.Direct(enqueuer), scheduler.Config{
			Schedules: []scheduler.Schedule{
				{Name: "refused", Cron: "@every 1s", Job: func(tick string) jobs.Job { return unique.With(tick) }},
				{Name: "sweep", Cron: "@every 1s", Job: func(tick string) jobs.Job { return def.With(tick) }},
			},
			OnTick: func(m scheduler.Made) {
				mu.Lock()
				defer mu.Unlock()
				made[fmt.Sprintf("%s@%s", m.Schedule, m.Due.Format(time.RFC3339))]++
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() { _ = s.Run(ctx) }) // ends with ctx, without an error
	}
	deadline := time.After(time.Minute)
	for enough := false; !enough; {
		select {
		case <-deadline:
			t.Fatal("three ticks were not made within a minute")
		case <-time.After(10 * time.Millisecond):
		}
		mu.Lock()
		enough = len(made) >= 3
		mu.Unlock()
	}
	stop()
	running.Wait()
	inspector := asynq.NewInspectorFromRedisClient(redis)
	tasks, err := inspector.ListPendingTasks("default")
	if err != nil || len(tasks) != len(made) {
		t.Errorf("%d tasks for %d ticks, %v", len(tasks), len(made), err)
	}
	for _, task := range tasks {
		if made[task.ID] != 1 || !strings.HasPrefix(task.ID, "sweep@") || task.Retention != scheduler.DirectRetention {
			t.Errorf("task %s was made %d times, and is remembered for %v", task.ID, made[task.ID], task.Retention)
		}
	}
}

// An app without a database schedules a job of its own.
func ExampleDirect() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	queue, err := miniredis.Run() // an app connects to its Redis
	if err != nil {
		panic(err)
	}
	defer queue.Close()
	keys, err := exampleKeys(ctx)
	if err != nil {
		panic(err)
	}
	defer keys.Close()
	enqueuer, err := jobs.NewEnqueuer(asynq.NewClient(asynq.RedisClientOpt{Addr: queue.Addr()}), keys, jobs.Config{})
	if err != nil {
		panic(err)
	}

	report := jobs.Define[string]("report", jobs.Policy{})
	ticks, err := scheduler.New(scheduler.Direct(enqueuer), scheduler.Config{
		Schedules: []scheduler.Schedule{{
			Name: "report", Cron: "*/1 * * * * *", Zone: "Europe/Berlin",
			Job: func(tick string) jobs.Job { return report.With(tick) },
		}},
		OnTick: func(m scheduler.Made) {
			fmt.Println("a tick of", m.Schedule)
			stop()
		},
	})
	if err != nil {
		panic(err)
	}
	if err := ticks.Run(ctx); err != nil {
		panic(err)
	}
	// Output: a tick of report
}
