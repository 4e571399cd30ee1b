package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sealq/sealq/jobs"
)

// nowView is the first page: what needs a person, what is fine, and the queues.
type nowView struct {
	Concerns []concern
	Fine     []fineGroup
	Unknown  []string // what was not looked at, and why
	Examined moment   // when the checks were made
	Pending  bool     // they are being made for the first time
	NoChecks bool     // nobody makes any
	Queues   []queueRow
	Read     moment
}

// fineGroup is one line of what is fine: what it was looked at, and what each check said.
type fineGroup struct {
	Name   string
	Checks []string // their names
	Says   []string
}

// queueRow is one queue in the list.
type queueRow struct {
	Name      string // to be shown
	Target    target
	Waiting   string
	Active    string
	Later     string // scheduled and retry
	Archived  string
	Oldest    string
	PerMinute string
	Refused   int64
	State     string
	Bad       bool // its state needs somebody
}

// mostGroups is how many reasons in how many queues are counted.
const mostGroups = 1000

// statePaused is the state of a queue that no worker fetches from, and of a schedule of which no jobs are made.
const statePaused = "paused"

// behind is how old the oldest waiting task of a queue may be before the queue is called behind.
const behind = 5 * time.Minute

func (d *Dashboard) now(v *visit) error {
	ctx, cancel := context.WithTimeout(v.r.Context(), patience)
	defer cancel()
	view, err := d.look(ctx)
	if err != nil {
		return err
	}
	if strings.Contains(v.r.Header.Get("Accept"), "application/json") {
		v.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(v).Encode(view); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
		return nil
	}
	view.Concerns = seenBy(v.who.role, view.Concerns)
	return v.page(http.StatusOK, "now", "Now", view)
}

// look asks what is cheap to be asked each time, and takes the rest from the watch. What does not answer is the first concern, and
// hides nothing of what does.
func (d *Dashboard) look(ctx context.Context) (nowView, error) {
	view := nowView{Read: d.at(d.cfg.Now()), NoChecks: d.cfg.Examine == nil}
	half, cancel := context.WithTimeout(ctx, patience/2) // who is silent takes no time of the other's, which would be blamed too
	defer cancel()
	groups, err := d.groups.now(half)
	switch {
	case err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled):
		return view, err
	case err != nil:
		view.Concerns = append(view.Concerns, d.mute(ctx, "database", err))
	case len(groups) == 0:
		view.Fine = append(view.Fine, fineGroup{"quarantine", []string{"empty"}, []string{"Nothing that was refused waits there."}})
	default:
		view.Concerns = append(view.Concerns, d.refusals(groups)...)
	}
	names, err := d.queueNames(ctx)
	var readings []reading
	if err == nil {
		readings, err = d.readQueues(ctx, names)
	}
	if err != nil {
		view.Concerns = append(view.Concerns, d.mute(ctx, "redis", err))
	}
	for _, r := range readings {
		view.Queues = append(view.Queues, d.row(r, groups))
	}
	d.addFindings(&view)
	slices.SortStableFunc(view.Concerns, graver)
	return view, nil
}

// mute is a server that does not answer.
func (d *Dashboard) mute(ctx context.Context, group string, err error) concern {
	d.cfg.Logger.WarnContext(ctx, "a server does not answer the dashboard", slog.String("server", group), slog.Any("error", err))
	return noAnswer(group)
}

func (d *Dashboard) addFindings(view *nowView) {
	findings, at := d.watch.examination()
	view.Examined, view.Pending = d.at(at), at.IsZero() && d.cfg.Examine != nil
	unknown := make(map[string][]string)
	var reasons, order []string
	fine := make(map[string][]Finding)
	for _, f := range findings {
		switch f.Status {
		case Problem, Warning:
			view.Concerns = append(view.Concerns, pausedHere(ofFinding(f), f, view.Queues))
		case NotLooked:
			if _, ok := unknown[f.Message]; !ok {
				reasons = append(reasons, f.Message)
			}
			unknown[f.Message] = append(unknown[f.Message], f.Group+" "+f.Check)
		case Fine:
			fine[f.Group] = append(fine[f.Group], f)
			if !slices.Contains(order, f.Group) {
				order = append(order, f.Group)
			}
		}
	}
	for _, group := range order {
		view.Fine = append(view.Fine, fineOf(group, fine[group]))
	}
	for _, reason := range reasons {
		view.Unknown = append(view.Unknown, clean(strings.Join(slices.Compact(unknown[reason]), ", ")+": "+reason, maxError, false))
	}
}

// fineOf is one line about what is fine of a group, a check that looked at several named once.
func fineOf(group string, findings []Finding) fineGroup {
	g := fineGroup{Name: label(group)}
	several := make(map[string]int)
	var names []string
	for _, f := range findings {
		if several[f.Check]++; several[f.Check] == 1 {
			names = append(names, f.Check)
		}
		says := f.Message
		if f.Subject != "" {
			says = f.Subject + ": " + says
		}
		g.Says = append(g.Says, clean(says, maxError, false))
	}
	for _, name := range names {
		shown := label(name)
		if n := several[name]; n > 1 {
			shown += fmt.Sprintf(" (%d)", n)
		}
		g.Checks = append(g.Checks, shown)
	}
	return g
}

func (d *Dashboard) row(r reading, groups []jobs.RefusedGroup) queueRow {
	row := queueRow{
		Name: label(r.name), Target: target{Queue: r.name}, Waiting: count(r.pending), Active: count(r.active), Later: count(sum(r.sched, r.retry)),
		Archived: count(r.dead), Oldest: "–", PerMinute: "–", State: "running",
	}
	if r.pending > 0 && r.oldest > 0 {
		row.Oldest = long(r.oldest)
	}
	if n, ok := d.watch.perMinute(r.name); ok {
		row.PerMinute = fmt.Sprintf("%.0f", n)
	}
	for _, g := range groups {
		if g.Queue == r.name {
			row.Refused += g.Entries
		}
	}
	switch {
	case min(r.pending, r.active, r.sched, r.retry, r.dead) < 0:
		row.State, row.Bad = "damaged", true
	case r.paused:
		row.State, row.Bad = statePaused, true
	case r.pending > 0 && r.oldest > behind:
		row.State, row.Bad = "behind", true
	case r.pending+r.active == 0:
		row.State = "idle"
	case r.active == 0:
		row.State = "waiting"
	}
	return row
}

// sum is -1 where one of both is unknown.
func sum(a, b int64) int64 {
	if min(a, b) < 0 {
		return -1
	}
	return a + b
}

// count is a number with its thousands apart, "?" where it is unknown.
func count(n int64) string {
	if n < 0 {
		return "?"
	}
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "\u202f" + text[i:]
	}
	return text
}

// runbookView is one of Config.Runbooks, as it is written.
type runbookView struct{ Text string }

func (d *Dashboard) runbook(v *visit) error {
	name := v.r.PathValue("name")
	if d.cfg.Runbooks == nil || strings.ContainsAny(name, `/\.`) {
		return notFound(v)
	}
	text, err := fs.ReadFile(d.cfg.Runbooks, name+".md")
	if err != nil {
		return notFound(v)
	}
	return v.page(http.StatusOK, "runbook", "Runbook: "+label(name), runbookView{Text: clean(string(text), maxBlock, true)})
}
