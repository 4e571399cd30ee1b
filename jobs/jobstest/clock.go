package jobstest

import (
	"fmt"
	"sync"
	"time"
)

// Clock is a clock that stands still until a test moves it. It is safe for concurrent use.
type Clock struct {
	mu sync.Mutex
	at time.Time
}

// NewClock makes a clock that shows at.
func NewClock(at time.Time) *Clock { return &Clock{at: at} }

// Now is what the clock shows, for every Now field of sealq's configurations.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// Advance moves the clock forward. It panics where d is negative: no clock of sealq's goes back.
func (c *Clock) Advance(d time.Duration) {
	if d < 0 {
		panic(fmt.Sprintf("jobstest: Clock.Advance(%v) would go back in time", d))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// reach moves the clock forward to t, if it shows less.
func (c *Clock) reach(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.After(c.at) {
		c.at = t
	}
}
