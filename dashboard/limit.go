package dashboard

import (
	"sync"
	"time"
)

// mostAddresses is how many addresses are remembered. When there are more, all are forgotten: names are counted in the database anyway.
const mostAddresses = 10_000

// limiter counts tries by address, a minute at a time.
type limiter struct {
	most int
	now  func() time.Time

	mu     sync.Mutex
	began  time.Time
	counts map[string]int
}

func newLimiter(most int, now func() time.Time) *limiter {
	return &limiter{most: most, now: now, counts: make(map[string]int)}
}

// allows counts one try, and says whether it may be made.
func (l *limiter) allows(address string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.now(); now.Sub(l.began) >= time.Minute || len(l.counts) >= mostAddresses {
		l.began = now
		clear(l.counts)
	}
	l.counts[address]++
	return l.counts[address] <= l.most
}
