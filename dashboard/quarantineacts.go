package dashboard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/requests"
)

// mostReleased is how many a release of all that is meant counts, and does.
const mostReleased = 1000

// actOnQuarantine asks for a release, a reissue or a purge, once the visitor is sure.
func (d *Dashboard) actOnQuarantine(v *visit) error {
	if err := v.r.ParseForm(); err != nil {
		return refuse(http.StatusBadRequest, "Too much, or not readable", "That form is not one of ours.")
	}
	ctx, cancel := v.patient()
	defer cancel()
	switch v.r.PostForm.Get("do") {
	case "release":
		return d.askRelease(ctx, v)
	case "release-all":
		return d.askReleaseAll(ctx, v)
	case "reissue":
		return d.askReissue(ctx, v)
	case "purge":
		return d.askPurge(ctx, v)
	}
	return refuse(http.StatusBadRequest, "No such thing", "Entries of the quarantine can be released and purged, and their rows reissued.")
}

// chosen are the entries that the form names, of which each has the ID of one.
func chosen(form url.Values) ([]string, error) {
	ids := form["id"]
	switch {
	case len(ids) > entriesPerPage:
		return nil, refuse(http.StatusUnprocessableEntity, "Too many", "At most %d entries can be chosen at once.", entriesPerPage)
	case len(ids) == 0:
		return nil, refuse(http.StatusUnprocessableEntity, "Nothing was chosen", "Choose one entry or more.")
	}
	for _, id := range ids {
		if id == "" || len(id) > maxName || strings.ContainsAny(id, " \t\r\n") {
			return nil, refuse(http.StatusNotFound, "No such entry", "The quarantine has no entry of that ID, or one with spaces, which sealq quarantine takes.")
		}
	}
	ids = slices.Sorted(slices.Values(ids)) // so that the same is the same, in whichever order it came
	return slices.Compact(ids), nil
}

// What whoever releases is told.
const (
	runsOnce  = "Its job runs once, as a new outbox row under a new ID; the original is noted as done, so that its bytes have no effect wherever they come again."
	byAWorker = "Only what one of the keys signed for this deployment is released: a worker verifies it, not this page."
)

func (d *Dashboard) askRelease(ctx context.Context, v *visit) error {
	ids, err := chosen(v.r.PostForm)
	if err != nil {
		return err
	}
	c := confirmView{
		Ask: "Release these " + plural(int64(len(ids)), "refused task") + "?", Radius: []string{"Of each: " + runsOnce, byAWorker, "What cannot be released is passed over, and told."},
		Button: "Release them", Danger: true, Back: "/quarantine",
	}
	if len(ids) == 1 {
		entry, err := d.entryNamed(ctx, ids[0])
		if err != nil {
			return err
		}
		if why := d.unreleasable(entry); why != "" {
			return refuse(http.StatusConflict, "Not from here", "%s", why)
		}
		c.Ask, c.Button, c.Back = "Release the refused task "+label(entry.TaskID)+" of kind "+label(entry.Kind)+"?", "Release it", entryAddress(entry.ID)
		c.Radius = []string{runsOnce, byAWorker, sentences()[string(entry.Reason)]}
		if !entry.Authentic {
			c.Radius = append(c.Radius, "When it was refused it did not verify: it is released only if it does now, as after a key has arrived or an audience was mended.")
		}
	}
	ok, err := v.sure(c)
	if err != nil || !ok {
		return err
	}
	return v.ask(ctx, requests.Release, quarantine.Filter{IDs: ids}.Args(), c.Back)
}

// unreleasable says why nobody can release the entry by a page, "" where a worker can.
func (d *Dashboard) unreleasable(r jobs.Refused) string {
	switch {
	case !r.ReleasedAt.IsZero():
		return "It was released before, as " + label(r.ReleasedAs) + "."
	case !r.Authentic && slices.Contains([]string{"missing_signature", "malformed", "unsupported_version"}, string(r.Reason)):
		return "It bears no signature that could be verified, so nobody can release it."
	case !d.cfg.Releases(r.Kind):
		return "sealq does not know the arguments of the kind " + label(r.Kind) + ", which is an app's own: a program of the app releases it, by quarantine.Release with the app's kinds."
	}
	return ""
}

