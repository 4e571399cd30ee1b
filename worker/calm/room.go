package calm

import "math"

// allowed is how many tasks of a queue may be fetched now. f.mu is held.
func (f *Fetcher) allowed(queue string) int {
	if f.hook.cfg.InHand == nil {
		return math.MaxInt32
	}
	return min(f.hook.cfg.InHand(queue), math.MaxInt32) - f.inHand[queue]
}

func (f *Fetcher) mayAsk(queue string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.allowed(queue) > 0
}

// reserve counts what is about to be fetched as in hand, so that two lanes at once keep to the limits.
func (f *Fetcher) reserve(queue string, most int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := max(min(f.allowed(queue), most), 0)
	f.inHand[queue] += n
	return n
}

func (f *Fetcher) count(queue string, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inHand[queue] += n
}

// release counts a task that has ended, and has the next of its queue fetched at once where the limit had kept that there.
func (f *Fetcher) release(queue string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inHand[queue]--
	if f.capped[queue] && f.allowed(queue) > 0 {
		select {
		case f.freed <- struct{}{}:
		default: // it is told of already
		}
	}
}

// remember notes of which queues there may be more than was fetched: those that gave all that their limits allow. Where nothing was allowed
// nobody knows.
func (f *Fetcher) remember(limits map[string]int, tasks []taken) {
	if f.hook.cfg.InHand == nil {
		return
	}
	for _, t := range tasks {
		limits[t.queue]--
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, q := range f.queues {
		limit, asked := limits[q.name]
		f.capped[q.name] = !asked || limit <= 0
	}
}
