package relay

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// lookEvery is the pause between two looks at queues that are full, and how long a look at another one counts.
	lookEvery = 100 * time.Millisecond
	// soon is how far ahead tasks are due that count as waiting: an outbox hands no row out earlier than that.
	soon = time.Minute
	// noteworthy is how long a queue is full before it is told of: until then it is what holding is for.
	noteworthy = 5 * time.Second
	// forgotten is how long after its pause a queue that took no tasks is forgotten, when no row has been tried.
	forgotten = time.Minute
)

// holds are the queues whose rows stay in the outbox: those that are full, and those that take no tasks. Rows of other queues
// go on. The relay's loop alone changes it.
type holds struct {
	redis redis.UniversalClient
	cfg   Config

	looked  time.Time       // at those that are full
	roomy   map[string]bool // those that were found to have room
	roomyAt time.Time

	mu      sync.Mutex // for what Stats reads
	byQueue map[string]*hold
}

// HeldQueue is a queue whose rows stay in the outbox for now.
type HeldQueue struct {
	Queue string
	Since time.Time
	// Full means that too many tasks wait in it, Waiting of them. Else it takes no tasks.
	Full    bool
	Waiting int64
	// Cause is a sentence.
	Cause string
}

type hold struct {
	HeldQueue
	until time.Time  // takes no tasks: it is not tried before
	tries int        // takes no tasks: how often it was found so
	told  slog.Level // full: how loud it was told of
}

// heldError is why a row waits in the outbox though nothing is wrong with it.
type heldError struct{ cause error }

func (e *heldError) Error() string { return e.cause.Error() }
func (e *heldError) Unwrap() error { return e.cause }

func newHolds(c redis.UniversalClient, cfg Config) *holds {
	return &holds{redis: c, cfg: cfg, byQueue: make(map[string]*hold)}
}

// any says whether any queue is held.
func (h *holds) any() bool { return len(h.byQueue) > 0 }

// list is for Stats.
func (h *holds) list() []HeldQueue {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []HeldQueue
	for _, queue := range slices.Sorted(maps.Keys(h.byQueue)) {
		all = append(all, h.byQueue[queue].HeldQueue)
	}
	return all
}

// skip lists the queues whose rows are not to be claimed. From time to time it looks whether those that are full have room.
func (h *holds) skip(ctx context.Context) []string {
	now := h.cfg.Now()
	if now.Sub(h.looked) >= lookEvery {
		h.looked = now
		h.measured(ctx, h.measure(ctx, h.full()))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var skip []string
	for queue, held := range h.byQueue {
		switch {
		case held.Full, now.Before(held.until):
			skip = append(skip, queue)
		case now.Sub(held.until) > forgotten:
			delete(h.byQueue, queue)
		}
	}
	return skip
}

// full lists the queues that are held because they are full.
func (h *holds) full() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var full []string
	for queue, held := range h.byQueue {
		if held.Full {
			full = append(full, queue)
		}
	}
	return full
}

// back holds rows back that were claimed before it was known that their queue is full.
func (h *holds) back(ctx context.Context, items []*item) {
	now := h.cfg.Now()
	var unknown []string
	for _, queue := range queuesOf(items) {
		if !h.roomy[queue] || now.Sub(h.roomyAt) >= lookEvery {
			unknown = append(unknown, queue)
		}
	}
	h.measured(ctx, h.measure(ctx, unknown))
	for _, it := range items {
		if held := h.byQueue[it.Queue]; held != nil && held.Full {
			it.err = &heldError{fmt.Errorf("held back: %s", held.Cause)} //nolint:err113 // for the row's cause
		}
	}
}

// tried notes whether a queue took the tasks that it was given.
func (h *holds) tried(ctx context.Context, queue string, err error) {
	now := h.cfg.Now()
	h.mu.Lock()
	held := h.byQueue[queue]
	first := held == nil
	switch {
	case err == nil:
		delete(h.byQueue, queue)
	case first:
		held = &hold{HeldQueue: HeldQueue{Queue: queue, Since: now}}
		h.byQueue[queue] = held
		fallthrough
	default:
		held.Cause = err.Error()
		held.tries++
		held.until = now.Add(outagePause(held.tries))
	}
	h.mu.Unlock()
	switch {
	case err != nil && first:
		h.cfg.Logger.ErrorContext(ctx, "a queue takes no tasks, its rows wait in the outbox", slog.String("queue", queue), slog.Any("error", err))
	case err == nil && !first:
		h.cfg.Logger.InfoContext(ctx, "queue takes tasks again", slog.String("queue", queue), slog.Duration("after", now.Sub(held.Since)))
	}
}

