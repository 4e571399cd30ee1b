package worker

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/sealq/sealq/jobs"
)

// BreakerConfig of a Breaker.
type BreakerConfig struct {
	// System is what Outage calls it, such as "smtp". Required.
	System string
	// Kinds are those whose handlers need the system. Required. While the breaker is open nothing is fetched from their queues: give such
	// kinds queues that no other kind uses.
	Kinds []jobs.Kind
	// Failures is how many outages in a row open the breaker. Zero: 3.
	Failures int
	// Pause is how long it stays open before one job may try the system; it doubles with each that finds it still down, and has a quarter of
	// jitter either way. Zero: 10 s.
	Pause time.Duration
	// LongestPause bounds it. Zero: 5 min.
	LongestPause time.Duration
	// Logger is told when the breaker opens and closes. Zero: nothing is logged.
	Logger *slog.Logger
	// Now is the clock. Zero: time.Now.
	Now func() time.Time
}

// Breaker keeps jobs away from an outside system that is down. Handlers report outages by their errors (Outage) and are given one by
// HandlersConfig.Breakers. A job that meets an outage, or an open breaker, is put off without using up a try.
type Breaker struct {
	cfg BreakerConfig

	mu      sync.Mutex
	failed  int // in a row
	pause   time.Duration
	until   time.Time // while open; the system may be tried after it
	probing bool      // a job has been let through to try
	cause   error
}

// NewBreaker makes a closed Breaker.
func NewBreaker(c BreakerConfig) (*Breaker, error) {
	if c.System == "" || len(c.Kinds) == 0 {
		return nil, errors.New("new breaker: it needs the system's name, and kinds")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Kinds = slices.Clone(c.Kinds)
	c.Failures = orDefault(c.Failures, 3)
	c.Pause = orDefault(c.Pause, 10*time.Second)
	c.LongestPause = max(orDefault(c.LongestPause, 5*time.Minute), c.Pause)
	return &Breaker{cfg: c}, nil
}

// Outage marks an error that says that an outside system cannot be used, by whichever job: it is put off without using up a try, and the
// system's breaker, if there is one, counts it.
func Outage(system string, err error) error { return &outageError{system: system, err: err} }

type outageError struct {
	system string
	err    error
}

func (e *outageError) Error() string { return e.system + ": " + e.err.Error() }
func (e *outageError) Unwrap() error { return e.err }

// Answered marks the error of a job that the outside system has answered: whatever became of the job, the system is up.
func Answered(system string, err error) error { return &answeredError{system: system, err: err} }

type answeredError struct {
	system string
	err    error
}

func (e *answeredError) Error() string { return e.err.Error() }
func (e *answeredError) Unwrap() error { return e.err }

// ErrNotNeeded is what a handler returns whose job ended well without its outside system, such as one that had nothing left to do. For the
// job it is a success, in a transaction too; a breaker learns nothing from it.
var ErrNotNeeded = errors.New("the job needed no outside system")

// System is what the breaker's outside system is called.
func (b *Breaker) System() string { return b.cfg.System }

// Open says why jobs are kept away from the system, nil if they are not.
func (b *Breaker) Open() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until.IsZero() {
		return nil
	}
	return fmt.Errorf("%s is down, its jobs wait: %w", b.cfg.System, b.cause)
}

func (b *Breaker) concerns(kind string) bool { return slices.Contains(b.cfg.Kinds, jobs.Kind(kind)) }

// inHand is how many of its jobs may be in hand.
func (b *Breaker) inHand() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.until.IsZero():
		return unlimited
	case b.cfg.Now().Before(b.until):
		return 0
	}
	return 1
}

// enter asks for a job to run. One that may not is told until when to wait; one that may must leave.
func (b *Breaker) enter() (retry time.Time, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.cfg.Now()
	switch {
	case b.until.IsZero():
		return time.Time{}, true
	case now.Before(b.until):
		return b.until, false
	case b.probing:
		return now.Add(b.pause), false
	}
	b.probing = true
	return time.Time{}, true
}

// leave notes how a job's run ended. A success says that the system is up, and so does what it answered; any other error that is no
// outage says nothing of it, and no more does ErrNotNeeded.
func (b *Breaker) leave(err error) (retry time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
	if b.up(err) {
		if !b.until.IsZero() {
			b.cfg.Logger.Info("outside system is back", slog.String("system", b.cfg.System))
		}
		b.failed, b.pause, b.until, b.cause = 0, 0, time.Time{}, nil
		return time.Time{}
	}
	if o, ok := errors.AsType[*outageError](err); !ok || o.system != b.cfg.System {
		return time.Time{}
	}
	now := b.cfg.Now()
	b.failed++
	b.cause = err
	if b.failed < b.cfg.Failures && b.until.IsZero() {
		return time.Time{}
	}
	if !b.until.After(now) { // not those that were under way when it opened
		first := b.until.IsZero()
		b.pause = min(max(2*b.pause, b.cfg.Pause), b.cfg.LongestPause)
		b.until = now.Add(jobs.WithJitter(b.pause))
		if first {
			b.cfg.Logger.Error("outside system is down, its jobs wait", slog.String("system", b.cfg.System), slog.Any("error", err))
		}
	}
	return b.until
}

func (b *Breaker) up(err error) bool {
	if err == nil {
		return true
	}
	a, ok := errors.AsType[*answeredError](err)
	return ok && a.system == b.cfg.System
}
