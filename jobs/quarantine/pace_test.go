package quarantine_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/signing"
)

func TestAFloodIsKeptUpToItsBurstAndThenAtItsPace(t *testing.T) {
	t.Parallel()
	var pace quarantine.Pace
	now := time.Now()
	for _, step := range []struct {
		name  string
		after time.Duration
		want  int
	}{
		{"at first", 0, quarantine.PaceBurst},
		{"at once", 0, 0},
		{"a second later", time.Second, quarantine.PacePerSecond},
		{"the clock goes back", -time.Hour, 0},
		{"half a second later than ever", time.Hour + 500*time.Millisecond, quarantine.PacePerSecond / 2},
		{"the next day", 24 * time.Hour, quarantine.PaceBurst},
	} {
		now = now.Add(step.after)
		kept := 0
		for range 2 * quarantine.PaceBurst {
			if pace.Keeps(now) {
				kept++
			}
		}
		if kept != step.want {
			t.Errorf("%s: %d are kept, want %d", step.name, kept, step.want)
		}
	}
}

// roomy is a store that has room for all.
type roomy struct {
	*memory
	kept int
}

func (r *roomy) KeepWithin(context.Context, jobs.Refused, quarantine.Budgets) error {
	r.kept++
	return nil
}

func TestInAFloodAKeeperCountsForgeriesAndKeepsWhatWasSigned(t *testing.T) {
	t.Parallel()
	now := time.Now()
	store := &roomy{memory: newMemory()}
	k, err := quarantine.NewKeeper(store, quarantine.Config{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	forged := jobs.Refused{Reason: signing.ReasonBadSignature}
	counted := 0
	for range quarantine.PaceBurst + 5 {
		if err := k.Keep(t.Context(), forged); errors.Is(err, quarantine.ErrCounted) {
			counted++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if overflow := k.Overflow()[forged.Reason].Entries; store.kept != quarantine.PaceBurst || counted != 5 || overflow != 5 {
		t.Errorf("%d forgeries are kept, %d counted, %d in the overflow", store.kept, counted, overflow)
	}
	for _, reason := range []signing.Reason{signing.ReasonWrongQueue, signing.ReasonBadPayload} {
		if err := k.Keep(t.Context(), jobs.Refused{Reason: reason, Authentic: true}); err != nil {
			t.Errorf("%s: %v", reason, err)
		}
	}
	now = now.Add(time.Second)
	if err := k.Keep(t.Context(), forged); err != nil {
		t.Errorf("a second later: %v", err)
	}
}
