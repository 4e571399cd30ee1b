package scheduler

import (
	"context"
	"time"

	"github.com/sealq/sealq/jobs"
)

// Ticks keeps schedules and their ticks in a database, where any number of schedulers meet.
type Ticks interface {
	// PlaceSchedule inserts the schedule, anchored now, or changes the cron expression of the one there is, with
	// a new revision and now as its anchor and last due time. The same expression again changes nothing.
	PlaceSchedule(ctx context.Context, name, cron string) error
	// ScheduleStates lists the schedules by name, and the database's clock.
	ScheduleStates(ctx context.Context) (states []jobs.ScheduleState, now time.Time, err error)
	// Tick makes the tick of one due time, in one transaction: it locks the schedule's row, checks that its
	// revision is due.Revision, that it is not paused and that last_due_at < due.At ≤ the database's clock,
	// inserts the tick and the job's outbox row, and advances last_due_at. It says false where a check failed:
	// another scheduler made the tick, or the schedule has changed. Where the job is unique and one like it is
	// unfinished it makes no tick and returns jobs.ErrDuplicate.
	Tick(ctx context.Context, due jobs.Due, j jobs.Job) (made bool, err error)
}
