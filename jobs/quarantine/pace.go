package quarantine

import (
	"sync"
	"time"
)

const (
	// PaceBurst is how many forgeries are kept however fast they come: more than people read.
	PaceBurst = 10_000
	// PacePerSecond is how many more are kept in each second of a flood. Writing one down takes ten times as long as refusing it, and honest jobs
	// would wait for it.
	PacePerSecond = 100
)

// Pace says which forgeries of a flood are worth keeping: PaceBurst, and PacePerSecond after that, in one process. The others are counted, as those are
// that find no room. The zero value is full of patience.
type Pace struct {
	mu    sync.Mutex
	spent float64 // of the burst
	at    time.Time
}

// Keeps says whether one that comes now is kept.
func (p *Pace) Keeps(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if since := now.Sub(p.at).Seconds(); since > 0 {
		p.spent = max(0, p.spent-since*PacePerSecond)
		p.at = now
	}
	if p.spent+1 > PaceBurst {
		return false
	}
	p.spent++
	return true
}
