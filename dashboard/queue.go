package dashboard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/sealq/sealq/jobs/judge"
	"github.com/sealq/sealq/jobs/rawtask"
)

// queueView is one queue and a page of its tasks.
type queueView struct {
	Row     queueRow
	Paused  bool
	State   rawtask.State
	States  []stateView
	Tasks   []taskRow
	From    int
	Older   int // where the next page begins; 0: there is none
	Shown   string
	Chart   *chartView // nil: this process may not see it
	Said    string     // what has just been done
	Problem string
}

type stateView struct {
	Name  rawtask.State
	Count string
	Here  bool
}

// taskRow is one task in a list.
type taskRow struct {
	ID       string
	Target   target
	Whole    bool // Target has the whole ID, so that the task can be named
	Kind     string
	Verdict  string
	Good     bool
	Reason   string
	Problems []rawtask.Problem
	At       moment
	Tries    string
	Error    string
}

// listed are the states that have pages, in the order of their links.
func listed() []rawtask.State {
	return []rawtask.State{rawtask.Pending, rawtask.Active, rawtask.Scheduled, rawtask.Retry, rawtask.Archived, rawtask.Completed, rawtask.Aggregating}
}

func (d *Dashboard) queue(v *visit) error {
	ctx, cancel := context.WithTimeout(v.r.Context(), patience)
	defer cancel()
	query := v.r.URL.Query()
	name, state := query.Get("name"), rawtask.State(query.Get("state"))
	if state == "" {
		state = rawtask.Pending
	}
	if !slices.Contains(listed(), state) {
		return refuse(http.StatusBadRequest, "No such state", "A task of a queue is pending, active, scheduled, retry, archived, completed or aggregating.")
	}
	from, err := strconv.Atoi(query.Get("from"))
	if err != nil || from < 0 || from > rawtask.MaxFrom {
		from = 0
	}
	view := queueView{State: state, From: from, Said: said(query)}
	if err := d.fillQueue(ctx, name, &view); err != nil {
		return err
	}
	return v.page(http.StatusOK, "queue", "Queue "+label(name), view)
}

func (d *Dashboard) fillQueue(ctx context.Context, name string, view *queueView) error {
	counts, err := d.tasks.Counts(ctx, name)
	if errors.Is(err, rawtask.ErrQueueName) {
		return refuse(http.StatusNotFound, "No such queue", "No queue has that name.")
	}
	if err != nil {
		return err
	}
	readings, err := d.readQueues(ctx, []string{name})
	if err != nil {
		return err
	}
	groups, err := d.groups.now(ctx)
	if err != nil {
		return err
	}
	view.Row, view.Paused = d.row(readings[0], groups), readings[0].paused
	for _, state := range listed() {
		view.States = append(view.States, stateView{Name: state, Count: count(counts[state]), Here: state == view.State})
	}
	if view.Chart, err = d.chart(ctx, name); err != nil {
		return err
	}
	if view.State == rawtask.Aggregating {
		return d.fillGroups(ctx, name, counts[view.State], view)
	}
	found, total, err := d.tasks.Page(ctx, name, view.State, view.From)
	if place, ok := errors.AsType[*rawtask.PlaceError](err); ok {
		view.Problem = clean(place.Error(), maxError, false)
		return nil
	}
	if err != nil {
		return err
	}
	for _, f := range found {
		row, err := d.taskRow(ctx, f)
		if err != nil {
			return err
		}
		view.Tasks = append(view.Tasks, row)
	}
	next := view.From + len(found)
	view.Shown = fmt.Sprintf("%d to %d of %s", view.From+1, next, count(total))
	switch {
	case int64(next) < total && next <= rawtask.MaxFrom:
		view.Older = next
	case int64(next) < total:
		view.Shown += "; for the others search by their IDs"
	}
	return nil
}

// mostGrouped is how many tasks of groups are listed.
const mostGrouped = 100

// fillGroups lists tasks that wait to be made one. No worker of sealq's does that, because what it makes is signed by nobody.
func (d *Dashboard) fillGroups(ctx context.Context, name string, groups int64, view *queueView) error {
	for f, err := range d.tasks.Tasks(ctx, name, rawtask.Aggregating) {
		if place, ok := errors.AsType[*rawtask.PlaceError](err); ok {
			view.Problem = clean(place.Error(), maxError, false)
			continue
		}
		if err != nil {
			return err
		}
		row, err := d.taskRow(ctx, f)
		if err != nil {
			return err
		}
		if view.Tasks = append(view.Tasks, row); len(view.Tasks) == mostGrouped {
			break
		}
	}
	view.Shown = fmt.Sprintf("%d of the tasks in %s groups", len(view.Tasks), count(groups))
	return nil
}

func (d *Dashboard) taskRow(ctx context.Context, f rawtask.Found) (taskRow, error) {
	verdict, err := d.judge(ctx, f)
	if err != nil {
		return taskRow{}, err
	}
	return taskRow{
		ID: label(f.ID), Target: target{f.Queue, f.ID}, Whole: f.IDSize == len(f.ID), Kind: label(f.Message.Kind),
		Verdict: shownVerdict(verdict), Good: good(verdict.Outcome), Reason: string(verdict.Reason), Problems: f.Problems(d.cfg.Now()),
		At: d.at(f.When), Tries: fmt.Sprintf("%d/%d", f.Message.Retried, f.Message.MaxRetry), Error: label(f.Message.LastError),
	}, nil
}

// judge asks the Judge, if there is one.
func (d *Dashboard) judge(ctx context.Context, f rawtask.Found) (judge.Verdict, error) {
	if d.cfg.Judge == nil {
		return judge.Verdict{Outcome: judge.NotJudged, Detail: "there are no keys here"}, nil
	}
	return d.cfg.Judge.Judge(ctx, f)
}

func shownVerdict(v judge.Verdict) string {
	switch v.Outcome {
	case judge.NotJudged:
		return "not judged here"
	case judge.MalformedMessage:
		return "malformed"
	default:
		return string(v.Outcome)
	}
}

func good(o judge.Outcome) bool { return o != judge.Refused && o != judge.MalformedMessage }
