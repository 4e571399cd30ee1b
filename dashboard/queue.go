package dashboard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
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
	Said    string // what has just been done
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
	return []rawtask.State{rawtask.Pending, rawtask.Active, rawtask.Scheduled, rawtask.Retry, rawtask.Archived, rawtask.Completed}
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
		return refuse(http.StatusBadRequest, "No such state", "A task of a queue is pending, active, scheduled, retry, archived or completed.")
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
	groups, err := d.cfg.Records.RefusedGroups(ctx, mostGroups)
	if err != nil {
		return err
	}
	view.Row, view.Paused = d.row(readings[0], groups), readings[0].paused
	for _, state := range listed() {
		view.States = append(view.States, stateView{Name: state, Count: count(counts[state]), Here: state == view.State})
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

// deeds are what can be done to tasks, and how it is told.
func deeds() map[string]string {
	return map[string]string{"run": "will run now", "archive": "archived", "delete": "deleted", "cancel": "asked to stop"}
}

// said tells what has just been done, by numbers in the address that mean nothing else.
func said(query url.Values) string {
	switch query.Get("did") {
	case "pause":
		return "Paused."
	case "resume":
		return "It goes on."
	}
	deed, ok := deeds()[query.Get("did")]
	if !ok {
		return ""
	}
	n, failed := number(query.Get("n")), number(query.Get("failed"))
	text := plural(n, "task") + " " + deed + "."
	if failed > 0 {
		text += " " + plural(failed, "task") + " not: gone, or in a state that does not allow it."
	}
	return text
}

// Form is a name as a form carries it: escaped as in an address, because HTML drops NUL, and takes one line end for another.
func (t target) Form() target { return target{url.QueryEscape(t.Queue), url.QueryEscape(t.ID)} }

// named is the name that a form of ours carries.
func named(text string) string {
	name, err := url.QueryUnescape(text)
	if err != nil {
		return text // it is not one of ours
	}
	return name
}

// mostChosen is how many tasks one request may name.
const mostChosen = 100

// actOnTasks does one thing to one task or many of one queue. It is entered before it is done: what cannot be entered is not done.
func (d *Dashboard) actOnTasks(v *visit) error {
	if err := v.r.ParseForm(); err != nil {
		return refuse(http.StatusBadRequest, "Too much, or not readable", "At most %d tasks can be chosen at once.", mostChosen)
	}
	form := v.r.PostForm
	queue, ids, do := named(form.Get("queue")), form["id"], form.Get("do")
	for i := range ids {
		ids[i] = named(ids[i])
	}
	act, ok := map[string]func(queue, id string) error{
		"run": d.cfg.Inspector.RunTask, "archive": d.cfg.Inspector.ArchiveTask, "delete": d.cfg.Inspector.DeleteTask,
		"cancel": func(_, id string) error { return d.cfg.Inspector.CancelProcessing(id) },
	}[do]
	switch {
	case !ok:
		return refuse(http.StatusBadRequest, "No such thing", "Tasks can be run, archived, deleted and cancelled.")
	case len(ids) == 0:
		return refuse(http.StatusBadRequest, "Nothing was chosen", "Choose one task or more.")
	case len(ids) > mostChosen:
		return refuse(http.StatusBadRequest, "Too many", "At most %d tasks can be chosen at once.", mostChosen)
	}
	if _, err := d.tasks.Counts(v.r.Context(), queue); errors.Is(err, rawtask.ErrQueueName) {
		return refuse(http.StatusNotFound, "No such queue", "No queue has that name.")
	}
	done, failed := 0, 0
	for _, id := range ids {
		if err := v.record(v.r.Context(), "task."+do, "task/"+queue+"/"+id, nil); err != nil {
			return err
		}
		if err := act(queue, id); err != nil {
			d.cfg.Logger.WarnContext(v.r.Context(), "an operator's wish was not done", attrs(v.r, err)...)
			failed++
			continue
		}
		done++
	}
	back := url.Values{"did": {do}, "n": {strconv.Itoa(done)}, "failed": {strconv.Itoa(failed)}}
	target := "/queue"
	if form.Get("one") != "" && do != "delete" {
		target, back["queue"], back["id"] = "/task", []string{queue}, ids[:1]
	} else {
		back.Set("name", queue)
		back.Set("state", form.Get("state"))
	}
	http.Redirect(v, v.r, target+"?"+back.Encode(), http.StatusSeeOther)
	return nil
}

// actOnQueue pauses a queue, or lets it go on.
func (d *Dashboard) actOnQueue(v *visit) error {
	queue, do := named(v.r.PostFormValue("queue")), v.r.PostFormValue("do")
	act, ok := map[string]func(string) error{"pause": d.cfg.Inspector.PauseQueue, "resume": d.cfg.Inspector.UnpauseQueue}[do]
	if !ok {
		return refuse(http.StatusBadRequest, "No such thing", "A queue can be paused, and go on.")
	}
	names, err := d.queueNames(v.r.Context())
	if err != nil {
		return err
	}
	if !slices.Contains(names, queue) {
		return refuse(http.StatusNotFound, "No such queue", "No queue has that name.")
	}
	if err := v.record(v.r.Context(), "queue."+do, "queue/"+queue, nil); err != nil {
		return err
	}
	if err := act(queue); err != nil {
		d.cfg.Logger.WarnContext(v.r.Context(), "an operator's wish was not done", attrs(v.r, err)...)
		return refuse(http.StatusConflict, "Not done", "It is so already, or Redis does not allow it to this process's user.")
	}
	http.Redirect(v, v.r, "/queue?"+url.Values{"name": {queue}, "did": {do}}.Encode(), http.StatusSeeOther)
	return nil
}
