package relay_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/internal/fixture"
	"github.com/sealq/sealq/jobs/relay"
	"github.com/sealq/sealq/signing"
)

func TestNewNeedsItsParts(t *testing.T) {
	t.Parallel()
	if _, err := relay.New(nil, nil, nil, nil, relay.Config{}); err == nil {
		t.Error("a relay of nothing")
	}
}

func TestRelayEnqueuesUnderRowAndAttempt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	id := b.add(t, noteDef().With(note{User: 7}, jobs.Queue("low"), jobs.Header("trace", "00-ab"), jobs.MaxRetry(3)))
	before := time.Now().Truncate(time.Millisecond)
	run(t, b.relay(t))
	b.state(t, id, jobs.RowEnqueued)
	c := b.attempt(t, id, 1)
	if c.Effect != id || c.ID != id+".1" || c.Queue != "low" || jobs.RetriesSigned(c.MaxRetry) != 3 || c.IssuedAt.Before(before) {
		t.Errorf("claims %+v", c)
	}
	if !c.Expires.Equal(b.see(id).ExpiresAt.Truncate(time.Millisecond)) {
		t.Errorf("it ends %v, the row %v", c.Expires, b.see(id).ExpiresAt)
	}
}

func TestRelaySignsWithTheKeyThatIsActiveThen(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	id := b.add(t, noteDef().With(note{}))
	kid := b.source.Rotate(t)
	if err := b.keys.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	run(t, b.relay(t))
	if c := b.attempt(t, id, 1); c.KID != kid {
		t.Errorf("signed with %s, the active key is %s", c.KID, kid)
	}
	if told := b.see(id).KID; told != kid.String() {
		t.Errorf("the outbox was told of the key %q, it is %s", told, kid)
	}
}

func TestRelayHandsAnEarlyRowToAsynqsSchedule(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	run(t, b.relay(t))
	id := b.enqueued(t, jobs.In(30*time.Second))
	task, err := b.reader.Lookup(t.Context(), "default", id+".1")
	if err != nil || task.State != "scheduled" || !task.Placed {
		t.Errorf("got %+v, %v", task, err)
	}
}

// Whoever can insert a row gets nothing signed that an outbox would not have recorded.
func TestRelayRefusesRowsThatAreNotTheirKinds(t *testing.T) {
	t.Parallel()
	good := func() jobs.Row {
		return jobs.Row{ID: "0198c0de-0000-7000-8000-000000000001", Kind: "test:note", Queue: "default", Payload: []byte(`{"user":7}`), Life: time.Hour}
	}
	tests := map[string]func(r *jobs.Row){
		"a blank queue":         func(r *jobs.Row) { r.Queue = " " },
		"a queue with braces":   func(r *jobs.Row) { r.Queue = "x}:t:{y" },
		"absurd retries":        func(r *jobs.Row) { r.Retries = 1 << 33 },
		"another row's effect":  func(r *jobs.Row) { r.Headers = map[string]string{signing.EffectHeader: "x"} },
		"a header over a limit": func(r *jobs.Row) { r.Headers = map[string]string{"a": strings.Repeat("x", 1<<16)} },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			row := good()
			change(&row)
			b.insert(row)
			run(t, b.relay(t))
			b.state(t, row.ID, jobs.RowRefused)
			if b.see(row.ID).cause == "" {
				t.Error("the row does not tell why")
			}
			next := good()
			next.ID = "0198c0de-0000-7000-8000-000000000002"
			b.insert(next)
			b.attempt(t, next.ID, 1) // the relay goes on
			if n := b.redis.Exists(t.Context(), fixture.TaskKey(row.Queue, row.ID+".1")).Val(); n != 0 {
				t.Error("the refused row was enqueued")
			}
		})
	}
}

