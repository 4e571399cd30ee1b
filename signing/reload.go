package signing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	loadTimeout = 10 * time.Second // of one load, however slow its source
	askInterval = 5 * time.Second  // between loads that unknown keys ask for
	askPatience = 2 * time.Second  // how long a task of an unknown key waits for a load, so that forgeries cannot hold workers
)

// ErrOlderRing says that a source gave a ring with a lower version than the one that was seen before.
var ErrOlderRing = errors.New("the key ring is older than the one seen before")

// errClosed ends waiting for a load that will not come.
var errClosed = errors.New("these keys are closed")

// flight is one running load.
type flight struct {
	done chan struct{}
	err  error // set before done is closed
}

// Reload reads the source now, or waits for the load that is running, and returns what went wrong.
func (k *Keys) Reload(ctx context.Context) error {
	f := k.start()
	if f == nil {
		return fmt.Errorf("reload the key ring: %w", errClosed)
	}
	select {
	case <-f.done:
		if f.err != nil {
			return fmt.Errorf("reload the key ring: %w", f.err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("reload the key ring: %w", context.Cause(ctx))
	}
}

// reloadFor is asked by tasks that name an unknown key. It starts at most one load in askInterval, so that a flood of forged
// kids does not become a flood of loads.
func (k *Keys) reloadFor(ctx context.Context, now time.Time) {
	k.reload.mu.Lock()
	f := k.reload.flight
	if asked := k.reload.asked; f == nil && (asked.IsZero() || now.Sub(asked) >= askInterval || now.Before(asked)) {
		k.reload.asked = now
		f = k.startLocked()
	}
	k.reload.mu.Unlock()
	if f == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	select {
	case <-f.done:
	case <-ctx.Done():
	}
}

// start begins a load, or returns the one that is running. It returns nil once closed.
func (k *Keys) start() *flight {
	k.reload.mu.Lock()
	defer k.reload.mu.Unlock()
	return k.startLocked()
}

func (k *Keys) startLocked() *flight {
	r := &k.reload
	if r.flight != nil {
		return r.flight
	}
	if r.closed || r.ctx.Err() != nil {
		return nil
	}
	f := &flight{done: make(chan struct{})}
	r.flight = f
	r.wg.Go(func() {
		f.err = k.loadAndLog(r.ctx)
		r.mu.Lock()
		r.flight = nil
		r.mu.Unlock()
		close(f.done)
	})
	return f
}

// poll reloads regularly until ctx ends, and whenever the source tells of a change.
func (k *Keys) poll(ctx context.Context) {
	defer close(k.done)
	var watching sync.WaitGroup
	watching.Go(func() { k.watch(ctx) })
	defer watching.Wait()
	ticker := time.NewTicker(k.opts.Poll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if f := k.start(); f != nil {
				<-f.done
			}
		}
	}
}

// loadAndLog loads, and on an error keeps the old ring and logs why.
func (k *Keys) loadAndLog(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	err := k.load(ctx)
	if err == nil || k.reload.ctx.Err() != nil { // an end is no error worth a log
		return err
	}
	last := k.confirmed.Load()
	k.confirmed.Store(&confirmation{at: last.at, err: err})
	k.opts.Logger.ErrorContext(ctx, "key ring not reloaded, the old one stays in use", slog.String("source", k.source.String()),
		slog.Uint64("version", k.Version()), slog.Time("confirmed_at", last.at), slog.Any("error", err))
	return err
}

// load reads the ring and puts it in use unless it is older than the one in use. Loads never overlap: OpenWith's comes before
// any other, and start lets one run at a time.
func (k *Keys) load(ctx context.Context) error {
	began := k.opts.Now()
	r, err := k.source.Load(ctx)
	if err != nil {
		return err // it names the source; callers add the operation
	}
	if r == nil {
		return fmt.Errorf("%s: %w", k.source, ErrNoRing)
	}
	if err := r.check(); err != nil { // a source may hand out a Ring{} that nothing parsed
		return fmt.Errorf("%s: %w", k.source, err)
	}
	seen := k.opts.MinVersion
	old := k.current.Load()
	if old != nil {
		seen = max(seen, old.ring.version)
	}
	if r.version < seen {
		return fmt.Errorf("%s: %w: it has version %d after version %d; put the newer ring back", k.source, ErrOlderRing, r.version, seen)
	}
	if old == nil || !old.ring.Equal(r) {
		d, err := deriveRing(r, k.audience)
		if err != nil {
			return err
		}
		k.current.Store(d)
		k.logChange(ctx, old, r)
	}
	k.confirmed.Store(&confirmation{at: began})
	return nil
}

func (k *Keys) logChange(ctx context.Context, old *derivedRing, r *Ring) {
	if old != nil && old.ring.version == r.version {
		k.opts.Logger.WarnContext(ctx, "key ring changed without a new version, somebody edited it by hand",
			slog.String("source", k.source.String()), slog.Uint64("version", r.version))
		return
	}
	k.opts.Logger.InfoContext(ctx, "key ring in use", slog.String("source", k.source.String()),
		slog.Uint64("version", r.version), slog.String("active", r.keys[r.activeIndex()].KID.String()))
}
