package drill_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealq/sealq/cmd/sealq/internal/drill"
)

// TestNoWindowSeesMoreShotsThanTheLimit fires from many goroutines, as a run does.
func TestNoWindowSeesMoreShotsThanTheLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		wait := drill.NewPace(drill.DefaultKeyShots, drill.KeyWindow)
		const all = 100
		shots := make(chan time.Time, all)
		for range all {
			go func() {
				if err := wait(t.Context()); err != nil {
					t.Error(err)
				}
				shots <- time.Now()
			}()
		}
		began := time.Now()
		var at []time.Time
		for range all {
			at = append(at, <-shots)
		}
		for i := range at {
			in := 0
			for _, other := range at {
				if !other.Before(at[i]) && other.Sub(at[i]) < 10*time.Second {
					in++
				}
			}
			if in >= 20 {
				t.Fatalf("%d shots within 10 s raise the alarm", in)
			}
		}
		if took, want := time.Since(began), time.Duration((all-1)/drill.DefaultKeyShots)*drill.KeyWindow; took != want {
			t.Errorf("took %v, want %v", took, want)
		}
	})
}

func TestWaitingForThePaceEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		wait := drill.NewPace(1, time.Hour)
		if err := wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}
