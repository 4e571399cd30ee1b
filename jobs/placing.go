package jobs

import (
	"fmt"
	"slices"
)

// PlacedSchedule is a schedule of the book, with what its source said of it last.
type PlacedSchedule struct {
	ScheduleState
	Placed       string // SchedulePlan.Mark of that plan; "": none was placed
	PlacedPaused bool   // and its Paused
}

// ScheduleChange is one row of the book that a placement changes.
type ScheduleChange struct {
	SchedulePlan              // as it is to be
	Placed       SchedulePlan // as its source said it
	Action       ScheduleAction
	Changed      bool // by an operator at run time, still
	Anchored     bool // its due times begin anew, now
}

// ScheduleAction is what happens to a schedule.
type ScheduleAction string

// The actions, as the audit log has them.
const (
	SchedulePlaced  ScheduleAction = "schedule.placed"  // by a program that started
	ScheduleRemoved ScheduleAction = "schedule.removed" // by it, or by somebody
	ScheduleAdded   ScheduleAction = "schedule.added"
	ScheduleChanged ScheduleAction = "schedule.changed"
	SchedulePaused  ScheduleAction = "schedule.paused"
	ScheduleResumed ScheduleAction = "schedule.resumed"
	ScheduleRun     ScheduleAction = "schedule.run"
)

// Mark tells plans apart by all but Paused.
func (p SchedulePlan) Mark() string {
	return fmt.Sprintf("%q %q %q %q %q %d %q", p.Cron, p.Zone, p.Kind, p.Args, p.CatchUp, p.Jitter, p.Source)
}

// Facts are the plan in an audit entry.
func (p SchedulePlan) Facts() map[string]string {
	facts := map[string]string{"cron": p.Cron, "kind": string(p.Kind), "catch_up": string(p.CatchUp), "source": string(p.Source)}
	if p.Zone != "" {
		facts["zone"] = p.Zone
	}
	if p.Jitter > 0 {
		facts["jitter"] = p.Jitter.String()
	}
	if p.Args != "" {
		facts["args"] = p.Args
	}
	if p.Paused {
		facts["paused"] = "yes"
	}
	return facts
}

// Changes says what the placement changes in a book that holds have. What a source says anew counts, and so does what somebody
// changed at run time after it.
func (p Placement) Changes(have []PlacedSchedule) []ScheduleChange {
	rows := make(map[string]PlacedSchedule, len(have))
	for _, row := range have {
		rows[row.Name] = row
	}
	var changes []ScheduleChange
	named := make(map[string]bool)
	for _, plan := range p.Plans {
		named[plan.Name] = true
		row, there := rows[plan.Name]
		if !there {
			changes = append(changes, ScheduleChange{SchedulePlan: plan, Placed: plan, Action: SchedulePlaced, Anchored: true})
			continue
		}
		same := row.Placed == plan.Mark()
		if same && row.PlacedPaused == plan.Paused {
			continue
		}
		c := ScheduleChange{SchedulePlan: plan, Placed: plan, Action: SchedulePlaced}
		if same { // only whether it is paused was said anew
			c.SchedulePlan, c.Changed = row.SchedulePlan, row.Changed
			c.Paused = plan.Paused
		} else if row.PlacedPaused == plan.Paused {
			c.Paused = row.Paused
		}
		c.Anchored = c.Cron != row.Cron || c.Zone != row.Zone
		changes = append(changes, c)
	}
	for _, row := range have {
		if p.Whole != "" && row.Source == p.Whole && !named[row.Name] && !slices.Contains(p.Keep, row.Name) {
			changes = append(changes, ScheduleChange{SchedulePlan: row.SchedulePlan, Action: ScheduleRemoved})
		}
	}
	return changes
}
