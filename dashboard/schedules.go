package dashboard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/sweep"
)

// Schedules are what the pages ask of schedules, and do with them. They need no key: a tick is a row of the outbox, which a relay signs.
type Schedules interface {
	ScheduleReader
	// SetPaused pauses or resumes a schedule in actor's name, and says whether it was not so before; or jobs.ErrNoSuchSchedule.
	SetPaused(ctx context.Context, actor, schedule string, paused bool) (changed bool, err error)
	// RunNow makes a tick that is due now in actor's name; or jobs.ErrNoSuchSchedule, or jobs.ErrDuplicate where its job is unfinished and there
	// is to be one at a time.
	RunNow(ctx context.Context, actor, schedule string) (rowID string, err error)
}

// ScheduleReader shows schedules.
type ScheduleReader interface {
	// Schedules are all, by name, as a scheduler's watch judges them.
	Schedules(ctx context.Context) ([]Schedule, error)
	// TickHistory lists the last ticks of a schedule, the newest first, or returns jobs.ErrNoSuchSchedule.
	TickHistory(ctx context.Context, schedule string, limit int) ([]jobs.TickInfo, error)
	// SweepProgress says how far the sweep of a kind is. Holder is "" where there was none.
	SweepProgress(ctx context.Context, kind string) (sweep.Progress, error)
}

// Schedule is where one stands.
type Schedule struct {
	jobs.ScheduleReport
	NextAt  time.Time // zero: never, or it is paused
	Trouble string    // in a word, "" for none
	Detail  string    // what is wrong, in a sentence
}

// scheduleRow is one of the list.
type scheduleRow struct {
	Name, Link, Form, Cron, Zone, Kind, Args, CatchUp, Jitter, Source string
	Next, LastDue, LastSuccess, LastStarted, Unfinished               moment
	LastOutcome                                                       string
	Missed                                                            string
	State, Detail                                                     string
	Bad, Paused                                                       bool
}

// schedulesView is the list.
type schedulesView struct {
	Rows []scheduleRow
	All  string
	More bool
}

// scheduleView is one schedule with its ticks.
type scheduleView struct {
	scheduleRow

	Ticks []tickRow
	Sweep *sweepView
	Said  string
}

type tickRow struct {
	Due, Made, Started, Finished   moment
	Asked                          bool // for by somebody
	Delay, Outcome, Cause, Row, ID string
	Bad                            bool
}

// sweepView is how far a sweep is that is under way.
type sweepView struct {
	Part, Done, Due, Rate, Left string
	Most, Value                 int64 // of the bar
	Began, Told                 moment
}

const (
	// mostSchedules is how many are listed.
	mostSchedules = 500
	// mostTicks is how many ticks of a schedule are shown.
	mostTicks = 100
)

func (d *Dashboard) scheduleRow(s Schedule) scheduleRow {
	zone := s.Zone
	if zone == "" {
		zone = "UTC"
	}
	row := scheduleRow{
		Name: label(s.Name), Link: linked(s.Name), Form: formed(s.Name), Cron: label(s.Cron), Zone: label(zone), Kind: label(string(s.Kind)),
		Args: clean(s.Args, maxError, false), CatchUp: label(string(s.CatchUp)), Source: label(string(s.Source)),
		Next: d.at(s.NextAt), LastDue: d.at(s.LastTickAt), LastSuccess: d.at(s.LastSuccessAt), LastStarted: d.at(s.LastStartedAt), Unfinished: d.at(s.Unfinished),
		LastOutcome: label(string(s.LastOutcome)), Missed: count(s.Missed), State: "ok", Paused: s.Paused,
	}
	if s.Jitter > 0 {
		row.Jitter = s.Jitter.String()
	}
	if s.Changed {
		row.Source += ", changed at run time"
	}
	switch {
	case s.Trouble != "":
		row.State, row.Detail, row.Bad = label(s.Trouble), clean(s.Detail, maxError, false), true
	case s.Paused:
		row.State = statePaused
	}
	return row
}

func troubled(s Schedule) int {
	if s.Trouble != "" {
		return 1
	}
	return 0
}

func (d *Dashboard) schedules(v *visit) error {
	if d.cfg.Schedules == nil {
		return sorry("schedules")
	}
	ctx, cancel := context.WithTimeout(v.r.Context(), patience)
	defer cancel()
	d.watch.attend()
	all, err := d.cfg.Schedules.Schedules(ctx)
	if err != nil {
		return err
	}
	// What somebody should look at comes first: the others may be too many to be shown.
	slices.SortStableFunc(all, func(a, b Schedule) int { return troubled(b) - troubled(a) })
	view := schedulesView{All: count(int64(len(all))), More: len(all) > mostSchedules}
	for _, s := range all[:min(len(all), mostSchedules)] {
		view.Rows = append(view.Rows, d.scheduleRow(s))
	}
	return v.page(http.StatusOK, "schedules", "Schedules", view)
}

