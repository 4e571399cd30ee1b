package calm

import (
	"context"
	"log/slog"
	"time"

	"github.com/sealq/sealq/jobs/rawtask"
)

// What of a message was mended. The values may be a metric's label.
type What string

// What no signature covers, and whoever writes to Redis can change in a genuine task.
const (
	PastDeadline What = "past_deadline" // a deadline or timeout by which asynq would have ended the task unasked
	OddRetries   What = "odd_retries"   // a count of tries that asynq cannot have written: the task counts from 0 again
)

// Mend is one message that was put right before asynq got it.
type Mend struct {
	What  What
	Queue string
}

// farDeadline is what jobs.Enqueuer gives its tasks, in Unix seconds: 2200-01-01. Without a deadline asynq would set its own timeout.
const farDeadline = 7258118400

// mended is the message as asynq gets it. Redis keeps the one that lies there until asynq writes it back.
func (h *Hook) mended(ctx context.Context, t taken, m rawtask.Message) string {
	far := time.Unix(farDeadline, 0)
	timed := h.cfg.OwnTimes && (m.Timeout != 0 || !m.Deadline.Equal(far))
	if !timed && !m.OddRetries() {
		return t.message
	}
	msg := []byte(t.message)
	if m.OddRetries() {
		msg = rawtask.WithRetried(msg, 0)
		h.tellMend(ctx, Mend{OddRetries, t.queue})
	}
	if timed {
		msg = rawtask.WithDeadline(msg, far)
		if m.Timeout < 0 || !m.Deadline.IsZero() && !m.Deadline.After(t.at) {
			h.tellMend(ctx, Mend{PastDeadline, t.queue})
		}
	}
	return string(msg)
}

func (h *Hook) tellMend(ctx context.Context, m Mend) {
	if h.seldom.may("mended " + string(m.What)) {
		h.cfg.Logger.WarnContext(ctx, "task mended that somebody has changed in Redis, so that it is judged by its signature alone",
			slog.String("what", string(m.What)), slog.String("queue", m.Queue))
	}
	h.cfg.OnMend(ctx, m)
}
