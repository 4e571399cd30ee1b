package signing_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/signing"
)

func TestCloseWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // which fails when a goroutine is left
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		source := &memory{ring: must(t)(signing.NewRing(time.Now(), time.Hour))}
		k, err := signing.OpenWith(ctx, source, "test", signing.Options{})
		if err != nil {
			t.Fatal(err)
		}
		source.hold(make(chan struct{}))
		result := make(chan error, 1)
		go func() { result <- k.Reload(context.Background()) }()
		synctest.Wait()
		k.Close()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("the running reload ended with %v", err)
		}
		if err := k.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("a reload after the end: %v", err)
		}
		if _, err := k.Confirmed(); err != nil {
			t.Errorf("the end counts as a failure of the source: %v", err)
		}
		k.Close()
		loads := source.count()
		time.Sleep(time.Hour)
		if diff := cmp.Diff(loads, source.count()); diff != "" {
			t.Errorf("loads after the end (-want +got):\n%s", diff)
		}
	})
}

// lingering is a source whose load takes a second to end after its context did.
type lingering struct {
	memory
	running atomic.Int32
}

func (l *lingering) Load(ctx context.Context) (*signing.Ring, error) {
	l.running.Add(1)
	defer l.running.Add(-1)
	r, err := l.memory.Load(ctx)
	if err != nil {
		time.Sleep(time.Second) // the bubble's time
	}
	return r, err
}

func TestCloseWaitsForALoadThatLingers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &lingering{memory: memory{ring: must(t)(signing.NewRing(time.Now(), time.Hour))}}
		k, err := signing.OpenWith(t.Context(), source, "test", signing.Options{})
		if err != nil {
			t.Fatal(err)
		}
		source.hold(make(chan struct{}))
		go func() { _ = k.Reload(context.Background()) }()
		synctest.Wait()
		if n := source.running.Load(); n != 1 {
			t.Fatalf("%d loads are running", n)
		}
		k.Close()
		if n := source.running.Load(); n != 0 {
			t.Errorf("%d loads outlived Close", n)
		}
	})
}

func TestReloadsDoNotOverlap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &memory{ring: must(t)(signing.NewRing(time.Now(), time.Hour))}
		k := openWith(t, source, "test", signing.Options{})
		gate := make(chan struct{})
		source.hold(gate)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if err := k.Reload(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		close(gate)
		wg.Wait()
		if diff := cmp.Diff(2, source.count()); diff != "" {
			t.Errorf("loads (-want +got):\n%s", diff)
		}
	})
}

func TestReloadEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &memory{ring: must(t)(signing.NewRing(time.Now(), time.Hour))}
		k := openWith(t, source, "test", signing.Options{})
		source.hold(make(chan struct{}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := k.Reload(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}
