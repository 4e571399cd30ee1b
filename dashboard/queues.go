package dashboard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// reading is what one look at a queue's keys came to. A count is -1 where the key is of another type than asynq's.
type reading struct {
	name    string
	pending int64
	active  int64
	sched   int64
	retry   int64
	dead    int64 // in asynq's archive
	groups  int64
	paused  bool
	oldest  time.Duration // for how long the task that is next has waited; 0: none waits, or it does not say
	ended   int64         // without a failure, since the queue began; asynq counts what a worker refused among them
}

// queueNames are those that are configured, and those that Redis knows, in order.
func (d *Dashboard) queueNames(ctx context.Context) ([]string, error) {
	known, err := d.tasks.Queues(ctx)
	if err != nil && !denied(err) {
		return nil, err
	}
	all := append(slices.Clone(d.cfg.Queues), known...)
	slices.Sort(all)
	return slices.Compact(all), nil
}

func denied(err error) bool { return redis.HasErrorPrefix(errorCause(err), "NOPERM") }

// errorCause is the innermost error, which is Redis's own.
func errorCause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// shortValues reads of one queue how many tasks ended, how many of those failed, and since when the next waits. Any of them may be of
// any size: what is too long for a number, or for an ID, stays in Redis. What cannot be read is "".
const shortValues = `
local function short(...)
	local value = redis.pcall(...)
	return type(value) == 'string' and #value <= 32 and value or ''
end
local id, since = redis.pcall('LINDEX', KEYS[1] .. 'pending', -1), ''
if type(id) == 'string' and #id <= 1024 then since = short('HGET', KEYS[1] .. 't:' .. id, 'pending_since') end
return {short('GET', KEYS[1] .. 'processed'), short('GET', KEYS[1] .. 'failed'), since}`

// readQueues looks at the queues in one trip, whatever they hold.
func (d *Dashboard) readQueues(ctx context.Context, names []string) ([]reading, error) {
	key := func(queue, name string) string { return "asynq:{" + queue + "}:" + name }
	type asked struct {
		counts [6]*redis.IntCmd
		paused *redis.IntCmd
		values *redis.Cmd
	}
	pipe := d.cfg.Redis.Pipeline()
	first := make([]asked, len(names))
	for i, q := range names {
		a := &first[i]
		a.counts = [6]*redis.IntCmd{
			pipe.LLen(ctx, key(q, "pending")), pipe.LLen(ctx, key(q, "active")), pipe.ZCard(ctx, key(q, "scheduled")),
			pipe.ZCard(ctx, key(q, "retry")), pipe.ZCard(ctx, key(q, "archived")), pipe.SCard(ctx, key(q, "groups")),
		}
		a.paused, a.values = pipe.Exists(ctx, key(q, "paused")), pipe.Eval(ctx, shortValues, []string{key(q, "")})
	}
	if err := exec(ctx, pipe); err != nil {
		return nil, fmt.Errorf("look at the queues: %w", err)
	}
	readings := make([]reading, len(names))
	for i, q := range names {
		a, r := first[i], reading{name: q, paused: first[i].paused.Val() > 0}
		for j, into := range []*int64{&r.pending, &r.active, &r.sched, &r.retry, &r.dead, &r.groups} {
			if *into = a.counts[j].Val(); a.counts[j].Err() != nil {
				*into = -1
			}
		}
		if values, err := a.values.StringSlice(); err == nil && len(values) == 3 {
			r.ended = number(values[0]) - number(values[1])
			if nanos := number(values[2]); nanos > 0 {
				r.oldest = max(d.cfg.Now().Sub(time.Unix(0, nanos)), 0)
			}
		}
		readings[i] = r
	}
	return readings, nil
}

// number is 0 for what is none: it stands in Redis.
func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// exec runs the pipeline. That a key is missing, of another type or not to be read is that key's own matter; a server that does not answer
// is everybody's.
func exec(ctx context.Context, pipe redis.Pipeliner) error {
	cmds, err := pipe.Exec(ctx)
	if err == nil {
		return nil
	}
	for _, cmd := range cmds {
		err := cmd.Err()
		if err == nil || errors.Is(err, redis.Nil) || redis.HasErrorPrefix(err, "WRONGTYPE") || redis.HasErrorPrefix(err, "NOPERM") {
			continue
		}
		return err //nolint:wrapcheck // wrapped by the callers
	}
	return nil
}
