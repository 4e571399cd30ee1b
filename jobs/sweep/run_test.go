package sweep_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs/sweep"
)

// table is a part with rows that are due. Its batches take as long as they are told to.
type table struct {
	part    sweep.Part
	due     int
	held    int // of those, from the oldest on, that somebody has locked
	takes   func(limit int) time.Duration
	err     error
	batches []int
	begun   []time.Time
	ended   []time.Time
}

func (t *table) batch(_ context.Context, limit int) (sweep.Batch, error) {
	t.begun = append(t.begun, time.Now())
	if t.takes != nil {
		<-time.After(t.takes(limit))
	}
	t.ended = append(t.ended, time.Now())
	t.batches = append(t.batches, limit)
	if t.err != nil && len(t.batches) > 1 {
		return sweep.Batch{}, t.err
	}
	seen := min(limit, t.due)
	gone := max(seen-t.held, 0)
	t.due -= gone
	return sweep.Batch{Gone: gone, More: seen == limit}, nil
}

// desk is one database: its sweeps, and how many rows its tables have.
type desk struct {
	rows   map[string]sweep.Progress
	told   []sweep.Progress
	tables []*table
}

func (d *desk) CountDue(_ context.Context, w sweep.Walk, exactly bool) (int64, error) {
	for _, t := range d.tables {
		if t.part == w.Part && !exactly {
			return int64(t.due), nil
		}
	}
	return 0, errors.New("an estimate of a part that is there was to be asked for")
}

func (d *desk) TellSweep(ctx context.Context, p sweep.Progress, lease time.Duration) (bool, error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	now, before := time.Now(), d.rows[p.Sweep]
	if before.Holder != p.Holder && before.LeaseUntil.After(now) {
		return false, nil
	}
	p.BeganAt, p.ToldAt, p.LeaseUntil = now, now, now.Add(lease)
	if before.Holder == p.Holder || !before.Ended && before.Tick == p.Tick && before.Holder != "" {
		p.BeganAt = before.BeganAt
	}
	d.rows[p.Sweep], d.told = p, append(d.told, p)
	return true, nil
}

func (d *desk) SweepProgress(_ context.Context, name string) (sweep.Progress, error) {
	return d.rows[name], nil
}

// world is a desk, and a sweep of its tables.
func world(tables ...*table) (*desk, sweep.Order) {
	o := sweep.Order{Sweep: "test:sweep", Tick: "t1"}
	for i, t := range tables {
		if t.part == "" {
			t.part = sweep.Part([]string{"first", "second", "third"}[i])
		}
		o.Steps = append(o.Steps, sweep.Step{Walk: sweep.Walk{Part: t.part}, Batch: t.batch})
	}
	return &desk{rows: make(map[string]sweep.Progress), tables: tables}, o
}

func run(t *testing.T, d *desk, o sweep.Order, c sweep.Config) (sweep.Outcome, error) {
	t.Helper()
	r, err := sweep.NewRunner(d, d, c)
	if err != nil {
		t.Fatal(err)
	}
	return r.Run(t.Context(), o)
}

// sound runs a sweep that is to end well.
func sound(t *testing.T, d *desk, o sweep.Order, c sweep.Config) sweep.Outcome {
	t.Helper()
	out, err := run(t, d, o, c)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func always(d time.Duration) func(int) time.Duration {
	return func(int) time.Duration { return d }
}

func TestASweepWalksItsPartsInBatchesUntilNothingIsDue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first, second := &table{due: 1300}, &table{due: 300}
		d, o := world(first, second)
		out := sound(t, d, o, sweep.Config{})
		if diff := cmp.Diff([][]int{{500, 500, 500}, {500}}, [][]int{first.batches, second.batches}); diff != "" {
			t.Errorf("batches (-want +got):\n%s", diff)
		}
		if out.Rows != 1600 || out.Left || out.Taken || out.By["first"] != 1300 || out.By["second"] != 300 {
			t.Errorf("outcome: %+v", out)
		}
		if p := d.rows["test:sweep"]; !p.Ended || p.Done != 1600 || p.Due != 1600 || p.LeaseUntil.After(time.Now()) {
			t.Errorf("written at last: %+v", p)
		}
	})
}

func TestAPauseIsAsLongAsItsBatchWithinBounds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ took, pause time.Duration }{
		{time.Millisecond, 2 * time.Millisecond},
		{13 * time.Millisecond, 13 * time.Millisecond},
		{90 * time.Millisecond, 20 * time.Millisecond},
	} {
		t.Run(c.took.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				due := &table{due: 2500, takes: always(c.took)}
				d, o := world(due)
				sound(t, d, o, sweep.Config{})
				for i, ended := range due.ended[:2] {
					if pause := due.begun[i+1].Sub(ended); pause != c.pause {
						t.Errorf("pause %d: want %v, got %v", i+1, c.pause, pause)
					}
				}
			})
		})
	}
}

