package metrics

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// queueState is one place where asynq keeps tasks of a queue.
type queueState struct {
	name string
	list bool // else a sorted set
}

// queueStates are what is counted. Completed tasks, which only some callers keep, are not.
func queueStates() []queueState {
	return []queueState{{"pending", true}, {"active", true}, {"scheduled", false}, {"retry", false}, {"archived", false}}
}

// depth is how full a queue is. What could not be counted, because somebody put something else under its key, is missing.
type depth struct {
	tasks  map[string]int64 // by state
	oldest time.Duration    // for how long the task that is next has waited; zero: none waits
	timed  bool             // oldest is known
}

// depths counts the queues in two trips, by commands that sealq's workers may call (`sealq redis-acl`). asynq's own
// Inspector takes six more commands and a script for the same.
func depths(ctx context.Context, client redis.UniversalClient, queues []string, now time.Time) (map[string]depth, error) {
	key := func(queue, name string) string { return "asynq:{" + queue + "}:" + name }
	pipe := client.Pipeline()
	counts, next := make(map[string][]*redis.IntCmd, len(queues)), make(map[string]*redis.StringSliceCmd, len(queues))
	for _, queue := range queues {
		for _, state := range queueStates() {
			var count *redis.IntCmd
			if state.list {
				count = pipe.LLen(ctx, key(queue, state.name))
			} else {
				count = pipe.ZCount(ctx, key(queue, state.name), "-inf", "+inf")
			}
			counts[queue] = append(counts[queue], count)
		}
		next[queue] = pipe.LRange(ctx, key(queue, "pending"), -1, -1)
	}
	if err := exec(ctx, pipe); err != nil {
		return nil, fmt.Errorf("count the queues: %w", err)
	}
	pipe = client.Pipeline()
	since := make(map[string]*redis.StringCmd, len(queues))
	for queue, cmd := range next {
		if ids := cmd.Val(); len(ids) == 1 {
			since[queue] = pipe.HGet(ctx, key(queue, "t:"+ids[0]), "pending_since")
		}
	}
	if err := exec(ctx, pipe); err != nil {
		return nil, fmt.Errorf("look how long tasks have waited: %w", err)
	}
	found := make(map[string]depth, len(queues))
	for _, queue := range queues {
		d := depth{tasks: make(map[string]int64), timed: next[queue].Err() == nil}
		for i, state := range queueStates() {
			if n, err := counts[queue][i].Result(); err == nil {
				d.tasks[state.name] = n
			}
		}
		if cmd, ok := since[queue]; ok {
			if nanos, err := strconv.ParseInt(cmd.Val(), 10, 64); err == nil && nanos > 0 {
				d.oldest = max(now.Sub(time.Unix(0, nanos)), 0)
			}
		}
		found[queue] = d
	}
	return found, nil
}

// exec runs the pipeline. What Redis answers to a command is that command's own matter, but for what concerns them all: who
// may not call it, or a server that serves nobody.
func exec(ctx context.Context, pipe redis.Pipeliner) error {
	cmds, err := pipe.Exec(ctx)
	if err == nil {
		return nil
	}
	for _, cmd := range cmds {
		err := cmd.Err()
		if err == nil || errors.Is(err, redis.Nil) || redis.HasErrorPrefix(err, "WRONGTYPE") {
			continue
		}
		return err //nolint:wrapcheck // wrapped by the callers
	}
	return nil
}
