package worker_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/sealq/sealq/bench/internal/rounds"
	"github.com/sealq/sealq/bench/internal/slow"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

const (
	kind  = "bench:noop"
	slots = 16 // where settings are equal
)

// text has 256 bytes with its quotes.
var text = strings.Repeat("x", 254)

func noop() jobs.Def[string] {
	return jobs.Define[string](kind, jobs.Policy{NoLedger: true})
}

// fixture is a Redis, and a ring.
type fixture struct {
	b       *testing.B
	server  *testservers.RedisServer
	redis   *redis.Client // to fill and to look
	keys    *signing.Keys
	folders atomic.Int32
}

func newFixture(b *testing.B) *fixture {
	b.Helper()
	f := &fixture{b: b, server: testservers.Redis(b)}
	f.redis = f.server.Client(b)
	ring, err := signing.NewRing(time.Now().Add(-time.Minute), 720*time.Hour)
	f.must(err)
	path := filepath.Join(b.TempDir(), "keys.json")
	f.must(signing.NewFile(path).Create(ring))
	f.keys, err = signing.Open(b.Context(), "file:"+path, "bench")
	f.must(err)
	b.Cleanup(f.keys.Close)
	return f
}

func (f *fixture) must(err error) {
	f.b.Helper()
	if err != nil {
		f.b.Fatal(err)
	}
}

// address is Redis's, a round trip away.
func (f *fixture) address(trip time.Duration) string {
	address := f.server.Options(f.b).Addr
	if trip > 0 {
		return slow.Proxy(f.b, address, trip)
	}
	return address
}

// client is one for a worker alone: hooks are for good.
func (f *fixture) client(address string) *redis.Client {
	options := *f.server.Options(f.b)
	options.Addr = address
	return redis.NewClient(&options)
}

// A filling puts n jobs into the queue, a starter runs a worker until stop is called and calls ran for each job.
type (
	redisClient = redis.UniversalClient
	filling     func(ctx context.Context, n int) error
	starter     func(c redisClient, ran func()) (stop func() error, err error)
)

// warmUp is the part of the jobs, of all, that is not timed: servers start.
const warmUp = 10

// way times the last of n and some more jobs, from a worker's start.
func (f *fixture) way(trip time.Duration, fill filling, start starter) func(int, *rounds.Timer) error {
	address := f.address(trip)
	return func(n int, t *rounds.Timer) error {
		if err := f.redis.FlushDB(f.b.Context()).Err(); err != nil {
			return err
		}
		all := n + n/warmUp
		if err := fill(f.b.Context(), all); err != nil {
			return err
		}
		client := f.client(address)
		defer client.Close()
		var ran atomic.Int64
		began, done := make(chan struct{}), make(chan struct{})
		stop, err := start(client, func() {
			switch int(ran.Add(1)) {
			case all - n:
				close(began)
			case all:
				close(done)
			}
		})
		if err != nil {
			return err
		}
		timeout := time.After(5 * time.Minute)
		for _, moment := range []struct {
			reached chan struct{}
			then    func()
		}{{began, t.Start}, {done, t.Stop}} {
			select {
			case <-moment.reached:
				moment.then()
			case <-timeout:
				return fmt.Errorf("%d of %d jobs ran within five minutes", ran.Load(), all)
			}
		}
		return stop()
	}
}

// plainTasks are what an app enqueues by hand.
func (f *fixture) plainTasks(ctx context.Context, n int) error {
	client := asynq.NewClientFromRedisClient(f.redis)
	return together(n, func() error {
		_, err := client.EnqueueContext(ctx, asynq.NewTask(kind, []byte(`"`+text+`"`)), asynq.Deadline(time.Unix(7258118400, 0)))
		return err
	})
}

func (f *fixture) signedTasks(ctx context.Context, n int) error {
	enqueuer, err := jobs.NewEnqueuer(asynq.NewClientFromRedisClient(f.redis), f.keys, jobs.Config{})
	if err != nil {
		return err
	}
	def := noop()
	return together(n, func() error { _, err := enqueuer.Enqueue(ctx, def.With(text)); return err })
}

func together(n int, each func() error) error {
	var g errgroup.Group
	g.SetLimit(16)
	for range n {
		g.Go(each)
	}
	return g.Wait()
}

// plain is asynq's own server.
func plain(c asynq.Config) starter {
	return func(client redisClient, ran func()) (func() error, error) {
		c.LogLevel = asynq.FatalLevel
		srv := asynq.NewServerFromRedisClient(client, c)
		stop := func() error { srv.Shutdown(); return nil }
		return stop, srv.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { ran(); return nil }))
	}
}

// dropIn is asynq's server behind a verifier, with or without its hook.
func (f *fixture) dropIn(c asynq.Config, hook bool) starter {
	return func(client redisClient, ran func()) (func() error, error) {
		v, h, err := f.handlers(f.folder(), ran)
		if err != nil {
			return nil, err
		}
		if hook {
			client.AddHook(v.Hook())
		}
		c.LogLevel = asynq.FatalLevel
		srv := asynq.NewServerFromRedisClient(client, v.Config(c))
		stop := func() error { srv.Shutdown(); return nil }
		return stop, srv.Start(v.Handler(h))
	}
}

// serverOf is a worker.Server whose quarantine is a folder.
func (f *fixture) serverOf(c worker.ServerConfig) starter {
	return func(client redisClient, ran func()) (func() error, error) {
		return f.serverWith(f.folder(), c)(client, ran)
	}
}

func (f *fixture) serverWith(w worker.Config, c worker.ServerConfig) starter {
	return func(client redisClient, ran func()) (func() error, error) {
		v, h, err := f.handlers(w, ran)
		if err != nil {
			return nil, err
		}
		s, err := worker.NewServer(client, v, h, c)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		return func() error { cancel(); return <-ended }, nil
	}
}

func (f *fixture) folder() worker.Config {
	return worker.Config{QuarantineDir: filepath.Join(f.b.TempDir(), fmt.Sprintf("quarantine%d", f.folders.Add(1)))}
}

func (f *fixture) handlers(c worker.Config, ran func()) (*worker.Verifier, *worker.Handlers, error) {
	v, err := worker.New(f.keys, c)
	if err != nil {
		return nil, nil, err
	}
	h := worker.NewHandlers(worker.HandlersConfig{})
	worker.Handle(h, noop(), func(context.Context, worker.Job[string]) error { ran(); return nil })
	return v, h, nil
}
