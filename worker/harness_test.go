package worker_test

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

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

// rig is a real Redis with keys, to which each test adds a verifier and a server.
type rig struct {
	redis    *redis.Client
	client   *asynq.Client
	keys     *signing.Keys
	ringFile string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{ringFile: filepath.Join(t.TempDir(), "keys.json"), redis: testservers.Redis(t).Client(t)}
	ring, err := signing.NewRing(time.Now().Add(-time.Hour), 30*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := signing.NewFile(r.ringFile).Create(ring); err != nil {
		t.Fatal(err)
	}
	r.keys = r.open(t, "test")
	r.client = asynq.NewClientFromRedisClient(r.redis)
	return r
}

// open reads the rig's ring for an audience.
func (r *rig) open(t *testing.T, audience string) *signing.Keys {
	t.Helper()
	k, err := signing.Open(t.Context(), "file:"+r.ringFile, audience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

func (r *rig) verifier(t *testing.T, c worker.Config) *worker.Verifier {
	t.Helper()
	if c.Quarantine == nil && c.QuarantineDir == "" && !c.Archive {
		c.QuarantineDir = t.TempDir()
	}
	v, err := worker.New(r.keys, c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// serve runs next behind v until the test ends. It looks at queues and delayed tasks often.
func (r *rig) serve(t *testing.T, v *worker.Verifier, next asynq.Handler, c asynq.Config) {
	t.Helper()
	t.Cleanup(serveOn(t, r.redis, v, next, c))
}

// serveOn serves on a client of its own, until the function that it returns is called.
func serveOn(t *testing.T, client *redis.Client, v *worker.Verifier, next asynq.Handler, c asynq.Config) (stop func()) {
	t.Helper()
	c.TaskCheckInterval, c.DelayedTaskCheckInterval = 5*time.Millisecond, 20*time.Millisecond
	c.LogLevel, c.ShutdownTimeout = asynq.FatalLevel, 2*time.Second
	if c.Concurrency == 0 {
		c.Concurrency = 4
	}
	srv := asynq.NewServerFromRedisClient(client, v.Config(c))
	if err := srv.Start(v.Handler(next)); err != nil {
		t.Fatal(err)
	}
	return srv.Shutdown
}

// gated is a client of the rig's Redis behind a gate.
func (r *rig) gated(t *testing.T, mayFetch func(queue string) bool) *redis.Client {
	t.Helper()
	client := redis.NewClient(r.redis.Options())
	client.AddHook(worker.Gate(mayFetch))
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// put stores a task with a signature made for another (or the same) task; nil keys: unsigned.
func (r *rig) put(t *testing.T, stored, signed signing.Task, keys *signing.Keys) {
	t.Helper()
	headers := make(map[string]string, len(stored.Headers)+1)
	maps.Copy(headers, stored.Headers)
	if keys != nil {
		sig, _, err := keys.Sign(signed, signing.Validity{Expires: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		headers[signing.SignatureHeader] = sig
	}
	_, err := r.client.Enqueue(asynq.NewTaskWithHeaders(stored.Kind, stored.Payload, headers),
		asynq.TaskID(stored.ID), asynq.Queue(stored.Queue), asynq.MaxRetry(stored.MaxRetry))
	if err != nil {
		t.Fatal(err)
	}
}

// enqueuer signs jobs of the typed handlers' tests.
func (r *rig) enqueuer(t *testing.T) *jobs.Enqueuer {
	t.Helper()
	e, err := jobs.NewEnqueuer(r.client, r.keys, jobs.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// exists says whether Redis holds the task.
func (r *rig) exists(t *testing.T, queue, id string) bool {
	t.Helper()
	n, err := r.redis.Exists(t.Context(), "asynq:{"+queue+"}:t:"+id).Result()
	if err != nil {
		t.Fatal(err)
	}
	return n == 1
}

// memory is a quarantine of our own interface that can be made to fail.
type memory struct {
	mu     sync.Mutex
	broken bool
	kept   map[string]jobs.Refused // by task ID
	tries  int
}

var errBroken = errors.New("the disk is full")

func (m *memory) Keep(_ context.Context, r jobs.Refused) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tries++
	if m.broken {
		return errBroken
	}
	if m.kept == nil {
		m.kept = make(map[string]jobs.Refused)
	}
	m.kept[r.TaskID] = r
	return nil
}

func (m *memory) get(taskID string) (jobs.Refused, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.kept[taskID]
	return r, ok
}

func (m *memory) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.kept)
}

func (m *memory) setBroken(broken bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken = broken
}

func (m *memory) triedTimes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tries
}

// calls counts what a handler saw.
type calls struct {
	mu   sync.Mutex
	seen []string
}

func (c *calls) add(s string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, s)
}

func (c *calls) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.seen...)
}
