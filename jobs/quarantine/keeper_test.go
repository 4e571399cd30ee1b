package quarantine_test

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/signing"
)

// memory is a store in memory with exact budgets.
type memory struct {
	mu      sync.Mutex
	kept    map[string]jobs.Refused
	tried   int
	counted map[signing.Reason]quarantine.Overflow
	err     error
}

func newMemory() *memory {
	return &memory{kept: make(map[string]jobs.Refused), counted: make(map[signing.Reason]quarantine.Overflow)}
}

func (m *memory) KeepWithin(_ context.Context, r jobs.Refused, b quarantine.Budgets) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tried++
	var used quarantine.Used
	for _, e := range m.kept {
		if quarantine.ClassOf(e) == quarantine.ClassOf(r) {
			used.Entries, used.Bytes = used.Entries+1, used.Bytes+quarantine.Charge(e)
		}
	}
	if !b.Of(r).Holds(used, quarantine.Charge(r)) {
		return quarantine.ErrFull
	}
	m.kept[r.ID] = r
	return m.err
}

func (m *memory) CountOverflow(_ context.Context, counted map[signing.Reason]quarantine.Overflow) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	for reason, n := range counted {
		sum := m.counted[reason]
		m.counted[reason] = quarantine.Overflow{Entries: sum.Entries + n.Entries, Bytes: sum.Bytes + n.Bytes}
	}
	return nil
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func (m *memory) empty() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.kept)
}

func (m *memory) seen() (kept, tried int, counted map[signing.Reason]quarantine.Overflow) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.kept), m.tried, maps.Clone(m.counted)
}

func refused(reason signing.Reason, payload int) jobs.Refused {
	return jobs.Refused{ID: rand.Text(), Reason: reason, Authentic: reason.Authentic(), Payload: make([]byte, payload)}
}

func newKeeper(t *testing.T, m *memory, b quarantine.Budgets) *quarantine.Keeper {
	t.Helper()
	k, err := quarantine.NewKeeper(m, quarantine.Config{Budgets: b})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func wants(t *testing.T, what string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("%s: want %v, got %v", what, target, err)
	}
}

func TestAFloodIsCountedWithoutTheDatabaseAndDisplacesNothingThatWasSigned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		k := newKeeper(t, m, quarantine.Budgets{Unverified: quarantine.Budget{Entries: 10}, Authentic: quarantine.Budget{Entries: 2}})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- k.Run(ctx) }()

		for i := range 1000 {
			want := quarantine.ErrCounted
			if i < 10 {
				want = nil
			}
			wants(t, "a forgery", k.Keep(t.Context(), refused(signing.ReasonBadSignature, 0)), want)
		}
		if kept, tried, _ := m.seen(); kept != 10 || tried != 11 {
			t.Errorf("want 10 kept at the cost of 11 tries, got %d at %d", kept, tried)
		}
		for range 2 {
			wants(t, "a signed one", k.Keep(t.Context(), refused(signing.ReasonBadPayload, 0)), nil)
		}
		err := k.Keep(t.Context(), refused(signing.ReasonBadPayload, 0))
		wants(t, "a signed one without room", err, quarantine.ErrFull)
		if errors.Is(err, quarantine.ErrCounted) {
			t.Error("what was signed is counted in place of being kept")
		}

		time.Sleep(2 * time.Second) // of the bubble's clock: the counters are written, and the quarantine is asked again
		synctest.Wait()
		_, _, counted := m.seen()
		want := map[signing.Reason]quarantine.Overflow{signing.ReasonBadSignature: {Entries: 990, Bytes: 990 * 512}}
		if diff := cmp.Diff(want, counted); diff != "" {
			t.Errorf("written (-want +got):\n%s", diff)
		}
		m.empty()
		wants(t, "a forgery, when there is room again", k.Keep(t.Context(), refused(signing.ReasonMalformed, 0)), nil)

		for range 9 {
			wants(t, "a forgery", k.Keep(t.Context(), refused(signing.ReasonMalformed, 0)), nil)
		}
		wants(t, "the last", k.Keep(t.Context(), refused(signing.ReasonMalformed, 0)), quarantine.ErrCounted)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		want[signing.ReasonMalformed] = quarantine.Overflow{Entries: 1, Bytes: 512}
		if _, _, counted = m.seen(); !cmp.Equal(want, counted) {
			t.Errorf("at the end (-want +got):\n%s", cmp.Diff(want, counted))
		}
		if n := k.Overflow()[signing.ReasonBadSignature]; n.Entries != 990 || n.FirstAt.IsZero() {
			t.Errorf("this process's own: %+v", n)
		}
	})
}

