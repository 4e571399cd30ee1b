package janitor_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/worker/janitor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// room is a Redis with a queue, and a janitor.
type room struct {
	t          *testing.T
	redis      *redis.Client
	client     *asynq.Client
	quarantine *shelf
	cfg        janitor.Config
	finds      map[janitor.What]int
}

const queue = "low"

func newRoom(t *testing.T, client *redis.Client) *room {
	t.Helper()
	r := &room{t: t, redis: client, client: asynq.NewClientFromRedisClient(client), quarantine: &shelf{}, finds: make(map[janitor.What]int)}
	r.cfg = janitor.Config{Queues: []string{queue}, OnFind: func(_ context.Context, f janitor.Find) { r.finds[f.What] += f.Count }}
	return r
}

// inBoth runs a test with a real Redis and with the one of the embedded stack.
func inBoth(t *testing.T, test func(r *room)) {
	t.Helper()
	t.Run("Redis", func(t *testing.T) {
		t.Parallel()
		test(newRoom(t, testservers.Redis(t).Client(t)))
	})
	t.Run("miniredis", func(t *testing.T) {
		t.Parallel()
		client := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
		t.Cleanup(func() { _ = client.Close() })
		test(newRoom(t, client))
	})
}

// pass makes one pass, which must succeed.
func (r *room) pass(t *testing.T) (more bool) {
	t.Helper()
	more, err := r.janitor(t).Pass(t.Context())
	check(t, err)
	return more
}

func (r *room) janitor(t *testing.T) *janitor.Janitor {
	t.Helper()
	j, err := janitor.New(r.redis, r.quarantine, r.cfg)
	check(t, err)
	return j
}

func key(name string) string      { return "asynq:{" + queue + "}:" + name }
func taskKey(id string) string    { return key("t:" + id) }
func ago(d time.Duration) float64 { return float64(time.Now().Add(-d).Unix()) }

// enqueue puts a task into pending.
func (r *room) enqueue(t *testing.T, id string, opts ...asynq.Option) {
	t.Helper()
	_, err := r.client.EnqueueContext(t.Context(), asynq.NewTask("kind", []byte("payload of "+id)), append(opts, asynq.TaskID(id), asynq.Queue(queue))...)
	check(t, err)
}

// fetch does to a pending task what asynq's fetching does.
func (r *room) fetch(t *testing.T, id string, leaseEnded time.Duration) {
	t.Helper()
	check(t, r.redis.LRem(t.Context(), key("pending"), 0, id).Err())
	check(t, r.redis.LPush(t.Context(), key("active"), id).Err())
	check(t, r.redis.HSet(t.Context(), taskKey(id), "state", "active").Err())
	check(t, r.redis.HDel(t.Context(), taskKey(id), "pending_since").Err())
	check(t, r.redis.ZAdd(t.Context(), key("lease"), redis.Z{Score: ago(leaseEnded), Member: id}).Err())
}

// all is everything that Redis holds.
func (r *room) all(t *testing.T) map[string]any {
	t.Helper()
	all := make(map[string]any)
	keys, err := r.redis.Keys(t.Context(), "*").Result()
	check(t, err)
	for _, key := range keys {
		var value any
		switch kind := r.redis.Type(t.Context(), key).Val(); kind {
		case "list":
			value = r.redis.LRange(t.Context(), key, 0, -1).Val()
		case "zset":
			value = r.redis.ZRangeWithScores(t.Context(), key, 0, -1).Val()
		case "hash":
			value = r.redis.HGetAll(t.Context(), key).Val()
		case "set":
			members := r.redis.SMembers(t.Context(), key).Val()
			slices.Sort(members)
			value = members
		default:
			value = r.redis.Get(t.Context(), key).Val()
		}
		all[key] = value
	}
	return all
}

// unchanged checks that a part of what Redis holds is as it was.
func unchanged(t *testing.T, before, after map[string]any) {
	t.Helper()
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("what Redis holds has changed (-before +after):\n%s", diff)
	}
}

func (r *room) found(t *testing.T, want map[janitor.What]int) {
	t.Helper()
	if diff := cmp.Diff(want, r.finds); diff != "" {
		t.Errorf("told of (-want +got):\n%s", diff)
	}
}

// shelf is a quarantine.
type shelf struct {
	mu     sync.Mutex
	err    error
	before func() // called before an entry is kept
	kept   map[string]jobs.Refused
}

var errBroken = errors.New("the disk is full")

func (s *shelf) Keep(_ context.Context, r jobs.Refused) error {
	if s.before != nil {
		s.before()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if s.kept == nil {
		s.kept = make(map[string]jobs.Refused)
	}
	s.kept[r.ID] = r
	return nil
}

// shows checks what stands in quarantine: task ID and bytes of each entry.
func (s *shelf) shows(t *testing.T, want map[string]string) {
	t.Helper()
	got := make(map[string]string)
	for _, r := range s.kept {
		got[r.TaskID] = string(r.Payload)
		if r.Reason != "malformed" || r.Authentic || r.Queue != queue || r.Size != int64(len(r.Payload)) || r.ReceivedAt.IsZero() {
			t.Errorf("quarantined as %+v", r)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("in quarantine (-want +got):\n%s", diff)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("it never came to be that %s", what)
		}
	}
}

// without is a copy of all without some keys.
func without(all map[string]any, keys ...string) map[string]any {
	rest := maps.Clone(all)
	for _, key := range keys {
		delete(rest, key)
	}
	return rest
}

func numbered(n int) []any {
	ids := make([]any, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("nothing-%05d", i)
	}
	return ids
}
