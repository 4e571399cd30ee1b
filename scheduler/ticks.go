package scheduler

import (
	"context"

	"github.com/sealq/sealq/jobs"
)

// Ticks keeps schedules and their ticks in a database, where any number of schedulers meet.
type Ticks interface {
	// PlaceSchedules brings a program's schedules into the book, in one transaction, each change audited in p.Actor's name. A
	// schedule that is not there is inserted, anchored now. One that is there is made as its plan says only where the plan is
	// not the one that was placed last, so that what somebody changed at run time stays until its source says something new;
	// it gets a new revision and, where cron expression or zone are others, now as its anchor and last due time. Whether it is
	// paused changes only where the plan's Paused does.
	PlaceSchedules(ctx context.Context, p jobs.Placement) error
	// ScheduleBook reads all schedules by name, or nothing but the clock where the book's version is the one that is known.
	ScheduleBook(ctx context.Context, known int64) (jobs.ScheduleBook, error)
	// MakeTicks makes ticks, of any schedule one at most, in one transaction: it locks the schedules' rows, requires of each
	// that its revision is the tick's, that it is not paused, and that last_due_at < due ≤ the database's clock, inserts tick
	// and outbox row, and advances last_due_at. What is not made makes no other fail; it says of each what became of it, in
	// their order. A job that is unique makes no tick while one like it is unfinished: jobs.ErrDuplicate. Nor does one for which it
	// would have to wait until a transaction that is open elsewhere ends: jobs.ErrTickBlocked, after a moment.
	MakeTicks(ctx context.Context, ticks []jobs.Tick) ([]jobs.TickMade, error)
}
