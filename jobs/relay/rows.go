package relay

import (
	"context"
	"time"

	"github.com/sealq/sealq/jobs"
)

// Claims hands out rows to enqueue.
type Claims interface {
	// ClaimRows claims up to c.Limit rows that are queued and due to be enqueued, or whose claim has lapsed, for the
	// length of c.Lease: those that have waited longest in their kind and queue, in the order of their IDs. Kinds and queues
	// take turns, so that however many rows of one are due, a claim has rows of the others, as many as it has room for. Rows past their end are not claimed,
	// nor those of kinds other than c.Kinds, nor those in c.SkipQueues; however many there are of these, they cost nothing.
	ClaimRows(ctx context.Context, c jobs.Claim) ([]jobs.ClaimedRow, error)
	// RowsEnqueued marks claimed rows as enqueued, signed with their KIDs just now, those alone whose claim still carries the same lease token. A row
	// that has ended and was told of no signature is told of it alone: a worker may be quicker than the relay.
	RowsEnqueued(ctx context.Context, rows []jobs.ClaimedRow) error
	// ReturnRows puts claimed rows back into the queue, to be claimed again after their pauses, with what went wrong;
	// those alone whose claim still carries the same lease token.
	ReturnRows(ctx context.Context, rows []jobs.ReturnedRow) error
}

// Endings are the terminal states that a relay sets.
type Endings interface {
	// RefuseRow ends a claimed row that does not decode as its kind, if its claim still carries the lease token.
	RefuseRow(ctx context.Context, row jobs.ClaimedRow, cause string) error
	// ExpireRows ends up to limit unfinished rows that are past their end: queued ones at once, enqueued ones
	// after grace, so that a task which is running may finish. It returns how many.
	ExpireRows(ctx context.Context, grace time.Duration, limit int) (int, error)
}

// Overdue finds and restores rows whose task is lost.
type Overdue interface {
	// OverdueRows lists up to limit rows that have been enqueued and due for longer than after, and moves the
	// time of their next look by after, so that two reconcilers do not look at the same rows.
	OverdueRows(ctx context.Context, after time.Duration, limit int) ([]jobs.ClaimedRow, error)
	// RestoreRow queues the row again as its next attempt, after pause, if it still stands as it was listed.
	RestoreRow(ctx context.Context, row jobs.ClaimedRow, pause time.Duration) (restored bool, err error)
}

// Backlog tells what waits.
type Backlog interface {
	// OutboxBacklog counts the unfinished rows by kind, queue and state, in that order of their bytes. What there is none of
	// has no entry.
	OutboxBacklog(ctx context.Context) ([]jobs.Backlog, error)
}

// Rows is the outbox as a relay needs it.
type Rows interface {
	Claims
	Endings
	Overdue
	Backlog
}
