package relay_test

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/relay"
)

// outbox is an outbox in memory, as package relay describes one.
type outbox struct {
	mu       sync.Mutex
	rows     map[string]*row
	claims   int
	returns  int
	looks    []time.Time // for overdue rows
	restored []restoration
	err      error // what every call answers
}

type row struct {
	jobs.ClaimedRow
	state  jobs.RowState
	nextAt time.Time // queued: not claimed before; enqueued: looked at when overdue since
	lease  time.Time
	cause  string
}

// restoration is a call of RestoreRow that restored.
type restoration struct {
	attempt int
	pause   time.Duration
}

var _ relay.Rows = (*outbox)(nil)

func newOutbox() *outbox { return &outbox{rows: make(map[string]*row)} }

// add records a job as an outbox does.
func (o *outbox) add(t *testing.T, j jobs.Job) string {
	t.Helper()
	r, err := j.Row(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return o.insert(r)
}

// insert is what somebody with access to the table can do.
func (o *outbox) insert(r jobs.Row) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r.NotBefore.IsZero() {
		r.NotBefore = time.Now()
	}
	if r.ExpiresAt.IsZero() {
		r.ExpiresAt = r.NotBefore.Add(r.Life)
	}
	o.rows[r.ID] = &row{ClaimedRow: jobs.ClaimedRow{Row: r, Attempt: 1}, state: jobs.RowQueued}
	return r.ID
}

// see is a copy of a row.
func (o *outbox) see(id string) row {
	o.mu.Lock()
	defer o.mu.Unlock()
	return *o.rows[id]
}

// change changes a row behind the relay's back.
func (o *outbox) change(id string, do func(r *row)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	do(o.rows[id])
}

// count says how many rows are in a state.
func (o *outbox) count(state jobs.RowState) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, r := range o.rows {
		if r.state == state {
			n++
		}
	}
	return n
}

func (o *outbox) restorations() []restoration {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.restored)
}

func (o *outbox) looksSoFar() []time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.looks)
}

func (o *outbox) claimsSoFar() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.claims
}

func (o *outbox) returnsSoFar() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.returns
}

// fail makes every call fail, or none.
func (o *outbox) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = err
}

// away says what a database would: it is told to fail, or the caller's context has ended.
func (o *outbox) away(ctx context.Context) error { return errors.Join(o.err, ctx.Err()) }

func (o *outbox) ordered() []*row {
	return slices.SortedFunc(maps.Values(o.rows), func(a, b *row) int { return cmp.Compare(a.ID, b.ID) })
}

func (o *outbox) ClaimRows(ctx context.Context, c jobs.Claim) ([]jobs.ClaimedRow, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.away(ctx); err != nil {
		return nil, err
	}
	now := time.Now()
	o.claims++
	token := strconv.Itoa(o.claims)
	type lane struct {
		kind  jobs.Kind
		queue string
	}
	var waiting []*row
	place, inLane := make(map[*row]int), make(map[lane]int)
	for _, r := range o.ordered() {
		due := r.state == jobs.RowQueued && !r.nextAt.After(now) || r.state == jobs.RowClaimed && r.lease.Before(now)
		if !due || !r.ExpiresAt.After(now) || !slices.Contains(c.Kinds, r.Kind) || slices.Contains(c.SkipQueues, r.Queue) {
			continue
		}
		in := lane{r.Kind, r.Queue}
		place[r] = inLane[in]
		inLane[in]++
		waiting = append(waiting, r)
	}
	slices.SortStableFunc(waiting, func(a, b *row) int { return cmp.Compare(place[a], place[b]) }) // lanes take turns
	var claimed []jobs.ClaimedRow
	for _, r := range waiting[:min(len(waiting), c.Limit)] {
		r.state, r.lease, r.LeaseToken = jobs.RowClaimed, now.Add(c.Lease), token
		claimed = append(claimed, r.ClaimedRow)
	}
	slices.SortFunc(claimed, func(a, b jobs.ClaimedRow) int { return cmp.Compare(a.ID, b.ID) })
	return claimed, nil
}

// held calls do for those rows that are under the claim they came with.
func (o *outbox) held(ctx context.Context, rows []jobs.ClaimedRow, do func(r *row)) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.away(ctx); err != nil {
		return err
	}
	for _, c := range rows {
		if r := o.rows[c.ID]; r.state == jobs.RowClaimed && r.LeaseToken == c.LeaseToken {
			do(r)
		}
	}
	return nil
}

