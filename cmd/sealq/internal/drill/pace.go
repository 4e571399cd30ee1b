package drill

import (
	"context"
	"sync"
	"time"

	"github.com/sealq/sealq/signing"
)

// aboutKeys tells the reasons that a worker's key alarm counts.
func aboutKeys(r signing.Reason) bool {
	return r == signing.ReasonUnknownKey || r == signing.ReasonKeyNotValid || r == signing.ReasonBadSignature
}

// pacer lets at most limit shots go within a window, however many workers the target has: each might get them all.
type pacer struct {
	limit  int
	window time.Duration
	now    func() time.Time

	mu    sync.Mutex
	shots []time.Time // the latest, limit at most
}

// wait returns when a shot may go, or with ctx's error.
func (p *pacer) wait(ctx context.Context) error {
	for {
		pause := p.take()
		if pause <= 0 {
			return nil
		}
		if err := rest(ctx, pause); err != nil {
			return err
		}
	}
}

// take takes a shot, or says how long none may go.
func (p *pacer) take() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if len(p.shots) == p.limit {
		if pause := p.window - now.Sub(p.shots[0]); pause > 0 {
			return pause
		}
		p.shots = p.shots[1:]
	}
	p.shots = append(p.shots, now)
	return 0
}

// rest waits for d, or returns ctx's error.
func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err() //nolint:wrapcheck // the caller's own
	case <-timer.C:
		return nil
	}
}
