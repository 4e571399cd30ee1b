package app

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/sealq/sealq/signing"
)

// RotatorConfig of a Rotator.
type RotatorConfig struct {
	// Ring is where the moves are written.
	Ring *signing.Database
	// Keys are those of the same ring: what other processes report is compared with them.
	Keys *signing.Keys
	// Policy says which move is due when.
	Policy signing.RotationPolicy
	// Process names this one, the holder of the lease. Zero: ProcessName.
	Process string
	// Look is the pause between two looks whether a move is due. Zero: 1 minute.
	Look time.Duration
	// Now is the clock. Zero: time.Now.
	Now func() time.Time
	// Logger. Zero: nothing is logged.
	Logger *slog.Logger
}

// rotationLease is held by the one process that rotates.
const rotationLease = "ring rotation"

// Rotator rotates the keys of a ring in a database by policy. However many run, one of them does.
type Rotator struct {
	rings Rings
	cfg   RotatorConfig
}

// NewRotator needs a database, the ring in it and its keys.
func NewRotator(rings Rings, c RotatorConfig) (_ *Rotator, err error) {
	if rings == nil || c.Ring == nil || c.Keys == nil {
		return nil, errors.New("new rotator: it needs a database, the ring in it and its keys")
	}
	if err := c.Policy.Check(); err != nil {
		return nil, err
	}
	if c.Process == "" {
		if c.Process, err = ProcessName(); err != nil {
			return nil, err
		}
	}
	c.Look = orDefault(c.Look, time.Minute)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Rotator{rings: rings, cfg: c}, nil
}

// Run rotates until ctx ends, then returns nil. What goes wrong is logged and tried again.
func (r *Rotator) Run(ctx context.Context) error {
	ticker := time.NewTicker(r.cfg.Look)
	defer ticker.Stop()
	for {
		err := r.look(ctx)
		switch {
		case err == nil || ctx.Err() != nil:
		case errors.Is(err, signing.ErrNotPropagated), errors.Is(err, signing.ErrRingMoved):
			r.cfg.Logger.WarnContext(ctx, "key rotation waits", slog.Any("error", err))
		default:
			r.cfg.Logger.ErrorContext(ctx, "keys not rotated, trying again", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			r.release(ctx)
			return nil
		case <-ticker.C:
		}
	}
}

// release lets another process rotate at once. If it fails, the lease lapses by itself.
func (r *Rotator) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if _, err := r.rings.TakeLease(ctx, rotationLease, r.cfg.Process, 0); err != nil {
		r.cfg.Logger.WarnContext(ctx, "rotation lease not released", slog.Any("error", err))
	}
}

func (r *Rotator) look(ctx context.Context) error {
	mine, err := r.rings.TakeLease(ctx, rotationLease, r.cfg.Process, 3*r.cfg.Look) // so that a look that is late keeps it
	if err != nil || !mine {
		return err
	}
	if err := r.cfg.Keys.Reload(ctx); err != nil { // they must know the key that is to be promoted
		return err
	}
	old := r.cfg.Keys.Version()
	ring, err := r.cfg.Ring.Update(ctx, func(ring *signing.Ring) (*signing.Ring, error) {
		next, promotes, err := r.cfg.Policy.Next(ring, r.cfg.Now())
		if err != nil || promotes.IsZero() {
			return next, err
		}
		reports, err := r.rings.RingReports(ctx, signing.ReportsCount)
		if err != nil {
			return nil, err
		}
		if _, err := r.cfg.Keys.Propagated(promotes, reports, 1); err != nil {
			return nil, err
		}
		return next, nil
	})
	if err != nil || ring.Version() == old {
		return err
	}
	r.cfg.Logger.InfoContext(ctx, "keys rotated by policy", slog.Uint64("version", ring.Version()))
	return r.cfg.Keys.Reload(ctx)
}
