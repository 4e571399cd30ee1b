package rawtask_test

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs/internal/fixture"
	"github.com/sealq/sealq/jobs/rawtask"
)

const queue, key = "low", "asynq:{low}:"

// servers are those that a task may lie in.
var servers = map[string]func(t *testing.T) *redis.Client{
	"redis": func(t *testing.T) *redis.Client { t.Helper(); return testservers.Redis(t).Client(t) },
	"miniredis": func(t *testing.T) *redis.Client {
		t.Helper()
		c := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
		t.Cleanup(func() { c.Close() })
		return c
	},
}

func enqueue(t *testing.T, c redis.UniversalClient, opts ...asynq.Option) {
	t.Helper()
	task := asynq.NewTaskWithHeaders("test:note", []byte("payload"), map[string]string{"trace": "00-ab"})
	if _, err := asynq.NewClientFromRedisClient(c).Enqueue(task, append(opts, asynq.Queue(queue), asynq.TaskID("id"))...); err != nil {
		t.Fatal(err)
	}
}

// work runs a server until the handler was called, and ends it.
func work(t *testing.T, c redis.UniversalClient, result error) {
	t.Helper()
	called := make(chan struct{}, 1)
	server := asynq.NewServerFromRedisClient(c, asynq.Config{
		Queues: map[string]int{queue: 1}, Concurrency: 1, TaskCheckInterval: time.Millisecond, LogLevel: asynq.FatalLevel,
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return time.Hour },
	})
	err := server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		called <- struct{}{}
		return result
	}))
	if err != nil {
		t.Fatal(err)
	}
	<-called
	server.Shutdown() // waits for the task to be put where it belongs
}

// active takes the task as a server does, and keeps it: its handler runs until t ends.
func active(t *testing.T, c redis.UniversalClient) {
	t.Helper()
	called, end := make(chan struct{}, 1), make(chan struct{})
	server := asynq.NewServerFromRedisClient(c, asynq.Config{Queues: map[string]int{queue: 1}, TaskCheckInterval: time.Millisecond, LogLevel: asynq.FatalLevel})
	err := server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		called <- struct{}{}
		<-end
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(end); server.Shutdown() })
	<-called
}

