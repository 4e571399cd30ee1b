package accounts

import (
	"sync"
	"time"
)

// gate remembers identifiers that the store called locked, so that a flood on them costs a look into a map. It can only make this process answer
// what the store would have answered; it never unlocks and never locks longer than the store said.
type gate struct {
	size int
	now  func() time.Time

	mu       sync.Mutex
	until    map[string]time.Time // by normalised address
	forgets  uint64               // successes so far: an answer of the store from before one is not remembered after it
	answered uint64
}

func newGate(size int, now func() time.Time) *gate {
	return &gate{size: size, now: now, until: make(map[string]time.Time)}
}

// visit is a look at the gate before the store is asked.
type visit struct {
	at      time.Time
	forgets uint64
}

// locked says whether memory knows that id is locked.
func (g *gate) locked(id string) (visit, bool) {
	now := g.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	v := visit{at: now, forgets: g.forgets}
	until, ok := g.until[id]
	if !ok {
		return v, false
	}
	if !now.Before(until) {
		delete(g.until, id)
		return v, false
	}
	g.answered++
	return v, true
}

// remember closes the gate for id for a time that began, at the earliest, with the visit.
func (g *gate) remember(id string, v visit, d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.size <= 0 || v.forgets != g.forgets {
		return
	}
	if _, known := g.until[id]; !known && len(g.until) >= g.size {
		g.makeRoom(v.at)
	}
	g.until[id] = v.at.Add(d)
}

// makeRoom drops what is over among a few entries in the map's random order, and one entry in any case.
func (g *gate) makeRoom(now time.Time) {
	const look = 16
	seen := 0
	for id, until := range g.until {
		seen++
		if !now.Before(until) || len(g.until) >= g.size && seen == look {
			delete(g.until, id)
		}
		if seen == look {
			break
		}
	}
	for id := range g.until {
		if len(g.until) < g.size {
			break
		}
		delete(g.until, id)
	}
}

// forget opens the gate after a success.
func (g *gate) forget(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forgets++
	delete(g.until, id)
}

func (g *gate) counts() (answered uint64, remembered int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.answered, len(g.until)
}
