package loadtest

import (
	"sync"
	"sync/atomic"
	"time"
)

// tellEvery is how often progress is told.
const tellEvery = 100 * time.Millisecond

// meter tells how far a run is: when a stage begins, and from time to time. The stages count with atomics and wait for nobody
// who looks.
type meter struct {
	tell  func(stage Stage, done, all int)
	ended chan struct{}
	done  sync.WaitGroup

	mu    sync.Mutex // held while telling, too
	stage Stage
	all   int
	count *atomic.Int64
}

func startMeter(tell func(stage Stage, done, all int)) *meter {
	m := &meter{tell: tell, ended: make(chan struct{})}
	m.done.Go(func() {
		again := time.NewTicker(tellEvery)
		defer again.Stop()
		for {
			select {
			case <-m.ended:
				return
			case <-again.C:
				m.mu.Lock()
				m.say()
				m.mu.Unlock()
			}
		}
	})
	return m
}

// stop returns when nobody is told any more.
func (m *meter) stop() {
	close(m.ended)
	m.done.Wait()
}

// begin returns what the stage counts with.
func (m *meter) begin(stage Stage, all int) *atomic.Int64 {
	count := new(atomic.Int64)
	m.follow(stage, all, count)
	return count
}

func (m *meter) follow(stage Stage, all int, count *atomic.Int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stage, m.all, m.count = stage, all, count
	m.say()
}

func (m *meter) say() {
	if m.count != nil {
		m.tell(m.stage, int(m.count.Load()), m.all)
	}
}