func TestLookupTellsWhereATaskIs(t *testing.T) {
	t.Parallel()
	do := func(t *testing.T, cmd redis.Cmder) {
		t.Helper()
		if cmd.Err() != nil {
			t.Fatal(cmd.Err())
		}
	}
	tests := map[string]struct {
		make   func(t *testing.T, c *redis.Client)
		state  string
		placed bool
	}{
		"pending":   {func(t *testing.T, c *redis.Client) { t.Helper(); enqueue(t, c) }, "pending", true},
		"scheduled": {func(t *testing.T, c *redis.Client) { t.Helper(); enqueue(t, c, asynq.ProcessIn(time.Hour)) }, "scheduled", true},
		"active": {func(t *testing.T, c *redis.Client) {
			t.Helper()
			enqueue(t, c)
			active(t, c)
		}, "active", true},
		"retry": {func(t *testing.T, c *redis.Client) {
			t.Helper()
			enqueue(t, c)
			work(t, c, errors.New("no"))
		}, "retry", true},
		"archived": {func(t *testing.T, c *redis.Client) {
			t.Helper()
			enqueue(t, c)
			work(t, c, asynq.SkipRetry)
		}, "archived", true},
		"completed": {func(t *testing.T, c *redis.Client) {
			t.Helper()
			enqueue(t, c, asynq.Retention(time.Hour))
			work(t, c, nil)
		}, "completed", true},
		"pending, but not in the list": {func(t *testing.T, c *redis.Client) {
			t.Helper()
			enqueue(t, c)
			do(t, c.LRem(t.Context(), key+"pending", 0, "id"))
		}, "pending", false},
		"pending, in a list of many": {func(t *testing.T, c *redis.Client) {
			t.Helper()
			enqueue(t, c)
			do(t, c.LPush(t.Context(), key+"pending", "a", "b", "c"))
			do(t, c.RPush(t.Context(), key+"pending", "x", "y", "z"))
		}, "pending", true},
		"pending, but in the active list": {func(t *testing.T, c *redis.Client) {
			t.Helper()
			enqueue(t, c)
			do(t, c.LMove(t.Context(), key+"pending", key+"active", "RIGHT", "LEFT"))
		}, "pending", false},
		"pending, where the list is none": {func(t *testing.T, c *redis.Client) {
			t.Helper()
			enqueue(t, c)
			do(t, c.Set(t.Context(), key+"pending", "x", 0))
		}, "pending", false},
		"scheduled, but not in the set": {func(t *testing.T, c *redis.Client) {
			t.Helper()
			enqueue(t, c, asynq.ProcessIn(time.Hour))
			do(t, c.ZRem(t.Context(), key+"scheduled", "id"))
		}, "scheduled", false},
		"active, but without a lease": {func(t *testing.T, c *redis.Client) {
			t.Helper()
			enqueue(t, c)
			do(t, c.LMove(t.Context(), key+"pending", key+"active", "RIGHT", "LEFT"))
			do(t, c.HSet(t.Context(), key+"t:id", "state", "active"))
		}, "active", false},
		"active, but not in the list": {func(t *testing.T, c *redis.Client) {
			t.Helper()
			enqueue(t, c)
			do(t, c.HSet(t.Context(), key+"t:id", "state", "active"))
			do(t, c.ZAdd(t.Context(), key+"lease", redis.Z{Score: 1, Member: "id"}))
		}, "active", false},
		"retry, but not in the set": {func(t *testing.T, c *redis.Client) {
			t.Helper()
			enqueue(t, c)
			do(t, c.HSet(t.Context(), key+"t:id", "state", "retry"))
		}, "retry", false},
		"archived, but not in the set": {func(t *testing.T, c *redis.Client) {
			t.Helper()
			enqueue(t, c)
			do(t, c.HSet(t.Context(), key+"t:id", "state", "archived"))
		}, "archived", false},
		"completed, but not in the set": {func(t *testing.T, c *redis.Client) {
			t.Helper()
			enqueue(t, c)
			do(t, c.HSet(t.Context(), key+"t:id", "state", "completed"))
		}, "completed", false},
		"a state that there is not": {func(t *testing.T, c *redis.Client) {
			t.Helper()
			enqueue(t, c)
			do(t, c.HSet(t.Context(), key+"t:id", "state", "evil"))
		}, "evil", false},
		"no state": {func(t *testing.T, c *redis.Client) {
			t.Helper()
			enqueue(t, c)
			do(t, c.HDel(t.Context(), key+"t:id", "state"))
		}, "", false},
	}
	for name, test := range tests {
		for server, start := range servers {
			t.Run(name+" on "+server, func(t *testing.T) {
				t.Parallel()
				c := start(t)
				test.make(t, c)
				before := dump(t, c)
				got, err := rawtask.NewReader(c).Lookup(t.Context(), queue, "id")
				if err != nil {
					t.Fatal(err)
				}
				if got.State != test.state || got.Placed != test.placed {
					t.Errorf("state %q, placed %v; want %q, %v", got.State, got.Placed, test.state, test.placed)
				}
				want := rawtask.Message{
					Kind: "test:note", ID: "id", Queue: queue, Payload: []byte("payload"),
					Headers: map[string]string{"trace": "00-ab"}, MaxRetry: 25, Timeout: 30 * time.Minute,
				}
				if test.state == "retry" && test.placed {
					want.Retried = 1
				}
				// asynq's own words for what the test's handler ended with, where one ran.
				if failed := got.LastError != ""; failed || test.placed && (test.state == "retry" || test.state == "archived") {
					want.LastError, want.LastFailed = "no", got.LastFailed
					if test.state == "archived" {
						want.LastError = "skip retry for the task"
					}
					if past := time.Since(got.LastFailed); past < 0 || past > time.Minute {
						t.Errorf("it failed %v ago", past)
					}
				}
				if diff := cmp.Diff(want, got.Message); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff(before, dump(t, c)); diff != "" && test.state != "active" {
					t.Errorf("looking changed Redis: %s", diff)
				}
			})
		}
	}
}

