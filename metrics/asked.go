package metrics

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// asking is what all questions of one Readings share.
type asking struct {
	now      func() time.Time
	fresh    time.Duration
	patience time.Duration

	ending context.Context //nolint:containedctx // of what nobody waits for any more; Close ends it
	end    context.CancelFunc
	mu     sync.Mutex // for closed, and for adding to flights
	closed bool
	flight sync.WaitGroup
}

func newAsking(now func() time.Time, fresh, patience time.Duration) *asking {
	ctx, cancel := context.WithCancel(context.Background())
	return &asking{now: now, fresh: fresh, patience: patience, ending: ctx, end: cancel}
}

// begin runs f, which Close waits for. It says no once that was called.
func (a *asking) begin(f func()) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.flight.Go(f)
	}
	return !a.closed
}

func (a *asking) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.end()
	a.flight.Wait()
}

// errNoAnswer means that somebody was asked and did not answer within the patience that a scrape has.
var errNoAnswer = errors.New("no answer in time")

// asked is a question to somebody else. Whoever wants the answer waits for one that is under way, or gets one that is fresh.
type asked[T any] struct {
	*asking
	ask func(context.Context) (T, error)

	mu     sync.Mutex
	done   chan struct{} // of the question under way, nil if there is none
	at     time.Time     // of the answer; zero: there is none
	answer T
	err    error
}

// get returns a fresh answer, and its error where it is one. It returns at the latest when ctx ends, even if who is asked does
// not heed that: then there is one question under way, and no second one before it is answered.
func (a *asked[T]) get(ctx context.Context) (T, error) {
	a.mu.Lock()
	if !a.at.IsZero() && a.now().Sub(a.at) < a.fresh {
		defer a.mu.Unlock()
		return a.answer, a.err
	}
	if a.done == nil {
		done := make(chan struct{})
		if a.begin(func() { a.put(done) }) {
			a.done = done
		}
	}
	done := a.done
	a.mu.Unlock()
	var none T
	if done == nil {
		return none, errors.New("closed")
	}
	select {
	case <-done:
	case <-ctx.Done():
		return none, errNoAnswer
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.answer, a.err
}

func (a *asked[T]) put(done chan struct{}) {
	defer close(done)
	answer, err := a.question()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer, a.err, a.at, a.done = answer, err, a.now(), nil
}

// question asks. A panic of who is asked must not take along the process that is looked at.
func (a *asked[T]) question() (answer T, err error) {
	ctx, cancel := context.WithTimeout(a.ending, a.patience)
	defer cancel()
	defer func() {
		if x := recover(); x != nil {
			err = fmt.Errorf("asking panicked: %v", x)
		}
	}()
	return a.ask(ctx)
}
