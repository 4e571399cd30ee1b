package trips_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/internal/trips"
)

func TestOnEveryFormOfRedisEachCallHasItsOwnAnswer(t *testing.T) {
	t.Parallel()
	for name, connect := range map[string]func(t *testing.T) redis.UniversalClient{
		"cluster": func(t *testing.T) redis.UniversalClient {
			t.Helper()
			top := testservers.Cluster(t, testservers.RedisOptions{})
			return redis.NewClusterClient(&redis.ClusterOptions{Addrs: top.Addrs()})
		},
		"sentinels": func(t *testing.T) redis.UniversalClient {
			t.Helper()
			top := testservers.Sentinels(t, testservers.RedisOptions{})
			return redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "sealq", SentinelAddrs: top.Addrs()})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := connect(t)
			t.Cleanup(func() { r.Close() })
			client := asynq.NewClientFromRedisClient(trips.Share(r))
			const goroutines, each, queues = 32, 20, 5
			var all sync.WaitGroup
			for g := range goroutines {
				all.Go(func() {
					for i := range each {
						name := fmt.Sprintf("%02d-%02d", g, i)
						opts := []asynq.Option{asynq.TaskID(name), asynq.Queue(fmt.Sprint("queue", g%queues))}
						if _, err := client.EnqueueContext(t.Context(), asynq.NewTask("test:note", nil), opts...); err != nil {
							t.Errorf("%s: %v", name, err)
						}
						if _, err := client.EnqueueContext(t.Context(), asynq.NewTask("test:note", nil), opts...); !errors.Is(err, asynq.ErrTaskIDConflict) {
							t.Errorf("%s once more: %v", name, err)
						}
					}
				})
			}
			all.Wait()
			pending := 0
			for q := range queues {
				ids := r.LRange(t.Context(), fmt.Sprintf("asynq:{queue%d}:pending", q), 0, -1).Val()
				slices.Reverse(ids)
				pending += len(ids)
				next := make(map[string]int)
				for _, id := range ids {
					g, i, _ := strings.Cut(id, "-")
					if want := fmt.Sprintf("%02d", next[g]); i != want {
						t.Fatalf("goroutine %s: want task %s, got %s", g, want, i)
					}
					next[g]++
				}
			}
			if pending != goroutines*each {
				t.Errorf("%d tasks are pending", pending)
			}
		})
	}
}
