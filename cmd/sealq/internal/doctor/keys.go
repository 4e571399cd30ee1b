package doctor

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sealq/sealq/signing"
)

const groupKeys = "keys"

func keyChecks() []check {
	return []check{
		{groupKeys, "ring", nothing, ringLoads},
		{groupKeys, "active key", nothing, activeKey},
		{groupKeys, "audience", nothing, audience},
		{groupKeys, "agreement", tables, agreement},
	}
}

// noRing says why there is no ring to look at.
func (e *env) noRing(ctx context.Context) (*signing.Ring, []Finding) {
	if e.Keys == nil {
		return nil, skipped("no key ring is named (--keys)")
	}
	ring, err := e.loadRing(ctx)
	if err != nil {
		return nil, skipped("not looked at: the key ring does not load")
	}
	return ring, nil
}

func ringLoads(ctx context.Context, e *env) []Finding {
	if e.Keys == nil {
		return skipped("no key ring is named (--keys)")
	}
	ring, err := e.loadRing(ctx)
	if err == nil {
		return fine("version %d with %s, as safe from others as it must be", ring.Version(), plural(int64(len(ring.Keys())), "key"))
	}
	advice := "bring it back from where it is kept (docs/runbooks/lost-ring.md)"
	switch {
	case errors.Is(err, signing.ErrNoRing) && !e.Keys.Given:
		return skipped("no key ring is named (--keys), and there is none at %s", e.Keys.Source)
	case errors.Is(err, errNoDatabase):
		return skipped("not looked at: %s", err)
	case errors.Is(err, signing.ErrNoRing):
		advice = "make one, `sealq keys init`, or correct --keys"
	case errors.Is(err, signing.ErrUnsafeFile):
		advice = "give it to the user that runs sealq with mode 0600, and rotate if somebody may have read it (docs/runbooks/leak.md)"
	case errors.Is(err, signing.ErrWrongKEK), errors.Is(err, signing.ErrNoKEK):
		advice = "name the file with the right key-encryption key in --kek-file"
	}
	return say(Problem, advice, "%s", oneLine(err.Error()))
}

func activeKey(ctx context.Context, e *env) []Finding {
	ring, lacks := e.noRing(ctx)
	if lacks != nil {
		return lacks
	}
	keys, now := ring.Keys(), e.Now()
	i := slices.IndexFunc(keys, func(k signing.KeyInfo) bool { return k.State == signing.Active })
	if i < 0 {
		return say(Problem, "promote a published one, `sealq keys promote KID` (docs/runbooks/rotation.md)", "no key is active: nothing can be signed")
	}
	since := now.Sub(keys[i].SignFrom)
	switch {
	case since < -skewWarning:
		return say(Problem, "set this host's clock", "the active key %s signs from %s on, which is in the future", keys[i].KID, keys[i].SignFrom.UTC().Format(time.RFC3339))
	case e.Keys.RotateEvery > 0 && since > e.Keys.RotateEvery+e.Keys.RotateEvery/4:
		return say(Warning, "rotate: `sealq keys rotate`, and `sealq keys promote` when every process knows the new key (docs/runbooks/rotation.md)",
			"the active key %s has signed for %s, longer than --rotate-every", keys[i].KID, age(since))
	}
	return fine("%s has signed for %s", keys[i].KID, age(max(since, 0)))
}

func audience(ctx context.Context, e *env) []Finding {
	ring, lacks := e.noRing(ctx)
	if lacks != nil {
		return lacks
	}
	if e.Keys.Audience == "" {
		return say(Warning, "name this deployment, such as --audience prod-eu; workers require it", "no audience is named (--audience)")
	}
	keys, err := e.open(ctx, ring)
	if err != nil {
		return say(Problem, "name this deployment in a word, such as prod-eu", "--audience cannot be used: %s", oneLine(err.Error()))
	}
	keys.Close()
	return fine("what is signed is for %s", shown(e.Keys.Audience))
}

// fixed is a ring that was read already.
type fixed struct{ ring *signing.Ring }

func (f fixed) Load(context.Context) (*signing.Ring, error) { return f.ring, nil }
func (fixed) String() string                                { return "the ring that was read" }

func (e *env) open(ctx context.Context, ring *signing.Ring) (*signing.Keys, error) {
	return signing.OpenWith(ctx, fixed{ring}, e.Keys.Audience, signing.Options{Now: e.Now})
}

// agreement compares the ring with what the processes said of theirs.
func agreement(ctx context.Context, e *env) []Finding {
	ring, lacks := e.noRing(ctx)
	if lacks != nil {
		return lacks
	}
	if e.Keys.Audience == "" {
		return skipped("not compared: no audience is named (--audience)")
	}
	reports, err := e.db.RingReports(ctx, signing.ReportsCount)
	if err != nil {
		return failed(err, "read what the processes say of their rings", databaseLog)
	}
	reports = slices.DeleteFunc(reports, signing.Report.Ended)
	seen, err := e.db.HighestRingVersion(ctx)
	if err != nil {
		return failed(err, "read what rings were seen", databaseLog)
	}
	keys, err := e.open(ctx, ring)
	if err != nil {
		return skipped("not compared: --audience cannot be used")
	}
	defer keys.Close()
	if err := keys.Agrees(reports); err != nil {
		return say(Problem, "give every host the same ring and the same --audience; `sealq keys check` on each shows which is another (docs/runbooks/rotation.md)", "%s", oneLine(err.Error()))
	}
	if seen > ring.Version() {
		return say(Problem, "bring the newest ring to this host (docs/runbooks/rotation.md, docs/runbooks/lost-ring.md)",
			"this host's ring is version %d, and version %d has been seen", ring.Version(), seen)
	}
	var behind []string
	for _, r := range reports {
		if r.Version < ring.Version() {
			behind = append(behind, r.Process)
		}
	}
	if len(behind) > 0 {
		return say(Warning, "bring the ring to their hosts before the next step of the rotation (docs/runbooks/rotation.md)", "these processes have an older ring than this host: %s", shownAll(behind))
	}
	if len(reports) == 0 {
		return fine("no process has reported in the last 10 minutes: there is nobody to disagree")
	}
	return fine("all processes that reported agree (%d in the last 10 minutes)", len(reports))
}
