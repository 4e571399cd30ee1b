package dashboard

import (
	"context"
	"sync"
	"time"

	"github.com/sealq/sealq/jobs"
)

const (
	// slowCount is how long counting the quarantine may take to be done for every page: some 30,000 entries.
	slowCount = 20 * time.Millisecond
	// countedFor is for how long a count that took longer is good.
	countedFor = 10 * time.Second
)

// refusedGroups are the quarantine in numbers, which several pages show. Where it is full they are counted while somebody watches, and not
// for each page.
type refusedGroups struct {
	records Records
	clock   func() time.Time

	mu     sync.Mutex
	groups []jobs.RefusedGroup
	until  time.Time // zero: they are counted for each page
}

// now counts, or says what was counted lately.
func (g *refusedGroups) now(ctx context.Context) ([]jobs.RefusedGroup, error) {
	g.mu.Lock()
	groups, until := g.groups, g.until
	g.mu.Unlock()
	if g.clock().Before(until) {
		return groups, nil
	}
	return g.count(ctx)
}

func (g *refusedGroups) count(ctx context.Context) ([]jobs.RefusedGroup, error) {
	begun := g.clock()
	groups, err := g.records.RefusedGroups(ctx, mostGroups)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.groups, g.until = groups, time.Time{}
	if ended := g.clock(); ended.Sub(begun) > slowCount {
		g.until = ended.Add(countedFor)
	}
	return groups, nil
}

// again counts once more before a count that is shown is too old.
func (g *refusedGroups) again(ctx context.Context) error {
	g.mu.Lock()
	kept := !g.until.IsZero()
	g.mu.Unlock()
	if !kept {
		return nil
	}
	_, err := g.count(ctx)
	return err
}
