package dashboard

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/requests"
)

// entriesPerPage is how many entries a page lists.
const entriesPerPage = 50

// quarantineView is a page of refused tasks.
type quarantineView struct {
	Query    queryForm
	Reasons  []string
	Entries  []entryRow
	Next     string // the address of the next page, "" for none
	First    string // of the first page, "" on it
	Overflow []fact
	Narrow   bool // it is a part of the quarantine, of which all can be released at once
	Requests []requestView
}

// queryForm is what a list is filtered by, as a form carries it.
type queryForm struct {
	Reason, Queue, Kind string
	Signed              bool // and not released
}

func formOf(from url.Values) queryForm {
	return queryForm{Reason: from.Get("reason"), Queue: from.Get("queue"), Kind: from.Get("kind"), Signed: from.Get("signed") == "yes"}
}

func (f queryForm) values() url.Values {
	values := url.Values{"reason": {f.Reason}, "queue": {f.Queue}, "kind": {f.Kind}}
	if f.Signed {
		values.Set("signed", "yes")
	}
	return values
}

func (f queryForm) query() quarantine.Query {
	return quarantine.Query{Reason: f.Reason, Queue: f.Queue, Kind: f.Kind, Releasable: f.Signed}
}

// entryRow is one refused task in the list.
type entryRow struct {
	ID, Shown, Task, Queue, Kind, Reason, KID, Size string
	Authentic, Released                             bool
	At                                              moment
}

func (d *Dashboard) entryRow(r jobs.Refused) entryRow {
	return entryRow{
		ID: r.ID, Shown: label(r.ID), Task: label(r.TaskID), Queue: label(r.Queue), Kind: label(r.Kind), Reason: label(string(r.Reason)), KID: label(r.KID),
		Size: plural(r.Size, "byte"), Authentic: r.Authentic, Released: !r.ReleasedAt.IsZero(), At: d.at(r.ReceivedAt),
	}
}

// placeOf reads where a page goes on: the microseconds at which the last entry was received, and its ID.
func placeOf(text string) (p quarantine.Place) {
	micros, id, ok := strings.Cut(text, ".")
	if n := number(micros); ok && n > 0 && len(id) <= maxName {
		p = quarantine.Place{At: time.UnixMicro(n).UTC(), ID: id}
	}
	return p
}

func (d *Dashboard) quarantine(v *visit) error {
	ctx, cancel := v.patient()
	defer cancel()
	query := v.r.URL.Query()
	form := formOf(query)
	q := form.query()
	q.Before = placeOf(query.Get("before"))
	entries, err := d.cfg.Records.RefusedPage(ctx, q, entriesPerPage+1)
	if err != nil {
		return err
	}
	view := quarantineView{Query: form, Reasons: reasonNames(), Narrow: form.Reason+form.Queue+form.Kind != ""}
	if len(entries) > entriesPerPage {
		entries = entries[:entriesPerPage]
		last := entries[entriesPerPage-1]
		values := form.values()
		values.Set("before", strconv.FormatInt(last.ReceivedAt.UnixMicro(), 10)+"."+last.ID)
		view.Next = withQuery("/quarantine", values)
	}
	if !q.Before.IsZero() {
		view.First = withQuery("/quarantine", form.values())
	}
	for _, r := range entries {
		view.Entries = append(view.Entries, d.entryRow(r))
	}
	usage, err := d.cfg.Records.QuarantineUsage(ctx)
	if err != nil {
		return err
	}
	overflow := make(map[string]string)
	for reason, o := range usage.Overflow {
		overflow[string(reason)] = count(o.Entries) + ", last " + d.at(o.LastAt).Person
	}
	view.Overflow = factsOf(overflow)
	if view.Requests, err = d.requestsOf(ctx, requests.Release, requests.Purge); err != nil {
		return err
	}
	return v.page(http.StatusOK, "quarantine", "Quarantine", view)
}

// reasonNames are the reasons that a filter offers.
func reasonNames() []string {
	var names []string
	for name := range sentences() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func entryAddress(id string) string { return "/quarantine/entry?" + url.Values{"id": {id}}.Encode() }
