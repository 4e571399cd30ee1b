package dashboard

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/sealq/sealq/jobs/rawtask"
)

// serversView is which workers' processes live, and what each of them runs.
type serversView struct {
	Servers []serverRow
	More    bool
	Problem string
}

type serverRow struct {
	ID, Name, Status, Queues, Slots string
	Bad                             bool
	Started                         moment
	Runs                            []runRow
	Untold                          int
}

// runRow is a task that a server runs.
type runRow struct {
	ID, Queue, Kind string
	Target          target
	Whole           bool // Target has the whole of both names
	Since           moment
}

func (d *Dashboard) servers(v *visit) error {
	ctx, cancel := v.patient()
	defer cancel()
	found, err := d.tasks.Servers(ctx, d.cfg.Now())
	view := serversView{More: len(found) == rawtask.MaxServers}
	switch {
	case rawtask.Denied(err):
		view.Problem = "This process's Redis user may not see them: start the dashboard as the one that sealq redis-acl prints for it."
	case err != nil:
		return err
	}
	for _, s := range found {
		view.Servers = append(view.Servers, d.serverRow(s))
	}
	return v.page(http.StatusOK, "servers", "Servers", view)
}

func (d *Dashboard) serverRow(s rawtask.Server) serverRow {
	row := serverRow{
		ID: label(s.ID), Name: label(fmt.Sprintf("%s, process %d", s.Host, s.PID)), Status: label(s.Status), Bad: s.Status != "active",
		Queues: queuesServed(s), Slots: fmt.Sprintf("%d of %d", s.Active, s.Concurrency), Started: d.at(s.Started), Untold: s.Untold,
	}
	for _, r := range s.Runs {
		row.Runs = append(row.Runs, runRow{
			ID: label(r.TaskID), Queue: label(r.Queue), Kind: label(r.Kind), Target: target{r.Queue, r.TaskID}, Since: d.at(r.Started),
			Whole: r.TaskID != "" && len(r.TaskID) <= rawtask.MaxID && len(r.Queue) <= maxName,
		})
	}
	return row
}

// mostQueues is how many queues of one server are named.
const mostQueues = 50

// queuesServed are a server's queues, those of the highest weight first.
func queuesServed(s rawtask.Server) string {
	names := slices.SortedFunc(maps.Keys(s.Queues), func(a, b string) int {
		return cmp.Or(s.Queues[b]-s.Queues[a], strings.Compare(a, b))
	})
	var parts []string
	for _, name := range names[:min(len(names), mostQueues)] {
		parts = append(parts, fmt.Sprintf("%s=%d", label(name), s.Queues[name]))
	}
	text := strings.Join(parts, ", ")
	if more := len(names) - mostQueues; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	if s.Strict {
		text += ", strictly in this order"
	}
	return cmp.Or(text, "none")
}