// measured notes how many tasks wait in queues.
func (h *holds) measured(ctx context.Context, waiting map[string]int64) {
	if len(waiting) == 0 {
		return
	}
	now := h.cfg.Now()
	h.roomy, h.roomyAt = make(map[string]bool), now
	for queue, n := range waiting {
		h.mu.Lock()
		held := h.byQueue[queue]
		limit := int64(h.cfg.MaxPending)
		switch {
		case held == nil && n <= limit:
			h.roomy[queue] = true
		case held == nil:
			held = &hold{HeldQueue: HeldQueue{Queue: queue, Since: now, Full: true}}
			h.byQueue[queue] = held
		case held.Full && n <= limit/2:
			delete(h.byQueue, queue)
		}
		if held != nil && held.Full {
			held.Waiting, held.Cause = n, fmt.Sprintf("%d tasks wait in queue %s, at most %d are to", n, queue, limit)
		}
		h.mu.Unlock()
		if held != nil && held.Full {
			h.tell(ctx, held, n > limit/2)
		}
	}
}

// tell tells of a queue that has been full for a while, louder when it stays so: its workers may be down, or somebody fills
// it so that nothing else comes through.
func (h *holds) tell(ctx context.Context, held *hold, still bool) {
	age := h.cfg.Now().Sub(held.Since)
	facts := []any{slog.String("queue", held.Queue), slog.Int64("waiting", held.Waiting), slog.Int("at_most", h.cfg.MaxPending), slog.Duration("for", age)}
	switch {
	case !still && held.told >= slog.LevelWarn:
		h.cfg.Logger.InfoContext(ctx, "queue has room again", facts...)
	case still && age >= h.cfg.Overdue && held.told < slog.LevelError:
		held.told = slog.LevelError
		h.cfg.Logger.ErrorContext(ctx, "queue stays full: its workers are behind or down, or somebody fills it", facts...)
	case still && age >= noteworthy && held.told < slog.LevelWarn:
		held.told = slog.LevelWarn
		h.cfg.Logger.WarnContext(ctx, "queue is full, its rows wait in the outbox", facts...)
	}
}

// measure asks Redis how many tasks wait in queues. Those that it cannot tell are left out.
func (h *holds) measure(ctx context.Context, queues []string) map[string]int64 {
	if len(queues) == 0 {
		return nil
	}
	pipe := h.redis.Pipeline()
	gauges := gaugesOf(ctx, pipe, queues, h.cfg.Now())
	_, _ = pipe.Exec(ctx) // each command has its own error
	return gauges.read()
}

// gauges are questions how many tasks wait in queues, by queue.
type gauges map[string][2]*redis.IntCmd

func gaugesOf(ctx context.Context, pipe redis.Pipeliner, queues []string, now time.Time) gauges {
	g := make(gauges, len(queues))
	for _, queue := range queues {
		prefix := "asynq:{" + queue + "}:"
		g[queue] = [2]*redis.IntCmd{
			pipe.LLen(ctx, prefix+"pending"),
			pipe.ZCount(ctx, prefix+"scheduled", "-inf", strconv.FormatInt(now.Add(soon).Unix(), 10)),
		}
	}
	return g
}

// read sums the answers up. In what is not of the type that asynq gives it nothing waits.
func (g gauges) read() map[string]int64 {
	waiting := make(map[string]int64, len(g))
	for queue, parts := range g {
		var sum int64
		known := true
		for _, part := range parts {
			n, err := part.Result()
			sum += n
			known = known && (err == nil || redis.HasErrorPrefix(err, "WRONGTYPE"))
		}
		if known {
			waiting[queue] = sum
		}
	}
	return waiting
}
