package sweeps_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/cmd/sealq/internal/sweeps"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/sweep"
)

// counts are a database's rows that are due.
type counts map[sweep.Part]int64

func (c counts) CountDue(_ context.Context, w sweep.Walk, exactly bool) (int64, error) {
	if !exactly {
		return 0, errors.New("a preview is exact")
	}
	if n, ok := c[w.Part]; ok {
		return n, nil
	}
	return 0, errors.New("the database is gone")
}

func TestAPreviewSaysWhatWouldGoAndForHowLongItWasKept(t *testing.T) {
	t.Parallel()
	due, err := sweeps.Preview(t.Context(), counts{sweep.Registrations: 12, sweep.Requests: 3}, authjobs.KindExpirePending, sweep.Retention{})
	if err != nil {
		t.Fatal(err)
	}
	locks, err := sweeps.Preview(t.Context(), counts{sweep.Lockouts: 7, sweep.Attempts: 2}, authjobs.KindResetLockouts, sweep.Retention{})
	if err != nil {
		t.Fatal(err)
	}
	purge := counts{sweep.Ledger: 1, sweep.Tokens: 0, sweep.Ticks: 2, sweep.Jobs: 30_000, sweep.Mails: 4, sweep.Quarantine: 5}
	all, err := sweeps.Preview(t.Context(), purge, authjobs.KindPurge, sweep.Retention{Done: 72 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, d := range [][]sweeps.Due{due, locks, all} {
		if err := sweeps.Print(&out, d); err != nil {
			t.Fatal(err)
		}
	}
	want := `PART           KEPT FOR  WOULD GO
registrations  –         12
requests       –         3
together                 15
PART          KEPT FOR  WOULD GO
lockouts      –         7
old attempts  720h0m0s  2
together                9
PART           KEPT FOR   WOULD GO
ledger         –          1
tokens         24h0m0s    0
ticks          72h0m0s    2
jobs           72h0m0s    30000
mails          72h0m0s    4
refused tasks  2160h0m0s  5
together                  30012
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("printed (-want +got):\n%s", diff)
	}
}

func TestWhatIsNoSweepOrCannotBeCountedHasNoPreview(t *testing.T) {
	t.Parallel()
	for _, kind := range []jobs.Kind{authjobs.KindMailConfirmation, "an:app's own"} {
		if _, err := sweeps.Preview(t.Context(), counts{}, kind, sweep.Retention{}); !errors.Is(err, sweeps.ErrNoSweep) || !strings.Contains(err.Error(), string(kind)) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if _, err := sweeps.Preview(t.Context(), counts{}, authjobs.KindResetLockouts, sweep.Retention{}); err == nil || errors.Is(err, sweeps.ErrNoSweep) {
		t.Errorf("a database that is gone: %v", err)
	}
}

func TestEverySweepOfTheAuthKindsHasAPreview(t *testing.T) {
	t.Parallel()
	for _, d := range authjobs.Definitions() {
		_, err := sweeps.Walks(d.Kind(), sweep.Retention{})
		if mail := d.Policy().Queue == jobs.QueueMail; mail != errors.Is(err, sweeps.ErrNoSweep) {
			t.Errorf("%s: %v", d.Kind(), err)
		}
	}
}

func at(seconds float64) time.Time {
	return time.Unix(1_800_000_000, 0).Add(time.Duration(seconds * float64(time.Second)))
}

func TestALineSaysHowFarHowFastAndHowLongStill(t *testing.T) {
	t.Parallel()
	p := func(done, due int64, seconds float64, ended bool) sweep.Progress {
		return sweep.Progress{Sweep: "lockouts:reset", Holder: "h", Part: sweep.Lockouts, Done: done, Due: due, BeganAt: at(0), ToldAt: at(seconds), Ended: ended}
	}
	for _, c := range []struct {
		p     sweep.Progress
		width int
		want  string
	}{
		{sweep.Progress{Sweep: "lockouts:reset"}, 0, "lockouts:reset: has not run yet"},
		{p(0, 0, 0, false), 0, "lockouts:reset: lockouts, 0 rows"},
		{p(1000, 200_000, 0.5, false), 0, "lockouts:reset: lockouts       [........................]   0 %  1000 of about 200000"},
		{p(50_000, 200_000, 2, false), 0, "lockouts:reset: lockouts       [######..................]  25 %  50000 of about 200000  25000/s  6s left"},
		{p(50_000, 200_000, 2, false), 40, "lockouts:reset: lockouts       [######."},
		{p(210_000, 200_000, 10, false), 0, "lockouts:reset: lockouts       [########################] 100 %  210000 of about 210000  21000/s  0s left"},
		{p(210_000, 210_000, 10.04, true), 0, "lockouts:reset: done, 210000 rows in 10s"},
	} {
		if got := sweeps.Line(c.p, c.width); got != c.want {
			t.Errorf("want\n%s, got\n%s", c.want, got)
		}
	}
}

func TestALineIsDrawnOverTheOneBeforeAndTakenAway(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	sweeps.Draw(&out, sweep.Progress{Sweep: "s", Holder: "h", Part: sweep.Jobs, Done: 1, Due: 2}, 0)
	sweeps.Draw(&out, sweep.Progress{Sweep: "s", Holder: "h", Done: 2, Due: 2, Ended: true}, 8)
	sweeps.Erase(&out)
	want := "\rs: jobs           [############............]  50 %  1 of about 2\x1b[K\rs: done\x1b[K\r\x1b[K"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("drawn (-want +got):\n%s", diff)
	}
}
