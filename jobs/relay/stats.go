package relay

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealq/sealq/jobs"
)

// Stats are a relay's figures. Counts are since it was made; those of several relays add up, but for Backlog, which each
// counts for itself.
type Stats struct {
	Relayed  uint64 // rows that were put into Redis
	Present  uint64 // rows whose task was there already, of an earlier claim that was not written down
	Refused  uint64 // rows that no outbox would have recorded, ended
	Left     uint64 // times that a row was left to others, because it could not be signed here
	Returned uint64 // times that a row was claimed and went back, because its queue is held or nothing could be signed
	Restored uint64 // tasks that Redis had lost
	Expired  uint64 // rows that were not done before their end
	// Held are the queues whose rows stay in the outbox for now, in order.
	Held []HeldQueue
	// Backlog is the outbox as it was counted last, at BacklogAt; zero before the first count.
	Backlog   []jobs.Backlog
	BacklogAt time.Time
}

// String is a line for people: what was moved, what waits, and which queues are held. It may be shown to anybody.
func (s Stats) String() string {
	parts := []string{fmt.Sprintf("%d rows relayed, %d restored, %d refused, %d expired", s.Relayed, s.Restored, s.Refused, s.Expired)}
	for _, b := range s.Backlog {
		if b.State == jobs.RowQueued && b.Oldest > 0 {
			parts = append(parts, fmt.Sprintf("%d of %s wait in the outbox, the oldest for %s", b.Rows, b.Kind, b.Oldest.Truncate(time.Second)))
		}
	}
	for _, h := range s.Held {
		cause := h.Cause
		if !h.Full { // an error may name servers
			cause = "queue " + h.Queue + " takes no tasks"
		}
		parts = append(parts, fmt.Sprintf("held since %s: %s", h.Since.UTC().Format(time.RFC3339), cause))
	}
	return strings.Join(parts, "; ")
}

// counts are what Stats is made of.
type counts struct {
	relayed, present, refused, left, returned, restored, expired atomic.Uint64

	mu        sync.Mutex
	backlog   []jobs.Backlog
	backlogAt time.Time
}

// Stats may be called at any time. It asks nobody.
func (r *Relay) Stats() Stats {
	c := &r.counts
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{
		Relayed: c.relayed.Load(), Present: c.present.Load(), Refused: c.refused.Load(), Left: c.left.Load(),
		Returned: c.returned.Load(), Restored: c.restored.Load(), Expired: c.expired.Load(),
		Held: r.holds.list(), Backlog: c.backlog, BacklogAt: c.backlogAt,
	}
}

func (c *counts) setBacklog(backlog []jobs.Backlog, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.backlog, c.backlogAt = backlog, at
}
