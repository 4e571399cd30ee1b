package calm

import (
	"context"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// afterLease is how long past its lease's end the ending of a task is tried: other workers take the task 30 s after it.
	afterLease = 20 * time.Second
	// deadTry bounds one try whose context was over before it began.
	deadTry = 5 * time.Second
)

// finish runs a script that ends a task, and tries it again while Redis does not answer and nobody else can have the task yet. asynq
// itself would hand it to its syncer, whose context is over by then (processor.go: the closure uses a ctx that its own function
// cancels), so that it never succeeds: a task that was done would run again a minute later.
func (h *Hook) finish(ctx context.Context, cmd redis.Cmder, c call, next redis.ProcessHook) error {
	deadline, leased := ctx.Deadline()
	if ctx.Err() != nil { // the syncer's
		live, cancel := context.WithTimeout(context.WithoutCancel(ctx), deadTry)
		defer cancel()
		return h.settled(live, c, next, next(live, cmd), true)
	}
	if !leased { // the recoverer's: it comes again by itself
		return next(ctx, cmd)
	}
	live, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline.Add(afterLease))
	defer cancel()
	for try := 1; ; try++ {
		err := h.settled(live, c, next, next(live, cmd), try > 1)
		if err == nil || !unanswered(err) {
			if try > 1 {
				h.outage.answered()
			}
			return err
		}
		if !h.wait(live, h.outage.failed(err)) {
			return err
		}
	}
}

// settled is what an answer means. Where an earlier try may have done its work, although its answer was lost, "NOT FOUND" says that it
// did: the task has left Redis, or stands there with the message that it was to be given.
func (h *Hook) settled(ctx context.Context, c call, next redis.ProcessHook, err error, tried bool) error {
	if err == nil || !tried || !strings.HasPrefix(err.Error(), "NOT FOUND") {
		return err
	}
	if c.script == finish {
		return nil
	}
	for _, key := range c.keys {
		if !strings.Contains(key, "}:t:") || strings.HasSuffix(key, "}:t:") {
			continue
		}
		got := redis.NewStringCmd(ctx, "hget", key, "msg")
		if next(ctx, got) != nil {
			return err
		}
		for _, arg := range c.args {
			if text(arg) == got.Val() && got.Val() != "" {
				return nil
			}
		}
	}
	return err
}
