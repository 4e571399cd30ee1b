package loadtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrQueueExists means that Redis knows the run's queue already. Nothing was put into it.
var ErrQueueExists = errors.New("the queue exists already")

// traces are what a run leaves in Redis.
type traces struct {
	redis redis.UniversalClient
	queue string
	since time.Time
}

const (
	allQueues = "asynq:queues"
	// page is how many tasks are looked up, and unlinked, at once: Redis answers others in between.
	page = 1000
)

func (t traces) key(name string) string { return "asynq:{" + t.queue + "}:" + name }

func lists() []string { return []string{"pending", "active"} }
func sets() []string  { return []string{"scheduled", "retry", "archived", "completed", "lease"} }

// keys are all that asynq keeps of a queue beside its tasks. It counts by the day, in UTC; a clock that is set meanwhile may
// move by one.
func (t traces) keys(until time.Time) []string {
	var keys []string
	for _, name := range append(append(lists(), sets()...), "paused", "processed", "failed") {
		keys = append(keys, t.key(name))
	}
	const day = 24 * time.Hour
	for d := t.since.UTC().Add(-day); d.Before(until.UTC().Add(2 * day)); d = d.Add(day) {
		date := d.Format(time.DateOnly)
		keys = append(keys, t.key("processed:"+date), t.key("failed:"+date))
	}
	return keys
}

// none requires that nobody has such a queue.
func (t traces) none(ctx context.Context) error {
	n, err := t.redis.Exists(ctx, t.keys(t.since)...).Result()
	if err != nil {
		return fmt.Errorf("look for the queue %s: %w", t.queue, err)
	}
	known, err := t.redis.SIsMember(ctx, allQueues, t.queue).Result()
	if err != nil {
		return fmt.Errorf("look for the queue %s in %s: %w", t.queue, allQueues, err)
	}
	if n > 0 || known {
		return fmt.Errorf("%w: %s", ErrQueueExists, t.queue)
	}
	return nil
}

// sweep takes away all of it. asynq's Inspector would delete the tasks in one Lua script, in which a production Redis answers
// nobody, only while none is active, and leave its figures behind. Nothing writes to the queue any more.
func (t traces) sweep(ctx context.Context, now time.Time) error {
	if err := t.unlinkTasks(ctx); err != nil {
		return err
	}
	if err := t.redis.Unlink(ctx, t.keys(now)...).Err(); err != nil {
		return fmt.Errorf("remove the queue: %w", err)
	}
	if err := t.redis.SRem(ctx, allQueues, t.queue).Err(); err != nil {
		return fmt.Errorf("remove the queue's name from %s: %w", allQueues, err)
	}
	return nil
}

func (t traces) unlinkTasks(ctx context.Context) error {
	for _, name := range lists() {
		if err := t.unlinkPages(ctx, t.redis.LRange, t.key(name)); err != nil {
			return err
		}
	}
	for _, name := range sets() {
		if err := t.unlinkPages(ctx, t.redis.ZRange, t.key(name)); err != nil {
			return err
		}
	}
	return nil
}

func (t traces) unlinkPages(ctx context.Context, read func(ctx context.Context, key string, from, to int64) *redis.StringSliceCmd, key string) error {
	for from := int64(0); ; from += page {
		ids, err := read(ctx, key, from, from+page-1).Result()
		if err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
		if len(ids) == 0 {
			return nil
		}
		tasks := make([]string, len(ids))
		for i, id := range ids {
			tasks[i] = t.key("t:" + id)
		}
		if err := t.redis.Unlink(ctx, tasks...).Err(); err != nil {
			return fmt.Errorf("remove tasks: %w", err)
		}
	}
}
