package authworker

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/worker"
)

const (
	// sweepBatch rows a commit: measured on ten million rows, larger batches lengthen other people's waits and
	// hardly shorten the sweep.
	sweepBatch = 1000
	sweepPause = 15 * time.Millisecond
)

// sweeper runs a sweep in batches that commit by themselves: a sweep that dies half-way has done half its work,
// and whoever comes next does the rest. Only its end enters the ledger.
type sweeper[Tx any] struct {
	ledger worker.Ledger[Tx]
	logger *slog.Logger
}

func (s sweeper[Tx]) handle(batch func(ctx context.Context, limit int) (int, error)) func(context.Context, worker.Job[authjobs.Sweep]) error {
	return func(ctx context.Context, j worker.Job[authjobs.Sweep]) error {
		changed := 0
		for {
			limit := sweepBatch
			if j.Args.Limit > 0 {
				limit = min(limit, j.Args.Limit-changed)
			}
			n, err := batch(ctx, limit)
			if err != nil {
				return fmt.Errorf("sweep after %d rows: %w", changed, err)
			}
			changed += n
			if n < limit || changed == j.Args.Limit {
				break
			}
			if err := rest(ctx, sweepPause); err != nil {
				return fmt.Errorf("sweep after %d rows: %w", changed, err)
			}
		}
		if _, err := s.ledger.Once(ctx, j.Effect(), func(context.Context, Tx) error { return nil }); err != nil {
			return err
		}
		s.logger.InfoContext(ctx, "sweep done", slog.String("kind", string(j.Effect().Kind)), slog.String("tick", j.Args.Tick), slog.Int("rows", changed))
		return nil
	}
}

func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("stopped: %w", context.Cause(ctx))
	case <-timer.C:
		return nil
	}
}
