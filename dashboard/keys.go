package dashboard

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/sealq/sealq/requests"
)

// Ring is what may be known of the keys: nothing of it is secret.
type Ring struct {
	Version uint64
	Keys    []Key // none: this process does not know the ring, and Why says so
	Why     string
	// Moves says that requests can move the keys: the ring is in the database, where every host reads it. Else Why not is said in words.
	Moves bool
	Hosts []RingHost
}

// Key is one key.
type Key struct {
	KID, State  string
	Created     time.Time
	VerifyUntil time.Time // zero: no end yet
	PromoteFrom time.Time // of a published key: earlier hosts may not know it
	Kinds       []string
}

// RingHost is what one process said of its ring last.
type RingHost struct {
	Process string
	Version uint64
	KIDs    []string // that it knows as this process does
	Differs bool     // it knows one otherwise: its ring or its audience is another
	Seen    time.Time
}

// keysView is the keys, and which host knows which.
type keysView struct {
	Known, Moves bool
	Version      uint64
	Why          string
	Keys         []keyRow
	Hosts        []hostRow
	Requests     []requestView
}

type keyRow struct {
	KID, State, Kinds, Knowing             string
	Made, Until, From                      moment
	Promotes, Early, Revokes, Active, Dead bool
}

type hostRow struct {
	Process string
	Version uint64
	Behind  bool
	Differs bool
	Missing []string
	Seen    moment
}

// The states of keys, as they are written.
const (
	keyPublished = "published"
	keyActive    = "active"
	keyRetiring  = "retiring"
)

func (d *Dashboard) ring(ctx context.Context) (Ring, error) {
	if d.cfg.Ring == nil {
		return Ring{Why: "this process was not told where the ring is"}, nil
	}
	return d.cfg.Ring(ctx)
}

func (d *Dashboard) keys(v *visit) error {
	ctx, cancel := v.patient()
	defer cancel()
	ring, err := d.ring(ctx)
	if err != nil {
		return err
	}
	view := d.keysView(ring)
	if view.Requests, err = d.requestsOf(ctx, requests.Rotate, requests.Promote, requests.Revoke); err != nil {
		return err
	}
	return v.page(http.StatusOK, "keys", "Keys", view)
}

func (d *Dashboard) keysView(ring Ring) keysView {
	view := keysView{Known: len(ring.Keys) > 0, Moves: ring.Moves, Version: ring.Version, Why: clean(ring.Why, maxError, false)}
	if !view.Known {
		for _, h := range ring.Hosts {
			view.Version = max(view.Version, h.Version)
		}
	}
	for _, k := range ring.Keys {
		row := keyRow{
			KID: label(k.KID), State: label(k.State), Kinds: patterns(k.Kinds), Made: d.at(k.Created), Until: d.at(k.VerifyUntil),
			Active: k.State == keyActive, Revokes: ring.Moves && slices.Contains([]string{keyPublished, keyActive, keyRetiring}, k.State),
			Dead: !slices.Contains([]string{keyPublished, keyActive, keyRetiring}, k.State),
		}
		if k.State == keyPublished {
			row.From = d.at(k.PromoteFrom)
			row.Early = k.PromoteFrom.After(d.cfg.Now())
			row.Promotes = ring.Moves && !row.Early
		}
		knowing := 0
		for _, h := range ring.Hosts {
			if slices.Contains(h.KIDs, k.KID) {
				knowing++
			}
		}
		row.Knowing = fmt.Sprintf("%d of %d", knowing, len(ring.Hosts))
		view.Keys = append(view.Keys, row)
	}
	for _, h := range ring.Hosts {
		row := hostRow{Process: label(h.Process), Version: h.Version, Behind: h.Version < view.Version, Differs: h.Differs, Seen: d.at(h.Seen)}
		for _, k := range ring.Keys {
			if slices.Contains([]string{keyPublished, keyActive, keyRetiring}, k.State) && !slices.Contains(h.KIDs, k.KID) {
				row.Missing = append(row.Missing, label(k.KID))
			}
		}
		view.Hosts = append(view.Hosts, row)
	}
	return view
}

func patterns(kinds []string) string {
	const most = 6
	text := ""
	for i, kind := range kinds {
		if i == most {
			return text + fmt.Sprintf(" and %d more", len(kinds)-most)
		}
		if text += " " + label(kind); kind == "*" {
			text = " every kind"
		}
	}
	if text == "" {
		return ""
	}
	return text[1:]
}

