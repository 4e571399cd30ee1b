package calm

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/trips"
)

// FetchConfig of a Fetcher.
type FetchConfig struct {
	// Queues and their weights, all above zero, as the asynq servers have them. Required.
	Queues map[string]int
	// Strict fetches from a queue only while all of a higher weight are empty. Zero: each gets its share.
	Strict bool
	// Poll is the pause between two looks at empty queues, of all lanes together. Zero: 10 ms.
	Poll time.Duration
}

// DefaultPoll is the zero FetchConfig's.
const DefaultPoll = 10 * time.Millisecond

// Fetcher fetches for the asynq servers of one process. Each server is made of a Lane and asks as ever, for one task at a time and
// queue after queue; the answer to its first question comes from one trip to Redis for all queues and for as many tasks as the server has
// free slots, and the next answers come from memory. While the queues are empty one lane looks after them for all.
//
// It starts no goroutine.
type Fetcher struct {
	hook    *Hook
	client  redis.UniversalClient
	end     redis.ProcessHook // of tasks, in trips that all lanes share
	cluster bool
	queues  []weighted // the heaviest first
	strict  bool
	poll    time.Duration

	stop     chan struct{}
	stopOnce sync.Once
	quiet    atomic.Bool // the last trip left nothing behind
	polling  sync.Mutex  // held by the lane that looks after empty queues
	pause    atomic.Int64

	mu      sync.Mutex
	lanes   []*lane
	queued  time.Time // when asynq was last told of the queues
	waiting []*lane   // for the one that polls
	inHand  map[string]int
	capped  map[string]bool // queues that may hold more than could be fetched, for their limits
	freed   chan struct{}   // a task of such a queue has ended
}

type weighted struct {
	name   string
	weight int
}

// NewFetcher makes a Fetcher on a client, which gets no hook: what h does is done in the lanes.
func NewFetcher(client redis.UniversalClient, h *Hook, c FetchConfig) *Fetcher {
	f := &Fetcher{hook: h, client: client, end: trips.Process(client), strict: c.Strict, poll: c.Poll, stop: make(chan struct{}), inHand: make(map[string]int), capped: make(map[string]bool), freed: make(chan struct{}, 1)}
	if f.poll <= 0 {
		f.poll = DefaultPoll
	}
	_, f.cluster = client.(*redis.ClusterClient)
	for name, weight := range c.Queues {
		f.queues = append(f.queues, weighted{name, weight})
	}
	slices.SortFunc(f.queues, func(a, b weighted) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.name, b.name))
	})
	return f
}

// Lane is the client for one asynq server of that concurrency, which must not be shared.
func (f *Fetcher) Lane(slots int) redis.UniversalClient {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := &lane{UniversalClient: f.client, f: f, slots: slots, first: len(f.lanes) == 0, wake: make(chan struct{}, 1), half: make(chan struct{}, 1), held: make(map[string]taken)}
	l.process = f.hook.ProcessHook(f.client.Process)
	l.end = f.hook.ProcessHook(f.end)
	f.lanes = append(f.lanes, l)
	return l
}

// Stop ends fetching for good: every server finds its queues empty.
func (f *Fetcher) Stop() { f.stopOnce.Do(func() { close(f.stop) }) }

// GiveBack puts back what was fetched and not begun. Call it when the servers have shut down.
func (f *Fetcher) GiveBack(ctx context.Context) error {
	f.Stop()
	f.mu.Lock()
	lanes := slices.Clone(f.lanes)
	f.mu.Unlock()
	var errs []error
	for _, l := range lanes {
		errs = append(errs, l.giveBack(ctx))
	}
	return errors.Join(errs...)
}

func (f *Fetcher) stopped() bool {
	select {
	case <-f.stop:
		return true
	default:
		return false
	}
}

const (
	// longestAsk is how long a server's question is held while the queues are empty: its shutdown waits for the answer.
	longestAsk = 100 * time.Millisecond
	// firstPause is the pause after a trip that emptied the queues; it doubles up to the poll.
	firstPause = time.Millisecond
)

// fetch answers with at least one task, or none once longestAsk is over.
func (f *Fetcher) fetch(ctx context.Context, l *lane) ([]taken, error) {
	ctx, cancel := context.WithTimeout(ctx, longestAsk)
	defer cancel()
	for ctx.Err() == nil && !f.stopped() {
		if f.quiet.Load() && !f.await(ctx, l) {
			continue
		}
		if !f.quiet.Load() {
			l.gather(ctx)
		}
		f.publish(context.WithoutCancel(ctx))
		// A trip that has begun is not given up: its tasks would be lost until their leases end.
		tasks, more, err := f.take(context.WithoutCancel(ctx), l.free())
		if err := f.hook.fetched(context.WithoutCancel(ctx), err); err != nil {
			return nil, err
		}
		f.quiet.Store(!more)
		if len(tasks) > 0 {
			f.pause.Store(0)
			f.wakeNext()
			return tasks, nil
		}
	}
	return nil, nil
}

// await says true when a trip is worth its while: this lane polls and the pause is over, or the lane that does has found something.
func (f *Fetcher) await(ctx context.Context, l *lane) bool {
	if !f.polling.TryLock() {
		f.wait(l, true)
		defer f.wait(l, false)
		select {
		case <-l.wake:
			return true
		case <-ctx.Done():
		case <-f.stop:
		}
		return false
	}
	defer f.polling.Unlock()
	for {
		pause := min(max(2*time.Duration(f.pause.Load()), firstPause), f.poll)
		f.pause.Store(int64(pause))
		switch f.rest(ctx, pause*3/4+rand.N(pause/2)) { //nolint:gosec // jitter
		case restEnded:
			return false
		case restFreed:
			return true
		case restOver:
		}
		f.publish(context.WithoutCancel(ctx)) // an idle worker's queues are to be known, too
		if pause < f.poll || f.peek(context.WithoutCancel(ctx)) {
			return true
		}
	}
}