func (d *Dashboard) schedule(v *visit) error {
	if d.cfg.Schedules == nil {
		return sorry("schedules")
	}
	ctx, cancel := context.WithTimeout(v.r.Context(), patience)
	defer cancel()
	d.watch.attend()
	query := v.r.URL.Query()
	s, err := d.scheduleOf(ctx, query.Get("name"))
	if err != nil {
		return err
	}
	view := scheduleView{scheduleRow: d.scheduleRow(s), Said: map[string]string{
		"run": "It is due now: a worker does it.", "pause": "Paused. What it would do until it is resumed is not made up for.", "resume": "It goes on with its next due time.",
		"same": "It was so already.",
	}[query.Get("did")]}
	ticks, err := d.cfg.Schedules.TickHistory(ctx, s.Name, mostTicks)
	if err != nil {
		return noSchedule(err)
	}
	for _, t := range ticks {
		row := tickRow{
			Due: d.at(t.DueAt), Made: d.at(t.MadeAt), Started: d.at(t.StartedAt), Finished: d.at(t.FinishedAt), Asked: t.Manual,
			Delay: max(0, t.MadeAt.Sub(t.DueAt)).Round(time.Millisecond).String(), Outcome: label(string(t.Outcome)), Cause: clean(t.Cause, maxError, false), ID: label(t.RowID), Row: linked(t.RowID),
		}
		row.Bad = t.Outcome != "" && t.Outcome != jobs.RowDone
		if t.Outcome == "" {
			row.Outcome = "unfinished"
		}
		view.Ticks = append(view.Ticks, row)
	}
	progress, err := d.cfg.Schedules.SweepProgress(ctx, string(s.Kind))
	if err != nil {
		return err
	}
	view.Sweep = d.sweepView(progress)
	return v.page(http.StatusOK, "schedule", "Schedule "+label(s.Name), view)
}

// sweepView is nil where no sweep of the kind is under way.
func (d *Dashboard) sweepView(p sweep.Progress) *sweepView {
	if p.Holder == "" || p.Ended || !p.LeaseUntil.After(d.cfg.Now()) {
		return nil
	}
	view := &sweepView{Part: label(string(p.Part)), Done: count(p.Done), Began: d.at(p.BeganAt), Told: d.at(p.ToldAt)}
	if p.Due > 0 {
		view.Most = max(p.Due, p.Done)
		view.Value, view.Due = p.Done, count(view.Most)
	}
	if rate := p.Rate(); rate > 0 {
		view.Rate = fmt.Sprintf("%.0f", rate)
	}
	if left := p.Left(); left > 0 {
		view.Left = long(left)
	}
	return view
}

// scheduleOf is the schedule of that name.
func (d *Dashboard) scheduleOf(ctx context.Context, name string) (Schedule, error) {
	if name == "" || len(name) > maxLinked {
		return Schedule{}, noSchedule(jobs.ErrNoSuchSchedule)
	}
	all, err := d.cfg.Schedules.Schedules(ctx)
	if err != nil {
		return Schedule{}, err
	}
	i := slices.IndexFunc(all, func(s Schedule) bool { return s.Name == name })
	if i < 0 {
		return Schedule{}, noSchedule(jobs.ErrNoSuchSchedule)
	}
	return all[i], nil
}

func noSchedule(err error) error {
	if errors.Is(err, jobs.ErrNoSuchSchedule) {
		return refuse(http.StatusNotFound, "No such schedule", "No schedule has that name, or it was removed.")
	}
	return err
}

// actOnSchedule runs a schedule now, pauses or resumes it. Change and entry commit together.
func (d *Dashboard) actOnSchedule(v *visit) error {
	if d.cfg.Schedules == nil {
		return sorry("schedules")
	}
	ctx, cancel := context.WithTimeout(v.r.Context(), patience)
	defer cancel()
	name, do := named(v.r.PostFormValue("name")), v.r.PostFormValue("do")
	ask, ok := map[string]confirmView{
		"run":    {Ask: "Run %s now?", Radius: []string{"It is run beside its due times, also if it is paused. A worker does the job."}, Button: "Run it now"},
		"pause":  {Ask: "Pause %s?", Radius: []string{"It makes no more ticks, on any scheduler and also after a restart, until somebody resumes it.", "What it would have done meanwhile is not made up for."}, Button: "Pause it", Danger: true},
		"resume": {Ask: "Resume %s?", Radius: []string{"It goes on with its next due time."}, Button: "Resume it"},
	}[do]
	if !ok {
		return refuse(http.StatusBadRequest, "No such thing", "A schedule can be run now, paused and resumed.")
	}
	s, err := d.scheduleOf(ctx, name)
	if err != nil {
		return err
	}
	here := url.Values{"name": {s.Name}}
	ask.Ask, ask.Back = fmt.Sprintf(ask.Ask, label(s.Name)), "/schedule?"+here.Encode()
	if yes, err := v.sure(ask); !yes {
		return err
	}
	did := do
	if do == "run" {
		_, err = d.cfg.Schedules.RunNow(ctx, v.who.name, s.Name)
	} else {
		var changed bool
		if changed, err = d.cfg.Schedules.SetPaused(ctx, v.who.name, s.Name, do == "pause"); err == nil && !changed {
			did = "same"
		}
	}
	switch {
	case errors.Is(err, jobs.ErrDuplicate):
		return refuse(http.StatusConflict, "Not run", "A job of %s is unfinished, and there is to be one at a time: its history tells where it stands.", label(s.Name))
	case errors.Is(err, jobs.ErrScheduleMoved):
		return refuse(http.StatusConflict, "Not run", "It has been changed, removed or run in the meantime: look at it again.")
	case err != nil:
		return noSchedule(err)
	}
	return v.back("/schedule", here, did)
}