func TestOneQueueThatTakesNoTasksStopsNoOther(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.redis.Set(t.Context(), "asynq:{down}:pending", "squatted", 0)
	b.cfg.Overdue = time.Hour    // nothing is restored
	down := make([]string, 1200) // more than two batches
	for i := range down {
		down[i] = b.add(t, noteDef().With(note{}, jobs.Queue("down")))
	}
	id := b.add(t, noteDef().With(note{}, jobs.Queue("up")))
	r := b.relay(t)
	run(t, r)
	b.state(t, id, jobs.RowEnqueued)
	eventually(t, "the queue is tried again", func() bool { return r.Stats().Returned > 500 })
	if held := r.Stats().Held; len(held) != 1 || held[0].Queue != "down" || held[0].Full || !strings.Contains(held[0].Cause, "WRONGTYPE") {
		t.Errorf("held: %+v", held)
	}
	if n := strings.Count(b.log.String(), "a queue takes no tasks"); n != 1 {
		t.Errorf("it is told of %d times: %s", n, b.log)
	}
	b.redis.Del(t.Context(), "asynq:{down}:pending")
	eventually(t, "its rows are enqueued", func() bool { return b.count(jobs.RowEnqueued) == 1201 })
	if held := r.Stats().Held; len(held) != 0 || !b.log.has("queue takes tasks again") {
		t.Errorf("held: %+v", held)
	}
	// What asynq's script had written when it failed does not pass for the task.
	if diff := cmp.Diff(taskIDs(down), b.pending(t, "down")); diff != "" {
		t.Errorf("pending (-want +got):\n%s", diff)
	}
}

func TestRelayLeavesToOthersWhatItCannotSign(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		make func(t *testing.T, b *bench) string
		want string
	}{
		"arguments that this process does not know, of a newer app perhaps": {func(t *testing.T, b *bench) string {
			t.Helper()
			return b.raw(`{"user":7,"admin":true}`)
		}, "invalid arguments"},
		"arguments that are none":     {func(_ *testing.T, b *bench) string { return b.raw("") }, "invalid arguments"},
		"arguments that are not JSON": {func(_ *testing.T, b *bench) string { return b.raw("\xff") }, "invalid arguments"},
		"a kind that the active key may not sign": {func(t *testing.T, b *bench) string {
			t.Helper()
			b.source.Rotate(t, "test:note")
			if err := b.keys.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
			return b.add(t, jobs.Define[note]("test:second", jobs.Policy{}).With(note{}))
		}, "may not sign"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			id := test.make(t, b)
			run(t, b.relayOf(t, noteDef(), jobs.Define[note]("test:second", jobs.Policy{})))
			eventually(t, "the row was returned", func() bool { return b.see(id).cause != "" })
			r := b.see(id)
			if r.state != jobs.RowQueued || r.Attempt != 1 || !strings.Contains(r.cause, test.want) {
				t.Errorf("the row is %s, attempt %d: %s", r.state, r.Attempt, r.cause)
			}
			if wait := time.Until(r.nextAt); wait < 5*time.Second {
				t.Errorf("it is left to others for %v only", wait)
			}
			b.enqueued(t) // nothing else is held up
			if b.log.has("outage") {
				t.Error("it counts as an outage")
			}
		})
	}
}

// Whoever may enqueue one kind in SQL can make as many rows of it as he likes that nobody can sign.
func TestRowsThatNobodyCanSignKeepNoOtherKindWaiting(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Batch = 100
	const flood = 3000
	old := time.Now().Add(-time.Hour)
	var bad string
	for i := range flood {
		bad = fmt.Sprintf("0198c0de-0000-7000-8000-%012d", i)
		b.insert(jobs.Row{ID: bad, Kind: "test:note", Queue: "default", Payload: []byte(fmt.Sprintf(`{"u%d":1}`, i)), NotBefore: old, Life: 24 * time.Hour})
	}
	other := jobs.Define[note]("test:second", jobs.Policy{})
	id := b.add(t, other.With(note{User: 7})) // the newest row of all
	r := b.relayOf(t, noteDef(), other)
	stop := run(t, r)
	b.state(t, id, jobs.RowEnqueued)
	if token := b.see(id).LeaseToken; token != "1" {
		t.Errorf("it was claimed by claim %s, want the first", token)
	}
	eventually(t, "all others are left", func() bool { return r.Stats().Left == flood })
	stop()
	if got, want := b.returnsSoFar(), flood/100+1; got > want {
		t.Errorf("they are returned in %d statements, want %d at most", got, want)
	}
	if got, want := strings.Count(b.log.String(), "cannot be signed here"), flood/100+1; got > want {
		t.Errorf("%d lines tell of them, want %d at most", got, want)
	}
	if pause := time.Until(b.see(bad).nextAt); pause < 9*time.Minute || pause > 10*time.Minute {
		t.Errorf("a row that has waited for an hour is left for %v, want 10 minutes", pause)
	}
}

