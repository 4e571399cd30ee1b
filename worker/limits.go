package worker

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/sealq/sealq/jobs"
)

// Limit bounds the jobs of one kind in this process.
//
// A queue is not fetched from while a kind of it is at its limit, so that no job is fetched that could not run: give a kind with a limit a
// queue that no other kind uses, or they wait with it. A job that comes all the same, because it was enqueued into another queue, is put off
// for a second or two without using up a try.
type Limit struct {
	// Concurrency is how many may run at once. Zero: any number.
	Concurrency int
	// PerSecond is how many may begin in a second, on the average. Zero: any number.
	PerSecond float64
	// Burst is how many may begin at once after a pause. Zero: as many as a second's, and at least one.
	Burst int
}

func (l Limit) check() error {
	if l.Concurrency < 0 || l.PerSecond < 0 || math.IsNaN(l.PerSecond) || math.IsInf(l.PerSecond, 0) || l.Burst < 0 {
		return fmt.Errorf("limit %+v: its numbers are zero or above", l)
	}
	return nil
}

// SharedLimit bounds the jobs of several kinds together.
type SharedLimit struct {
	Kinds []jobs.Kind
	Limit Limit
}

// share gives the kinds one limiter.
func (h *Handlers) share(s SharedLimit) (errs []error) {
	if err := s.Limit.check(); err != nil {
		return []error{fmt.Errorf("kinds %v: %w", s.Kinds, err)}
	}
	l := newLimiter(s.Limit, h.now)
	for _, kind := range s.Kinds {
		if _, has := h.limits[string(kind)]; has {
			errs = append(errs, fmt.Errorf("kind %s: it has two limits", kind))
		}
		h.limits[string(kind)] = l
	}
	return errs
}

// unlimited is more than a process has in hand.
const unlimited = math.MaxInt32

// limiter applies a Limit.
type limiter struct {
	limit Limit
	now   func() time.Time

	mu      sync.Mutex
	running int
	tokens  float64
	at      time.Time // of tokens
}

func newLimiter(l Limit, now func() time.Time) *limiter {
	if l.Burst == 0 {
		l.Burst = max(int(l.PerSecond), 1)
	}
	return &limiter{limit: l, now: now, tokens: float64(l.Burst), at: now()}
}

func (l *limiter) fill() {
	now := l.now()
	l.tokens = min(l.tokens+max(now.Sub(l.at).Seconds(), 0)*l.limit.PerSecond, float64(l.limit.Burst))
	l.at = now
}

// inHand is how many jobs of the kind may be in hand: running, or fetched to run.
func (l *limiter) inHand() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := unlimited
	if l.limit.Concurrency > 0 {
		n = l.limit.Concurrency
	}
	if l.limit.PerSecond > 0 {
		l.fill()
		n = min(n, l.running+int(l.tokens))
	}
	return n
}

func (l *limiter) mayBegin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fill()
	return !l.full()
}

func (l *limiter) full() bool {
	return l.limit.Concurrency > 0 && l.running >= l.limit.Concurrency || l.limit.PerSecond > 0 && l.tokens < 1
}

func (l *limiter) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fill()
	if l.full() {
		return false
	}
	l.running++
	if l.limit.PerSecond > 0 {
		l.tokens--
	}
	return true
}

func (l *limiter) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running--
}

// ErrLimit means that a job's kind is at its limit in this process.
var ErrLimit = errors.New("its kind is at its limit here")

// errNotRun ends an admission without a run.
var errNotRun = errors.New("the job was not run")

// limitRetry is the pause before a job is looked at again that came although its kind is at its limit.
const limitRetry = time.Second

// InHand says how many tasks of a queue may be in hand in this process, running or fetched to run: what the limits and breakers of its kinds
// leave. A Server asks it by itself.
func (h *Handlers) InHand(queue string) int {
	n := unlimited
	for _, g := range h.gates[queue] {
		n = min(n, g())
	}
	return n
}

// MayFetch is for a Gate on the client of an asynq server that is not a Server: it says no while a kind of the queue is at its limit, or waits
// for an outside system.
func (h *Handlers) MayFetch(queue string) bool {
	for _, may := range h.doors[queue] {
		if !may() {
			return false
		}
	}
	return true
}

// Waiting says which outside systems' jobs wait, in one sentence each.
func (h *Handlers) Waiting() []string {
	var sentences []string
	for _, b := range h.breakers {
		if err := b.Open(); err != nil {
			sentences = append(sentences, err.Error())
		}
	}
	return sentences
}

// restrict ties the limits and breakers of a kind to its queue.
func (h *Handlers) restrict(kind string, p jobs.Policy) {
	if l, ok := h.limits[kind]; ok {
		h.gates[p.Queue] = append(h.gates[p.Queue], l.inHand)
		h.doors[p.Queue] = append(h.doors[p.Queue], l.mayBegin)
	}
	for _, b := range h.breakers {
		if b.concerns(kind) {
			h.gates[p.Queue] = append(h.gates[p.Queue], b.inHand)
			h.doors[p.Queue] = append(h.doors[p.Queue], func() bool { return b.inHand() > 0 })
		}
	}
}

// restricted are the kinds that have a limit or a breaker.
func (h *Handlers) restricted() []string {
	kinds := slices.Collect(maps.Keys(h.limits))
	for _, b := range h.breakers {
		for _, kind := range b.cfg.Kinds {
			kinds = append(kinds, string(kind))
		}
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// admit asks limits and breakers for a run of the kind. Where they refuse, it says until when the job waits; where they do not, left must be
// called with what the run returned, and says until when a job that failed waits at least.
func (h *Handlers) admit(kind string) (left func(error) time.Time, wait *ending) {
	var entered []func(error) time.Time
	leave := func(err error) (retry time.Time) {
		for _, f := range entered {
			if at := f(err); at.After(retry) {
				retry = at
			}
		}
		return retry
	}
	for _, b := range h.breakers {
		if !b.concerns(kind) {
			continue
		}
		retry, ok := b.enter()
		if !ok {
			leave(errNotRun)
			return nil, &ending{action: later, until: retry, cause: cmp.Or(b.Open(), errNotRun)}
		}
		entered = append(entered, b.leave)
	}
	if l, ok := h.limits[kind]; ok {
		if !l.enter() {
			leave(errNotRun)
			return nil, &ending{action: later, until: h.now().Add(jobs.WithJitter(limitRetry)), cause: ErrLimit}
		}
		entered = append(entered, func(error) time.Time { l.leave(); return time.Time{} })
	}
	return leave, nil
}
