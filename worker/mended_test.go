package worker_test

import (
	"context"
	"errors"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
	"github.com/sealq/sealq/worker/calm"
)

// Fields of asynq's message that no signature covers.
const (
	fieldRetried  protowire.Number = 6
	fieldTimeout  protowire.Number = 8
	fieldDeadline protowire.Number = 9
)

// tamper sets a number in the stored message of a task in queue low, which stays genuine.
func (r *rig) tamper(t *testing.T, id string, field protowire.Number, n int64) {
	t.Helper()
	key := "asynq:{low}:t:" + id
	msg, err := r.redis.HGet(t.Context(), key, "msg").Bytes()
	if err != nil {
		t.Fatal(err)
	}
	msg = protowire.AppendVarint(protowire.AppendTag(msg, field, protowire.VarintType), uint64(n))
	if err := r.redis.HSet(t.Context(), key, "msg", msg).Err(); err != nil {
		t.Fatal(err)
	}
}

// Whoever writes to Redis can change them. asynq would end the task, or put it off for ages, without asking anybody.
func TestWhatNobodySignedKeepsNoTaskFromItsHandler(t *testing.T) {
	t.Parallel()
	for sentence, test := range map[string]struct {
		field protowire.Number
		value int64
		want  calm.What
	}{
		"a deadline that has passed":             {fieldDeadline, 1, calm.PastDeadline},
		"a deadline before all time":             {fieldDeadline, math.MinInt64, calm.PastDeadline},
		"a timeout below zero":                   {fieldTimeout, -1, calm.PastDeadline},
		"more tries used than there are":         {fieldRetried, 1_000_000_000, calm.OddRetries},
		"as many tries used as a number can say": {fieldRetried, math.MaxInt32, calm.OddRetries},
		"fewer tries used than none":             {fieldRetried, -7000, calm.OddRetries},
		"as few tries used as a number can say":  {fieldRetried, math.MinInt32, calm.OddRetries},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			def := jobs.Define[int]("work", jobs.Policy{Queue: "low", NoLedger: true, Backoff: func(int) time.Duration { return time.Millisecond }})
			var runs calls
			h := worker.NewHandlers(worker.HandlersConfig{})
			worker.Handle(h, def, func(context.Context, worker.Job[int]) error {
				runs.add("run")
				if len(runs.all()) < 3 {
					return errors.New("once more")
				}
				return nil
			})
			enqueue(t, r.enqueuer(t), def, 1, jobs.ID("genuine"))
			r.tamper(t, "genuine", test.field, test.value)
			var mends calls
			v := r.verifier(t, worker.Config{OnMend: func(_ context.Context, m calm.Mend) { mends.add(string(m.What) + " in " + m.Queue) }})
			r.runBehind(t, v, h, worker.ServerConfig{Queues: map[string]int{"low": 1}})
			eventually(t, "it is done", func() bool { return len(runs.all()) == 3 && !r.exists(t, "low", "genuine") })
			if diff := cmp.Diff([]string{string(test.want) + " in low"}, mends.all()); diff != "" {
				t.Errorf("mends (-want +got):\n%s", diff)
			}
		})
	}
}

// The same of a task that nobody signed: it is judged, and refused, and not archived by asynq unseen.
func TestAForgedTaskWithAPastDeadlineIsRefusedAndKept(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	kept := &memory{}
	h := worker.NewHandlers(worker.HandlersConfig{})
	worker.Handle(h, jobs.Define[int]("work", jobs.Policy{Queue: "low"}), func(context.Context, worker.Job[int]) error { return nil })
	putRaw(t, r.redis, "low", "forged", signing.Task{Kind: "work", ID: "forged", Queue: "low", Payload: []byte("1")})
	r.tamper(t, "forged", fieldDeadline, 1)
	r.runBehind(t, r.verifier(t, worker.Config{Quarantine: kept}), h, worker.ServerConfig{Queues: map[string]int{"low": 1}})
	eventually(t, "it is in quarantine and gone", func() bool { return kept.count() == 1 && !r.exists(t, "low", "forged") })
}

// asynq's own delay would be millions of years.
func TestACountOfTriesBelowZeroDoesNotPutATaskOffForAges(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var counts calls
	task := signing.Task{Kind: "work", ID: "genuine", Queue: "low", MaxRetry: 3}
	r.put(t, task, task, r.keys)
	r.tamper(t, "genuine", fieldRetried, -7000)
	r.serve(t, r.verifier(t, worker.Config{}), asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return errors.New("once more") }), asynq.Config{
		Queues: map[string]int{"low": 1},
		RetryDelayFunc: func(n int, _ error, _ *asynq.Task) time.Duration {
			counts.add(strconv.Itoa(n))
			return time.Hour
		},
	})
	eventually(t, "it has failed", func() bool { return len(counts.all()) > 0 })
	if diff := cmp.Diff([]string{"0"}, counts.all()); diff != "" {
		t.Errorf("the app's delay is asked with (-want +got):\n%s", diff)
	}
}

// An app whose handlers go by asynq's deadlines keeps them, behind the hook too.
func TestAnAppsOwnDeadlineIsLeftToAsynq(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var runs calls
	v := r.verifier(t, worker.Config{})
	client := redis.NewClient(r.redis.Options())
	client.AddHook(v.Hook())
	t.Cleanup(func() { _ = client.Close() })
	task := signing.Task{Kind: "work", ID: "late", Queue: "low"}
	r.put(t, task, task, r.keys)
	r.tamper(t, "late", fieldDeadline, 1)
	t.Cleanup(serveOn(t, client, v, asynq.HandlerFunc(func(context.Context, *asynq.Task) error { runs.add("run"); return nil }), asynq.Config{Queues: map[string]int{"low": 1}}))
	eventually(t, "asynq has archived it", func() bool { return r.redis.ZCard(t.Context(), "asynq:{low}:archived").Val() == 1 })
	if len(runs.all()) > 0 {
		t.Error("its handler was asked")
	}
}
