package seed

import (
	"sync"
	"time"
)

// slow is by how much the clock is slower than others, so that it matters little how fast the machine is.
const slow = 10

// clock goes on from a time that is past, slowly, and is put forward.
type clock struct {
	mu    sync.Mutex
	at    time.Time
	since time.Time // by the host's clock
}

func startAt(at time.Time) *clock { return &clock{at: at, since: time.Now()} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at.Add(time.Since(c.since) / slow).UTC()
}

// put puts it forward, never back.
func (c *clock) put(at time.Time) {
	if at.After(c.now()) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.at, c.since = at, time.Now()
	}
}