func TestABatchThatIsSlowIsFollowedByASmallerOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// Whatever is larger than 125 rows is slow.
		due := &table{due: 1500, takes: func(limit int) time.Duration { return time.Duration(limit) * time.Millisecond * 4 / 5 }}
		d, o := world(due)
		sound(t, d, o, sweep.Config{})
		if diff := cmp.Diff([]int{500, 250, 125, 250, 125, 250, 125}, due.batches); diff != "" {
			t.Errorf("batches (-want +got):\n%s", diff)
		}
	})
}

func TestARunWhoseBudgetIsUsedUpLeavesTheRestToTheNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		due := &table{due: 10_000, takes: always(80 * time.Millisecond)}
		d, o := world(due)
		begun := time.Now()
		out := sound(t, d, o, sweep.Config{Budget: 500 * time.Millisecond})
		if took := time.Since(begun); !out.Left || took < 500*time.Millisecond || took > 600*time.Millisecond {
			t.Errorf("after %v: %+v", took, out)
		}
		between := d.rows["test:sweep"]
		if between.Ended || between.LeaseUntil.After(time.Now()) || between.Done != int64(out.Rows) || between.Due != 10_000 {
			t.Errorf("written between: %+v", between)
		}
		<-time.After(time.Minute)
		next := sound(t, d, o, sweep.Config{})
		if next.Left || next.Rows+out.Rows != 10_000 {
			t.Errorf("the run that goes on: %+v", next)
		}
		if p := d.rows["test:sweep"]; !p.Ended || p.Done != 10_000 || !p.BeganAt.Equal(begun) {
			t.Errorf("written at last: %+v", p)
		}
		o.Tick = "t2"
		if p := sound(t, d, o, sweep.Config{}).Progress; p.Done != 0 || p.Due != 0 {
			t.Errorf("the next tick begins anew, got %+v", p)
		}
	})
}

func TestOneSweepsAtATimeAndAnotherWhenItsLeaseIsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		due := &table{due: 10}
		d, o := world(due)
		if had, err := d.TellSweep(t.Context(), sweep.Progress{Sweep: o.Sweep, Holder: "another", Tick: "t0"}, time.Minute); !had || err != nil {
			t.Fatal(had, err)
		}
		if out := sound(t, d, o, sweep.Config{}); !out.Taken || len(due.batches) > 0 {
			t.Errorf("while another is at it: %+v, %d batches", out, len(due.batches))
		}
		<-time.After(time.Minute)
		if out := sound(t, d, o, sweep.Config{}); out.Taken || out.Rows != 10 {
			t.Errorf("when its lease is over: %+v", out)
		}
	})
}

func TestTheLeaseIsRenewedAndWhoLostItStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		due := &table{due: 1_000_000, takes: always(15 * time.Millisecond)}
		d, o := world(due)
		overtaken := false
		due.takes = func(int) time.Duration {
			if len(due.batches) == 200 { // some six seconds
				p := d.rows[o.Sweep]
				if left := time.Until(p.LeaseUntil); left < 58*time.Second {
					t.Errorf("after six seconds %v of a minute's lease are left", left)
				}
				p.Holder, overtaken = "another", true
				d.rows[o.Sweep] = p
			}
			return 15 * time.Millisecond
		}
		out, err := run(t, d, o, sweep.Config{})
		if !overtaken || !errors.Is(err, sweep.ErrOvertaken) || out.Rows > 250_000 {
			t.Errorf("overtaken after %d rows: %v", out.Rows, err)
		}
		if p := d.rows[o.Sweep]; p.Holder != "another" || !p.LeaseUntil.After(time.Now()) {
			t.Errorf("the other's lease: %+v", p)
		}
	})
}

func TestASweepWithALimitDeletesNoMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first, second, third := &table{due: 1200}, &table{due: 500}, &table{due: 1}
		d, o := world(first, second, third)
		o.Limit = 1500
		out := sound(t, d, o, sweep.Config{})
		if out.Rows != 1500 || out.Left || second.due != 200 || len(third.batches) > 0 {
			t.Errorf("outcome: %+v, %d left", out, second.due)
		}
		if p := d.rows[o.Sweep]; p.Due != 1500 {
			t.Errorf("estimate: %d", p.Due)
		}
	})
}

func TestRowsThatOthersHoldAreForTheNextSweep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first, second := &table{due: 1500, held: 1500}, &table{due: 7}
		d, o := world(first, second)
		if out := sound(t, d, o, sweep.Config{}); out.Rows != 7 || len(first.batches) != 1 {
			t.Errorf("outcome: %+v, batches %v", out, first.batches)
		}
	})
}

func TestASweepThatFailsSaysHowFarItWasAndGivesItsLeaseBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		due := &table{due: 5000, err: errors.New("the disk is full")}
		d, o := world(due)
		_, err := run(t, d, o, sweep.Config{})
		if !errors.Is(err, due.err) || !strings.Contains(err.Error(), "after 500 rows") {
			t.Errorf("error: %v", err)
		}
		if p := d.rows[o.Sweep]; p.Ended || p.LeaseUntil.After(time.Now()) || p.Done != 500 {
			t.Errorf("written: %+v", p)
		}
	})
}

