package jobs

import (
	"errors"
	"time"
)

// CatchUp says what becomes of the due times that a schedule missed while no scheduler ran.
type CatchUp string

// The ways to catch up.
const (
	CatchUpLatest CatchUp = "latest" // the last of them becomes a tick
	CatchUpAll    CatchUp = "all"    // each does, up to a bound
	CatchUpSkip   CatchUp = "skip"   // none does
)

// CatchUps are all of them, the default first.
func CatchUps() []CatchUp { return []CatchUp{CatchUpLatest, CatchUpAll, CatchUpSkip} }

// ScheduleSource is where a schedule comes from.
type ScheduleSource string

// The sources of schedules.
const (
	FromCode    ScheduleSource = "code"    // a program's own
	FromConfig  ScheduleSource = "config"  // a file that the program read at its start
	FromRuntime ScheduleSource = "runtime" // somebody added it to the database
)

// The causes for which a change of a schedule is refused.
var (
	ErrNoSuchSchedule = errors.New("no such schedule")
	ErrScheduleExists = errors.New("a schedule of that name exists")
	ErrScheduleMoved  = errors.New("the schedule has been changed, removed or run in the meantime: try again")
)

// ErrTickBlocked means that a transaction that is open elsewhere holds what a tick needs: its job's unique key, or its schedule.
var ErrTickBlocked = errors.New("a transaction that is open elsewhere holds the job's unique key or the schedule; it is tried again")

// SchedulePlan is a schedule as somebody defined it: all that a scheduler needs to make its ticks. It is comparable.
type SchedulePlan struct {
	Name    string
	Cron    string
	Zone    string // an IANA name; "" is UTC
	Kind    Kind
	Args    string // the job's arguments in JSON; "": the jobs are made by a function of the program whose schedule it is
	CatchUp CatchUp
	Jitter  time.Duration // by how much at most ticks are made later than they are due
	Paused  bool
	Source  ScheduleSource
}

// ScheduleState is a schedule as the database has it.
type ScheduleState struct {
	SchedulePlan
	// Changed says that somebody changed it at run time since its source placed it.
	Changed   bool
	Revision  int64     // of all schedules' changes, the one that made it what it is
	Anchor    time.Time // @every counts from here
	LastDueAt time.Time // up to here due times are settled: the last that became a tick; before the first, and after a pause, when it began
}

// ScheduleBook is what the database has of all schedules.
type ScheduleBook struct {
	Version   int64 // of the book: another after each change of a schedule, and never one that was
	Now       time.Time
	Known     bool            // the asker has this version: Schedules is nil
	Schedules []ScheduleState // by name
}

// Placement is what a program wants to be in the book when it starts.
type Placement struct {
	Plans []SchedulePlan
	// Whole is a source of which Plans hold all there is: its other schedules are removed. Zero: none is.
	Whole ScheduleSource
	// Keep are names of Whole's that are left as they are.
	Keep []string
	// Actor is in whose name the changes are audited.
	Actor string
}

// Due is one due time of a schedule, to be turned into a tick.
type Due struct {
	Schedule string
	Revision int64 // of the schedule as it was read; a changed one makes no tick
	At       time.Time
	// Since is the LastDueAt that it was reckoned from, and Missed how many due times after that one come to nothing. They are
	// counted if the row has that LastDueAt still.
	Since  time.Time
	Missed int64
}

// Tick is a due time with its job.
type Tick struct {
	Due
	Job Job
}

// TickMade is what became of a Tick.
type TickMade struct {
	Made      bool
	LastDueAt time.Time // of the schedule, whoever made its ticks
	// Stale says that the schedule is not what it was when it was read: changed, paused or removed.
	Stale bool
	// Err is what is wrong with this tick alone, such as ErrDuplicate and ErrTickBlocked.
	Err error
}

// TickInfo is a tick that was made.
type TickInfo struct {
	Schedule   string
	DueAt      time.Time
	Manual     bool // asked for by somebody, at its due time
	MadeAt     time.Time
	RowID      string    // of its job
	StartedAt  time.Time // when its task was last signed for the queue; zero: not yet, or nobody knows
	FinishedAt time.Time // zero: not yet
	Outcome    RowState  // how its job ended; "" before. RowGone: nobody knows
	Cause      string    // what went wrong last
}

// RowGone is the outcome of a tick whose row was gone before anybody looked how it had ended.
const RowGone = "gone"

// ScheduleReport is what a watchdog looks at.
type ScheduleReport struct {
	ScheduleState
	LastTickAt    time.Time // the due time of the last tick; zero: there was none
	LastStartedAt time.Time // when the task of a tick was last signed for the queue; zero: never
	LastSuccessAt time.Time // when the job of a tick was done last; zero: never
	LastOutcome   RowState  // of the tick whose job ended last; "" before
	Missed        int64     // due times that came to nothing, since the schedule is what it is
	// Unfinished is when the oldest tick was made whose job has not ended; zero: there is none.
	Unfinished time.Time
}
