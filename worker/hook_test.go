package worker_test

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

func TestWhatIsNoTaskOfItsQueueGoesToQuarantineWithItsBytes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var kept memory
	var verdicts, ran calls
	v := r.verifier(t, worker.Config{Quarantine: &kept, OnVerdict: func(_ context.Context, v worker.Verdict) {
		verdicts.add(string(v.Outcome) + " " + string(v.Reason))
	}})
	client := v.Conn(asynq.RedisClientOpt{Addr: r.redis.Options().Addr, DB: r.redis.Options().DB}).MakeRedisClient().(*redis.Client)
	t.Cleanup(func() { _ = client.Close() })

	const list = "mail"
	task := genuine("genuine")
	putRaw(t, r.redis, list, "copy", task)
	prefix := "asynq:{" + list + "}:"
	if err := r.redis.HSet(t.Context(), prefix+"t:bad", "msg", "\xff\xff", "state", "pending").Err(); err != nil {
		t.Fatal(err)
	}
	if err := r.redis.LPush(t.Context(), prefix+"pending", "bad").Err(); err != nil {
		t.Fatal(err)
	}
	r.put(t, task, task, r.keys)
	t.Cleanup(serveOn(t, client, v, asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		ran.add(string(task.Payload()))
		return nil
	}), asynq.Config{Queues: map[string]int{list: 1}}))

	eventually(t, "both stand in quarantine, and the genuine task has run", func() bool {
		return kept.count() == 2 && len(ran.all()) == 1 && !r.exists(t, list, "genuine")
	})
	for id, found := range map[string]struct{ as, bytes, kind string }{
		"copy": {"genuine", string(task.Payload), task.Kind},
		"bad":  {"bad", "\xff\xff", ""},
	} {
		entry, ok := kept.get(found.as)
		if !ok || string(entry.Payload) != found.bytes || entry.Kind != found.kind || !strings.Contains(entry.Detail, strconv.Quote(id)) || entry.Reason != signing.ReasonMalformed || entry.Authentic || entry.Queue != list {
			t.Errorf("%s: %+v", id, entry)
		}
		if r.exists(t, list, id) {
			t.Errorf("%s is still in Redis", id)
		}
	}
	want := map[string]int{"refused malformed": 2, "passed ": 1}
	for _, v := range verdicts.all() {
		want[v]--
	}
	for v, n := range want {
		if n != 0 {
			t.Errorf("verdict %q: %d too few", v, n)
		}
	}
}