func TestARowIsLeftToOthersForAsLongAsItHasWaited(t *testing.T) {
	t.Parallel()
	for waited, want := range map[time.Duration]time.Duration{
		-30 * time.Second: 10 * time.Second, 0: 10 * time.Second, 2 * time.Minute: 2 * time.Minute, 48 * time.Hour: 10 * time.Minute,
	} {
		t.Run(waited.String(), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.insert(jobs.Row{
				ID: "0198c0de-0000-7000-8000-000000000009", Kind: "test:note", Queue: "default", Payload: []byte("{"),
				NotBefore: time.Now().Add(-waited), Life: 72 * time.Hour,
			})
			r := b.relay(t)
			stop := run(t, r)
			eventually(t, "the row is left", func() bool { return r.Stats().Left > 0 })
			stop()
			got := time.Until(b.see("0198c0de-0000-7000-8000-000000000009").nextAt)
			if got > want+30*time.Second || got < want-30*time.Second {
				t.Errorf("it is left for %v, want %v", got, want)
			}
		})
	}
}

func TestRelaySurvivesRedisBeingAway(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	run(t, b.relay(t))
	b.enqueued(t)
	b.server.Stop(t)
	ids := make([]string, 40)
	for i := range ids {
		ids[i] = b.add(t, noteDef().With(note{User: i}))
	}
	eventually(t, "a row was returned", func() bool { return b.see(ids[0]).cause != "" })
	if n := b.count(jobs.RowEnqueued); n > 1 {
		t.Errorf("%d rows count as enqueued", n)
	}
	b.server.Start(t)
	for _, id := range ids {
		b.attempt(t, id, 1)
	}
}

func TestRelaySurvivesTheDatabaseBeingAway(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	run(t, b.relay(t))
	b.fail(errDatabase)
	id := b.add(t, noteDef().With(note{}))
	eventually(t, "both loops tell of it", func() bool { return b.log.has("relay stopped") && b.log.has("reconcile stopped") })
	b.fail(nil)
	b.attempt(t, id, 1)
}

func TestRowWhoseClaimLapsedIsEnqueuedOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	run(t, b.relay(t))
	id := b.enqueued(t)
	b.change(id, func(r *row) { r.state, r.lease = jobs.RowClaimed, time.Now().Add(-time.Second) }) // as if it had died before it wrote that down
	b.state(t, id, jobs.RowEnqueued)
	b.attempt(t, id, 1)
	if n := b.redis.LLen(t.Context(), "asynq:{default}:pending").Val(); n != 1 {
		t.Errorf("%d tasks are pending", n)
	}
}

func TestNudgeEndsThePause(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Poll = time.Hour
	r := b.relay(t)
	run(t, r)
	eventually(t, "the relay has looked", func() bool { return b.claimsSoFar() > 0 })
	id := b.add(t, noteDef().With(note{}))
	for range 3 {
		r.Nudge() // never blocks
	}
	b.attempt(t, id, 1)
}

func TestTwoRelaysEnqueueEachRowOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Batch = 7
	b.cfg.Overdue = time.Minute
	run(t, b.relay(t))
	run(t, b.relay(t))
	const n = 300
	for i := range n {
		b.add(t, noteDef().With(note{User: i}))
	}
	eventually(t, "all rows are enqueued", func() bool { return b.count(jobs.RowEnqueued) == n })
	if got := b.redis.LLen(t.Context(), "asynq:{default}:pending").Val(); got != n {
		t.Errorf("%d tasks are pending, want %d", got, n)
	}
	if r := b.restorations(); len(r) != 0 {
		t.Errorf("restored %v", r)
	}
}

func TestRunWritesDownWhatItEnqueuedWhenItIsStopped(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Batch = 10
	for i := range 500 {
		b.add(t, noteDef().With(note{User: i}))
	}
	stop := run(t, b.relay(t))
	eventually(t, "the relay is at work", func() bool { return b.count(jobs.RowEnqueued) > 0 })
	stop()
	if n := b.count(jobs.RowClaimed); n != 0 {
		t.Errorf("%d rows are left claimed", n)
	}
	pending := b.redis.LLen(t.Context(), "asynq:{default}:pending").Val()
	if n := int64(b.count(jobs.RowEnqueued)); n > pending {
		t.Errorf("%d rows count as enqueued, %d tasks are pending", n, pending)
	}
}

func TestRunEndsAtOnceWithItsContext(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Poll, b.cfg.Reconcile = time.Hour, time.Hour
	stop := run(t, b.relay(t))
	eventually(t, "the relay has looked", func() bool { return b.claimsSoFar() > 0 })
	stop() // fails the test after 20 s, well before the pauses end
}