func (f *Fetcher) wait(l *lane, waits bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting = slices.DeleteFunc(f.waiting, func(w *lane) bool { return w == l })
	if waits {
		f.waiting = append(f.waiting, l)
	}
}

// wakeNext lets another lane poll, or fetch what is left.
func (f *Fetcher) wakeNext() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.waiting) > 0 {
		select {
		case f.waiting[0].wake <- struct{}{}:
		default: // it is about to wake
		}
		f.waiting = f.waiting[1:]
	}
}

// rested is how a rest ended.
type rested int

const (
	restOver  rested = iota
	restEnded        // fetching did
	restFreed        // there is room for more of a queue that may have more
)

func (f *Fetcher) rest(ctx context.Context, d time.Duration) rested {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return restOver
	case <-f.freed:
		return restFreed
	case <-ctx.Done():
	case <-f.stop:
	case <-f.hook.closed:
	}
	return restEnded
}

// peek asks whether any queue has a task, which costs Redis less than a fetch. Where it cannot be asked the fetch says so.
func (f *Fetcher) peek(ctx context.Context) bool {
	var keys []string
	for _, q := range f.queues {
		if f.mayAsk(q.name) {
			keys = append(keys, "asynq:{"+q.name+"}:pending")
		}
	}
	switch {
	case len(keys) == 0:
		return false
	case !f.cluster:
		n, err := f.client.Exists(ctx, keys...).Result()
		return n > 0 || err != nil
	}
	found, err := f.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range keys {
			p.Exists(ctx, key)
		}
		return nil
	})
	return err != nil || slices.ContainsFunc(found, func(c redis.Cmder) bool {
		n, ok := c.(*redis.IntCmd)
		return ok && n.Val() > 0
	})
}

// publishServed is how often asynq is told of the queues that are served.
const publishServed = 5 * time.Second

func (f *Fetcher) publish(ctx context.Context) {
	f.mu.Lock()
	now := f.hook.cfg.Now()
	due := now.Sub(f.queued) >= publishServed
	if due {
		f.queued = now
	}
	f.mu.Unlock()
	if !due {
		return
	}
	names := make([]any, len(f.queues))
	for i, q := range f.queues {
		names[i] = q.name
	}
	_ = f.client.SAdd(ctx, "asynq:queues", names...).Err() // told again soon
}

// take fetches up to most tasks from all queues, and says whether there may be more.
func (f *Fetcher) take(ctx context.Context, most int) (tasks []taken, more bool, err error) {
	wants := f.wants(most)
	if len(wants) == 0 {
		f.remember(nil, nil)
		return nil, false, nil
	}
	reserved, limits := slices.Clone(wants), make(map[string]int, len(wants))
	for _, w := range wants {
		limits[w.queue] = w.limit
	}
	defer func() {
		f.remember(limits, tasks)
		for _, w := range reserved {
			f.count(w.queue, -w.limit)
		}
		for _, t := range tasks {
			f.count(t.queue, 1)
		}
	}()
	if !f.cluster {
		var found int
		tasks, found, err = f.hook.take(ctx, f.client.Process, wants, most)
		return tasks, found >= most, err
	}
	// A script has the keys of one slot: first the shares, then the rest.
	left := most
	var failed []error
	for round := range 2 {
		for i := range wants {
			w := &wants[i]
			if round == 1 {
				w.share = w.limit
			}
			if ask := min(left, w.share, w.limit); ask > 0 {
				got, found, err := f.hook.take(ctx, f.client.Process, []want{{w.queue, ask, ask}}, ask)
				tasks = append(tasks, got...)
				left -= found
				w.limit -= found
				if found < ask {
					w.limit = 0 // it is empty, or its node is away: the others may have tasks
				}
				if err != nil {
					failed = append(failed, err)
				}
			}
		}
	}
	if len(tasks) > 0 {
		return tasks, left == 0, nil // an error is told where there is nothing to run
	}
	return nil, left == 0, errors.Join(failed...)
}

// wants draws the queues' order and shares by their weights, as asynq does for each single task.
func (f *Fetcher) wants(most int) []want {
	wants := make([]want, 0, len(f.queues))
	weights, sum := make([]int, 0, len(f.queues)), 0
	for _, q := range f.queues {
		if limit := f.reserve(q.name, most); limit > 0 {
			wants = append(wants, want{queue: q.name, limit: limit})
			weights = append(weights, q.weight)
			sum += q.weight
		}
	}
	if f.strict || len(wants) < 2 {
		for i := range wants {
			wants[i].share = wants[i].limit
		}
		return wants
	}
	for range most {
		w := &wants[draw(weights, sum)]
		w.share = min(w.share+1, w.limit)
	}
	for i := range wants { // the order of those that fill up
		j := i + draw(weights[i:], sum)
		wants[i], wants[j] = wants[j], wants[i]
		weights[i], weights[j] = weights[j], weights[i]
		sum -= weights[i]
	}
	return wants
}

// draw picks an index by weight.
func draw(weights []int, sum int) int {
	n := rand.IntN(sum) //nolint:gosec // no secret
	for i, w := range weights {
		if n -= w; n < 0 {
			return i
		}
	}
	return len(weights) - 1
}
