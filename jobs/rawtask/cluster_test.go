package rawtask_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs/rawtask"
)

// cluster is a Redis Cluster of three masters.
func cluster(t *testing.T) *redis.ClusterClient {
	t.Helper()
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: testservers.Cluster(t, testservers.RedisOptions{}).Addrs()})
	t.Cleanup(func() { client.Close() })
	return client
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
	if len(nodes) < 2 {
		t.Fatalf("all queues lie on %v", nodes)
	}
	got, err := l.Queues(t.Context())
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}
