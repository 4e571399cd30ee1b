package sweep_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// perSecond is how many logins or activations are asked for in a second.
const perSecond = 300

// load asks for one thing after the other, at their times, whether those before have been answered or not.
type load struct {
	each func(ctx context.Context, i int) error
	next int // goes on from run to run

	mu    sync.Mutex
	took  []time.Duration
	fails []error
}

// during runs the load while do runs, and a second before it that is not counted. What is asked for is waited for.
func (l *load) during(ctx context.Context, do func(ctx context.Context) error) (latencies, error) {
	l.took, l.fails = nil, nil
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	warm, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		var asked sync.WaitGroup
		defer asked.Wait()
		begun := time.Now()
		for i := 0; ; i++ {
			due := begun.Add(time.Duration(i) * time.Second / perSecond)
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Until(due)):
			}
			if i == perSecond {
				close(warm)
			}
			l.next++
			at, counts := l.next, i >= perSecond
			asked.Go(func() { l.ask(context.WithoutCancel(ctx), at, due, counts) })
		}
	}()
	<-warm
	err := do(ctx)
	stop(nil)
	<-ended
	return summary(l.took), errors.Join(append(l.fails, err)...)
}

// ask counts from when the answer was wanted, so that who waits in a queue before the database counts too.
func (l *load) ask(ctx context.Context, i int, due time.Time, counts bool) {
	err := l.each(ctx, i)
	took := time.Since(due)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil && len(l.fails) < 3 {
		l.fails = append(l.fails, fmt.Errorf("under load: %w", err))
	}
	if counts {
		l.took = append(l.took, took)
	}
}

type latencies struct {
	n                int
	median, p99, max time.Duration
}

func summary(took []time.Duration) latencies {
	slices.Sort(took)
	if len(took) == 0 {
		return latencies{}
	}
	return latencies{len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1]}
}
