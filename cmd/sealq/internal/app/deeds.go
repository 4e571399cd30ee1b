package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/requests"
	"github.com/sealq/sealq/signing"
)

// CarrierConfig of a carrier of operators' requests.
type CarrierConfig struct {
	// Keys are this process's. Nil: it releases nothing, and moves no key.
	Keys *signing.Keys
	// Ring is where they are kept. Nil: in a file or a variable, where a move would reach this host alone, so that no key is moved.
	Ring *signing.Database
	// Process names this one. Zero: ProcessName.
	Process string
	// Poll is the pause between two looks for requests. Zero: 1 s.
	Poll time.Duration
	// Now is the clock. Zero: time.Now.
	Now func() time.Time
	// Logger. Zero: nothing is logged.
	Logger *slog.Logger
}

// NewCarrier makes a carrier of what this process can do of what operators ask for.
func NewCarrier(db Database, c CarrierConfig) (_ *requests.Carrier, err error) {
	if db == nil {
		return nil, errors.New("new carrier: it needs a database")
	}
	if c.Process == "" {
		if c.Process, err = ProcessName(); err != nil {
			return nil, err
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	d := deeds{db: db, cfg: c}
	can := map[requests.Kind]requests.Deed{requests.Purge: d.purge, requests.Reissue: d.reissue}
	if c.Keys != nil {
		can[requests.Release] = d.release
	}
	if c.Keys != nil && c.Ring != nil {
		can[requests.Rotate], can[requests.Promote], can[requests.Revoke] = d.rotate, d.promote, d.revoke
	}
	return requests.NewCarrier(db, requests.Config{Holder: c.Process, Deeds: can, Poll: c.Poll, Logger: c.Logger})
}

// deeds are what is done for operators, in their names.
type deeds struct {
	db  Database
	cfg CarrierConfig
}

// release refuses a ring that is older than the newest that any process has seen: it may lack a revocation.
func (d deeds) release(ctx context.Context, r requests.Request) (string, error) {
	if err := d.cfg.Keys.Reload(ctx); err != nil {
		return "", err
	}
	seen, err := d.db.HighestRingVersion(ctx)
	if err != nil {
		return "", err
	}
	if version := d.cfg.Keys.Version(); version < seen {
		return "", fmt.Errorf("this process has version %d of the key ring, and version %d was seen: %w", version, seen, signing.ErrOlderRing)
	}
	ids := quarantine.IDsOf(r.Args)
	if len(ids) == 1 {
		released, err := d.db.Release(ctx, d.cfg.Keys, ids[0], r.Actor)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("Released as %s: %s in %s, when a relay enqueues it.", released.ReleasedAs, released.Kind, released.Queue), nil
	}
	if len(ids) == 0 {
		return d.releaseAll(ctx, r)
	}
	var t releases
	for _, id := range ids {
		if ctx.Err() != nil {
			break
		}
		_, err := d.db.Release(ctx, d.cfg.Keys, id, r.Actor)
		t.add(err)
	}
	return t.tell(len(ids) - t.done - t.failed)
}

const (
	// mostReleased is how many entries one request releases. Each is verified, and has a transaction of its own.
	mostReleased = 1000
	releasePage  = 100
)

// releaseAll releases what the query means, the newest first. What cannot be released is passed over: each is counted once.
func (d deeds) releaseAll(ctx context.Context, r requests.Request) (string, error) {
	q, err := quarantine.QueryOf(r.Args)
	if err != nil {
		return "", err
	}
	q.Releasable = true
	var t releases
	for {
		page, err := d.db.RefusedPage(ctx, q, releasePage)
		if err != nil {
			t.first = cmp.Or(t.first, err)
			return t.tell(-1)
		}
		for i, e := range page {
			if ctx.Err() != nil || t.done+t.failed == mostReleased {
				return t.tell(len(page) - i)
			}
			_, err := d.db.Release(ctx, d.cfg.Keys, e.ID, r.Actor)
			t.add(err)
			q.Before = quarantine.Place{At: e.ReceivedAt, ID: e.ID}
		}
		if len(page) < releasePage {
			return t.tell(0)
		}
	}
}

// releases counts what came of many.
type releases struct {
	done, failed int
	first        error // of those that failed
}

func (t *releases) add(err error) {
	if err == nil {
		t.done++
		return
	}
	t.failed++
	t.first = cmp.Or(t.first, err)
}

// tell says it. left is how many were not come to, or more; below zero nobody knows.
func (t *releases) tell(left int) (string, error) {
	if t.done == 0 && t.first != nil {
		return "", fmt.Errorf("nothing was released, of %d that were tried: %w", t.failed, t.first)
	}
	text := fmt.Sprintf("%d released, each as a new outbox row", t.done)
	if t.first != nil {
		text += fmt.Sprintf("; %d not: %v", t.failed, t.first)
	}
	if text += "."; left != 0 {
		text += " There are more: ask again."
	}
	return text, nil
}

func (d deeds) purge(ctx context.Context, r requests.Request) (string, error) {
	filter, err := quarantine.FilterOf(r.Args)
	if err != nil {
		return "", err
	}
	purged, err := d.db.Purge(ctx, r.Actor, filter)
	if err != nil {
		return "", fmt.Errorf("after %d entries: %w", purged.Entries, err)
	}
	noun := "entries"
	if purged.Entries == 1 {
		noun = "entry"
	}
	return fmt.Sprintf("%d %s purged, %d of them signed.", purged.Entries, noun, purged.Authentic), nil
}

func (d deeds) reissue(ctx context.Context, r requests.Request) (string, error) {
	attempt, err := strconv.Atoi(r.Args["attempt"])
	if err != nil {
		return "", fmt.Errorf("read the attempt: %w", err)
	}
	ref := jobs.RowRef{ID: r.Args["row"], Kind: jobs.Kind(r.Args["kind"]), Attempt: attempt}
	err = d.db.ReissueRow(ctx, ref, audit.Entry{
		Actor: r.Actor, Action: "outbox.reissue", Subject: "outbox/" + ref.ID, Detail: map[string]string{"kind": string(ref.Kind), "request": r.ID},
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s is queued as attempt %d.", ref.ID, attempt+1), nil
}

// errMoved means that an operator decided on a ring that is not there any more.
var errMoved = errors.New("the key ring is another one than when it was looked at: look again")

// move writes what change makes of the ring, and enters who wanted it. With unmoved the ring must be the one that was looked at. Entry and
// move do not commit together, as the ring has a write of its own: an entry without a move misleads less.
func (d deeds) move(ctx context.Context, r requests.Request, unmoved bool, change func(*signing.Ring) (*signing.Ring, error)) (*signing.Ring, error) {
	detail := map[string]string{"request": r.ID}
	if kid := r.Args["kid"]; kid != "" {
		detail["kid"] = kid
	}
	err := d.db.Record(ctx, audit.Entry{Actor: r.Actor, Action: string(r.Kind), Subject: "keys", Detail: detail})
	if err != nil {
		return nil, err
	}
	ring, err := d.cfg.Ring.Update(ctx, func(ring *signing.Ring) (*signing.Ring, error) {
		if unmoved && strconv.FormatUint(ring.Version(), 10) != r.Args["version"] {
			return nil, errMoved
		}
		return change(ring)
	})
	if err != nil {
		return nil, err
	}
	return ring, d.cfg.Keys.Reload(ctx)
}

func (d deeds) rotate(ctx context.Context, r requests.Request) (string, error) {
	ring, err := d.move(ctx, r, true, func(ring *signing.Ring) (*signing.Ring, error) { return ring.Rotate(d.cfg.Now(), nil) })
	if err != nil {
		return "", err
	}
	keys := ring.Keys()
	made := keys[len(keys)-1]
	return fmt.Sprintf("%s is published: hosts read it within a minute. From %s on it can be promoted.",
		made.KID, made.CreatedAt.Add(signing.DefaultPropagationGrace).UTC().Format(time.RFC3339)), nil
}

// promote is refused while a process that runs does not know the key, or while it is too young.
func (d deeds) promote(ctx context.Context, r requests.Request) (string, error) {
	kid, err := signing.ParseKID(r.Args["kid"])
	if err != nil {
		return "", err
	}
	if err := d.cfg.Keys.Reload(ctx); err != nil {
		return "", err
	}
	reports, err := d.db.RingReports(ctx, signing.ReportsCount)
	if err != nil {
		return "", err
	}
	knowing, err := d.cfg.Keys.Propagated(kid, reports, 1)
	if err != nil {
		return "", err
	}
	_, err = d.move(ctx, r, true, func(ring *signing.Ring) (*signing.Ring, error) {
		return ring.Promote(kid, d.cfg.Now(), signing.DefaultPropagationGrace)
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s is active. Processes that know it: %d.", kid, len(knowing)), nil
}

// revoke is urgent: it does not ask whether the ring has moved. The links are voided by the ring keepers too, once every process has read
// the ring.
func (d deeds) revoke(ctx context.Context, r requests.Request) (string, error) {
	kid, err := signing.ParseKID(r.Args["kid"])
	if err != nil {
		return "", err
	}
	ring, err := d.move(ctx, r, false, func(ring *signing.Ring) (*signing.Ring, error) {
		for _, k := range ring.Keys() {
			if k.KID == kid && k.State == signing.Active {
				return ring.RevokeActive(kid, ring.Successor(), d.cfg.Now())
			}
		}
		return ring.Revoke(kid)
	})
	if err != nil {
		return "", err
	}
	links, err := d.db.RenewKeys(ctx, kid.String())
	if err != nil {
		return "", fmt.Errorf("%s is revoked, but its unused links were not voided yet: workers do it within a minute: %w", kid, err)
	}
	return fmt.Sprintf("%s is revoked: nothing that it signed verifies any more. Version %d of the ring. Unused links that are void, and mailed anew: %d.", kid, ring.Version(), links), nil
}
