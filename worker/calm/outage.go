package calm

import (
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sealq/sealq/jobs/rawtask"
)

// The pauses between two tries while Redis does not answer.
const (
	shortestPause = 50 * time.Millisecond
	longestPause  = 2 * time.Second
)

// rightsAdvice is what to do where Redis says that its user may not do something.
const rightsAdvice = "give it what `sealq redis-acl worker` prints"

// outage makes the pauses of all that goes through one client, and tells of an outage twice: when it begins and when it ends.
type outage struct {
	logger *slog.Logger
	now    func() time.Time

	mu    sync.Mutex
	tries int
	since time.Time
	next  time.Time // fetch loops that fail at once do not make the pauses longer
}

// failed counts a try and gives the pause before the next.
func (o *outage) failed(err error) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.now()
	if o.tries == 0 {
		o.since = now
		if rawtask.Denied(err) {
			o.logger.Error("the Redis user lacks a right, fetching waits", slog.Any("error", err), slog.String("advice", rightsAdvice))
		} else {
			o.logger.Error("Redis does not answer, fetching waits", slog.Any("error", err))
		}
	}
	if !now.Before(o.next) {
		o.tries++
	}
	pause := backoff(o.tries)
	o.next = now.Add(pause)
	return pause
}

func (o *outage) answered() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.tries == 0 {
		return
	}
	o.logger.Info("Redis answers again", slog.Duration("after", o.now().Sub(o.since)))
	o.tries, o.next = 0, time.Time{}
}

// backoff doubles from the shortest pause to the longest, with a quarter of jitter either way.
func backoff(tries int) time.Duration {
	pause := min(shortestPause<<min(max(tries-1, 0), 10), longestPause)
	return pause*3/4 + rand.N(pause/2) //nolint:gosec // jitter
}

// seldom lets a line of a kind be logged now and then.
type seldom struct {
	now func() time.Time

	mu   sync.Mutex
	last map[string]time.Time
}

const seldomEvery = time.Minute

func (s *seldom) may(what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if last, ok := s.last[what]; ok && now.Sub(last) < seldomEvery {
		return false
	}
	s.last[what] = now
	return true
}
