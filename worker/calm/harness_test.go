package calm_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sealq/sealq/internal/testservers"
)

// goRedis is a goroutine that go-redis v9.23.0 leaves behind where two connections of a new client begin at once.
const goRedis = "github.com/redis/go-redis/v9/maintnotifications.(*CircuitBreakerManager).cleanupLoop"

// TestMain sees to it that nothing else is left behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreTopFunction(goRedis)) }

const patience = 20 * time.Second

// eventually polls until the condition holds or patience is over.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("did not happen within %v: %s", patience, what)
		case <-tick.C:
		}
	}
}

// queue is a real Redis that holds asynq's queues.
type queue struct {
	*redis.Client // without hooks
	server        *testservers.RedisServer
	link          *link
}

func newQueue(t *testing.T) *queue {
	t.Helper()
	s := testservers.Redis(t)
	return &queue{Client: s.Client(t), server: s, link: &link{}}
}

// behind makes a client of a hook, over the link that tests cut.
func (q *queue) behind(t *testing.T, hooks ...redis.Hook) *redis.Client {
	t.Helper()
	options := q.server.Options(t)
	options.Dialer = q.link.dial
	client := redis.NewClient(options)
	for _, h := range hooks {
		client.AddHook(h)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// serve runs an asynq server as an app would until the test ends.
func serve(t *testing.T, client redis.UniversalClient, handle asynq.HandlerFunc, c asynq.Config) {
	t.Helper()
	c.TaskCheckInterval, c.DelayedTaskCheckInterval = 5*time.Millisecond, 20*time.Millisecond
	c.LogLevel, c.ShutdownTimeout = asynq.FatalLevel, 2*time.Second
	if c.Concurrency == 0 {
		c.Concurrency = 4
	}
	srv := asynq.NewServerFromRedisClient(client, c)
	if err := srv.Start(handle); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
}

func (q *queue) enqueue(t *testing.T, id string, opts ...asynq.Option) {
	t.Helper()
	_, err := asynq.NewClientFromRedisClient(q.Client).Enqueue(asynq.NewTask("work", []byte(id)), append(opts, asynq.TaskID(id))...)
	if err != nil {
		t.Fatal(err)
	}
}

// put writes a task as somebody with a Redis client would.
func (q *queue) put(t *testing.T, list, id string, msg []byte) {
	t.Helper()
	put(t, q.Client, list, id, msg)
}

func put(t *testing.T, client redis.UniversalClient, list, id string, msg []byte) {
	t.Helper()
	prefix := "asynq:{" + list + "}:"
	_, err := client.TxPipelined(t.Context(), func(p redis.Pipeliner) error {
		p.HSet(t.Context(), prefix+"t:"+id, "msg", msg, "state", "pending")
		p.LPush(t.Context(), prefix+"pending", id)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// message is asynq's TaskMessage with an ID and a queue.
func message(id, queue string) []byte {
	var b []byte
	for i, s := range []string{"work", id, id, queue} { // kind, payload, ID, queue
		b = protowire.AppendString(protowire.AppendTag(b, protowire.Number(i+1), protowire.BytesType), s)
	}
	b = protowire.AppendVarint(protowire.AppendTag(b, 5, protowire.VarintType), 25)
	return protowire.AppendVarint(protowire.AppendTag(b, 8, protowire.VarintType), 1800)
}

// left is what a queue's keys hold, but for asynq's figures.
func (q *queue) left(t *testing.T, name string) []string {
	t.Helper()
	return left(t, q.Client, name)
}

func left(t *testing.T, client redis.UniversalClient, name string) (keys []string) {
	t.Helper()
	for _, pattern := range []string{"t:*", "pending", "active", "lease", "retry", "archived", "scheduled"} {
		found, err := client.Keys(t.Context(), "asynq:{"+name+"}:"+pattern).Result()
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, found...)
	}
	return keys
}

// seen counts what a handler was given.
type seen struct {
	mu  sync.Mutex
	ids []string
}

func (s *seen) add(task *asynq.Task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids = append(s.ids, string(task.Payload()))
}

func (s *seen) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.ids...)
}

// link is the network between a client and Redis.
type link struct {
	mu    sync.Mutex
	conns []*conn
	down  bool
	deaf  bool // commands arrive, answers do not
	dials int
}

var errDown = errors.New("the link is down")

func (l *link) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dials++
	if l.down {
		return nil, &net.OpError{Op: "dial", Net: network, Err: errDown}
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	wrapped := &conn{Conn: c, link: l}
	l.conns = append(l.conns, wrapped)
	return wrapped, nil
}

// cut breaks every connection and lets none be made.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for _, c := range l.conns {
		_ = c.Close()
	}
	l.conns = nil
}

func (l *link) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down, l.deaf = false, false
}

func (l *link) deafen() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deaf = true
}

func (l *link) isDeaf() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.deaf
}

type conn struct {
	net.Conn
	link *link
}

// Read hears nothing on a deaf link: what Redis answers is lost, and the connection with it.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.link.isDeaf() {
		_ = c.Close()
		return 0, &net.OpError{Op: "read", Err: errDown}
	}
	return n, err
}

func (l *link) dialed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dials
}
