package main

import (
	"context"
	"slices"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/dashboard"
	"github.com/sealq/sealq/signing"
)

// ringShown tells the pages what may be known of the keys. keys are nil where this process has none: then the others' reports are all.
func (s *session) ringShown(db app.Database, keys *signing.Keys) (func(context.Context) (dashboard.Ring, error), error) {
	place, err := s.Text("keys")
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (dashboard.Ring, error) {
		reports, err := db.RingReports(ctx, signing.ReportsCount)
		if err != nil {
			return dashboard.Ring{}, err
		}
		ring := dashboard.Ring{Why: "this process was started without --keys", Moves: keys != nil && place == "database"}
		var own map[signing.KID][16]byte
		if keys != nil {
			own = keys.CheckValues()
			ring.Why, ring.Version = "", keys.Version()
			for _, k := range keys.Infos() {
				ring.Keys = append(ring.Keys, keyShown(k))
			}
		}
		for _, r := range slices.DeleteFunc(reports, signing.Report.Ended) {
			host := dashboard.RingHost{Process: r.Process, Version: r.Version, Seen: r.SeenAt}
			for kid, check := range r.CheckValues {
				if mine, known := own[kid]; known && mine != check {
					host.Differs = true // a key of that ID under another audience, or of another ring
					continue
				}
				host.KIDs = append(host.KIDs, kid.String())
			}
			ring.Hosts = append(ring.Hosts, host)
		}
		return ring, nil
	}, nil
}

func keyShown(k signing.KeyInfo) dashboard.Key {
	shown := dashboard.Key{
		KID: k.KID.String(), State: string(k.State), Created: k.CreatedAt, PromoteFrom: k.CreatedAt.Add(signing.DefaultPropagationGrace), Kinds: k.Kinds,
	}
	if k.VerifyUntil != nil {
		shown.VerifyUntil = *k.VerifyUntil
	}
	return shown
}
