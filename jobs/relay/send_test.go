package relay_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/internal/fixture"
	"github.com/sealq/sealq/jobs/relay"
	"github.com/sealq/sealq/signing"
)

// taskIDs are the names of the first attempts of rows, in the order of their making.
func taskIDs(rows []string) []string {
	ids := make([]string, len(rows))
	for i, id := range rows {
		ids[i] = id + ".1"
	}
	slices.Sort(ids)
	return ids
}

func TestRowsOfAQueueReachItInTheirOrder(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Batch = 100
	byQueue := make(map[string][]string)
	for i := range 900 {
		queue := []string{"critical", "mail", "default"}[i%3]
		byQueue[queue] = append(byQueue[queue], b.add(t, noteDef().With(note{User: i}, jobs.Queue(queue))))
	}
	run(t, b.relay(t))
	eventually(t, "all rows are enqueued", func() bool { return b.count(jobs.RowEnqueued) == 900 })
	for queue, rows := range byQueue {
		if diff := cmp.Diff(taskIDs(rows), b.pending(t, queue)); diff != "" {
			t.Errorf("queue %s (-want +got):\n%s", queue, diff)
		}
	}
}

// What the relay sends is of asynq's own making.
func TestRelayWritesWhatAsynqsClientWrites(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]jobs.Option{
		"pending":   {jobs.Header("trace", "00-ab"), jobs.MaxRetry(3)},
		"scheduled": {jobs.In(30 * time.Second)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			stop := run(t, b.relay(t))
			id := b.enqueued(t, opts...)
			stop()
			row := b.see(id).ClaimedRow
			key := fixture.TaskKey(row.Queue, row.TaskID())
			stored := func() (hash, headers map[string]string, fields map[string]any, keys []string) {
				hash = fixture.Stored(t, b.redis, row.Queue, row.TaskID())
				fields, headers = fixture.Fields(t, hash["msg"])
				if len(headers[signing.SignatureHeader]) != 104 {
					t.Errorf("signature %q", headers[signing.SignatureHeader])
				}
				delete(headers, signing.SignatureHeader) // holds a nonce
				delete(hash, "msg")
				if since := hash["pending_since"]; (len(since) == 19) != (hash["state"] == "pending") {
					t.Errorf("pending since %q", since)
				}
				delete(hash, "pending_since")
				keys, err := b.redis.Keys(t.Context(), "*").Result()
				if err != nil {
					t.Fatal(err)
				}
				slices.Sort(keys)
				return hash, headers, fields, keys
			}
			hash, headers, fields, keys := stored()
			score := b.redis.ZScore(t.Context(), "asynq:{default}:scheduled", row.TaskID()).Val()
			b.server.Flush(t)
			if _, err := b.direct(t).EnqueueRow(t.Context(), row, noteDef()); err != nil {
				t.Fatal(err)
			}
			wantHash, wantHeaders, wantFields, wantKeys := stored()
			if diff := cmp.Diff([]any{wantHash, wantHeaders, wantFields, wantKeys}, []any{hash, headers, fields, keys}); diff != "" {
				t.Errorf("%s (-asynq's client +relay):\n%s", key, diff)
			}
			if want := b.redis.ZScore(t.Context(), "asynq:{default}:scheduled", row.TaskID()).Val(); score != want {
				t.Errorf("scheduled for %v, by asynq's client for %v", score, want)
			}
		})
	}
}

// asynq's own client announces a queue once in its life.
func TestAQueueIsKnownAgainAfterRedisWasFlushed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Overdue = time.Hour // reconcile is not what announces it
	run(t, b.relay(t))
	b.enqueued(t)
	b.server.Flush(t)
	b.enqueued(t)
	queues, err := asynq.NewInspectorFromRedisClient(b.redis).Queues()
	if err != nil || !slices.Equal(queues, []string{"default"}) {
		t.Errorf("the Inspector knows the queues %v, %v", queues, err)
	}
}

func TestRowsAreRelayedThoughQueuesCannotBeAnnounced(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.redis.Set(t.Context(), "asynq:queues", "squatted", 0)
	run(t, b.relay(t))
	for range 3 {
		b.enqueued(t)
	}
	eventually(t, "it is told of", func() bool { return b.log.has("queues cannot be announced") })
}

// between is a hook that sees pipelines on their way.
type between func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error

func (between) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (between) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (h between) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { return h(ctx, cmds, next) }
}

