package app

import (
	"context"
	"maps"
	"sync"

	"github.com/sealq/sealq/worker/calm"
)

// mends counts what a worker put right of the tasks that it fetched.
type mends struct {
	mu     sync.Mutex
	counts map[calm.What]uint64
}

func (m *mends) add(_ context.Context, mend calm.Mend) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.counts == nil {
		m.counts = make(map[calm.What]uint64)
	}
	m.counts[mend.What]++
}

func (m *mends) all() map[calm.What]uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.counts)
}

// Finds counts what this worker has found wrong in Redis and put in order since it began, by what it was: a janitor.What or a
// calm.What, each fit to be a metric's label. It may be called at any time, and asks nobody.
func (w *Worker) Finds() map[string]uint64 {
	finds := make(map[string]uint64)
	for what, n := range w.janitor.Found() {
		finds[string(what)] += n
	}
	for what, n := range w.mends.all() {
		finds[string(what)] += n
	}
	return finds
}