// actOnKeys asks for a move, once the visitor is sure and was told whom it hits.
func (d *Dashboard) actOnKeys(v *visit) error {
	if err := v.r.ParseForm(); err != nil {
		return refuse(http.StatusBadRequest, "Too much, or not readable", "That form is not one of ours.")
	}
	ctx, cancel := v.patient()
	defer cancel()
	ring, err := d.ring(ctx)
	if err != nil {
		return err
	}
	if !ring.Moves {
		return refuse(http.StatusConflict, "Not from here", "Only the keys of a ring in the database (--keys database) are moved by request. Elsewhere: sealq keys, and bring the ring to every host.")
	}
	do, version := v.r.PostForm.Get("do"), strconv.FormatUint(ring.Version, 10)
	if do == "rotate" {
		return d.askRotate(v, version)
	}
	i := slices.IndexFunc(ring.Keys, func(k Key) bool { return k.KID == v.r.PostForm.Get("kid") })
	if i < 0 {
		return refuse(http.StatusNotFound, "No such key", "The ring has no key of that ID.")
	}
	switch view := d.keysView(ring); do {
	case "promote":
		return d.askPromote(v, version, ring, view.Keys[i], view)
	case "revoke":
		return d.askRevoke(v, ring, view.Keys[i])
	}
	return refuse(http.StatusBadRequest, "No such thing", "Keys can be rotated, promoted and revoked.")
}

func (d *Dashboard) askRotate(v *visit, version string) error {
	ok, err := v.sure(confirmView{
		Ask: "Publish a new key?",
		Radius: []string{
			"Nobody is hit: the new key verifies on every host that has read the ring, and signs nothing until it is promoted, from five minutes on.",
			"Where keys are rotated by policy (--rotate-every) the next rotation is counted from this one.",
		},
		Button: "Publish it", Danger: true, Back: "/keys",
	})
	if err != nil || !ok {
		return err
	}
	return v.ask(v.r.Context(), requests.Rotate, map[string]string{"version": version}, "/keys")
}

func (d *Dashboard) askPromote(v *visit, version string, ring Ring, k keyRow, view keysView) error {
	if !k.Promotes {
		return refuse(http.StatusConflict, "Not now", "Only a published key is promoted, and not before every host had time to read it.")
	}
	missing := 0
	for _, h := range view.Hosts {
		if slices.Contains(h.Missing, k.KID) {
			missing++
		}
	}
	radius := []string{"The active key retires: it signs no more, and what it has signed verifies until its time is over."}
	if missing > 0 {
		radius = append(radius, fmt.Sprintf("Processes that do not know this key yet: %d of %d. While that is so the promotion is refused.", missing, len(ring.Hosts)))
	} else {
		radius = append(radius, "Nobody is hit: every process that reports its ring knows the key.")
	}
	ok, err := v.sure(confirmView{Ask: "Let the key " + k.KID + " sign?", Radius: radius, Button: "Promote it", Danger: true, Back: "/keys"})
	if err != nil || !ok {
		return err
	}
	return v.ask(v.r.Context(), requests.Promote, map[string]string{"kid": k.KID, "version": version}, "/keys")
}

func (d *Dashboard) askRevoke(v *visit, ring Ring, k keyRow) error {
	if !k.Revokes {
		return refuse(http.StatusConflict, "Not now", "That key is revoked or destroyed already.")
	}
	radius := []string{
		"Nothing that it signed verifies any more, on any host that has read the ring: every task that waits under it is refused. Jobs of the outbox are restored and signed anew; what was enqueued without the outbox is lost to the quarantine.",
		"Unused links in mails that were made with it are void, and mailed anew.",
		"It cannot be taken back.",
	}
	if k.Active {
		radius = append(radius, "It is the active key: the one published longest signs in its place, or a new one, whatever hosts know. Those that have not read the ring defer what it signs.")
	}
	if behind := fmt.Sprintf("Processes that report their rings: %d. Each reads the change within a minute.", len(ring.Hosts)); len(ring.Hosts) > 0 {
		radius = append(radius, behind)
	}
	ok, err := v.sure(confirmView{Ask: "Revoke the key " + k.KID + " for good?", Radius: radius, Button: "Revoke it", Danger: true, Back: "/keys"})
	if err != nil || !ok {
		return err
	}
	return v.ask(v.r.Context(), requests.Revoke, map[string]string{"kid": k.KID}, "/keys")
}
