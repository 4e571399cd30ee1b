package rawtask_test

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/internal/testservers/instance"
	"github.com/sealq/sealq/jobs/rawtask"
)

// cluster is a Redis Cluster of two masters, each with half of the slots.
func cluster(t *testing.T) *redis.ClusterClient {
	t.Helper()
	binary := os.Getenv(testservers.RedisServerEnv)
	if binary == "" {
		var err error
		if binary, err = instance.FindRedis(); err != nil {
			t.Fatal(err)
		}
	}
	var addrs []string
	var masters []*redis.Client
	for half := range 2 {
		port, bus := reserve(t), reserve(t)
		server := exec.CommandContext(t.Context(), binary, "--bind", "127.0.0.1", "--port", strconv.Itoa(port.Number()), "--dir", t.TempDir(),
			"--save", "", "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(bus.Number()))
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = server.Process.Kill()
			_ = server.Wait() // it was killed
		})
		c := redis.NewClient(&redis.Options{Addr: port.Addr()})
		t.Cleanup(func() { c.Close() })
		eventually(t, "a node to answer", func() bool { return c.Ping(t.Context()).Err() == nil })
		if err := c.ClusterAddSlotsRange(t.Context(), half*8192, half*8192+8191).Err(); err != nil {
			t.Fatal(err)
		}
		if half > 0 {
			do(t, masters[0], []any{"CLUSTER", "MEET", "127.0.0.1", port.Number(), bus.Number()})
		}
		addrs, masters = append(addrs, port.Addr()), append(masters, c)
	}
	for _, c := range masters {
		eventually(t, "the cluster to be whole", func() bool {
			nodes, err := c.ClusterShards(t.Context()).Result()
			return err == nil && len(nodes) == 2 && c.Get(t.Context(), "x").Err() != nil && c.ClusterInfo(t.Context()).Val()[:16] == "cluster_state:ok"
		})
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
	t.Cleanup(func() { client.Close() })
	return client
}

func reserve(t *testing.T) *instance.Port {
	t.Helper()
	port, err := instance.ReservePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = port.Release() })
	return port
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline, again := time.NewTimer(20*time.Second), time.NewTicker(20*time.Millisecond)
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

func TestListingOnACluster(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	l := rawtask.NewLister(c)
	nodes := make(map[string]bool)
	var want []string
	for i := range 6 {
		name := fmt.Sprint("queue", i)
		node, err := c.MasterForKey(t.Context(), "asynq:{"+name+"}:pending")
		if err != nil {
			t.Fatal(err)
		}
		nodes[node.Options().Addr] = true
		want = append(want, name)
		for id, opt := range map[string]asynq.Option{"now": nil, "later": asynq.ProcessIn(time.Hour), "grouped": asynq.Group("g"), "lost": nil} {
			opts := []asynq.Option{asynq.Queue(name), asynq.TaskID(id)}
			if opt != nil {
				opts = append(opts, opt)
			}
			if _, err := asynq.NewClientFromRedisClient(c).Enqueue(asynq.NewTask("test:note", nil), opts...); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.LRem(t.Context(), "asynq:{"+name+"}:pending", 0, "lost").Err(); err != nil {
			t.Fatal(err)
		}
		for state, id := range map[rawtask.State]string{
			rawtask.Pending: "now", rawtask.Scheduled: "later", rawtask.Aggregating: "grouped", rawtask.Unlisted: "lost",
		} {
			var got []string
			for f, err := range l.Tasks(t.Context(), name, state) {
				if err != nil {
					t.Fatalf("%s of %s: %v", state, name, err)
				}
				got = append(got, f.ID)
			}
			if diff := cmp.Diff([]string{id}, got); diff != "" {
				t.Errorf("%s of %s: %s", state, name, diff)
			}
			if f, err := l.Look(t.Context(), name, id); err != nil || f.State() != state {
				t.Errorf("%s of %s: got %s, %v", id, name, f.State(), err)
			}
		}
		if counts, err := l.Counts(t.Context(), name); err != nil || counts[rawtask.Pending] != 1 {
			t.Errorf("counts of %s: got %v, %v", name, counts, err)
		}
	}
	if len(nodes) != 2 {
		t.Fatalf("all queues lie on %v", nodes)
	}
	got, err := l.Queues(t.Context())
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}
