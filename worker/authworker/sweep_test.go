package authworker_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
)

// due is a store, and accounts, that have rows to sweep, and notes the batches it was asked for.
type due struct {
	backend
	mu             sync.Mutex
	pending, locks int
	batches        []int
}

func (d *due) ExpirePending(_ context.Context, limit int) (int, error) {
	return d.take(&d.pending, limit), nil
}

func (d *due) LiftLockouts(_ context.Context, _ *sql.Tx, limit int) (int, error) {
	return d.take(&d.locks, limit), nil
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
	d := &due{pending: 2500, locks: 1000}
	s := newSystem(t, nil, func(b backend) backend { d.backend = b; return d })
	s.enqueue(t, authjobs.ExpirePending().With(authjobs.Sweep{Tick: "t"}))
	s.settled(t)
	s.enqueue(t, authjobs.ResetLockouts().With(authjobs.Sweep{Tick: "t"}))
	s.settled(t)
	pending, locks, batches := d.left()
	if pending != 0 || locks != 0 {
		t.Errorf("left: %d pending, %d locks", pending, locks)
	}
	if diff := cmp.Diff([]int{1000, 1000, 500, 1000, 0}, batches); diff != "" {
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
