package janitor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/rawtask"
)

// Quarantine keeps what is removed, undecoded.
type Quarantine interface {
	// Keep stores a message. Keeping one entry ID twice keeps it once. quarantine.ErrCounted means that there was no room, and
	// that it was counted: the message goes all the same. With any other error it stays.
	Keep(ctx context.Context, r jobs.Refused) error
}

// Config of a Janitor.
type Config struct {
	// Queues are those that it looks after. It needs at least one.
	Queues []string
	// Every is the pause between two passes, give or take a quarter. Zero: 5 s.
	Every time.Duration
	// Grace is how long a task's lease is over before the task is brought back: workers' clocks may differ from Redis's by
	// that. Zero: 20 s.
	Grace time.Duration
	// Lease is what a task in the active list gets that has none, or one longer than asynq gives: if a worker runs it, the
	// worker prolongs it. Zero: 30 s, which is asynq's own.
	Lease time.Duration
	// OnFind is told of everything that was put in order. Zero: nobody is.
	OnFind func(context.Context, Find)
	// Logger. Zero: nothing is logged.
	Logger *slog.Logger
	// Now is the clock that quarantine entries are dated by. Zero: time.Now.
	Now func() time.Time
}

// What says what was found. The values may be a metric's label.
type What string

// What a Janitor finds.
const (
	WrongType     What = "wrong_type"     // a key of the queue that held something else: deleted
	NoTask        What = "no_task"        // an entry in a list or set without a message: removed
	Undecodable   What = "undecodable"    // an active message that is no task: quarantined
	WrongName     What = "wrong_name"     // an active message of another ID or queue than its key's: quarantined
	StrayLease    What = "stray_lease"    // an active task without a lease, or with an endless one: it got a lease
	ExpiredLease  What = "expired_lease"  // an active task that no worker has any more: pending again, or archived as asynq does
	OrphanedLease What = "orphaned_lease" // a lease of no active task: removed
)

// Whats are all of them.
func Whats() []What {
	return []What{WrongType, NoTask, Undecodable, WrongName, StrayLease, ExpiredLease, OrphanedLease}
}

// Find is what a step has put in order.
type Find struct {
	What  What
	Queue string
	Count int
}

// Janitor looks after the queues of one Redis.
type Janitor struct {
	redis      redis.UniversalClient
	quarantine Quarantine
	cfg        Config
	scripts    scripts
	cursors    map[string]int // by key: how many entries the last pass has seen

	mu    sync.Mutex
	total map[What]uint64
}

const (
	// batch is how many entries one script looks at: some 100 µs of Redis's time.
	batch = 200
	// mostSteps bounds the scripts that one pass runs over one key. The next pass goes on from there.
	mostSteps = 20
	// busyPause is the pause after a pass that put something in order and was not through.
	busyPause = 100 * time.Millisecond
	// longestOutage bounds the pause while Redis, or the quarantine, is away.
	longestOutage = 30 * time.Second
)