// dump is what a look at a task must not change.
func dump(t *testing.T, c *redis.Client) map[string]any {
	t.Helper()
	ctx, all := t.Context(), map[string]any{}
	for _, k := range c.Keys(ctx, key+"*").Val() {
		switch c.Type(ctx, k).Val() {
		case "hash":
			all[k] = c.HGetAll(ctx, k).Val()
		case "list":
			all[k] = c.LRange(ctx, k, 0, -1).Val()
		case "zset":
			all[k] = c.ZRangeWithScores(ctx, k, 0, -1).Val()
		default:
			all[k] = c.Type(ctx, k).Val()
		}
	}
	return all
}

func TestLookupOfWhatIsNoTask(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		make func(ctx context.Context, c *redis.Client) error
		want error
	}{
		"nothing": {func(context.Context, *redis.Client) error { return nil }, rawtask.ErrNoTask},
		"a hash without a message": {func(ctx context.Context, c *redis.Client) error {
			return c.HSet(ctx, key+"t:id", "state", "pending").Err()
		}, rawtask.ErrNoTask},
		"a message that is no message": {func(ctx context.Context, c *redis.Client) error {
			return c.HSet(ctx, key+"t:id", "msg", "\xff\xff").Err()
		}, rawtask.ErrUndecodable},
		"a text": {func(ctx context.Context, c *redis.Client) error { return c.Set(ctx, key+"t:id", "x", 0).Err() }, rawtask.ErrUndecodable},
		"a list": {func(ctx context.Context, c *redis.Client) error { return c.LPush(ctx, key+"t:id", "x").Err() }, rawtask.ErrUndecodable},
		"a set":  {func(ctx context.Context, c *redis.Client) error { return c.SAdd(ctx, key+"t:id", "x").Err() }, rawtask.ErrUndecodable},
	}
	for name, test := range tests {
		for server, start := range servers {
			t.Run(name+" on "+server, func(t *testing.T) {
				t.Parallel()
				c := start(t)
				if err := test.make(t.Context(), c); err != nil {
					t.Fatal(err)
				}
				if got, err := rawtask.NewReader(c).Lookup(t.Context(), queue, "id"); !errors.Is(err, test.want) {
					t.Errorf("want %v, got %+v, %v", test.want, got, err)
				}
			})
		}
	}
}

func TestLookupTellsAnOutageFromALoss(t *testing.T) {
	t.Parallel()
	server := testservers.Redis(t)
	c := server.Client(t)
	server.Stop(t)
	_, err := rawtask.NewReader(c).Lookup(t.Context(), queue, "id")
	if err == nil || errors.Is(err, rawtask.ErrNoTask) || errors.Is(err, rawtask.ErrUndecodable) {
		t.Errorf("got %v", err)
	}
}

