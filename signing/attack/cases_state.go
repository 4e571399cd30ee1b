package attack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/sealq/sealq/signing"
)

// keyStateCases are signed with a genuine key that the ring says something else about by then.
func keyStateCases() []Case {
	var cases []Case
	add := func(name string, change func(*signing.Ring, time.Time) (*signing.Ring, error), before func(g *forgery)) {
		cases = append(cases, Case{
			Name: name, Class: KeyState, NeedsKeys: true, Want: signing.ReasonKeyNotValid, change: change, before: before,
		})
	}
	add("its key was revoked", revoked, nil)
	add("its key was revoked while it waited for its due time", revoked, func(g *forgery) { g.times(-time.Hour, 0, g.life()) })
	add("its key was revoked after it had retired", func(r *signing.Ring, now time.Time) (*signing.Ring, error) {
		return then(r, func(r *signing.Ring) (*signing.Ring, error) { return retired(r, now) },
			func(r2 *signing.Ring) (*signing.Ring, error) { return r2.Revoke(activeOf(r)) })
	}, func(g *forgery) { g.times(-40*time.Minute, -40*time.Minute, 0) })
	add("its key was revoked before it ever signed", func(r *signing.Ring, now time.Time) (*signing.Ring, error) {
		return then(r, func(r *signing.Ring) (*signing.Ring, error) { return r.Rotate(now.Add(-time.Hour), nil) },
			func(r *signing.Ring) (*signing.Ring, error) { return r.Revoke(newestOf(r)) })
	}, (*forgery).useNewest)
	add("its key is destroyed", func(r *signing.Ring, now time.Time) (*signing.Ring, error) {
		return then(r, func(r *signing.Ring) (*signing.Ring, error) { return revoked(r, now) },
			func(r2 *signing.Ring) (*signing.Ring, error) {
				return r2.Destroy(activeOf(r), now, signing.Destruction{})
			})
	}, nil)
	add("its key did not sign yet when it was issued", nil, func(g *forgery) {
		iat := g.active.SignFrom.Sub(g.now) - g.config.Skew - time.Second
		g.times(iat, iat, iat+g.life())
	})
	add("its key was not published yet when it was issued", func(r *signing.Ring, now time.Time) (*signing.Ring, error) {
		return r.Rotate(now, nil)
	}, func(g *forgery) {
		g.useNewest()
		g.times(-10*time.Minute, -10*time.Minute, g.life()-10*time.Minute)
	})
	add("its key had retired when it was issued", retired, nil)
	add("its key had retired just beyond the skew when it was issued", retired, func(g *forgery) {
		iat := -30*time.Minute + 5*time.Minute + g.config.Skew + time.Second
		g.times(iat, iat, iat+g.life())
	})
	add("its key retires before it ends", retired, func(g *forgery) {
		g.times(-40*time.Minute, -40*time.Minute, g.config.Ring.MaxLifetime()-25*time.Minute+time.Second)
	})
	add("its key's time is over and it was issued in time", lapsed, func(g *forgery) { g.times(-130*time.Minute, -10*time.Minute, 10*time.Minute) })
	return append(cases, Case{
		Name: "its key's time is over, and so is its own", Class: KeyState, NeedsKeys: true, Want: signing.ReasonExpired, change: lapsed,
		before: func(g *forgery) { g.times(-130*time.Minute, -130*time.Minute, g.life()-130*time.Minute) },
	}, Case{
		Name: "its key may sign other kinds only", Class: KeyState, NeedsKeys: true, Want: signing.ReasonKindNotAllowed,
		change: func(r *signing.Ring, _ time.Time) (*signing.Ring, error) {
			return edited(r, activeOf(r), map[string]any{"kinds": []string{"other:*", "another"}})
		},
	}, Case{
		Name: "it is signed with a key of another ring", Class: KeyState, NeedsKeys: true, Want: signing.ReasonUnknownKey, Deferred: true,
		change: func(r *signing.Ring, now time.Time) (*signing.Ring, error) {
			return signing.NewRing(now.Add(-MinKeyAge), r.MaxLifetime())
		},
	})
}

func activeOf(r *signing.Ring) signing.KID {
	for _, k := range r.Keys() {
		if k.State == signing.Active {
			return k.KID
		}
	}
	return signing.KID{} // no ring is without an active key
}

func newestOf(r *signing.Ring) signing.KID { keys := r.Keys(); return keys[len(keys)-1].KID }

func then(r *signing.Ring, moves ...func(*signing.Ring) (*signing.Ring, error)) (*signing.Ring, error) {
	for _, move := range moves {
		next, err := move(r)
		if err != nil {
			return nil, err
		}
		r = next
	}
	return r, nil
}

func revoked(r *signing.Ring, now time.Time) (*signing.Ring, error) {
	return r.RevokeActive(activeOf(r), signing.KID{}, now)
}

// retired retires the active key half an hour ago: it signed for five minutes more, and verifies for the max_lifetime then.
func retired(r *signing.Ring, now time.Time) (*signing.Ring, error) {
	at := now.Add(-30 * time.Minute)
	return then(r, func(r *signing.Ring) (*signing.Ring, error) { return r.Rotate(at, nil) },
		func(r *signing.Ring) (*signing.Ring, error) { return r.PromoteForced(newestOf(r), at) })
}

// lapsed retires the active key so long ago that nothing of it verifies any more.
func lapsed(r *signing.Ring, now time.Time) (*signing.Ring, error) {
	return then(r, func(r *signing.Ring) (*signing.Ring, error) { return retired(r, now) },
		func(r2 *signing.Ring) (*signing.Ring, error) {
			return edited(r2, activeOf(r), map[string]any{"sign_until": now.Add(-2 * time.Hour), "verify_until": now.Add(-time.Hour)})
		})
}

// edited changes what the ring's document says of a key.
func edited(r *signing.Ring, kid signing.KID, fields map[string]any) (*signing.Ring, error) {
	var doc struct {
		Version     uint64           `json:"version"`
		MaxLifetime string           `json:"max_lifetime"`
		Keys        []map[string]any `json:"keys"`
	}
	if err := json.NewDecoder(bytes.NewReader(r.Marshal())).Decode(&doc); err != nil {
		return nil, fmt.Errorf("edit the ring: %w", err)
	}
	for _, k := range doc.Keys {
		if k["kid"] != kid.String() {
			continue
		}
		maps.Copy(k, fields)
	}
	doc.Version++
	text, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("edit the ring: %w", err)
	}
	return signing.ParseRing(text)
}