func TestASweepStopsWithItsContextAndGivesItsLeaseBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		due := &table{due: 1_000_000}
		d, o := world(due)
		r, err := sweep.NewRunner(d, d, sweep.Config{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		_, err = r.Run(ctx, o)
		if took := time.Since(begun); !errors.Is(err, context.DeadlineExceeded) || took != time.Second {
			t.Errorf("after %v: %v", took, err)
		}
		if p := d.rows[o.Sweep]; p.LeaseUntil.After(time.Now()) {
			t.Errorf("written: %+v", p)
		}
	})
}

func TestProgressIsToldEachSecondWithRateAndEstimate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first, second := &table{due: 50_000, takes: always(10 * time.Millisecond)}, &table{due: 10_000, takes: always(10 * time.Millisecond)}
		d, o := world(first, second)
		var told []sweep.Progress
		sound(t, d, o, sweep.Config{OnProgress: func(_ context.Context, p sweep.Progress) { told = append(told, p) }})
		if len(told) != 4 { // with the first estimate, each second of 2.4, and at the end
			t.Fatalf("told %d times: %+v", len(told), told)
		}
		for i, p := range told {
			if p.Due != 60_000 || p.Ended != (i == 3) {
				t.Errorf("told: %+v", p)
			}
		}
		if p := told[1]; p.Part != "first" || p.Rate() < 22_500 || p.Rate() > 27_500 || p.Left().Round(100*time.Millisecond) != 1400*time.Millisecond {
			t.Errorf("after a second: %+v, %.0f rows/s, %v left", p, p.Rate(), p.Left())
		}
		if p := told[3]; p.Done != 60_000 || p.Left() != 0 {
			t.Errorf("at the end: %+v", p)
		}
		few := &table{due: 10}
		d, o = world(few)
		if p := sound(t, d, o, sweep.Config{}).Progress; len(d.told) != 2 || p.Due != 10 {
			t.Errorf("a sweep of one batch is told of when it begins and ends, got %+v", d.told)
		}
	})
}

func TestASweepUnderWayIsLoggedEveryTenSecondsWithRateAndWhatIsLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, o := world(&table{due: 225_000, takes: always(80 * time.Millisecond)})
		text, began := new(bytes.Buffer), time.Now()
		sound(t, d, o, sweep.Config{Logger: slog.New(slog.NewJSONHandler(text, nil))})
		lines := 0
		for line := range strings.Lines(text.String()) {
			var said struct {
				Time                   time.Time
				Level, Msg, Kind, Part string
				Done, Due, Left        int64
				RowsPerSecond          float64 `json:"rows_per_second"`
			}
			if err := json.Unmarshal([]byte(line), &said); err != nil {
				t.Fatal(err)
			}
			elapsed := said.Time.Sub(began)
			if lines++; int(elapsed/(10*time.Second)) != lines || said.Level != "INFO" || said.Msg != "sweep under way" || said.Kind != "test:sweep" || said.Part != "first" || said.Due != 225_000 ||
				math.Abs(said.RowsPerSecond-float64(said.Done)/elapsed.Seconds()) > 1 ||
				math.Abs(float64(said.Due-said.Done)/said.RowsPerSecond-time.Duration(said.Left).Seconds()) > 1 {
				t.Errorf("after %v: %s", elapsed, line)
			}
		}
		if lines < 2 || lines != int(time.Since(began)/(10*time.Second)) {
			t.Errorf("%d lines in %v", lines, time.Since(began))
		}
	})
}

func TestARetentionThatIsTooShortIsRefused(t *testing.T) {
	t.Parallel()
	for _, r := range []sweep.Retention{{Done: 47 * time.Hour}, {Quarantine: time.Minute}, {Audit: time.Hour}, {Done: -time.Hour}} {
		if err := r.Check(); !errors.Is(err, sweep.ErrRetention) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	for _, r := range []sweep.Retention{{}, {Done: 48 * time.Hour, Quarantine: 24 * time.Hour, Audit: 24 * time.Hour}} {
		if err := r.Check(); err != nil {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

func TestTheAuditLogIsPurgedWhereThatIsAskedForAlone(t *testing.T) {
	t.Parallel()
	parts := func(r sweep.Retention) (parts []sweep.Part) {
		for _, w := range r.Walks() {
			parts = append(parts, w.Part)
		}
		return parts
	}
	always := []sweep.Part{sweep.Ledger, sweep.Tokens, sweep.Ticks, sweep.Jobs, sweep.Mails, sweep.Quarantine}
	if diff := cmp.Diff(always, parts(sweep.Retention{})); diff != "" {
		t.Errorf("by default (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(append(always, sweep.Audit), parts(sweep.Retention{Audit: 24 * time.Hour})); diff != "" {
		t.Errorf("with a retention (-want +got):\n%s", diff)
	}
}