func TestDecodeAgreesWithTheInspector(t *testing.T) {
	t.Parallel()
	c := testservers.Redis(t).Client(t)
	client, inspector := asynq.NewClientFromRedisClient(c), asynq.NewInspectorFromRedisClient(c)
	tests := map[string]*asynq.Task{
		"plain":        asynq.NewTask("test:a", []byte("x")),
		"no payload":   asynq.NewTask("test:a", nil),
		"any payload":  asynq.NewTask("test:a", []byte{0, 0xff, 0x80}),
		"headers":      asynq.NewTaskWithHeaders("test:ö", []byte("x"), map[string]string{"a": "1", "b": "", "": "c", "ö": "ü"}),
		"retries":      asynq.NewTask("test:a", nil, asynq.MaxRetry(1<<31-1)),
		"retries lost": asynq.NewTask("test:a", nil, asynq.MaxRetry(1<<31)), // asynq stores a negative number
		"a deadline":   asynq.NewTask("test:a", nil, asynq.Deadline(time.Unix(4102444800, 0))),
		"an old one":   asynq.NewTask("test:a", nil, asynq.Deadline(time.Unix(-9, 0))),
		"everything":   asynq.NewTask("test:a", nil, asynq.Timeout(time.Hour), asynq.Unique(time.Hour), asynq.Retention(time.Hour), asynq.Queue("other"), asynq.ProcessIn(time.Hour)),
		"a group":      asynq.NewTask("test:a", nil, asynq.Group("g")),
	}
	for name, task := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			info, err := client.Enqueue(task, asynq.TaskID(name))
			if err != nil {
				t.Fatal(err)
			}
			seen, err := inspector.GetTaskInfo(info.Queue, name)
			if err != nil {
				t.Fatal(err)
			}
			want := rawtask.Message{
				Kind: seen.Type, ID: seen.ID, Queue: seen.Queue, Payload: seen.Payload, Headers: seen.Headers,
				MaxRetry: seen.MaxRetry, Retried: seen.Retried, Timeout: seen.Timeout, Deadline: seen.Deadline,
				LastError: seen.LastErr, LastFailed: seen.LastFailedAt,
			}
			got, err := rawtask.Decode([]byte(fixture.Stored(t, c, info.Queue, name)["msg"]))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAnEditedMessageDiffersInNothingElse(t *testing.T) {
	t.Parallel()
	c := testservers.Redis(t).Client(t)
	enqueue(t, c)
	raw := []byte(fixture.Stored(t, c, queue, "id")["msg"])
	before := slices.Clone(raw)
	want, err := rawtask.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	want.Retried, want.Timeout, want.Deadline = 3, 0, time.Unix(4102444800, 0)
	got, err := rawtask.Decode(rawtask.WithDeadline(rawtask.WithRetried(rawtask.WithRetried(raw, -7), 3), want.Deadline))
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if !slices.Equal(before, raw) {
		t.Error("the bytes that it was made of have changed")
	}
}

// FuzzDecode: whatever the bytes, Decode and asynq's own decoder take the same and read the same.
func FuzzDecode(f *testing.F) {
	server := miniredis.RunT(f)
	c := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer c.Close()
	client := asynq.NewClientFromRedisClient(c)
	for id, task := range map[string]*asynq.Task{
		"a": asynq.NewTaskWithHeaders("test:a", []byte("x"), map[string]string{"a": "1", "b": ""}, asynq.Deadline(time.Unix(9, 0))),
		"b": asynq.NewTask("test:a", nil, asynq.Unique(time.Hour), asynq.Retention(time.Hour)),
	} {
		if _, err := client.Enqueue(task, asynq.TaskID(id)); err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(server.HGet(fixture.TaskKey("default", id), "msg")))
	}
	for _, seed := range []string{
		"", "\x0a\x01\xff", "\x3a\x01\xff", "\x08\x01", "\x0a\x01a\x08\x01", "\x7a\x04\x0a\x02\xff\xff", "\x7a\x02\x08\x01", "\x0b\x0c", "\x0b\x14",
		"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\xfa\xff\xff\xff\x7f\x00", "\x80\x80\x80\x80\x10\x00", "\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x00", "\x0f", "\x2d\x01\x02\x03\x04",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := rawtask.Decode(raw)
		m, want := fixture.Message(raw)
		if (err == nil) != (want == nil) {
			t.Fatalf("Decode says %v, asynq %v", err, want)
		}
		if err != nil {
			if !errors.Is(err, rawtask.ErrUndecodable) {
				t.Fatalf("the cause is not ErrUndecodable: %v", err)
			}
			return
		}
		headers := make(map[string]string)
		maps.Copy(headers, got.Headers)
		seen := fixture.Seen(m)
		const most = int64(math.MaxInt64 / time.Second) // that a Duration can say
		seen.Timeout = min(max(seen.Timeout, -most), most)
		if diff := cmp.Diff(seen, fixture.Read{
			Kind: got.Kind, ID: got.ID, Queue: got.Queue, Payload: string(got.Payload), Headers: headers,
			MaxRetry: got.MaxRetry, Retried: got.Retried, Timeout: int64(got.Timeout / time.Second), Deadline: unix(got.Deadline),
		}); diff != "" {
			t.Fatal(diff)
		}
	})
}

func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}
