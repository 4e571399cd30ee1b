package jobs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// A resolver finds out what asynq makes of a task and its options. A task keeps the options it was made with
// to itself, so the resolver lets a second asynq client enqueue the task into a Redis that is not there: every
// command is answered here, nothing touches a network, and what asynq would have written is asynq's own
// resolution. Most tasks need none of this: see plainOptions.
type resolver struct {
	redis  *redis.Client
	client *asynq.Client
}

// resolved is a task's options after asynq applied them all.
type resolved struct {
	info      *asynq.TaskInfo
	at        time.Time     // when it was resolved
	processAt time.Time     // zero: at once
	unique    time.Duration // for the Unique option; zero: not unique
}

func newResolver() *resolver {
	c := redis.NewClient(&redis.Options{Addr: "resolver.invalid:0"})
	c.AddHook(answering{})
	scripts := enqueued{UniversalClient: c, one: redis.NewCmdResult(int64(1), nil)}
	return &resolver{redis: c, client: asynq.NewClientFromRedisClient(scripts)}
}

func (r *resolver) close() error { return r.redis.Close() } //nolint:wrapcheck // never connected: nothing to add

func (r *resolver) resolve(ctx context.Context, task *asynq.Task, opts []asynq.Option) (resolved, error) {
	var seen written
	now := time.Now() //nolint:forbidigo // asynq resolves ProcessIn against the same clock
	info, err := r.client.EnqueueContext(context.WithValue(ctx, writtenKey{}, &seen), task, opts...)
	if err != nil {
		return resolved{}, err //nolint:wrapcheck // asynq's own refusal of an option, for code written against asynq
	}
	res := resolved{info: info, at: now}
	if seen.unique {
		res.unique = seen.lock
	}
	if info.State == asynq.TaskStateScheduled {
		res.processAt = info.NextProcessAt
		if seen.unique {
			res.unique = uniqueFor(seen.lock, res.processAt.Sub(now))
		}
	}
	return res, nil
}

// uniqueFor is the Unique option under which asynq locks a task that is due after delay for whole seconds of
// lock: it adds the delay to the option and cuts off what is less than a second. Half a second more than the
// difference leaves the app's client, which asks the clock again a little later, with the same lock. The option
// must be a second at least, and where that is more than the sum, it still is less than half a second too much.
func uniqueFor(lock, delay time.Duration) time.Duration {
	return max(lock-delay+time.Second/2, time.Second)
}

// options says the same to the app's own client.
func (r resolved) options() []asynq.Option {
	opts := []asynq.Option{asynq.TaskID(r.info.ID), asynq.Queue(r.info.Queue), asynq.MaxRetry(r.info.MaxRetry)}
	switch {
	case r.info.Timeout != 0:
		opts = append(opts, asynq.Timeout(r.info.Timeout))
	case r.info.Deadline.IsZero(): // one of less than a second, stored as none; without the option asynq would store 30 min
		opts = append(opts, asynq.Timeout(1))
	}
	if !r.info.Deadline.IsZero() {
		opts = append(opts, asynq.Deadline(r.info.Deadline))
	}
	if r.info.Retention != 0 {
		opts = append(opts, asynq.Retention(r.info.Retention))
	}
	if !r.processAt.IsZero() {
		opts = append(opts, asynq.ProcessAt(r.processAt))
	}
	if r.unique > 0 {
		opts = append(opts, asynq.Unique(r.unique))
	}
	return opts
}

type writtenKey struct{}

// written is what asynq would have written that its TaskInfo does not tell.
type written struct {
	unique bool
	lock   time.Duration // how long the unique lock would have been held
}

// enqueued answers asynq's Lua scripts before go-redis makes a command of them, which was half of what resolving took.
type enqueued struct {
	redis.UniversalClient
	one *redis.Cmd // 1 is "enqueued"; it is only read
}

// EvalSha answers that the task was enqueued.
func (e enqueued) EvalSha(ctx context.Context, _ string, keys []string, args ...any) *redis.Cmd {
	if w, ok := ctx.Value(writtenKey{}).(*written); ok {
		w.lock, w.unique = uniqueLock(keys, args)
	}
	return e.one
}

// answering answers every other command that asynq's client sends when it enqueues, and keeps all from a network.
type answering struct{}

func (answering) DialHook(redis.DialHook) redis.DialHook {
	return func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("the resolver has no network")
	}
}

func (answering) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(_ context.Context, cmd redis.Cmder) error {
		if added, ok := cmd.(*redis.IntCmd); ok { // SADD asynq:queues
			added.SetVal(1)
			return nil
		}
		return fmt.Errorf("the resolver does not know asynq's command %s", cmd.Name())
	}
}

func (answering) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(context.Context, []redis.Cmder) error {
		return errors.New("the resolver does not know asynq's pipelines")
	}
}

// uniqueLock reads the lock's time to live out of asynq's two unique scripts, which have three keys, the lock
// first, and as arguments the task's ID, the seconds, and more.
func uniqueLock(keys []string, args []any) (ttl time.Duration, unique bool) {
	const seconds = 1
	if len(keys) != 3 || len(args) <= seconds || !strings.Contains(keys[0], "}:unique:") {
		return 0, false
	}
	n, ok := args[seconds].(int)
	return time.Duration(n) * time.Second, ok
}
