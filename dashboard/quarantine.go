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
	Used     []fact
	Overflow []fact
	Requests []requestView
}

// queryForm is what a list is filtered by, as a form carries it.
type queryForm struct{ Reason, Queue, Kind string }

func (f queryForm) values() url.Values {
	return url.Values{"reason": {f.Reason}, "queue": {f.Queue}, "kind": {f.Kind}}
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
	form := queryForm{Reason: query.Get("reason"), Queue: query.Get("queue"), Kind: query.Get("kind")}
	q := quarantine.Query{Reason: form.Reason, Queue: form.Queue, Kind: form.Kind, Before: placeOf(query.Get("before"))}
	entries, err := d.cfg.Records.RefusedPage(ctx, q, entriesPerPage+1)
	if err != nil {
		return err
	}
	view := quarantineView{Query: form, Reasons: reasonNames()}
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

// actOnQuarantine asks for a release or a purge, once the visitor is sure.
func (d *Dashboard) actOnQuarantine(v *visit) error {
	if err := v.r.ParseForm(); err != nil {
		return refuse(http.StatusBadRequest, "Too much, or not readable", "That form is not one of ours.")
	}
	switch v.r.PostForm.Get("do") {
	case "release":
		return d.askRelease(v)
	case "purge":
		return d.askPurge(v)
	}
	return refuse(http.StatusBadRequest, "No such thing", "Entries of the quarantine can be released and purged.")
}

func (d *Dashboard) askRelease(v *visit) error {
	entry, err := d.entryNamed(v.r.Context(), v.r.PostForm.Get("id"))
	if err != nil {
		return err
	}
	back := entryAddress(entry.ID)
	ok, err := v.sure(confirmView{
		Ask: "Release the refused task " + label(entry.TaskID) + " of kind " + label(entry.Kind) + "?",
		Radius: []string{
			"Its job runs once, as a new outbox row under a new ID; the original is noted as done, so that its bytes have no effect wherever they come again.",
			"Only what one of the keys signed for this deployment is released: a worker verifies it, not this page.",
			sentences()[string(entry.Reason)],
		},
		Button: "Release it", Danger: true, Back: back,
	})
	if err != nil || !ok {
		return err
	}
	return v.ask(requests.Release, map[string]string{"entry": entry.ID}, back)
}

// ages are how old entries may be asked to be.
func ages() map[string]string {
	return map[string]string{"": "", "1d": "24h0m0s", "7d": "168h0m0s", "30d": "720h0m0s"}
}

func (d *Dashboard) askPurge(v *visit) error {
	form := v.r.PostForm
	age, known := ages()[form.Get("age")]
	args := map[string]string{"reason": form.Get("reason"), "older_than": age}
	back := "/quarantine"
	if id := form.Get("id"); id != "" {
		entry, err := d.entryNamed(v.r.Context(), id)
		if err != nil {
			return err
		}
		if strings.ContainsAny(entry.ID, " \t\r\n") {
			return refuse(http.StatusUnprocessableEntity, "Not by a page", "That ID has spaces: sealq quarantine purge takes it.")
		}
		args = map[string]string{"ids": entry.ID}
	}
	if form.Get("authentic") == "yes" {
		args["authentic"] = "true"
	}
	for name, value := range args {
		if value == "" {
			delete(args, name)
		}
	}
	filter, err := quarantine.FilterOf(args)
	if err != nil || !known {
		return refuse(http.StatusUnprocessableEntity, "Say what", "Choose a reason or an age: nothing is not everything.")
	}
	meant, err := d.cfg.Records.MatchRefused(v.r.Context(), filter)
	if err != nil {
		return err
	}
	if meant.Entries == 0 {
		return refuse(http.StatusNotFound, "Nothing to purge", "No entry is meant, or all that are were signed and not released, which stay unless you say that they are meant too.")
	}
	radius := []string{"They are gone for good: a purged entry can neither be released nor looked into. No job of the outbox is touched."}
	if meant.Authentic > 0 {
		radius = append(radius, plural(meant.Authentic, "entry of these was")+" signed by a key of ours: it may be the last trace of a job that was not done.")
	}
	noun := "entries"
	if meant.Entries == 1 {
		noun = "entry"
	}
	ok, err := v.sure(confirmView{
		Ask: "Purge " + count(meant.Entries) + " " + noun + " (" + plural(meant.Bytes, "byte") + ")?", Radius: radius,
		Button: "Purge them", Danger: true, Back: back,
	})
	if err != nil || !ok {
		return err
	}
	return v.ask(requests.Purge, args, back)
}

func entryAddress(id string) string { return "/quarantine/entry?" + url.Values{"id": {id}}.Encode() }
