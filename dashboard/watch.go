package dashboard

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"strings"
	"sync"
	"time"
)

const (
	// sampleEvery is how often the queues are looked at, while somebody watches: rates need it.
	sampleEvery = 5 * time.Second
	// rateOver is the time that a rate is of.
	rateOver = time.Minute
	// lookedLately is how long after a page was asked for somebody counts as looking.
	lookedLately = 2 * time.Minute
	// examineTime bounds one examination.
	examineTime = 20 * time.Second
)

// watch is what the dashboard knows without being asked: how fast queues go, and what the last examination found.
type watch struct {
	d       *Dashboard
	streams streams
	over    chan struct{} // closed when run ends, so that no stream holds up the server's end

	mu       sync.Mutex
	samples  map[string][]sample
	state    uint64        // a digest of what was seen last
	changed  chan struct{} // closed when something has
	findings []Finding
	examined time.Time        // zero: not yet
	asked    time.Time        // zero: by nobody
	wanted   [2]chan struct{} // a look at the queues, and at the rest
}

// sample is how many tasks of a queue had ended at a time.
type sample struct {
	at    time.Time
	ended int64
}

func newWatch(d *Dashboard) *watch {
	return &watch{d: d, over: make(chan struct{}), samples: make(map[string][]sample), changed: make(chan struct{}), wanted: [2]chan struct{}{make(chan struct{}, 1), make(chan struct{}, 1)}}
}

func (w *watch) run(ctx context.Context) error {
	var examining sync.WaitGroup
	defer examining.Wait()
	defer close(w.over)
	examining.Go(func() { w.checkChains(ctx) })
	if w.d.cfg.Examine != nil {
		examining.Go(func() { each(ctx, w.d.cfg.ExamineEvery, w.wanted[1], w.examine) })
	}
	each(ctx, sampleEvery, w.wanted[0], w.look)
	return nil
}

// each does it now, and then every so often, and when it is wanted, until ctx ends.
func each(ctx context.Context, every time.Duration, wanted <-chan struct{}, do func(context.Context)) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		do(ctx)
		select {
		case <-ctx.Done():
			return
		case <-wanted:
		case <-ticker.C:
		}
	}
}

// idle says that nobody has asked lately. Then nothing is looked at: it takes rights that a worker's Redis user, who serves the pages of
// `sealq serve`, has no other need of.
func (w *watch) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.d.cfg.Now().Sub(w.asked) > lookedLately
}

// look takes a sample of every queue, while somebody watches.
func (w *watch) look(ctx context.Context) {
	if w.idle() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, sampleEvery)
	defer cancel()
	names, err := w.d.queueNames(ctx)
	var readings []reading
	if err == nil {
		readings, err = w.d.readQueues(ctx, names)
	}
	if err != nil {
		w.d.cfg.Logger.DebugContext(ctx, "queues not sampled", slog.Any("error", err))
		w.seen(fmt.Sprint(err))
		return
	}
	w.add(readings, w.d.cfg.Now())
	var seen strings.Builder
	for _, r := range readings {
		r.oldest = 0
		fmt.Fprintf(&seen, "%+v", r)
	}
	if err := w.d.groups.again(ctx); err != nil {
		w.d.cfg.Logger.DebugContext(ctx, "the quarantine is not counted", slog.Any("error", err))
	}
	asked, err := w.d.cfg.Records.Requests(ctx, mostRequests)
	if err != nil {
		w.d.cfg.Logger.DebugContext(ctx, "requests not looked at", slog.Any("error", err))
	}
	for _, r := range asked {
		fmt.Fprintf(&seen, "%s %s", r.ID, r.State)
	}
	w.seen(seen.String())
}

func (w *watch) add(readings []reading, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fresh := make(map[string][]sample, len(readings)) // a queue that is gone is forgotten
	for _, r := range readings {
		kept := w.samples[r.name]
		if n := len(kept); n > 0 && now.Sub(kept[n-1].at) > rateOver { // nobody watched
			kept = nil
		}
		for len(kept) > 1 && now.Sub(kept[1].at) >= rateOver { // one that is older than the time is kept
			kept = kept[1:]
		}
		fresh[r.name] = append(kept, sample{now, r.ended})
	}
	w.samples = fresh
}

// perMinute is how many tasks ended a minute lately. ok is false before that can be told.
func (w *watch) perMinute(queue string) (n float64, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.samples[queue]
	if len(all) < 2 {
		return 0, false
	}
	first, last := all[0], all[len(all)-1]
	return max(float64(last.ended-first.ended), 0) / last.at.Sub(first.at).Minutes(), true
}

// examine looks at what the deployment depends on, while somebody watches.
func (w *watch) examine(ctx context.Context) {
	if w.idle() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, examineTime)
	defer cancel()
	found := w.d.cfg.Examine(ctx)
	w.mu.Lock()
	w.findings, w.examined = found, w.d.cfg.Now()
	w.mu.Unlock()
	w.seen("") // the time of it is shown
}

// examination is what the last one found, and when that was. Whoever is the first to ask for a while has the next one made now.
func (w *watch) examination() ([]Finding, time.Time) {
	w.attend()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.findings, w.examined
}

// attend notes that somebody looks.
func (w *watch) attend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.d.cfg.Now()
	if now.Sub(w.asked) > lookedLately {
		for _, wanted := range w.wanted {
			select {
			case wanted <- struct{}{}:
			default:
			}
		}
	}
	w.asked = now
}

// seen wakes who watches, if it is not what was seen last.
func (w *watch) seen(what string) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(what))
	w.mu.Lock()
	defer w.mu.Unlock()
	if what != "" && h.Sum64() == w.state {
		return
	}
	w.state = h.Sum64()
	close(w.changed)
	w.changed = make(chan struct{})
}

// ended is closed when nobody watches any more.
func (w *watch) ended() <-chan struct{} { return w.over }

// next is closed when something has changed.
func (w *watch) next() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}
