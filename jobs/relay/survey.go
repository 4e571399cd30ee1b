package relay

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/sealq/sealq/jobs"
)

// surveyLoop counts the outbox from time to time.
func (r *Relay) surveyLoop(ctx context.Context) {
	told := make(map[jobs.Kind]bool)
	for ctx.Err() == nil {
		if err := r.survey(ctx, told); err != nil && ctx.Err() == nil {
			r.cfg.Logger.ErrorContext(ctx, "outbox not counted", slog.Any("error", err))
		}
		r.pause(ctx, r.cfg.Survey, false)
	}
}

// survey keeps what the outbox holds for Stats, and tells once of each kind whose rows wait though this relay will never take
// them. Those of an app's own relay are claimed at once; where nobody claims them they expire at their end, unseen otherwise.
func (r *Relay) survey(ctx context.Context, told map[jobs.Kind]bool) error {
	backlog, err := r.rows.OutboxBacklog(ctx)
	if err != nil {
		return fmt.Errorf("count the outbox: %w", err)
	}
	r.counts.setBacklog(backlog, r.cfg.Now())
	stranded := make(map[jobs.Kind]bool)
	for _, b := range backlog {
		if _, err := r.catalog.Lookup(b.Kind); err == nil || b.State != jobs.RowQueued || b.Oldest < r.cfg.Overdue {
			continue
		}
		stranded[b.Kind] = true
		if !told[b.Kind] {
			r.cfg.Logger.WarnContext(ctx, "outbox rows of a kind that this relay does not know wait, is there no relay that does?",
				slog.String("kind", string(b.Kind)), slog.String("queue", b.Queue), slog.Int64("rows", b.Rows), slog.Duration("oldest", b.Oldest))
		}
		told[b.Kind] = true
	}
	for kind := range told {
		if !stranded[kind] {
			delete(told, kind)
		}
	}
	return nil
}
