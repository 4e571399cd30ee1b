package worker_test

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
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
	signed := func(id, queue string) signing.Task {
		stored := genuine(id)
		stored.Queue = queue
		sig, _, err := r.keys.Sign(stored, signing.Validity{Expires: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		stored.Headers = map[string]string{signing.SignatureHeader: sig}
		return stored
	}
	putRaw(t, r.redis, list, "copy", task)
	putRaw(t, r.redis, list, "moved", signed("moved", "elsewhere"))
	putRaw(t, r.redis, list, "signed copy", signed("signed", list))
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

	eventually(t, "all stand in quarantine, and the genuine task has run", func() bool {
		return kept.count() == 4 && len(ran.all()) == 1 && !r.exists(t, list, "genuine")
	})
	for id, found := range map[string]struct {
		as, bytes, kind, queue string
		reason                 signing.Reason
	}{
		"copy":        {"genuine", string(task.Payload), task.Kind, list, signing.ReasonMissingSignature},
		"moved":       {"moved", string(task.Payload), task.Kind, "elsewhere", signing.ReasonWrongQueue},
		"signed copy": {"signed", string(task.Payload), task.Kind, list, signing.ReasonMalformed},
		"bad":         {"bad", "\xff\xff", "", list, signing.ReasonMalformed},
	} {
		entry, ok := kept.get(found.as)
		if !ok || string(entry.Payload) != found.bytes || entry.Kind != found.kind || !strings.Contains(entry.Detail, strconv.Quote(id)) || entry.Reason != found.reason || entry.Authentic != (found.reason == signing.ReasonWrongQueue) || entry.Queue != found.queue {
			t.Errorf("%s: %+v", id, entry)
		}
		if r.exists(t, list, id) {
			t.Errorf("%s is still in Redis", id)
		}
	}
	want := map[string]int{"refused malformed": 2, "refused missing_signature": 1, "refused wrong_queue": 1, "passed ": 1}
	for _, v := range verdicts.all() {
		want[v]--
	}
	for v, n := range want {
		if n != 0 {
			t.Errorf("verdict %q: %d too few", v, n)
		}
	}
}

// fullQuarantine has no room.
type fullQuarantine struct{}

func (fullQuarantine) Keep(context.Context, jobs.Refused) error { return quarantine.ErrCounted }

func TestWhatIsNoTaskOfItsQueueLeavesItThoughTheQuarantineIsFull(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var counted atomic.Int32
	v := r.verifier(t, worker.Config{Quarantine: fullQuarantine{}, OnVerdict: func(_ context.Context, v worker.Verdict) {
		if v.Counted {
			counted.Add(1)
		}
	}})
	putRaw(t, r.redis, "mail", "copy", genuine("genuine"))
	client := v.Conn(asynq.RedisClientOpt{Addr: r.redis.Options().Addr, DB: r.redis.Options().DB}).MakeRedisClient().(*redis.Client)
	t.Cleanup(func() { _ = client.Close() })
	t.Cleanup(serveOn(t, client, v, asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return nil }), asynq.Config{Queues: map[string]int{"mail": 1}}))
	eventually(t, "it is counted once, and gone", func() bool { return counted.Load() == 1 && !r.exists(t, "mail", "copy") })
}
