package calm_test

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/internal/testservers/instance"
	"github.com/sealq/sealq/worker/calm"
)

// newCluster starts one Redis that has all slots of a cluster: it refuses keys of several slots in one command, as any does.
func newCluster(t *testing.T) *redis.ClusterClient {
	t.Helper()
	binary := os.Getenv(testservers.RedisServerEnv)
	if binary == "" {
		var err error
		binary, err = instance.FindRedis()
		check(t, err)
	}
	port, err := instance.ReservePort(t.Context())
	check(t, err)
	t.Cleanup(func() { check(t, port.Release()) })
	bus, err := instance.ReservePort(t.Context())
	check(t, err)
	t.Cleanup(func() { check(t, bus.Release()) })
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), binary, "--bind", "127.0.0.1", "--port", strconv.Itoa(port.Number()), "--cluster-enabled", "yes",
		"--cluster-port", strconv.Itoa(bus.Number()), "--dir", t.TempDir(), "--save", "")
	check(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	node := redis.NewClient(&redis.Options{Addr: port.Addr()})
	t.Cleanup(func() { _ = node.Close() })
	eventually(t, "Redis answers", func() bool { return node.Ping(t.Context()).Err() == nil })
	check(t, node.ClusterAddSlotsRange(t.Context(), 0, 16383).Err())
	eventually(t, "the cluster is up", func() bool {
		info, err := node.ClusterInfo(t.Context()).Result()
		return err == nil && strings.Contains(info, "cluster_state:ok")
	})
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{port.Addr()}})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestAClusterIsFetchedFromQueueByQueue(t *testing.T) {
	t.Parallel()
	for sentence, start := range map[string]func(t *testing.T, client *redis.ClusterClient, stray *strays, handle asynq.HandlerFunc){
		"by lanes": func(t *testing.T, client *redis.ClusterClient, stray *strays, handle asynq.HandlerFunc) {
			t.Helper()
			workOn(t, client, 2, 4, calm.FetchConfig{Queues: map[string]int{"a": 3, "b": 2, "c": 1}}, calm.Config{Stray: stray.keep}, handle)
		},
		"by one server with the hook": func(t *testing.T, client *redis.ClusterClient, stray *strays, handle asynq.HandlerFunc) {
			t.Helper()
			client.AddHook(calm.New(calm.Config{Stray: stray.keep}))
			serve(t, client, handle, asynq.Config{Queues: map[string]int{"a": 3, "b": 2, "c": 1}})
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			client := newCluster(t)
			var runs seen
			var found strays
			for _, queue := range []string{"a", "b", "c"} {
				put(t, client, queue, "copy-"+queue, message("elsewhere", queue))
				for i := range 50 {
					id := queue + strconv.Itoa(i)
					put(t, client, queue, id, message(id, queue))
				}
			}
			start(t, client, &found, func(_ context.Context, task *asynq.Task) error { runs.add(task); return nil })
			eventually(t, "all have run and nothing is left", func() bool {
				return len(runs.all()) == 150 && len(left(t, client, "a"))+len(left(t, client, "b"))+len(left(t, client, "c")) == 0
			})
			got := runs.all()
			slices.Sort(got)
			if len(slices.Compact(got)) != 150 || len(found.all()) != 3 {
				t.Errorf("%d runs, %d strays", len(got), len(found.all()))
			}
			put(t, client, "c", "late", message("late", "c"))
			eventually(t, "a later one is picked up", func() bool { return len(runs.all()) == 151 })
		})
	}
}

// In a cluster a queue's node may be away, or forbidden, alone.
func TestAQueueOfAClusterThatCannotBeAskedDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	admin := newCluster(t)
	check(t, admin.Do(t.Context(), "ACL", "SETUSER", "worker", "on", "nopass", "~asynq:{low}*", "~asynq:workers*", "~asynq:servers*", "~asynq:queues", "&*", "+@all").Err())
	put(t, admin, "high", "a", message("a", "high"))
	put(t, admin, "low", "b", message("b", "low"))
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: admin.Options().Addrs, Username: "worker", Password: "any"})
	t.Cleanup(func() { _ = client.Close() })
	var runs seen
	workOn(t, client, 1, 4, calm.FetchConfig{Queues: map[string]int{"high": 2, "low": 1}, Strict: true}, calm.Config{}, func(_ context.Context, task *asynq.Task) error {
		runs.add(task)
		return nil
	})
	eventually(t, "the other queue's task runs", func() bool { return slices.Equal(runs.all(), []string{"b"}) })
}
