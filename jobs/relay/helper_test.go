package relay_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/internal/fixture"
	"github.com/sealq/sealq/jobs/rawtask"
	"github.com/sealq/sealq/jobs/relay"
	"github.com/sealq/sealq/signing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type note struct {
	User int `json:"user"`
}

func noteDef() jobs.Def[note] { return jobs.Define[note]("test:note", jobs.Policy{}) }

// overdue is how long a row may wait in these tests before its task is looked up.
const overdue = 50 * time.Millisecond

// bench is a relay with all that it needs.
type bench struct {
	*outbox
	source *fixture.Source
	keys   *signing.Keys
	server *testservers.RedisServer
	redis  *redis.Client
	reader *rawtask.Reader
	cfg    relay.Config
	log    *log
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{outbox: newOutbox(), source: fixture.NewSource(t), server: testservers.Redis(t), log: &log{}}
	b.keys = b.source.Open(t, signing.Options{})
	b.redis = b.server.Client(t)
	b.reader = rawtask.NewReader(b.redis)
	b.cfg = relay.Config{
		Poll: time.Millisecond, Overdue: overdue, Reconcile: 5 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(b.log, nil)),
	}
	return b
}

// relay makes a relay of the kind test:note.
func (b *bench) relay(t *testing.T) *relay.Relay {
	t.Helper()
	return b.relayOf(t, noteDef())
}

func (b *bench) relayOf(t *testing.T, defs ...jobs.Definition) *relay.Relay {
	t.Helper()
	return b.relayBy(t, b.server.Client(t), defs...)
}

// relayBy makes a relay with a Redis client of the test's own.
func (b *bench) relayBy(t *testing.T, c redis.UniversalClient, defs ...jobs.Definition) *relay.Relay {
	t.Helper()
	catalog, err := jobs.NewCatalog(defs...)
	if err != nil {
		t.Fatal(err)
	}
	r, err := relay.New(b.outbox, catalog, b.keys, c, b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// run runs a relay until t ends, or stop is called, and checks that Run ends then.
func run(t *testing.T, r *relay.Relay) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("Run: %v", err)
				}
			case <-time.After(20 * time.Second):
				t.Error("Run goes on after its context has ended")
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("it never came to be that %s", what)
		}
	}
}

// state waits until a row is in a state.
func (b *bench) state(t *testing.T, id string, want jobs.RowState) {
	t.Helper()
	eventually(t, "the row is "+string(want), func() bool { return b.see(id).state == want })
}

// attempt waits until the task of a row's attempt lies in Redis as asynq would fetch it, and verifies it.
func (b *bench) attempt(t *testing.T, id string, attempt int) signing.Claims {
	t.Helper()
	row := b.see(id).ClaimedRow
	row.Attempt = attempt
	var task rawtask.Task
	eventually(t, "Redis holds "+row.TaskID(), func() bool {
		var err error
		task, err = b.reader.Lookup(t.Context(), row.Queue, row.TaskID())
		return err == nil && task.Placed
	})
	v, err := b.keys.Verify(signing.Task{
		Kind: task.Kind, ID: task.ID, Queue: task.Queue, MaxRetry: task.MaxRetry, Headers: task.Headers, Payload: task.Payload,
	}, task.Headers[signing.SignatureHeader])
	if err != nil {
		t.Fatalf("verify %s: %v", task.ID, err)
	}
	rowID, n, ok := jobs.RowAttempt(v.Claims())
	if !ok || rowID != id || n != attempt || string(v.Payload()) != string(row.Payload) {
		t.Errorf("Redis holds attempt %d of row %q, want %d of %q", n, rowID, attempt, id)
	}
	return v.Claims()
}

// enqueued adds a row and waits for its task.
func (b *bench) enqueued(t *testing.T, opts ...jobs.Option) string {
	t.Helper()
	id := b.add(t, noteDef().With(note{User: 7}, opts...))
	b.state(t, id, jobs.RowEnqueued)
	return id
}

// forged is a message under a row's name that nobody signed.
func (b *bench) forge(t *testing.T, queue, taskID string) {
	t.Helper()
	forger := asynq.NewClientFromRedisClient(b.redis)
	task := asynq.NewTaskWithHeaders("test:note", []byte(`{"user":666}`), map[string]string{signing.SignatureHeader: "forged"})
	if _, err := forger.Enqueue(task, asynq.TaskID(taskID), asynq.Queue(queue)); err != nil {
		t.Fatal(err)
	}
}

// log is what a relay logged.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *log) has(text string) bool { return strings.Contains(l.String(), text) }

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// direct enqueues without an outbox.
func (b *bench) direct(t *testing.T) *jobs.Enqueuer {
	t.Helper()
	e, err := jobs.NewEnqueuer(asynq.NewClientFromRedisClient(b.redis), b.keys, jobs.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// pending lists the tasks of a queue in the order in which workers fetch them.
func (b *bench) pending(t *testing.T, queue string) []string {
	t.Helper()
	ids, err := b.redis.LRange(t.Context(), "asynq:{"+queue+"}:pending", 0, -1).Result()
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(ids)
	return ids
}

var errDatabase = errors.New("the database is away")

// raw adds a row with a payload that no definition has checked.
func (b *bench) raw(payload string) string {
	row := jobs.Row{ID: "0198c0de-0000-7000-8000-000000000009", Kind: "test:note", Queue: "default", Payload: []byte(payload), Life: time.Hour}
	b.insert(row)
	return row.ID
}
