package metrics_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/metrics"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
	"github.com/sealq/sealq/worker/janitor"
)

const patience = time.Minute

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("did not happen within %v: %s", patience, what)
		case <-tick.C:
		}
	}
}

// shelf is a quarantine without a bottom.
type shelf struct {
	mu   sync.Mutex
	kept map[string]jobs.Refused
}

func (s *shelf) Keep(_ context.Context, r jobs.Refused) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil {
		s.kept = make(map[string]jobs.Refused)
	}
	s.kept[r.ID] = r
	return nil
}

func (s *shelf) KeepWithin(ctx context.Context, r jobs.Refused, _ quarantine.Budgets) error {
	return s.Keep(ctx, r)
}

func (s *shelf) CountOverflow(context.Context, map[signing.Reason]quarantine.Overflow) error {
	return nil
}

// fleet is a worker with a janitor on a real Redis, and what Prometheus sees of it.
type fleet struct {
	redis    *redis.Client
	keys     *signing.Keys
	registry *prometheus.Registry
	enqueuer *jobs.Enqueuer
	greet    jobs.Def[string]
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{redis: testservers.Redis(t).Client(t), registry: prometheus.NewRegistry(), greet: jobs.Define[string]("greet", jobs.Policy{})}
	ring, err := signing.NewRing(time.Now().Add(-time.Hour), 30*24*time.Hour)
	check(t, err)
	path := filepath.Join(t.TempDir(), "keys.json")
	check(t, signing.NewFile(path).Create(ring))
	tally := metrics.NewTally(metrics.TallyConfig{Kinds: []jobs.Kind{"greet"}})
	f.keys, err = signing.OpenWith(t.Context(), signing.NewFile(path), "test", signing.Options{OnSigned: tally.Signed})
	check(t, err)
	t.Cleanup(f.keys.Close)

	keeper, err := quarantine.NewKeeper(&shelf{}, quarantine.Config{})
	check(t, err)
	handlers := worker.NewHandlers(worker.HandlersConfig{})
	worker.Handle(handlers, f.greet, func(context.Context, worker.Job[string]) error { return nil })
	verifier, err := worker.New(f.keys, worker.Config{Quarantine: keeper, OnVerdict: tally.Verdict, OnEnd: tally.Ended})
	check(t, err)
	server, err := worker.NewServer(f.redis, verifier, handlers, worker.ServerConfig{ForwardPoll: 50 * time.Millisecond})
	check(t, err)
	tidy, err := janitor.New(f.redis, keeper, janitor.Config{Queues: []string{"default"}, Every: 20 * time.Millisecond, OnFind: tally.Found})
	check(t, err)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = server.Run(ctx) }) // ends with ctx
	running.Go(func() { _ = tidy.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })

	readings, err := metrics.NewReadings(metrics.Sources{
		Ring: f.keys, Overflow: keeper, Redis: f.redis, Queues: []string{"default"}, Fresh: time.Nanosecond,
		Alarms: map[string]func() error{"key_refusals": verifier.Alarm},
	})
	check(t, err)
	t.Cleanup(func() { check(t, readings.Close()) })
	check(t, f.registry.Register(tally))
	check(t, f.registry.Register(readings))
	f.enqueuer, err = jobs.NewEnqueuer(asynq.NewClientFromRedisClient(f.redis), f.keys, jobs.Config{})
	check(t, err)
	return f
}

// work has an honest job done.
func (f *fleet) work(t *testing.T) {
	t.Helper()
	done := fmt.Sprintf(`sealq_tasks_verified_total{kid=%q,kind="greet"}`, f.keys.Infos()[0].KID)
	before := samples(t, f.registry)[done]
	_, err := f.enqueuer.Enqueue(t.Context(), f.greet.With("Ada"))
	check(t, err)
	eventually(t, "an honest job passes", func() bool { return samples(t, f.registry)[done] > before })
	eventually(t, "it is done", func() bool {
		return samples(t, f.registry)[`sealq_handler_duration_seconds{kind="greet",result="done"}`] > before
	})
}

func letters(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a' + rand.N[byte](26)
	}
	return string(b)
}