func TestRowsAreRelayedThoughSomebodyEmptiesTheScriptCache(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	client := b.server.Client(t)
	var flushed atomic.Bool
	client.AddHook(between(func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
		if len(cmds) < 50 || !flushed.CompareAndSwap(false, true) {
			return next(ctx, cmds)
		}
		return next(ctx, slices.Insert(slices.Clone(cmds), len(cmds)/2, redis.Cmder(redis.NewStatusCmd(ctx, "script", "flush"))))
	}))
	rows := make([]string, 100)
	for i := range rows {
		rows[i] = b.add(t, noteDef().With(note{User: i}))
	}
	r := b.relayBy(t, client, noteDef())
	run(t, r)
	eventually(t, "all rows are enqueued", func() bool { return b.count(jobs.RowEnqueued) == 100 })
	if diff := cmp.Diff(taskIDs(rows), b.pending(t, "default")); diff != "" || !flushed.Load() {
		t.Errorf("pending (-want +got):\n%s", diff)
	}
	if s := r.Stats(); s.Returned != 0 || s.Relayed != 100 {
		t.Errorf("rows waited for that: %+v", s)
	}
}

// torn is a connection that breaks after it has given so many bytes of answers.
type torn struct {
	net.Conn
	left *atomic.Int64
}

func (c torn) Read(p []byte) (int, error) {
	left := c.left.Load()
	if left <= 0 {
		return 0, errors.Join(errTorn, c.Close())
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), left)])
	c.left.Add(int64(-n))
	return n, err
}

var errTorn = errors.New("the connection is torn")

// Whether Redis has executed what it was sent, nobody knows then.
func TestAConnectionThatBreaksInTheMiddleLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	for name, retries := range map[string]int{"go-redis sends the batch again": 3, "the relay sends the rows again": -1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.cfg.Overdue = time.Hour // nothing is restored meanwhile
			var left atomic.Int64
			left.Store(1 << 40)
			options := b.server.Options(t)
			options.MaxRetries = retries
			options.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
				return torn{conn, &left}, err
			}
			client := redis.NewClient(options)
			defer client.Close()
			var tear atomic.Bool
			client.AddHook(between(func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
				if len(cmds) < 50 || !tear.CompareAndSwap(false, true) {
					return next(ctx, cmds)
				}
				left.Store(4 * 30) // an answer is 4 bytes
				defer left.Store(1 << 40)
				go func() { // a new connection is not torn
					<-time.After(20 * time.Millisecond)
					left.Store(1 << 40)
				}()
				return next(ctx, cmds)
			}))
			rows := make([]string, 100)
			for i := range rows {
				rows[i] = b.add(t, noteDef().With(note{User: i}))
			}
			r := b.relayBy(t, client, noteDef())
			stop := run(t, r)
			eventually(t, "all rows are enqueued", func() bool { return b.count(jobs.RowEnqueued) == 100 })
			stop()
			if diff := cmp.Diff(taskIDs(rows), b.pending(t, "default")); diff != "" {
				t.Errorf("pending (-want +got):\n%s", diff)
			}
			if s := r.Stats(); s.Present == 0 || s.Restored != 0 {
				t.Errorf("no answer was lost: %+v", s)
			}
			if got := len(b.pending(t, "default")); got != 100 {
				t.Errorf("%d tasks, want 100", got)
			}
		})
	}
}

// dead is an outbox whose relay was killed after it had enqueued, before it wrote that down.
type dead struct {
	*outbox
	killed chan struct{}
}

func (d dead) RowsEnqueued(ctx context.Context, _ []jobs.ClaimedRow) error {
	close(d.killed)
	<-ctx.Done()
	return ctx.Err()
}

func TestWhatARelayHadEnqueuedWhenItWasKilledIsNotDoubled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Overdue = time.Hour
	b.cfg.Lease = 300 * time.Millisecond
	rows := make([]string, 40)
	for i := range rows {
		rows[i] = b.add(t, noteDef().With(note{User: i}))
	}
	catalog, err := jobs.NewCatalog(noteDef())
	if err != nil {
		t.Fatal(err)
	}
	victim := dead{b.outbox, make(chan struct{})}
	r, err := relay.New(victim, catalog, b.keys, b.server.Client(t), b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, r)
	<-victim.killed
	stop()
	if got := b.count(jobs.RowClaimed); got != 40 {
		t.Fatalf("%d rows are claimed, want all", got)
	}
	heir := b.relay(t)
	run(t, heir)
	eventually(t, "all rows are enqueued", func() bool { return b.count(jobs.RowEnqueued) == 40 })
	if diff := cmp.Diff(taskIDs(rows), b.pending(t, "default")); diff != "" {
		t.Errorf("pending (-want +got):\n%s", diff)
	}
	if s := heir.Stats(); s.Present != 40 || s.Relayed != 0 {
		t.Errorf("stats: %+v", s)
	}
}
