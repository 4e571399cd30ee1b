package worker

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/jobs"
)

// Calm lets an asynq server ask less often while it cannot fetch: added to the client that the server is made of, it holds a
// failed fetch's answer back, for 50 ms at first and at most 1 s. asynq asks again at once: while Redis is away that takes a
// core, and where Redis has done one half of a fetch and failed in the other, each leaves a task in the active list.
func Calm() redis.Hook { return &calm{} }

type calm struct{ failures atomic.Int32 } // fetches that failed since one succeeded

const (
	shortestCalm = 50 * time.Millisecond
	longestCalm  = time.Second
)

// DialHook implements redis.Hook.
func (c *calm) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessPipelineHook implements redis.Hook. asynq does not dequeue in pipelines.
func (c *calm) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// ProcessHook implements redis.Hook.
func (c *calm) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if _, ok := dequeues(cmd.Args()); !ok {
			return err
		}
		switch {
		case err == nil, errors.Is(err, redis.Nil):
			c.failures.Store(0)
		case redis.HasErrorPrefix(err, "NOSCRIPT"): // the script itself follows
		default:
			rest(ctx, jobs.WithJitter(min(shortestCalm<<min(c.failures.Add(1)-1, 8), longestCalm)))
		}
		return err
	}
}
