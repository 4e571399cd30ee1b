package relay_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/relay"
)

func otherDef() jobs.Def[note] { return jobs.Define[note]("test:other", jobs.Policy{}) }

func TestRelaysOfDifferentCatalogsShareAnOutbox(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	mine, theirs := make([]string, 20), make([]string, 20)
	for i := range mine {
		mine[i] = b.add(t, noteDef().With(note{User: i}))
		theirs[i] = b.add(t, otherDef().With(note{User: i}))
	}
	run(t, b.relay(t))
	for _, id := range mine {
		b.state(t, id, jobs.RowEnqueued)
	}
	for _, id := range theirs { // they were not even touched
		if r := b.see(id); r.state != jobs.RowQueued || r.LeaseToken != "" || r.cause != "" {
			t.Errorf("the other's row is %+v", r)
		}
	}
	run(t, b.relayOf(t, otherDef()))
	for _, id := range theirs {
		b.state(t, id, jobs.RowEnqueued)
	}
}

func TestRowsOfAKindThatNobodyKnowsAreToldOfOnceAndExpire(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Survey = time.Millisecond
	id := b.add(t, otherDef().With(note{}, jobs.Until(time.Now().Add(400*time.Millisecond))))
	r := b.relay(t)
	run(t, r)
	const line = "outbox rows of a kind that this relay does not know wait"
	eventually(t, "it is told of", func() bool { return b.log.has(line) })
	if !strings.Contains(b.log.String(), "kind=test:other queue=default rows=1") {
		t.Errorf("log: %s", b.log)
	}
	want := []jobs.Backlog{{Kind: "test:other", Queue: "default", State: jobs.RowQueued, Rows: 1}}
	s := r.Stats()
	if diff := cmp.Diff(want, s.Backlog, cmpopts.IgnoreFields(jobs.Backlog{}, "Oldest")); diff != "" || s.BacklogAt.IsZero() {
		t.Errorf("backlog at %v (-want +got):\n%s", s.BacklogAt, diff)
	}
	b.state(t, id, jobs.RowExpired)
	eventually(t, "it is counted", func() bool { s := r.Stats(); return s.Expired == 1 && len(s.Backlog) == 0 })
	if n := strings.Count(b.log.String(), line); n != 1 {
		t.Errorf("it is told of %d times", n)
	}
}

func TestAKindWhoseOwnRelayIsAtWorkIsNotToldOf(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Survey, b.cfg.Overdue = time.Millisecond, time.Minute
	b.add(t, otherDef().With(note{}))
	r := b.relay(t)
	run(t, r)
	first := r.Stats().BacklogAt
	eventually(t, "the outbox was counted again", func() bool { return r.Stats().BacklogAt.After(first.Add(10 * time.Millisecond)) })
	if b.log.has("does not know") {
		t.Errorf("log: %s", b.log)
	}
}

func TestStatsCountWhatBecomesOfRows(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Overdue = 300 * time.Millisecond
	r := b.relay(t)
	if diff := cmp.Diff(relay.Stats{}, r.Stats()); diff != "" {
		t.Errorf("before it runs (-want +got):\n%s", diff)
	}
	run(t, r)
	b.enqueued(t)
	b.raw(`{"user":"no number"}`) // left
	b.insert(jobs.Row{ID: "0198c0de-0000-7000-8000-00000000000a", Kind: "test:note", Queue: " ", Payload: []byte(`{"user":1}`), Life: time.Hour})
	b.add(t, noteDef().With(note{}, jobs.Until(time.Now().Add(-time.Second))))
	squat := noteDef().With(note{})
	there := b.add(t, squat)
	b.state(t, there, jobs.RowEnqueued)
	b.change(there, func(r *row) { r.state, r.lease = jobs.RowClaimed, time.Now().Add(-time.Second) })
	eventually(t, "all is counted", func() bool {
		s := r.Stats()
		return s.Relayed == 2 && s.Present == 1 && s.Refused == 1 && s.Left == 1 && s.Expired == 1
	})
	b.server.Flush(t)
	eventually(t, "both are restored", func() bool { s := r.Stats(); return s.Restored == 2 && s.Relayed == 4 })
}

// Nobody wants an idle outbox to be asked twenty times a second.
func TestThePauseGrowsWhileTheOutboxIsEmpty(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Poll = 10 * time.Millisecond
	began := time.Now()
	run(t, b.relay(t))
	eventually(t, "the relay has looked ten times", func() bool { return b.claimsSoFar() >= 10 })
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Errorf("ten looks at an empty outbox took %v: the pause does not grow", took)
	}
}

func TestStatsAreALineForPeople(t *testing.T) {
	t.Parallel()
	s := relay.Stats{
		Relayed: 12, Restored: 1, Backlog: []jobs.Backlog{
			{Kind: "test:other", Queue: "default", State: jobs.RowQueued, Rows: 3, Oldest: 90*time.Second + time.Millisecond},
			{Kind: "test:note", Queue: "default", State: jobs.RowEnqueued, Rows: 5, Oldest: time.Second},
			{Kind: "test:note", Queue: "default", State: jobs.RowQueued, Rows: 5},
		},
		Held: []relay.HeldQueue{
			{Queue: "low", Since: time.Unix(1_800_000_000, 0), Cause: "dial tcp 10.0.0.7:6379"},
			{Queue: "mail", Since: time.Unix(1_800_000_000, 0), Full: true, Cause: "101 tasks wait in queue mail, at most 100 are to"},
		},
	}
	const want = "12 rows relayed, 1 restored, 0 refused, 0 expired; 3 of test:other wait in the outbox, the oldest for 1m30s; " +
		"held since 2027-01-15T08:00:00Z: queue low takes no tasks; held since 2027-01-15T08:00:00Z: 101 tasks wait in queue mail, at most 100 are to"
	if diff := cmp.Diff(want, s.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
