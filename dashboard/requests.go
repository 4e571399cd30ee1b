package dashboard

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sealq/sealq/requests"
)

const (
	// mostRequests is how many requests are looked at.
	mostRequests = 100
	// toldFor is how long a page tells of a request that has ended.
	toldFor = time.Hour
	// slowToTake is after what time a request that nobody took is told as such.
	slowToTake = 10 * time.Second
)

// requestView is one request.
type requestView struct {
	ID, What, By, State, Tells string
	Args                       []fact
	Open, Bad                  bool
	Made, Ended                moment
}

// fact is a name and what it is.
type fact struct{ Name, Value string }

// asks is what a kind of request is called, and what whoever carries it out must have.
type asks struct{ what, takes string }

func kindsOfRequests() map[requests.Kind]asks {
	const ring = "a worker, or sealq scheduler, with --keys database"
	return map[requests.Kind]asks{
		requests.Release: {"Release from quarantine", "a worker (sealq worker, sealq serve), which has the keys"},
		requests.Purge:   {"Purge of the quarantine", "a worker or a scheduler"},
		requests.Reissue: {"Reissue of an outbox row", "a worker or a scheduler"},
		requests.Rotate:  {"New key", ring},
		requests.Promote: {"Promotion of a key", ring},
		requests.Revoke:  {"Revocation of a key", ring},
	}
}

// tells says how it stands with a request, to whoever waits for it.
func (d *Dashboard) tells(r requests.Request) string {
	takes := kindsOfRequests()[r.Kind].takes
	switch r.State {
	case requests.Waiting:
		if waited := d.cfg.Now().Sub(r.MadeAt); waited > slowToTake {
			return "Nobody has taken it for " + long(waited) + ". It takes " + takes + ": is one running? Until " +
				d.at(r.ExpiresAt).Person + " it waits, and after that nothing is done."
		}
		return "It waits to be taken."
	case requests.Taken:
		return "Taken by " + label(r.Holder) + "."
	case requests.Expired:
		return "Nobody took it in time, and nothing was done. It takes " + takes + "."
	case requests.Lost:
		return "Taken by " + label(r.Holder) + ", which has not told how it ended: look before you ask again. Nobody else does it."
	case requests.Done, requests.Failed:
	}
	return clean(r.Outcome, maxError, false)
}

func (d *Dashboard) requestView(r requests.Request) requestView {
	v := requestView{
		ID: r.ID, What: kindsOfRequests()[r.Kind].what, By: label(strings.TrimPrefix(r.Actor, "operator:")), State: string(r.State), Tells: d.tells(r),
		Open: r.State.Open(), Made: d.at(r.MadeAt), Ended: d.at(r.EndedAt),
	}
	if v.What == "" {
		v.What = label(string(r.Kind))
	}
	v.Bad = r.State == requests.Failed || r.State == requests.Expired || r.State == requests.Lost ||
		r.State == requests.Waiting && d.cfg.Now().Sub(r.MadeAt) > slowToTake
	v.Args = factsOf(r.Args)
	return v
}

// factsOf are facts in the order of their names.
func factsOf(from map[string]string) (all []fact) {
	for name, value := range from {
		all = append(all, fact{label(name), clean(value, maxError, false)})
	}
	slices.SortFunc(all, func(a, b fact) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// requestsOf are those of the kinds that are open, or that ended or were over lately.
func (d *Dashboard) requestsOf(ctx context.Context, kinds ...requests.Kind) ([]requestView, error) {
	return d.requestsThat(ctx, func(r requests.Request) bool { return slices.Contains(kinds, r.Kind) })
}

// requestsThat are those that the page is about and that are open, or that ended or were over lately.
func (d *Dashboard) requestsThat(ctx context.Context, about func(requests.Request) bool) ([]requestView, error) {
	all, err := d.cfg.Records.Requests(ctx, mostRequests)
	if err != nil {
		return nil, err
	}
	var views []requestView
	for _, r := range all {
		if about(r) && (r.State.Open() || d.cfg.Now().Sub(later(r.MadeAt, r.EndedAt)) < toldFor) {
			views = append(views, d.requestView(r))
		}
	}
	d.watch.attend()
	return views, nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// requests lists what was asked for.
func (d *Dashboard) requests(v *visit) error {
	all, err := d.cfg.Records.Requests(v.r.Context(), mostRequests)
	if err != nil {
		return err
	}
	d.watch.attend()
	var views []requestView
	for _, r := range all {
		views = append(views, d.requestView(r))
	}
	return v.page(http.StatusOK, "requests", "Requests", views)
}

// ask writes a request, and goes back to where its state is shown.
func (v *visit) ask(ctx context.Context, kind requests.Kind, args map[string]string, back string) error {
	r, err := requests.New(kind, v.who.name, args)
	if err != nil {
		return err
	}
	err = v.d.cfg.Records.MakeRequest(ctx, r, requests.Life)
	if errors.Is(err, requests.ErrAsked) {
		return refuse(http.StatusConflict, "Asked for already", "The same was asked for and has not ended: see the page Requests.")
	}
	if err != nil {
		return err
	}
	v.d.watch.seen("request " + r.ID)
	http.Redirect(v, v.r, back, http.StatusSeeOther)
	return nil
}

// withQuery is a path with what of the values is not empty.
func withQuery(path string, values url.Values) string {
	for name := range values {
		if values.Get(name) == "" {
			delete(values, name)
		}
	}
	if len(values) == 0 {
		return path
	}
	return path + "?" + values.Encode()
}
