package rawtask_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/jobs/rawtask"
)

// serve runs an asynq server whose tasks wait for its end.
func serve(t *testing.T, c redis.UniversalClient) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	srv := asynq.NewServerFromRedisClient(c, asynq.Config{
		Queues: map[string]int{queue: 3, "other": 1}, Concurrency: 5, StrictPriority: true, LogLevel: asynq.FatalLevel, ShutdownTimeout: time.Second,
		TaskCheckInterval: 10 * time.Millisecond,
	})
	if err := srv.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { <-ctx.Done(); return nil })); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(); srv.Shutdown() })
}

func TestServersAreThoseOfTheInspector(t *testing.T) {
	t.Parallel()
	all := map[string]func(t *testing.T) redis.UniversalClient{"a cluster": func(t *testing.T) redis.UniversalClient { t.Helper(); return cluster(t) }}
	for name, start := range servers {
		all[name] = func(t *testing.T) redis.UniversalClient { t.Helper(); return start(t) }
	}
	for server, start := range all {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			c := start(t)
			put(t, c, "one")
			put(t, c, "two")
			serve(t, c)
			tasks := rawtask.NewLister(c)
			var got []rawtask.Server
			deadline := time.Now().Add(30 * time.Second)
			for len(got) != 1 || len(got[0].Runs) != 2 {
				var err error
				if got, err = tasks.Servers(t.Context(), time.Now()); err != nil || time.Now().After(deadline) {
					t.Fatalf("servers: %+v, %v", got, err)
				}
				<-time.After(20 * time.Millisecond)
			}
			infos, err := asynq.NewInspectorFromRedisClient(c).Servers()
			if err != nil || len(infos) != 1 {
				t.Fatalf("the inspector's: %v, %v", infos, err)
			}
			want, s := infos[0], got[0]
			told := func(id, host string, pid, concurrency, active int, strict bool, status string, started time.Time, queues map[string]int) string {
				return fmt.Sprint(id, host, pid, concurrency, active, strict, status, started.Unix(), queues)
			}
			if a, b := told(want.ID, want.Host, want.PID, want.Concurrency, len(want.ActiveWorkers), want.StrictPriority, want.Status, want.Started, want.Queues),
				told(s.ID, s.Host, s.PID, s.Concurrency, s.Active, s.Strict, s.Status, s.Started, s.Queues); a != b {
				t.Errorf("want %s, got %s", a, b)
			}
			for _, r := range s.Runs {
				if !slices.ContainsFunc(want.ActiveWorkers, func(w *asynq.WorkerInfo) bool {
					return w.TaskID == r.TaskID && w.TaskType == r.Kind && w.Queue == r.Queue && w.Started.Unix() == r.Started.Unix() && w.Deadline.Unix() == r.Deadline.Unix()
				}) {
					t.Errorf("the inspector does not know %+v", r)
				}
			}
			if later, err := tasks.Servers(t.Context(), time.Now().Add(time.Hour)); err != nil || len(later) > 0 {
				t.Errorf("an hour later: %v, %v", later, err)
			}
		})
	}
}

func TestServersAreBounded(t *testing.T) {
	t.Parallel()
	for server, start := range servers {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			c := start(t)
			until := time.Now().Add(time.Hour).Unix()
			for i := range 150 {
				name := fmt.Sprintf("{h:%d:x}", i)
				do(t, c, []any{"zadd", "asynq:servers", until, "asynq:servers:" + name}, []any{"set", "asynq:servers:" + name, "\x0a\x01h"})
			}
			for i := range 300 {
				do(t, c, []any{"hset", "asynq:workers:{h:0:x}", i, "\x22\x02id"}, []any{"hset", "asynq:workers:{h:1:x}", i, "\x32" + "\x80\x80\x04" + strings.Repeat("p", 1<<16)})
			}
			got, err := rawtask.NewLister(c).Servers(t.Context(), time.Now())
			if err != nil || len(got) != rawtask.MaxServers {
				t.Fatalf("%d servers, %v", len(got), err)
			}
			for _, s := range got {
				if n := len(s.Runs) + s.Untold; n != 0 && n != 300 || len(s.Runs) > rawtask.MaxRuns {
					t.Errorf("%d runs are told, %d not", len(s.Runs), s.Untold)
				}
			}
		})
	}
}

func TestDaysAreThoseOfTheInspector(t *testing.T) {
	t.Parallel()
	for server, start := range servers {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			c := start(t)
			put(t, c, "one") // so that the inspector knows the queue
			now := time.Now()
			for ago, counts := range map[int][2]int{0: {5, 2}, 1: {7, 0}, 29: {1, 1}, 30: {9, 9}} {
				date := now.UTC().AddDate(0, 0, -ago).Format(time.DateOnly)
				do(t, c, []any{"set", "asynq:{" + queue + "}:processed:" + date, counts[0]}, []any{"set", "asynq:{" + queue + "}:failed:" + date, counts[1]})
			}
			got, err := rawtask.NewLister(c).Days(t.Context(), queue, now, 30)
			if err != nil || len(got) != 30 {
				t.Fatalf("%d days, %v", len(got), err)
			}
			want, err := asynq.NewInspectorFromRedisClient(c).History(queue, 30)
			if err != nil {
				t.Fatal(err)
			}
			for i, d := range slices.Backward(got) {
				w := want[len(got)-1-i]
				if d.Ended != int64(w.Processed) || d.Failed != int64(w.Failed) || d.Date.Format(time.DateOnly) != w.Date.UTC().Format(time.DateOnly) {
					t.Errorf("want %+v, got %+v", *w, d)
				}
			}
			for _, days := range []int{0, -1, rawtask.MaxDays + 1} {
				if _, err := rawtask.NewLister(c).Days(t.Context(), queue, now, days); err == nil {
					t.Errorf("%d days were told", days)
				}
			}
		})
	}
}
