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
func (h *Hook) finish(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
	deadline, leased := ctx.Deadline()
	if ctx.Err() != nil { // the syncer's
		live, cancel := context.WithTimeout(context.WithoutCancel(ctx), deadTry)
		defer cancel()
		return h.settled(ctx, next(live, cmd), cmd)
	}
	if !leased { // the recoverer's: it comes again by itself
		return next(ctx, cmd)
	}
	live, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline.Add(afterLease))
	defer cancel()
	for try := 1; ; try++ {
		err := h.settled(ctx, next(live, cmd), cmd)
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

// settled is what an answer means. "NOT FOUND" says that the task is not active, or has no lease: an earlier try did its work although its answer was lost,
// the lease was over and others have brought the task back, or somebody has written it into its list twice or taken it out. There is nothing left to do,
// and doing it later would end the task under whoever has it by then. asynq would try again until the lease's end, one task after the
// other, with all slots waiting for that.
func (h *Hook) settled(ctx context.Context, err error, cmd redis.Cmder) error {
	if err == nil || !strings.HasPrefix(err.Error(), "NOT FOUND") {
		return err
	}
	if h.seldom.may("not active") {
		h.cfg.Logger.WarnContext(ctx, "a task was not active any more when it ended: its answer was lost, its lease was over, or somebody has moved it")
	}
	cmd.SetErr(nil)
	return nil
}
