package worker

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/signing"
)

// slots bounds how many tasks are worked on at once by all servers of a Verifier. asynq gives a slot away when a task's context ends or
// its lease is lost, although the handler goes on; here it is held until the handler has returned.
type slots struct {
	mu    sync.Mutex
	all   int
	free  int
	queue []chan struct{} // closed when a slot is handed on
}

// grow adds those of a server.
func (s *slots) grow(c asynq.Config) {
	n := c.Concurrency
	if n < 1 {
		n = runtime.NumCPU() // asynq's own default
	}
	s.mu.Lock()
	s.all += n
	s.mu.Unlock()
	for range n {
		s.release()
	}
}

func (s *slots) number() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}

// acquire waits for a slot. It says false where ctx ends first: asynq has ended the task itself then.
func (s *slots) acquire(ctx context.Context) bool {
	s.mu.Lock()
	if s.free > 0 {
		s.free--
		s.mu.Unlock()
		return true
	}
	turn := make(chan struct{})
	s.queue = append(s.queue, turn)
	s.mu.Unlock()
	select {
	case <-turn:
		return true
	case <-ctx.Done():
	}
	s.mu.Lock()
	waits := slices.Contains(s.queue, turn)
	s.queue = slices.DeleteFunc(s.queue, func(c chan struct{}) bool { return c == turn })
	s.mu.Unlock()
	if !waits { // it has been handed on in the meantime
		s.release()
	}
	return false
}

func (s *slots) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		s.free++
		return
	}
	close(s.queue[0])
	s.queue = s.queue[1:]
}

// longestWait is how long a task on its last try holds its slot while it is put off: as long as a key may be on its way.
const longestWait = signing.DefaultPropagationGrace

// mostWaiting is how many tasks may hold their slot at once while they are put off. That a task is on its last try is not
// signed: without a bound a few forgeries would hold all slots.
const mostWaiting = 1

// waitHere waits in the task's slot. It says false where too many do so already, where the task would be waiting in the only slot that there is
// or in a queue of which a limit lets few be in hand, or ctx ends.
func (h *verifying) waitHere(ctx context.Context, d time.Duration) bool {
	if h.slots.number() <= mostWaiting || h.limited(ctx) {
		return false
	}
	if h.waiting.Add(1) > mostWaiting {
		h.waiting.Add(-1)
		return false
	}
	defer h.waiting.Add(-1)
	return rest(ctx, d)
}

// limited says whether the queue of ctx's task has a limit, or waits for an outside system.
func (h *verifying) limited(ctx context.Context) bool {
	handlers, ok := h.next.(*Handlers)
	queue, _ := asynq.GetQueueName(ctx)
	return ok && handlers.InHand(queue) < unlimited
}

func lastTry(ctx context.Context) bool {
	retried, _ := asynq.GetRetryCount(ctx)
	maxRetry, ok := asynq.GetMaxRetry(ctx)
	return ok && retried >= maxRetry
}

// rest waits for d. It says false where ctx ends first.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
