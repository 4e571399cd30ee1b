package worker_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

const concurrency = 16 // where settings are equal

// counter is a handler that counts.
type counter struct {
	n, all      atomic.Int64
	began, done chan struct{}
}

func newCounter(all int) *counter {
	c := &counter{began: make(chan struct{}), done: make(chan struct{})}
	c.all.Store(int64(all))
	return c
}

// add counts a job. The first tenth is left out of the time: servers start.
func (c *counter) add() {
	switch n := c.n.Add(1); n {
	case c.all.Load() / 10:
		close(c.began)
	case c.all.Load():
		close(c.done)
	}
}

// rate waits for the end and says how many jobs a second there were, and how much processor time of this process each took.
func (c *counter) rate(b *testing.B) (perSecond float64, each time.Duration) {
	b.Helper()
	timeout := time.After(5 * time.Minute)
	select {
	case <-c.began:
	case <-timeout:
		b.Fatal("the first jobs do not end")
	}
	began, busy := time.Now(), processor(b)
	select {
	case <-c.done:
	case <-timeout:
		b.Fatalf("%d of %d jobs have ended", c.n.Load(), c.all.Load())
	}
	jobs := c.all.Load() - c.all.Load()/10
	return float64(jobs) / time.Since(began).Seconds(), (processor(b) - busy) / time.Duration(jobs)
}

// processor is the processor time that this process has used. On a machine with other work it is steadier than rates.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	check(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// rig is a real Redis and a ring.
type rig struct {
	server   *testservers.RedisServer
	client   *redis.Client
	enqueuer *jobs.Enqueuer
	plain    *asynq.Client
	keys     *signing.Keys
	dir      string
}