// New needs a Redis client and a quarantine.
func New(r redis.UniversalClient, q Quarantine, cfg Config) (*Janitor, error) {
	if r == nil || q == nil || len(cfg.Queues) == 0 {
		return nil, errors.New("new janitor: it needs a Redis client, a quarantine and the names of the queues")
	}
	for field, zero := range map[*time.Duration]time.Duration{
		&cfg.Every: 5 * time.Second, &cfg.Grace: 20 * time.Second, &cfg.Lease: 30 * time.Second,
	} {
		if *field <= 0 {
			*field = zero
		}
	}
	if cfg.OnFind == nil {
		cfg.OnFind = func(context.Context, Find) {}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Janitor{redis: r, quarantine: q, cfg: cfg, scripts: newScripts(), cursors: make(map[string]int), total: make(map[What]uint64)}, nil
}

// Run makes passes until ctx ends, then returns nil. Trouble with Redis or the quarantine is logged and tried again.
func (j *Janitor) Run(ctx context.Context) error {
	for outages := 0; ctx.Err() == nil; {
		pause := j.cfg.Every
		more, err := j.Pass(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			outages++
			pause = min(j.cfg.Every<<min(outages-1, 8), max(longestOutage, j.cfg.Every))
			j.tellFailed(ctx, err)
		case more:
			pause = min(pause, busyPause)
		default:
			outages = 0
		}
		timer := time.NewTimer(pause*3/4 + rand.N(pause/2+1)) //nolint:gosec // jitter is no secret
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

// tellFailed logs why a pass was not all made, in one line: what keeps one step from being made mostly keeps all of them.
func (j *Janitor) tellFailed(ctx context.Context, err error) {
	attrs := []any{slog.Any("error", err)}
	if all, ok := err.(interface{ Unwrap() []error }); ok && len(all.Unwrap()) > 0 {
		attrs = []any{slog.Any("error", all.Unwrap()[0])}
		if more := len(all.Unwrap()) - 1; more > 0 {
			attrs = append(attrs, slog.Int("more_errors", more))
		}
	}
	if rawtask.Denied(err) {
		j.cfg.Logger.ErrorContext(ctx, "the janitor's Redis user lacks a right, trying again",
			append(attrs, slog.String("advice", "give it what `sealq redis-acl worker` prints"))...)
		return
	}
	j.cfg.Logger.ErrorContext(ctx, "janitor stopped by an outage, trying again", attrs...)
}

// Pass looks at every queue once. It says whether it put something in order and there is more to look at. An error of one
// queue does not keep it from the others. It is not for concurrent use with itself or Run.
func (j *Janitor) Pass(ctx context.Context) (more bool, err error) {
	errs := []error{j.globalKeys(ctx)}
	for _, name := range j.cfg.Queues {
		q := queue{Janitor: j, name: name, prefix: "asynq:{" + name + "}:"}
		for _, step := range []func(context.Context) (bool, error){q.types, q.active, q.leases, q.pending, q.scheduled, q.retry} {
			unfinished, err := step(ctx)
			more = more || unfinished
			if err != nil {
				errs = append(errs, fmt.Errorf("look after queue %s: %w", name, err))
			}
			if ctx.Err() != nil {
				return more, ctx.Err() //nolint:wrapcheck // the caller's own
			}
		}
	}
	return more, errors.Join(errs...)
}

// found tells of what was put in order.
func (j *Janitor) found(ctx context.Context, what What, queue string, count int) {
	if count == 0 {
		return
	}
	j.cfg.Logger.WarnContext(ctx, "queue put in order", slog.String("what", string(what)), slog.String("queue", queue), slog.Int("count", count))
	j.mu.Lock()
	j.total[what] += uint64(count) //nolint:gosec // a number of entries
	j.mu.Unlock()
	j.cfg.OnFind(ctx, Find{What: what, Queue: queue, Count: count})
}

// Found counts by what it was that was put in order since the Janitor was made. It may be called at any time, and asks nobody.
func (j *Janitor) Found() map[What]uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return maps.Clone(j.total)
}

// globalKeys sees to the keys that all queues share, and announces the queues: after a FLUSHALL asynq's clients believe that
// they have done so.
func (j *Janitor) globalKeys(ctx context.Context) error {
	const announced = "asynq:queues"
	wrong := 0
	for key, want := range map[string]string{announced: "set", "asynq:servers": "zset", "asynq:workers": "zset", "asynq:schedulers": "zset"} {
		n, err := j.scripts.dropWrongTypes.Run(ctx, j.redis, []string{key}, want).Int() // one at a time: in a Cluster they lie apart
		if err != nil {
			return fmt.Errorf("look after %s: %w", key, err)
		}
		wrong += n
	}
	j.found(ctx, WrongType, "", wrong)
	names := make([]any, len(j.cfg.Queues))
	for i, name := range j.cfg.Queues {
		names[i] = name
	}
	if err := j.redis.SAdd(ctx, announced, names...).Err(); err != nil {
		return fmt.Errorf("announce the queues: %w", err)
	}
	return nil
}
