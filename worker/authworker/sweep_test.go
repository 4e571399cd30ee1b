package authworker_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/sweep"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
	"github.com/sealq/sealq/worker/authworker"
)

// due is a store, and accounts, that have rows to sweep, and notes the batches it was asked for.
type due struct {
	backend
	mu             sync.Mutex
	pending, locks int
	batches        []int
	held           int // locks that a login has locked in each batch
	walked         []sweep.Walk
}

func (d *due) SweepBatch(ctx context.Context, w sweep.Walk, limit int) (sweep.Batch, error) {
	d.mu.Lock()
	d.walked = append(d.walked, w)
	d.mu.Unlock()
	if w.Part != sweep.Registrations {
		return d.backend.SweepBatch(ctx, w, limit)
	}
	n := d.take(&d.pending, limit)
	return sweep.Batch{Gone: n, More: n == limit}, nil
}

func (d *due) LiftLockouts(_ context.Context, _ *sql.Tx, limit int) (int, error) {
	return d.take(&d.locks, limit-d.held), nil
}

func (d *due) Answer(context.Context, *sql.Tx, string) error {
	return errors.New("nobody asked for anything")
}

func (d *due) take(rows *int, limit int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(*rows, limit)
	*rows -= n
	d.batches = append(d.batches, n)
	return n
}

func (d *due) left() (pending, locks int, batches []int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pending, d.locks, slices.Clone(d.batches)
}

func (s *system) enqueue(t *testing.T, j jobs.Job) {
	t.Helper()
	check(t, s.db.InTx(t.Context(), func(tx *sql.Tx) error {
		_, err := s.db.EnqueueTx(t.Context(), tx, j)
		return err
	}))
	s.relay.Nudge()
}

func TestASweepGoesOnInBatchesUntilNothingIsDue(t *testing.T) {
	t.Parallel()
	d := &due{pending: 1300, locks: 500}
	s := newSystem(t, nil, func(b backend) backend { d.backend = b; return d })
	s.enqueue(t, authjobs.ExpirePending().With(authjobs.Sweep{Tick: "t"}))
	s.settled(t)
	s.enqueue(t, authjobs.ResetLockouts().With(authjobs.Sweep{Tick: "t"}))
	s.settled(t)
	pending, locks, batches := d.left()
	if pending != 0 || locks != 0 {
		t.Errorf("left: %d pending, %d locks", pending, locks)
	}
	if diff := cmp.Diff([]int{500, 500, 300, 500, 0}, batches); diff != "" {
		t.Errorf("batches (-want +got):\n%s", diff)
	}
}

func TestASweepWithALimitStopsThere(t *testing.T) {
	t.Parallel()
	d := &due{pending: 2500}
	s := newSystem(t, nil, func(b backend) backend { d.backend = b; return d })
	s.enqueue(t, authjobs.ExpirePending().With(authjobs.Sweep{Limit: 1200}))
	s.settled(t)
	if pending, _, batches := d.left(); pending != 1300 {
		t.Errorf("want 1300 rows left, got %d after batches %v", pending, batches)
	}
}

func TestASweepOfLocksGoesOnThoughLoginsHoldSomeOfThem(t *testing.T) {
	t.Parallel()
	d := &due{locks: 1250, held: 3}
	s := newSystem(t, nil, func(b backend) backend { d.backend = b; return d })
	s.enqueue(t, authjobs.ResetLockouts().With(authjobs.Sweep{Tick: "t"}))
	s.settled(t)
	_, locks, batches := d.left()
	if diff := cmp.Diff([]int{497, 497, 256}, batches); diff != "" || locks != 0 {
		t.Errorf("%d left, batches (-want +got):\n%s", locks, diff)
	}
}

func TestASweepWhoseTimeIsOverGoesOnInAnotherJob(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		args authjobs.Sweep
		rest string // of the jobs' arguments, in order
		left int
	}{
		{"all that is due", authjobs.Sweep{Tick: "t"}, `{"tick":"t","limit":0}`, 0},
		{"up to a limit", authjobs.Sweep{Tick: "t", Limit: 1300}, `{"tick":"t","limit":550}`, 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := &due{pending: 1400}
			// Each run is over its budget after two batches.
			s := newSystem(t, nil, func(b backend) backend { d.backend = b; return d }, func(c *authworker.Config) { c.Now = d.clock() })
			s.enqueue(t, authjobs.ExpirePending().With(c.args))
			s.settled(t)
			pending, _, batches := d.left()
			if pending != c.left || len(batches) != 4 {
				t.Errorf("%d left after batches %v", pending, batches)
			}
			if got := s.text(t, `SELECT group_concat(CAST(payload AS TEXT), ' ') FROM (SELECT payload FROM outbox WHERE state = 'done' ORDER BY id LIMIT 1 OFFSET 1)`); got != c.rest {
				t.Errorf("the job that went on has %s, want %s", got, c.rest)
			}
			if got := s.text(t, `SELECT count(*) || ' ' || (SELECT count(*) FROM ledger) FROM outbox`); got != "2 2" {
				t.Errorf("jobs and effects: %s", got)
			}
			p, err := s.db.SweepProgress(t.Context(), string(authjobs.KindExpirePending))
			check(t, err)
			if !p.Ended || p.Done != int64(1400-c.left) || p.Tick != "t" {
				t.Errorf("progress: %+v", p)
			}
		})
	}
}

