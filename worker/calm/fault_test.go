package calm_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs/rawtask"
	"github.com/sealq/sealq/worker/calm"
)

// What Redis answers about itself must not be taken for what lies in it: nothing is dropped, nobody is told to delete the queue's keys, and
// go-redis gets the error, which leaves a server by it that has become a replica.
func TestWhatRedisSaysOfItselfIsNoFaultOfAQueue(t *testing.T) {
	t.Parallel()
	set := func(name, value string) func(*testing.T, *redis.Client) {
		return func(t *testing.T, c *redis.Client) {
			t.Helper()
			check(t, c.ConfigSet(t.Context(), name, value).Err())
		}
	}
	for sentence, test := range map[string]struct {
		harm, mend func(*testing.T, *redis.Client)
		told       string
	}{
		"it is full":            {set("maxmemory", "1"), set("maxmemory", "0"), `fetching waits" error="OOM `},
		"its replicas are away": {set("min-replicas-to-write", "1"), set("min-replicas-to-write", "0"), `fetching waits" error="NOREPLICAS `},
		"it has become a replica": {func(t *testing.T, c *redis.Client) {
			t.Helper()
			check(t, c.ReplicaOf(t.Context(), "127.0.0.1", "1").Err())
		}, func(t *testing.T, c *redis.Client) {
			t.Helper()
			check(t, c.ReplicaOf(t.Context(), "no", "one").Err())
		}, `fetching waits" error="READONLY `},
		"its user may not read tasks": {func(t *testing.T, c *redis.Client) {
			t.Helper()
			check(t, c.ACLSetUser(t.Context(), "worker", "-hget").Err())
		}, func(t *testing.T, c *redis.Client) {
			t.Helper()
			check(t, c.ACLSetUser(t.Context(), "worker", "+hget").Err())
		}, "the Redis user lacks a right, fetching waits"},
		"its user may not write leases": {func(t *testing.T, c *redis.Client) {
			t.Helper()
			check(t, c.ACLSetUser(t.Context(), "worker", "-zadd").Err())
		}, func(t *testing.T, c *redis.Client) {
			t.Helper()
			check(t, c.ACLSetUser(t.Context(), "worker", "+zadd").Err())
		}, "the Redis user lacks a right, fetching waits"},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			server := testservers.SingleRedis(t, testservers.RedisOptions{})
			admin := server.Admins()[0]
			check(t, admin.ACLSetUser(t.Context(), "worker", "on", "nopass", "~*", "&*", "+@all").Err())
			put(t, admin, "default", "a", message("a", "default"))
			test.harm(t, admin)
			client := redis.NewClient(&redis.Options{Addr: server.Addrs()[0], Username: "worker", Password: "any"})
			t.Cleanup(func() { _ = client.Close() })
			var logged logs
			client.AddHook(calm.New(calm.Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))}))
			var runs seen
			serve(t, client, func(_ context.Context, task *asynq.Task) error {
				runs.add(task)
				return nil
			}, asynq.Config{})
			eventually(t, "it is told", func() bool { return strings.Contains(logged.String(), test.told) })
			if text := logged.String(); strings.Contains(text, "delete") || strings.Contains(text, "dropped") {
				t.Error(text)
			}
			test.mend(t, admin)
			eventually(t, "the task runs", func() bool { return len(runs.all()) == 1 })
		})
	}
}

// A queue that alone is forbidden does not stop the others.
func TestAForbiddenQueueDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	server := testservers.SingleRedis(t, testservers.RedisOptions{})
	admin := server.Admins()[0]
	check(t, admin.ACLSetUser(t.Context(), "worker", "on", "nopass", "~asynq:{low}*", "~asynq:workers*", "~asynq:servers*", "~asynq:queues",
		"~asynq:{high}:[palr]*", "&*", "+@all").Err()) // not high's tasks
	put(t, admin, "high", "a", message("a", "high"))
	client := redis.NewClient(&redis.Options{Addr: server.Addrs()[0], Username: "worker", Password: "any"})
	t.Cleanup(func() { _ = client.Close() })
	var logged logs
	fetcher := calm.NewFetcher(client, calm.New(calm.Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))}),
		calm.FetchConfig{Queues: map[string]int{"high": 2, "low": 1}})
	var runs seen
	serve(t, fetcher.Lane(4), func(_ context.Context, task *asynq.Task) error {
		runs.add(task)
		return nil
	}, asynq.Config{Queues: map[string]int{"high": 2, "low": 1}})
	eventually(t, "it is told", func() bool { return strings.Contains(logged.String(), "sealq redis-acl worker") })
	put(t, admin, "low", "b", message("b", "low"))
	eventually(t, "the other queue's task runs", func() bool { return len(runs.all()) == 1 })
	if n, err := admin.LLen(t.Context(), "asynq:{high}:pending").Result(); n != 1 || err != nil {
		t.Errorf("the forbidden queue's task: %d, %v", n, err)
	}
}

// Somebody may put half a gigabyte under a key, which a process must not get into its memory.
func TestAMessageThatIsTooLongIsAStrayAndCut(t *testing.T) {
	t.Parallel()
	const most = 1 << 10
	for sentence, test := range map[string]struct {
		size int
		want error
	}{
		"as long as may be": {most, rawtask.ErrUndecodable},
		"one byte more":     {most + 1, rawtask.ErrTooLarge},
		"far more":          {5 * most, rawtask.ErrTooLarge},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			var kept strays
			q.put(t, "default", "long", bytes.Repeat([]byte{0xff}, test.size))
			q.put(t, "default", "next", message("next", "default"))
			var runs seen
			serve(t, q.behind(t, calm.New(calm.Config{Stray: kept.keep, MaxMessage: most})), func(_ context.Context, task *asynq.Task) error {
				runs.add(task)
				return nil
			}, asynq.Config{})
			eventually(t, "the next task runs, and nothing is left", func() bool { return len(runs.all()) == 1 && len(q.left(t, "default")) == 0 })
			found := kept.all()
			if len(found) != 1 || !errors.Is(found[0].Cause, test.want) || len(found[0].Message) > most+1 {
				t.Errorf("strays: %d", len(found))
			}
		})
	}
}