func TestASmallForgeryIsTriedThoughALargeOneFoundNoRoom(t *testing.T) {
	t.Parallel()
	m := newMemory()
	k := newKeeper(t, m, quarantine.Budgets{Unverified: quarantine.Budget{Bytes: 5000}})
	wants(t, "large", k.Keep(t.Context(), refused(signing.ReasonBadSignature, 6000)), quarantine.ErrCounted)
	wants(t, "small", k.Keep(t.Context(), refused(signing.ReasonBadSignature, 100)), nil)
	wants(t, "large again", k.Keep(t.Context(), refused(signing.ReasonBadSignature, 6000)), quarantine.ErrCounted)
	if _, tried, _ := m.seen(); tried != 2 {
		t.Errorf("want 2 tries, got %d", tried)
	}
}

func TestCountersSurviveADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		k := newKeeper(t, m, quarantine.Budgets{Unverified: quarantine.Budget{Entries: 1}})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- k.Run(ctx) }()
		for range 3 {
			_ = k.Keep(t.Context(), refused(signing.ReasonBadSignature, 0))
		}
		away := errors.New("away")
		m.fail(away)
		time.Sleep(3 * time.Second) // of the bubble's clock
		synctest.Wait()
		m.empty()
		wants(t, "an entry while the database is away", k.Keep(t.Context(), refused(signing.ReasonBadSignature, 0)), away)
		m.fail(nil)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if _, _, counted := m.seen(); counted[signing.ReasonBadSignature].Entries != 2 {
			t.Errorf("written: %v", counted)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestAKeeperNeedsAStore(t *testing.T) {
	t.Parallel()
	if _, err := quarantine.NewKeeper(nil, quarantine.Config{}); err == nil {
		t.Error("want an error")
	}
}

func TestZeroBudgetsAreTheDefaultOnes(t *testing.T) {
	t.Parallel()
	for authentic, want := range map[bool]quarantine.Budget{false: quarantine.DefaultBudgets().Unverified, true: quarantine.DefaultBudgets().Authentic} {
		if got := (quarantine.Budgets{}).Of(jobs.Refused{Authentic: authentic}); got != want {
			t.Errorf("authentic %v: want %v, got %v", authentic, want, got)
		}
	}
	if got := (quarantine.Budgets{Authentic: quarantine.Budget{Entries: 7}}).Of(jobs.Refused{Authentic: true}); got.Entries != 7 || got.Bytes != 16<<20 {
		t.Errorf("one field that is zero: %v", got)
	}
}

func TestCopiesOfGenuineTasksAreCountedAndDisplaceNothing(t *testing.T) {
	t.Parallel()
	for _, reason := range []signing.Reason{signing.ReasonWrongQueue, signing.ReasonKindNotAllowed, signing.ReasonExpired} {
		t.Run(string(reason), func(t *testing.T) {
			t.Parallel()
			m := newMemory()
			k := newKeeper(t, m, quarantine.Budgets{
				Unverified: quarantine.Budget{Entries: 3}, Moved: quarantine.Budget{Entries: 10}, Authentic: quarantine.Budget{Entries: 4},
			})
			for i := range 100 {
				want := quarantine.ErrCounted
				if i < 10 {
					want = nil
				}
				wants(t, "a copy", k.Keep(t.Context(), refused(reason, 0)), want)
			}
			if kept, tried, _ := m.seen(); kept != 10 || tried != 11 {
				t.Errorf("want 10 kept at the cost of 11 tries, got %d at %d", kept, tried)
			}
			if n := k.Overflow()[reason].Entries; n != 90 {
				t.Errorf("want 90 counted, got %d", n)
			}
			for range 3 {
				wants(t, "a forgery", k.Keep(t.Context(), refused(signing.ReasonBadSignature, 0)), nil)
			}
			for _, own := range []signing.Reason{
				signing.ReasonBadPayload, signing.ReasonMustBeEncrypted, signing.ReasonLifetimeExceeded, signing.ReasonIssuedInFuture,
			} {
				wants(t, string(own), k.Keep(t.Context(), refused(own, 0)), nil)
			}
			wants(t, "one more of its signer's doing", k.Keep(t.Context(), refused(signing.ReasonBadPayload, 0)), quarantine.ErrFull)
		})
	}
}
