package relay_test

import (
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/relay"
)

// clock is the real one, put forward.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// stuff puts names of tasks that are none into a queue.
func (b *bench) stuff(t *testing.T, queue string, n int) {
	t.Helper()
	junk := make([]any, n)
	for i := range junk {
		junk[i] = "junk" + strconv.Itoa(i)
	}
	if err := b.redis.LPush(t.Context(), "asynq:{"+queue+"}:pending", junk...).Err(); err != nil {
		t.Fatal(err)
	}
}

// work is what workers do until so many tasks are left.
func (b *bench) work(t *testing.T, queue string, left int64) {
	t.Helper()
	if n := b.redis.LLen(t.Context(), "asynq:{"+queue+"}:pending").Val(); n > left {
		b.redis.RPopCount(t.Context(), "asynq:{"+queue+"}:pending", int(n-left))
	}
}

func TestAFloodStaysInTheOutboxAndKeepsNoOtherQueue(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Overdue = time.Hour
	b.cfg.Batch, b.cfg.MaxPending = 20, 100
	const n = 600
	for i := range n {
		b.add(t, noteDef().With(note{User: i}, jobs.Queue("flood")))
	}
	r := b.relay(t)
	run(t, r)
	pending := func() int { return len(b.pending(t, "flood")) }
	full := []relay.HeldQueue{{Queue: "flood", Full: true}}
	ignore := cmpopts.IgnoreFields(relay.HeldQueue{}, "Since", "Waiting", "Cause")
	eventually(t, "the queue is held", func() bool { return cmp.Equal(full, r.Stats().Held, ignore) })
	for range 3 {
		b.enqueued(t)
	}
	if got := pending(); got <= 100 || got > 120 {
		t.Errorf("%d tasks wait, want 100 and no more than a batch on top", got)
	}
	held := r.Stats().Held
	if len(held) != 1 || held[0].Waiting != int64(pending()) || held[0].Since.IsZero() || !strings.Contains(held[0].Cause, "flood") {
		t.Errorf("held %+v, %d tasks wait", held, pending())
	}
	b.work(t, "flood", 51) // more than half
	looks := b.claimsSoFar()
	eventually(t, "the relay has looked again", func() bool { return r.Stats().Held[0].Waiting == 51 && b.claimsSoFar() > looks+2 })
	if got := pending(); got != 51 {
		t.Errorf("%d tasks wait: the queue was not to be filled before it is half empty", got)
	}
	b.work(t, "flood", 50)
	eventually(t, "the queue is filled again", func() bool { return pending() > 100 })
	moved := func() int { return b.count(jobs.RowEnqueued) }
	eventually(t, "everything is relayed while workers work", func() bool {
		b.work(t, "flood", 0)
		return moved() == n+3
	})
	if got := r.Stats(); got.Relayed != n+3 || got.Present != 0 {
		t.Errorf("stats: %+v", got)
	}
}

// Whoever can write to Redis can make rows wait, but not unseen.
func TestAQueueThatSomebodyStuffsIsToldOf(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var c clock
	b.cfg.Now, b.cfg.Overdue, b.cfg.MaxPending = c.now, time.Minute, 100
	b.stuff(t, "critical", 101)
	id := b.add(t, noteDef().With(note{}, jobs.Queue("critical")))
	r := b.relay(t)
	run(t, r)
	eventually(t, "the row was returned", func() bool { return strings.Contains(b.see(id).cause, "101 tasks wait in queue critical") })
	b.enqueued(t)
	const full, stays, room = "queue is full, its rows wait", "queue stays full", "queue has room again"
	if b.log.has(full) {
		t.Error("a queue that is full for a moment is told of")
	}
	c.advance(10 * time.Second)
	eventually(t, "it is told of", func() bool { return b.log.has("level=WARN msg=\"" + full) })
	c.advance(time.Minute)
	eventually(t, "it is an alarm", func() bool { return b.log.has("level=ERROR msg=\"" + stays) })
	b.work(t, "critical", 0)
	c.advance(time.Second)
	b.state(t, id, jobs.RowEnqueued)
	for _, line := range []string{full, stays, room} {
		if n := strings.Count(b.log.String(), line); n != 1 {
			t.Errorf("%q is told of %d times", line, n)
		}
	}
	if held := r.Stats().Held; len(held) != 0 {
		t.Errorf("held: %+v", held)
	}
}

// An outbox hands scheduled rows out a minute before they are due. They are in Redis' memory then.
func TestTasksThatAreDueSoonCountAsWaiting(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Batch, b.cfg.MaxPending = 20, 100
	for i := range 300 {
		b.add(t, noteDef().With(note{User: i}, jobs.In(30*time.Second)))
	}
	r := b.relay(t)
	run(t, r)
	eventually(t, "the queue is held", func() bool { return len(r.Stats().Held) == 1 })
	if n := b.redis.ZCard(t.Context(), "asynq:{default}:scheduled").Val(); n <= 100 || n > 120 {
		t.Errorf("%d tasks are scheduled", n)
	}
}

func TestAnAppsOwnScheduleKeepsNoRows(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.MaxPending = 1
	app := b.direct(t)
	for range 10 {
		if _, err := app.Enqueue(t.Context(), noteDef().With(note{}, jobs.In(time.Hour))); err != nil {
			t.Fatal(err)
		}
	}
	run(t, b.relay(t))
	b.enqueued(t)
}

// Tasks that wait in a long list are there: nothing is restored.
func TestReconcileLeavesAloneWhatWaitsInAFullQueue(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Batch, b.cfg.MaxPending = 20, 50
	for i := range 200 {
		b.add(t, noteDef().With(note{User: i}))
	}
	r := b.relay(t)
	run(t, r)
	eventually(t, "the queue is held", func() bool { return len(r.Stats().Held) == 1 })
	looks := len(b.looksSoFar())
	eventually(t, "reconcile has looked", func() bool { return len(b.looksSoFar()) > looks+20 })
	if s := r.Stats(); s.Restored != 0 || len(b.restorations()) != 0 {
		t.Errorf("restored %v", b.restorations())
	}
}