func (d *Dashboard) askReleaseAll(ctx context.Context, v *visit) error {
	form := formOf(v.r.PostForm)
	args := form.query().Args()
	q, err := quarantine.QueryOf(args)
	if err != nil {
		return refuse(http.StatusUnprocessableEntity, "Say what", "Filter by a reason, a queue or a kind: nothing is not everything.")
	}
	q.Releasable = true
	meant, err := d.cfg.Records.RefusedPage(ctx, q, mostReleased+1)
	if err != nil {
		return err
	}
	if len(meant) == 0 {
		return refuse(http.StatusNotFound, "Nothing to release", "No entry of these was signed by a key of ours and not released yet.")
	}
	n := plural(int64(len(meant)), "refused task")
	if len(meant) > mostReleased {
		n = "the newest " + plural(mostReleased, "refused task") + " of more"
	}
	back := withQuery("/quarantine", form.values())
	c := confirmView{
		Ask: "Release " + n + "?", Radius: []string{"Of each: " + runsOnce, byAWorker, "What cannot be released is passed over, and told.", sentences()[form.Reason]},
		Button: "Release them", Danger: true, Back: back,
	}
	for name, value := range args {
		c.Radius = append(c.Radius, "Meant is the "+name+" "+label(value)+".")
	}
	ok, err := v.sure(c)
	if err != nil || !ok {
		return err
	}
	return v.ask(ctx, requests.Release, args, back)
}

// askReissue is for the outbox row whose name a refused task bears: it needs nothing of what was refused.
func (d *Dashboard) askReissue(ctx context.Context, v *visit) error {
	entry, err := d.entryNamed(ctx, v.r.PostForm.Get("id"))
	if err != nil {
		return err
	}
	id, _, named := jobs.SplitTaskID(entry.TaskID)
	row := jobs.RowInfo{State: jobs.RowDone}
	if named {
		if row, err = d.cfg.Records.RowInfo(ctx, id); err != nil && !errors.Is(err, jobs.ErrNoSuchRow) {
			return err
		}
	}
	if !named || err != nil || row.State == jobs.RowDone {
		return refuse(http.StatusConflict, "Nothing to reissue", "No outbox row has the name of this task, or its job is done.")
	}
	back := entryAddress(entry.ID)
	ok, err := v.sure(confirmView{
		Ask: fmt.Sprintf("Reissue the outbox row %s of kind %s?", label(row.ID), label(string(row.Kind))),
		Radius: []string{
			"Its job is enqueued again now, as attempt " + strconv.Itoa(row.Attempt+1) + " with the arguments that were recorded, whatever the refused bytes are. It has its effect once.",
			"It is refused where the job is done or its time is over, and where another process was faster.",
		},
		Button: "Reissue it", Back: back,
	})
	if err != nil || !ok {
		return err
	}
	return v.ask(ctx, requests.Reissue, map[string]string{"row": row.ID, "kind": string(row.Kind), "attempt": strconv.Itoa(row.Attempt)}, back)
}

// ages are how old entries may be asked to be.
func ages() map[string]string {
	return map[string]string{"": "", "1d": "24h0m0s", "7d": "168h0m0s", "30d": "720h0m0s"}
}

// purgeOf is what the form means, as a request's arguments, and where to go back.
func purgeOf(form url.Values) (args map[string]string, back string, err error) {
	args, back = make(map[string]string), "/quarantine"
	if len(form["id"]) > 0 {
		ids, err := chosen(form)
		if err != nil {
			return nil, "", err
		}
		args = quarantine.Filter{IDs: ids}.Args()
	} else {
		age, known := ages()[form.Get("age")]
		if !known {
			return nil, "", refuse(http.StatusUnprocessableEntity, "Say what", "Choose an age of the list.")
		}
		back = withQuery(back, url.Values{"reason": {form.Get("reason")}, "queue": {form.Get("queue")}, "kind": {form.Get("kind")}})
		for name, value := range map[string]string{"reason": form.Get("reason"), "queue": form.Get("queue"), "kind": form.Get("kind"), "older_than": age} {
			if value != "" {
				args[name] = value
			}
		}
	}
	if form.Get("authentic") == "yes" {
		args["authentic"] = "true"
	}
	return args, back, nil
}

func (d *Dashboard) askPurge(ctx context.Context, v *visit) error {
	args, back, err := purgeOf(v.r.PostForm)
	if err != nil {
		return err
	}
	filter, err := quarantine.FilterOf(args)
	if err != nil {
		return refuse(http.StatusUnprocessableEntity, "Say what", "Choose a reason, a queue, a kind or an age: nothing is not everything.")
	}
	meant, err := d.cfg.Records.MatchRefused(ctx, filter)
	if err != nil {
		return err
	}
	if meant.Entries == 0 {
		return refuse(http.StatusNotFound, "Nothing to purge", "No entry is meant, or all that are were signed and not released, which stay unless you say that they are meant too.")
	}
	radius := []string{"They are gone for good: a purged entry can neither be released nor looked into. No job of the outbox is touched."}
	if meant.Authentic > 0 {
		radius = append(radius, "Signed by a key of ours: "+count(meant.Authentic)+" of these. Such an entry may be the last trace of a job that was not done.")
	}
	if left := int64(len(filter.IDs)) - meant.Entries; left > 0 {
		radius = append(radius, count(left)+" of those that were chosen stay: they are gone already, or were signed and not released.")
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
	return v.ask(ctx, requests.Purge, args, back)
}
