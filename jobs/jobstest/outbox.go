package jobstest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/worker" //nolint:depguard // tests run what is above jobs; floorplan_test.go gives the package its place
)

// Row is a job as it was recorded, with every default filled in.
type Row struct {
	jobs.Row
	State jobs.RowState
}

// Outbox records jobs in memory, for code that takes a jobs.Outbox[Tx]. Its zero value is ready. It refuses what a
// database refuses – a faulty job, a second unfinished row with the same unique key – but does not see how the
// transaction ends: what was recorded in one that rolled back stays. It is also a worker.Outbox.
type Outbox[Tx any] struct {
	// Now is the clock by which times are filled in. Nil: time.Now.
	Now func() time.Time

	mu       sync.Mutex
	rows     []Row
	failures map[string]int // by row
}

var (
	_ jobs.Outbox[any] = (*Outbox[any])(nil)
	_ worker.Outbox    = (*Outbox[any])(nil)
	_ Source           = (*Outbox[any])(nil)
)

// EnqueueTx records the job: see jobs.Outbox. tx is not touched, and may be nil.
func (o *Outbox[Tx]) EnqueueTx(ctx context.Context, _ Tx, j jobs.Job) (string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now //nolint:forbidigo // the default of the injected clock
	if o.Now != nil {
		now = o.Now
	}
	row, err := recorded(j.Traced(ctx), now())
	if err != nil {
		return "", err
	}
	if row.UniqueKey != "" {
		for _, other := range o.rows {
			if other.UniqueKey == row.UniqueKey {
				return "", fmt.Errorf("record %s: %w", row.Kind, jobs.ErrDuplicate)
			}
		}
	}
	o.rows = append(o.rows, row)
	return row.ID, nil
}

// recorded is the row of a job, filled in as a database does it.
func recorded(j jobs.Job, now time.Time) (Row, error) {
	row, err := j.Row(now)
	if err != nil {
		return Row{}, err
	}
	if row.NotBefore.IsZero() {
		row.NotBefore = now
	}
	if row.ExpiresAt.IsZero() {
		row.ExpiresAt = row.NotBefore.Add(row.Life)
	}
	return Row{Row: row, State: jobs.RowQueued}, nil
}

// Rows are all the rows, in the order in which they were recorded.
func (o *Outbox[Tx]) Rows(context.Context) ([]Row, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.rows), nil
}

// RowDone completes a row: see worker.Outbox.
func (o *Outbox[Tx]) RowDone(_ context.Context, r jobs.RowRef) error {
	o.end(r, jobs.RowDone, func(s jobs.RowState) bool { return s != jobs.RowDone })
	return nil
}

// RowFailed counts a failed run: see worker.Outbox. Runs of a row that is not here, as Worker.Work makes them, count too, and
// every run counts: in a test nobody waits for the pause between two.
func (o *Outbox[Tx]) RowFailed(_ context.Context, r jobs.RowRef, _ string, _ func(int) time.Duration) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if i := o.find(r.ID); i >= 0 && (!unfinished(o.rows[i].State) || o.rows[i].Kind != r.Kind) {
		return 0, nil
	}
	if o.failures == nil {
		o.failures = make(map[string]int)
	}
	o.failures[r.ID]++
	return o.failures[r.ID], nil
}

// RowDead ends a row as out of retries: see worker.Outbox.
func (o *Outbox[Tx]) RowDead(_ context.Context, r jobs.RowRef, _ string) error {
	o.end(r, jobs.RowDead, unfinished)
	return nil
}

func (o *Outbox[Tx]) end(r jobs.RowRef, as jobs.RowState, mayEnd func(jobs.RowState) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if i := o.find(r.ID); i >= 0 && o.rows[i].Kind == r.Kind && mayEnd(o.rows[i].State) {
		o.rows[i].State, o.rows[i].UniqueKey = as, "" // a row that has ended holds its key no longer
	}
}

func (o *Outbox[Tx]) find(rowID string) int {
	return slices.IndexFunc(o.rows, func(r Row) bool { return r.ID == rowID })
}

func unfinished(s jobs.RowState) bool {
	return s == jobs.RowQueued || s == jobs.RowClaimed || s == jobs.RowEnqueued
}