func newRig(b *testing.B) *rig {
	b.Helper()
	r := &rig{server: testservers.Redis(b), dir: b.TempDir()}
	path := filepath.Join(r.dir, "keys.json")
	ring, err := signing.NewRing(time.Now().Add(-time.Hour), 720*time.Hour)
	check(b, err)
	check(b, signing.NewFile(path).Create(ring))
	r.keys, err = signing.Open(b.Context(), "file:"+path, "bench")
	check(b, err)
	b.Cleanup(r.keys.Close)
	r.client = r.server.Client(b)
	r.plain = asynq.NewClientFromRedisClient(r.client)
	r.enqueuer, err = jobs.NewEnqueuer(r.plain, r.keys, jobs.Config{})
	check(b, err)
	return r
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

var text = strings.Repeat("x", 254) // 256 bytes with its quotes

func noop(queue string) jobs.Def[string] {
	return jobs.Define[string]("bench", jobs.Policy{Queue: queue, NoLedger: true})
}

// fill enqueues n jobs, by 16 goroutines.
func (r *rig) fill(b *testing.B, n int, signed bool) {
	b.Helper()
	def := noop("default")
	var g sync.WaitGroup
	for range 16 {
		g.Go(func() {
			for range n / 16 {
				var err error
				if signed {
					_, err = r.enqueuer.Enqueue(b.Context(), def.With(text))
				} else {
					_, err = r.plain.EnqueueContext(b.Context(), asynq.NewTask("bench", []byte(`"`+text+`"`)), asynq.Deadline(time.Unix(7258118400, 0)))
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	g.Wait()
}

// away is a client at a distance: each way to Redis and back takes the delay longer.
func (r *rig) away(b *testing.B, delay time.Duration) *redis.Client {
	b.Helper()
	options := *r.server.Options(b)
	if delay > 0 {
		options.Addr = distance(b, options.Addr, delay)
	}
	client := redis.NewClient(&options)
	b.Cleanup(func() { _ = client.Close() })
	return client
}

// distance is a proxy to addr whose answers are held back. It keeps their order and lets any number be under way.
func distance(b *testing.B, addr string, delay time.Duration) string {
	b.Helper()
	listener, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp4", "127.0.0.1:0")
	check(b, err)
	b.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := (&net.Dialer{}).DialContext(b.Context(), "tcp4", addr)
			if err != nil {
				_ = client.Close()
				return
			}
			go func() { _, _ = io.Copy(server, client); _ = server.Close() }()
			go later(client, server, delay)
		}
	}()
	return listener.Addr().String()
}

func later(to io.WriteCloser, from io.Reader, delay time.Duration) {
	type piece struct {
		due   time.Time
		bytes []byte
	}
	pieces := make(chan piece, 1024)
	go func() {
		defer close(pieces)
		for {
			b := make([]byte, 16<<10)
			n, err := from.Read(b)
			if err != nil {
				return
			}
			pieces <- piece{time.Now().Add(delay), b[:n]}
		}
	}()
	for p := range pieces {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.bytes); err != nil {
			break
		}
	}
	_ = to.Close()
}

// way is a kind of worker.
type way struct {
	name   string
	signed bool
	fill   func(b *testing.B, n int) // nil: into Redis
	// start runs it until stop is called.
	start func(b *testing.B, client *redis.Client, c *counter) (stop func())
}

func plainServer(name string, c asynq.Config) way {
	return way{name: name, start: func(b *testing.B, client *redis.Client, n *counter) func() {
		b.Helper()
		c.LogLevel = asynq.FatalLevel
		srv := asynq.NewServerFromRedisClient(client, c)
		check(b, srv.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { n.add(); return nil })))
		return srv.Shutdown
	}}
}

func (r *rig) handlers(b *testing.B, n *counter) (*worker.Verifier, *worker.Handlers) {
	b.Helper()
	v, err := worker.New(r.keys, worker.Config{QuarantineDir: filepath.Join(r.dir, "quarantine")})
	check(b, err)
	h := worker.NewHandlers(worker.HandlersConfig{})
	worker.Handle(h, noop("default"), func(context.Context, worker.Job[string]) error { n.add(); return nil })
	return v, h
}

// dropIn is asynq's server behind a verifier, with or without its hook.
func (r *rig) dropIn(name string, c asynq.Config, hook bool) way {
	return way{name: name, signed: true, start: func(b *testing.B, client *redis.Client, n *counter) func() {
		b.Helper()
		v, h := r.handlers(b, n)
		if hook {
			client.AddHook(v.Hook())
		}
		c.LogLevel = asynq.FatalLevel
		srv := asynq.NewServerFromRedisClient(client, v.Config(c))
		check(b, srv.Start(v.Handler(h)))
		return srv.Shutdown
	}}
}

func (r *rig) serverOf(name string, c worker.ServerConfig) way {
	return way{name: name, signed: true, start: func(b *testing.B, client *redis.Client, n *counter) func() {
		b.Helper()
		v, h := r.handlers(b, n)
		s, err := worker.NewServer(client, v, h, c)
		check(b, err)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		return func() { cancel(); check(b, <-ended) }
	}}
}

// compare lets the ways take turns, in short rounds, and prints medians: of their rates, of each round's ratio to the first, and of the
// processor time of a job.
func (r *rig) compare(b *testing.B, title string, delay time.Duration, rounds, perRound int, ways []way) {
	b.Helper()
	perRound = perRound / 16 * 16
	rates, ratios, busy := make([][]float64, len(ways)), make([][]float64, len(ways)), make([][]float64, len(ways))
	for range rounds {
		var first float64
		for i, w := range ways {
			if w.fill != nil {
				w.fill(b, perRound)
			} else {
				r.server.Flush(b)
				r.fill(b, perRound, w.signed)
			}
			n := newCounter(perRound)
			client := r.away(b, delay)
			stop := w.start(b, client, n)
			rate, each := n.rate(b)
			stop()
			_ = client.Close()
			if i == 0 {
				first = rate
			}
			rates[i], ratios[i] = append(rates[i], rate), append(ratios[i], rate/first)
			busy[i] = append(busy[i], float64(each))
		}
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\n%s\tjobs/s\t× the first\tprocessor a job\t(medians of %d)\n", title, rounds)
	for i, w := range ways {
		fmt.Fprintf(t, "%s\t%.0f\t%.2f\t%v\n", w.name, median(rates[i]), median(ratios[i]), time.Duration(median(busy[i])).Round(100*time.Nanosecond))
	}
	check(b, t.Flush())
}

func median(v []float64) float64 {
	slices.SortFunc(v, cmp.Compare)
	return v[len(v)/2]
}
