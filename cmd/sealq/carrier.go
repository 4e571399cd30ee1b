package main

import (
	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/signing"
)

// openCarrier lets the process carry out what operators ask for on pages, as far as its keys go.
func (s *session) openCarrier(p plan, db app.Database, keys *signing.Keys, sv *service) error {
	c := app.CarrierConfig{Keys: keys, Now: s.now, Logger: s.logger}
	if keys != nil && p.keys.place.source == nil {
		var err error
		if c.Ring, err = p.keys.place.inDatabase(db); err != nil {
			return err
		}
	}
	carrier, err := app.NewCarrier(db, c)
	if err != nil {
		return err
	}
	sv.parts = append(sv.parts, part{"operators' requests", carrier.Run})
	return nil
}
