package worker

import (
	"context"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Gate stops asynq from fetching tasks while mayFetch says no: added to the client that an asynq server is made
// of, it answers the server's dequeue script as Redis answers for an empty queue. Everything else – heartbeats,
// leases, retries, the tasks that run – goes on. asynq's own PauseQueue would stop every worker of the queue, and for ever.
func Gate(mayFetch func(queue string) bool) redis.Hook { return gate{mayFetch} }

type gate struct{ mayFetch func(queue string) bool }

// DialHook implements redis.Hook.
func (g gate) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessPipelineHook implements redis.Hook. asynq does not dequeue in pipelines.
func (g gate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// ProcessHook implements redis.Hook.
func (g gate) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if queue, ok := dequeues(cmd.Args()); ok && !g.mayFetch(queue) {
			cmd.SetErr(redis.Nil)
			return redis.Nil
		}
		return next(ctx, cmd)
	}
}

// dequeues recognises asynq's dequeue script by its keys (asynq v0.26.0, internal/rdb): pending, paused, active, lease.
func dequeues(args []any) (queue string, ok bool) {
	const keys, first = 2, 3
	if len(args) < first+4 || args[keys] != 4 {
		return "", false
	}
	for i, suffix := range []string{"}:pending", "}:paused", "}:active", "}:lease"} {
		key, isText := args[first+i].(string)
		if !isText || !strings.HasPrefix(key, "asynq:{") || !strings.HasSuffix(key, suffix) {
			return "", false
		}
		queue = key[len("asynq:{") : len(key)-len(suffix)]
	}
	return queue, true
}
