package app

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/metrics"
)

// pingPatience is how long the mail server may take to let us in: some keep whoever comes waiting for half a minute, to tire out spammers.
const pingPatience = time.Minute

// mailWatch tells from the start of a worker on whether the mail server lets us in, until it once has: from then on the mails themselves tell, by
// their breaker. Without it a worker that never reached the server would seem well until the first mail is due.
type mailWatch struct {
	ping           func(context.Context) error
	where          string
	pause, longest time.Duration // between two tries; it doubles. Zero: 10 s and 5 min
	logger         *slog.Logger

	away atomic.Pointer[error] // nil: nothing is known against it
	met  atomic.Bool
}

// run tries until the server has let us in, or ctx ends.
func (w *mailWatch) run(ctx context.Context) error {
	pause, longest := cmp.Or(w.pause, 10*time.Second), cmp.Or(w.longest, 5*time.Minute)
	for {
		err := w.try(ctx)
		if err == nil || w.met.Load() || ctx.Err() != nil {
			if w.away.Swap(nil) != nil && ctx.Err() == nil {
				w.logger.InfoContext(ctx, "the mail server can be used now", slog.String("server", w.where))
			}
			return nil
		}
		w.away.Store(&err)
		w.logger.ErrorContext(ctx, "the mail server cannot be used, mails wait and everything else runs", slog.String("server", w.where), slog.Any("error", err))
		timer := time.NewTimer(jobs.WithJitter(pause))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		pause = min(2*pause, longest)
	}
}

func (w *mailWatch) try(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingPatience)
	defer cancel()
	return w.ping(ctx)
}

// mailed is told what became of a mail. One that was delivered has met the server.
func (w *mailWatch) mailed(_ context.Context, o authjobs.MailOutcome) {
	if o == authjobs.MailDelivered && w.met.CompareAndSwap(false, true) {
		w.away.Store(nil)
	}
}

// err says why the server cannot be used, nil where nothing is known against it.
func (w *mailWatch) err() error {
	if away := w.away.Load(); away != nil && !w.met.Load() {
		return fmt.Errorf("the mail server at %s could not be used since the start: %w", w.where, *away)
	}
	return nil
}

// watchedBreaker is open, for metrics, also while the server has not been met.
type watchedBreaker struct {
	metrics.Breaker

	watch *mailWatch
}

func (b watchedBreaker) Open() error {
	if err := b.Breaker.Open(); err != nil {
		return err
	}
	return b.watch.err()
}