func (o *outbox) RowsEnqueued(ctx context.Context, rows []jobs.ClaimedRow) error {
	now := time.Now()
	kids := make(map[string]string)
	for _, row := range rows {
		kids[row.ID] = row.KID
	}
	return o.held(ctx, rows, func(r *row) {
		r.state, r.nextAt, r.KID = jobs.RowEnqueued, now, kids[r.ID]
		if r.NotBefore.After(now) {
			r.nextAt = r.NotBefore
		}
	})
}

func (o *outbox) ReturnRows(ctx context.Context, rows []jobs.ReturnedRow) error {
	var trouble []error
	for _, returned := range rows {
		trouble = append(trouble, o.held(ctx, []jobs.ClaimedRow{returned.ClaimedRow}, func(r *row) {
			r.state, r.nextAt, r.cause = jobs.RowQueued, time.Now().Add(returned.Pause), returned.Cause
		}))
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.returns++
	return errors.Join(trouble...)
}

func (o *outbox) RefuseRow(ctx context.Context, refused jobs.ClaimedRow, cause string) error {
	return o.held(ctx, []jobs.ClaimedRow{refused}, func(r *row) { r.state, r.cause = jobs.RowRefused, cause })
}

func (o *outbox) ExpireRows(ctx context.Context, grace time.Duration, limit int) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.away(ctx); err != nil {
		return 0, err
	}
	now, n := time.Now(), 0
	for _, r := range o.ordered() {
		over := r.state == jobs.RowQueued && !r.ExpiresAt.After(now) ||
			(r.state == jobs.RowEnqueued || r.state == jobs.RowClaimed) && !r.ExpiresAt.Add(grace).After(now)
		if over && n < limit {
			r.state = jobs.RowExpired
			n++
		}
	}
	return n, nil
}

func (o *outbox) OverdueRows(ctx context.Context, after time.Duration, limit int) ([]jobs.ClaimedRow, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.away(ctx); err != nil {
		return nil, err
	}
	now := time.Now()
	o.looks = append(o.looks, now)
	var overdue []jobs.ClaimedRow
	longestFirst := slices.SortedFunc(maps.Values(o.rows), func(a, b *row) int { return a.nextAt.Compare(b.nextAt) })
	for _, r := range longestFirst {
		if r.state == jobs.RowEnqueued && r.nextAt.Add(after).Before(now) && r.ExpiresAt.After(now) && len(overdue) < limit {
			r.nextAt = now
			overdue = append(overdue, r.ClaimedRow)
		}
	}
	return overdue, nil
}

func (o *outbox) RestoreRow(ctx context.Context, lost jobs.ClaimedRow, pause time.Duration) (bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := o.rows[lost.ID]
	if err := o.away(ctx); err != nil || r.state != jobs.RowEnqueued || r.Attempt != lost.Attempt {
		return false, err
	}
	r.state, r.Attempt, r.nextAt = jobs.RowQueued, r.Attempt+1, time.Now().Add(pause)
	o.restored = append(o.restored, restoration{attempt: r.Attempt, pause: pause})
	return true, nil
}

func (o *outbox) OutboxBacklog(ctx context.Context) ([]jobs.Backlog, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.away(ctx); err != nil {
		return nil, err
	}
	now := time.Now()
	var backlog []jobs.Backlog
	for _, r := range o.rows {
		if r.state != jobs.RowQueued && r.state != jobs.RowClaimed && r.state != jobs.RowEnqueued {
			continue
		}
		i := slices.IndexFunc(backlog, func(b jobs.Backlog) bool { return b.Kind == r.Kind && b.Queue == r.Queue && b.State == r.state })
		if i < 0 {
			i = len(backlog)
			backlog = append(backlog, jobs.Backlog{Kind: r.Kind, Queue: r.Queue, State: r.state})
		}
		backlog[i].Rows++
		backlog[i].Oldest = max(backlog[i].Oldest, now.Sub(r.NotBefore))
	}
	slices.SortFunc(backlog, func(a, b jobs.Backlog) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.State, b.State))
	})
	return backlog, nil
}
