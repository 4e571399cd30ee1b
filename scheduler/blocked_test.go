package scheduler_test

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/scheduler"
)

// held is a database in which transactions that are open elsewhere hold what some ticks need.
type held struct {
	*ticks
	heldMu  sync.Mutex
	names   []string
	batches [][]string // those in which one of them was
}

func (h *held) hold(names ...string) {
	h.heldMu.Lock()
	defer h.heldMu.Unlock()
	h.names = names
}

func (h *held) MakeTicks(ctx context.Context, all []jobs.Tick) ([]jobs.TickMade, error) {
	h.heldMu.Lock()
	defer h.heldMu.Unlock()
	var names []string
	var free []jobs.Tick
	for _, t := range all {
		if names = append(names, t.Schedule); !slices.Contains(h.names, t.Schedule) {
			free = append(free, t)
		}
	}
	answers, err := h.ticks.MakeTicks(ctx, free)
	if err != nil || len(free) == len(all) {
		return answers, err
	}
	h.batches = append(h.batches, names)
	made := make([]jobs.TickMade, len(all))
	for i, t := range all {
		if made[i].Err = jobs.ErrTickBlocked; !slices.Contains(h.names, t.Schedule) {
			made[i], answers = answers[0], answers[1:]
		}
	}
	return made, nil
}

func TestATickThatWaitsForATransactionElsewhereIsTriedAloneUntilThatIsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &held{ticks: newTicks()}
		h.hold("b", "c")
		var log bytes.Buffer
		s, err := scheduler.New(h, scheduler.Config{
			Schedules: []scheduler.Schedule{schedule("a", "@every 5s"), schedule("b", "@every 5s"), schedule("c", "@every 5s")},
			Logger:    slog.New(slog.NewTextHandler(&log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		elapse(7*time.Second + 500*time.Millisecond)
		h.hold()
		elapse(time.Second)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		// Once with the others, then each alone, by turns, once a second.
		if diff := cmp.Diff([][]string{{"a", "b", "c"}, {"b"}, {"c"}, {"b"}, {"c"}}, h.batches); diff != "" {
			t.Errorf("tried (-want +got):\n%s", diff)
		}
		want := []string{`00:00:05 "a@2000-01-01T00:00:05Z"`, `00:00:05 "b@2000-01-01T00:00:05Z"`, `00:00:05 "c@2000-01-01T00:00:05Z"`}
		if diff := cmp.Diff(want, h.all()); diff != "" {
			t.Errorf("ticks (-want +got):\n%s", diff)
		}
		for _, name := range []string{"b", "c"} {
			if n := strings.Count(log.String(), `"tick waits for a transaction that is open elsewhere" schedule=`+name); n != 1 {
				t.Errorf("%s is told of %d times:\n%s", name, n, log.String())
			}
		}
	})
}
