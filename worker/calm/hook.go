package calm

import (
	"context"
	"crypto/sha1" //nolint:gosec // Redis names scripts by it
	"encoding/hex"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/jobs/rawtask"
)

// Config of a Hook. The zero value closes every fault.
type Config struct {
	// InHand says how many tasks of a queue may be in hand: fetched, and not ended. A Fetcher keeps to it; a Hook alone does not know how many
	// are, and fetches unless it is zero. Zero: any number.
	InHand func(queue string) int
	// Stray is given what was fetched and is no task of its queue; it is deleted from Redis when Stray returns nil, and goes to the
	// far end of its queue otherwise. Zero: it is taken out of the queue, and its bytes stay under its key for people to look at.
	Stray func(context.Context, Stray) error
	// MaxMessage is how many bytes a message has at most. A longer one is a stray: whoever writes to Redis may put half a gigabyte under a
	// key, which a process would have in its memory several times. Zero: rawtask.MaxMessage, 16 MiB.
	MaxMessage int
	// OwnTimes says that who handles the tasks bounds their time itself: the timeout and deadline that a message carries, which no
	// signature covers, are kept from asynq. Zero: asynq goes by them, and ends a task whose deadline has passed unasked.
	OwnTimes bool
	// OnMend is told of each message that asynq would have ended unasked, or not ended at all, and that was mended. Zero: nobody is.
	OnMend func(context.Context, Mend)
	// Logger is told when Redis goes and comes back, and of strays. Zero: nothing is logged.
	Logger *slog.Logger
	// Now is the clock. Zero: time.Now.
	Now func() time.Time
}

// Hook is a redis.Hook for the client of asynq servers and clients, to be added once, before the first command. It starts no
// goroutine.
type Hook struct {
	cfg     Config
	scripts map[string]script
	lua     struct{ take, discard, giveBack lua }
	seldom  seldom
	outage  outage
	closed  chan struct{}
	close   sync.Once

	mu        sync.Mutex
	published map[string]time.Time // queues, and when asynq:queues was last told
}

var _ redis.Hook = (*Hook)(nil)

// New makes a Hook.
func New(c Config) *Hook {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.MaxMessage <= 0 {
		c.MaxMessage = rawtask.MaxMessage
	}
	if c.OnMend == nil {
		c.OnMend = func(context.Context, Mend) {}
	}
	h := &Hook{cfg: c, scripts: asynqScripts(), closed: make(chan struct{}), published: make(map[string]time.Time)}
	h.outage = outage{logger: c.Logger, now: c.Now}
	h.seldom = seldom{now: c.Now, last: make(map[string]time.Time)}
	h.lua.take, h.lua.discard, h.lua.giveBack = luaOf(takeScript), luaOf(discardScript), luaOf(giveBackScript)
	return h
}

// Close ends all waiting in the hook, for now and for ever: call it when a server that is to end must not wait for Redis.
func (h *Hook) Close() { h.close.Do(func() { close(h.closed) }) }

// DialHook implements redis.Hook.
func (h *Hook) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements redis.Hook.
func (h *Hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c, ok := h.callOf(cmd.Args())
		if !ok {
			return next(ctx, cmd)
		}
		switch c.script {
		case dequeue:
			return h.dequeue(ctx, cmd, c, next)
		case finish, finishWrite:
			return h.finish(ctx, cmd, next)
		case enqueue:
			err := next(ctx, cmd)
			if err == nil {
				h.publish(ctx, queueOf(c.keys[len(c.keys)-1]), next)
			}
			return err
		case other:
			if looksLikeDequeue(c.keys) {
				return refuse(cmd)
			}
		case requeue, housekeep, beat, taking:
		}
		return next(ctx, cmd)
	}
}

func refuse(cmd redis.Cmder) error {
	cmd.SetErr(ErrUnknownDequeue)
	return ErrUnknownDequeue
}

// ProcessPipelineHook implements redis.Hook. asynq does not fetch in pipelines; a client that makes pipelines of single
// commands would make it, past all checks.
func (h *Hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			if c, ok := h.callOf(cmd.Args()); ok && c.script == dequeue {
				return refuse(cmd)
			}
		}
		return next(ctx, cmds)
	}
}

// wait waits for d. It says false where ctx or the hook ends first.
func (h *Hook) wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-h.closed:
		return false
	case <-timer.C:
		return true
	}
}

// publish tells asynq's set of queues of a queue that is in use. asynq's client does so once: after somebody emptied Redis, its
// Inspector would not know the queue until that client is made anew.
func (h *Hook) publish(ctx context.Context, queue string, run redis.ProcessHook) {
	if queue == "" || !h.mayPublish(queue) {
		return
	}
	// Whoever enqueued has succeeded: this is tried again with the next task.
	if err := run(ctx, redis.NewIntCmd(ctx, "sadd", "asynq:queues", queue)); err != nil {
		h.mu.Lock()
		delete(h.published, queue)
		h.mu.Unlock()
	}
}

const (
	publishEvery = time.Second
	// mostPublished bounds the memory of names that clients make up.
	mostPublished = 10_000
)

func (h *Hook) mayPublish(queue string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.cfg.Now()
	if last, ok := h.published[queue]; ok && now.Sub(last) < publishEvery {
		return false
	}
	if len(h.published) >= mostPublished {
		clear(h.published)
	}
	h.published[queue] = now
	return true
}

// unanswered says whether a command's error means that Redis did not do what it was asked for now, and may do so later: it is
// away, is loading, is full, or has become a replica.
func unanswered(err error) bool {
	if err == nil || errors.Is(err, redis.ErrClosed) {
		return false
	}
	if answer, ok := errors.AsType[redis.Error](err); ok {
		for _, passing := range []string{"LOADING ", "READONLY ", "MASTERDOWN ", "CLUSTERDOWN ", "TRYAGAIN ", "BUSY ", "NOREPLICAS ", "MISCONF ", "OOM ", "ERR max number of clients reached"} {
			if redis.HasErrorPrefix(answer, passing) {
				return true
			}
		}
		return false
	}
	return true
}

func shaOf(script string) string {
	sum := sha1.Sum([]byte(script)) //nolint:gosec // Redis names scripts by it
	return hex.EncodeToString(sum[:])
}

// lua is a script with the name that Redis has for it.
type lua struct{ text, sha string }

func luaOf(text string) lua { return lua{text: text, sha: shaOf(text)} }