// header is a signature that is well formed: of a key of any ID, issued now.
func header() string {
	raw := make([]byte, 78)
	for i := range raw {
		raw[i] = byte(rand.Uint())
	}
	raw[0], raw[1] = 1, 0
	for i, at := 0, time.Now().UnixMilli(); i < 8; i++ {
		raw[6+i] = byte(at >> (8 * (7 - i)))
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

func TestAHostileClientMakesNoSeries(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.work(t)
	before := samples(t, f.registry)

	ctx, client := t.Context(), asynq.NewClientFromRedisClient(f.redis)
	for range 300 {
		headers := map[string]string{letters(6): letters(20)}
		switch rand.N(5) {
		case 0: // unsigned
		case 1: // too short
			headers[signing.SignatureHeader] = letters(103)
		case 2:
			headers[signing.SignatureHeader] = letters(104)
		default: // under keys that nobody has
			headers[signing.SignatureHeader] = header()
		}
		queue := "default"
		if rand.N(4) == 0 {
			queue = letters(8)
		}
		_, err := client.EnqueueContext(ctx, asynq.NewTaskWithHeaders(letters(12), []byte(letters(30)), headers), asynq.Queue(queue), asynq.TaskID(letters(16)))
		check(t, err)
		if queue != "default" { // a message of that queue in ours
			list, err := f.redis.LRange(ctx, "asynq:{"+queue+"}:pending", 0, 0).Result()
			check(t, err)
			msg, err := f.redis.HGetAll(ctx, "asynq:{"+queue+"}:t:"+list[0]).Result()
			check(t, err)
			check(t, f.redis.HSet(ctx, "asynq:{default}:t:"+list[0], msg).Err())
			check(t, f.redis.LPush(ctx, "asynq:{default}:pending", list[0]).Err())
		}
	}
	for range 50 { // nothing, where tasks should be, and what is no message
		check(t, f.redis.LPush(ctx, "asynq:{default}:pending", letters(10)).Err())
		id := letters(10)
		check(t, f.redis.HSet(ctx, "asynq:{default}:t:"+id, "msg", letters(40), "state", "active", letters(4), letters(4)).Err())
		check(t, f.redis.LPush(ctx, "asynq:{default}:active", id).Err())
	}

	eventually(t, "all of them have been looked at", func() bool {
		got := samples(t, f.registry)
		return got[`sealq_queue_tasks{queue="default",state="pending"}`] == 0 && got[`sealq_queue_tasks{queue="default",state="active"}`] == 0
	})
	after := samples(t, f.registry)
	if diff := cmp.Diff(names(before), names(after)); diff != "" {
		t.Errorf("series (-before +after):\n%s", diff)
	}
	for _, rises := range []string{
		`sealq_tasks_refused_total{kid="",reason="missing_signature"}`, `sealq_tasks_refused_total{kid="",reason="malformed"}`,
		`sealq_tasks_deferred_total{cause="unknown_key"}`, `sealq_guard_finds_total{what="undecodable"}`,
	} {
		if after[rises] <= before[rises] {
			t.Errorf("%s did not rise", rises)
		}
	}

	// Who has seen a genuine task can name its key. That is one series, for a key that the ring has.
	receipt, err := f.enqueuer.Enqueue(ctx, f.greet.With("Ada"))
	check(t, err)
	sig, _, err := f.keys.Sign(signing.Task{Kind: "greet", ID: "seen", Queue: "default"}, signing.Validity{Expires: time.Now().Add(time.Minute)})
	check(t, err)
	named := fmt.Sprintf(`sealq_tasks_refused_total{kid=%q,reason="bad_signature"}`, receipt.KID)
	for range 20 {
		_, err := client.EnqueueContext(ctx, asynq.NewTaskWithHeaders(letters(12), nil, map[string]string{signing.SignatureHeader: sig}))
		check(t, err)
	}
	eventually(t, "they are refused", func() bool { return samples(t, f.registry)[named] == 20 })
	known := cmp.Diff(append(names(after), named), names(samples(t, f.registry)), sorted)
	if known != "" {
		t.Errorf("series (-want +got):\n%s", known)
	}
	f.work(t) // and honest jobs go on
}