func TestASweepGoesOnForAsManyJobsAsItTakes(t *testing.T) {
	t.Parallel()
	d := &due{pending: 9000} // each run is over its budget after two batches
	s := newSystem(t, nil, func(b backend) backend { d.backend = b; return d }, func(c *authworker.Config) { c.Now = d.clock() })
	s.enqueue(t, authjobs.ExpirePending().With(authjobs.Sweep{Tick: "t"}))
	s.settled(t)
	if pending, _, batches := d.left(); pending != 0 {
		t.Errorf("%d left after batches %v", pending, batches)
	}
	_, _, batches := d.left()
	want := fmt.Sprintf("%d %[1]d", (len(batches)+1)/2)
	if got := s.text(t, `SELECT count(*) || ' ' || (SELECT count(*) FROM ledger) FROM outbox WHERE state = 'done'`); got != want || len(batches) < 8 {
		t.Errorf("jobs and effects: %s after batches %v", got, batches)
	}
}

// clock goes on by a minute and fifty seconds with each batch: of a budget of 3 min 45 s two are too many.
func (d *due) clock() func() time.Time {
	begun := time.Now()
	return func() time.Time {
		_, _, batches := d.left()
		return begun.Add(time.Duration(len(batches)) * 115 * time.Second)
	}
}

func TestASweepThatAnotherIsAtIsLeftToHim(t *testing.T) {
	t.Parallel()
	d := &due{pending: 10}
	s := newSystem(t, nil, func(b backend) backend { d.backend = b; return d })
	had, err := s.db.TellSweep(t.Context(), sweep.Progress{Sweep: string(authjobs.KindExpirePending), Holder: "another", Tick: "t"}, time.Hour)
	if err != nil || !had {
		t.Fatal(had, err)
	}
	s.enqueue(t, authjobs.ExpirePending().With(authjobs.Sweep{Tick: "t"}))
	s.settled(t)
	if pending, _, batches := d.left(); pending != 10 || len(batches) > 0 {
		t.Errorf("%d left after batches %v", pending, batches)
	}
	if got := s.text(t, `SELECT state FROM outbox`); got != "done" {
		t.Errorf("its job is %s", got)
	}
}

func TestASweepWhoseWorkerWasKilledIsGoneOnWithWhenItsLeaseIsOver(t *testing.T) {
	t.Parallel()
	d := &due{pending: 10}
	s := newSystem(t, nil, func(b backend) backend { d.backend = b; return d })
	s.enqueue(t, authjobs.ExpirePending().With(authjobs.Sweep{Tick: "t"}, jobs.In(500*time.Millisecond))) // comes again, before the lease is over
	job := s.text(t, `SELECT id FROM outbox`)
	killed := sweep.Progress{Sweep: string(authjobs.KindExpirePending), Holder: job + "/killed", Tick: "t", Done: 5}
	had, err := s.db.TellSweep(t.Context(), killed, 2*time.Second)
	if err != nil || !had {
		t.Fatal(had, err)
	}
	s.settled(t)
	if pending, _, batches := d.left(); pending != 0 {
		t.Errorf("%d left after batches %v", pending, batches)
	}
	p, err := s.db.SweepProgress(t.Context(), killed.Sweep)
	check(t, err)
	if !p.Ended || p.Done != 15 {
		t.Errorf("progress: %+v", p)
	}
	if got := s.text(t, `SELECT state || ' ' || failures FROM outbox`); got != "done 0" {
		t.Errorf("its job is %s", got)
	}
}

func TestAPurgeWalksEveryPartWithItsRetentionAndIsAudited(t *testing.T) {
	t.Parallel()
	d := &due{}
	r := sweep.Retention{Done: 72 * time.Hour, Quarantine: 48 * time.Hour, Audit: 24 * time.Hour}
	s := newSystem(t, nil, func(b backend) backend { d.backend = b; return d }, func(c *authworker.Config) { c.Retention = r })
	s.sql(t, `INSERT INTO ledger (kind, effect_id, done_at, keep_until) VALUES ('k', 'e1', 1, 2), ('k', 'e2', 1, 2), ('k', 'e3', 1, 9e15)`)
	for range 2 { // of which the second finds nothing, and says nothing
		s.enqueue(t, authjobs.Purge().With(authjobs.Tick{Tick: "t"}))
		s.settled(t)
	}
	if diff := cmp.Diff(append(r.Walks(), r.Walks()...), d.walked); diff != "" {
		t.Errorf("walks (-want +got):\n%s", diff)
	}
	if got := s.text(t, `SELECT group_concat(effect_id) FROM ledger WHERE kind = 'k'`); got != "e3" {
		t.Errorf("left in the ledger: %s", got)
	}
	if got := s.text(t, `SELECT group_concat(actor || ' ' || action || ' ' || detail) FROM audit_log`); got != `sweep retention.purge {"ledger":"2"}` {
		t.Errorf("audited: %s", got)
	}
}

func TestTooShortARetentionIsRefused(t *testing.T) {
	t.Parallel()
	err := authworker.Register(worker.NewHandlers(worker.HandlersConfig{}), authworker.Store[*sql.Tx](nil), nil, authworker.Config{
		Keys: new(signing.Keys), Sender: new(mail.Sender), BaseURL: "https://app.example", Retention: sweep.Retention{Done: time.Hour},
	})
	if !errors.Is(err, sweep.ErrRetention) {
		t.Errorf("got %v", err)
	}
}

// text reads one value as nobody but a test does.
func (s *system) text(t *testing.T, query string) (text string) {
	t.Helper()
	raw, err := sql.Open("sqlite", "file:"+s.path+"?_pragma=busy_timeout(5000)")
	check(t, err)
	err = raw.QueryRowContext(t.Context(), query).Scan(&text)
	check(t, errors.Join(err, raw.Close()))
	return text
}
