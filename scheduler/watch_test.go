package scheduler_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/scheduler"
)

func TestAScheduleIsJudgedByWhatItShouldHaveDone(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 12, 2, 30, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	well := jobs.ScheduleReport{
		ScheduleState: jobs.ScheduleState{
			SchedulePlan: jobs.SchedulePlan{Name: "s", Cron: "*/5 * * * *", Kind: "sweep", Args: `{"table":"t"}`, CatchUp: jobs.CatchUpLatest},
			Anchor:       ago(24 * time.Hour), LastDueAt: ago(150 * time.Second),
		},
		LastTickAt: ago(150 * time.Second), LastSuccessAt: ago(149 * time.Second), Missed: 3,
	}
	for sentence, test := range map[string]struct {
		change  func(r *jobs.ScheduleReport)
		trouble scheduler.Trouble
		detail  string
		missed  int64
		next    string // "" for never
	}{
		"well": {func(*jobs.ScheduleReport) {}, "", "", 3, "12:05:00"},
		"paused": {func(r *jobs.ScheduleReport) {
			r.Paused, r.LastDueAt, r.LastSuccessAt = true, ago(20*time.Hour), time.Time{}
		}, "", "", 3, ""},
		"paused and broken":          {func(r *jobs.ScheduleReport) { r.Paused, r.Cron = true, "x" }, scheduler.Unusable, "it has 1 fields", 3, ""},
		"new":                        {func(r *jobs.ScheduleReport) { r.LastTickAt, r.LastSuccessAt = time.Time{}, time.Time{} }, "", "", 3, "12:05:00"},
		"not due for long enough":    {func(r *jobs.ScheduleReport) { r.Cron, r.LastDueAt = "* * * * *", ago(90*time.Second) }, "", "", 3, "12:02:00"},
		"due for more than a minute": {func(r *jobs.ScheduleReport) { r.LastDueAt = ago(452 * time.Second) }, scheduler.Overdue, "since it was due 7m30s ago", 5, "12:05:00"},
		"jitter is no delay": {func(r *jobs.ScheduleReport) {
			r.LastDueAt, r.Jitter = ago(150*time.Second+5*time.Minute), 2*time.Minute
		}, "", "", 3, "12:00:00"},
		"no success for long":    {func(r *jobs.ScheduleReport) { r.LastSuccessAt = ago(26 * time.Minute) }, scheduler.Failing, "its last success was 26m0s ago", 3, "12:05:00"},
		"no success for a while": {func(r *jobs.ScheduleReport) { r.LastSuccessAt = ago(24 * time.Minute) }, "", "", 3, "12:05:00"},
		"never a success":        {func(r *jobs.ScheduleReport) { r.LastSuccessAt = time.Time{} }, scheduler.Failing, "none of its jobs has succeeded", 3, "12:05:00"},
		"running long":           {func(r *jobs.ScheduleReport) { r.Unfinished = ago(12 * time.Minute) }, scheduler.Long, "has not ended for 12m0s", 3, "12:05:00"},
		"running":                {func(r *jobs.ScheduleReport) { r.Unfinished = ago(10 * time.Minute) }, "", "", 3, "12:05:00"},
		"resumed after a long pause": {func(r *jobs.ScheduleReport) {
			r.LastTickAt, r.LastSuccessAt = ago(20*time.Hour), ago(20*time.Hour)
		}, "", "", 3, "12:05:00"},
		"ticked by a clock that was ahead": {func(r *jobs.ScheduleReport) {
			r.LastDueAt = ago(-48 * time.Hour)
		}, scheduler.Overdue, "its last due time is 48h0m ahead of the database's clock", 3, "12:05:00"},
		"anchored before there were clocks": {func(r *jobs.ScheduleReport) {
			r.Cron, r.Anchor = "@every 5m", time.Time{}
		}, scheduler.Unusable, "its anchor or its last due time is no date of ours", 3, ""},
		"of a kind that nobody knows":         {func(r *jobs.ScheduleReport) { r.Kind, r.LastTickAt = "gone", time.Time{} }, scheduler.Unusable, `unknown kind "gone"`, 3, ""},
		"of another program's kind":           {func(r *jobs.ScheduleReport) { r.Kind = "other" }, "", "", 3, "12:05:00"},
		"of another program's, which is away": {func(r *jobs.ScheduleReport) { r.Kind, r.LastDueAt = "other", ago(452*time.Second) }, scheduler.Overdue, "7m30s ago", 5, "12:05:00"},
		"of a function":                       {func(r *jobs.ScheduleReport) { r.Kind, r.Args = "gone", "" }, "", "", 3, "12:05:00"},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			r := well
			test.change(&r)
			s := scheduler.Judge(r, kinds(t), now)
			next := ""
			if !s.NextAt.IsZero() {
				next = s.NextAt.Format(time.TimeOnly)
			}
			if s.Trouble != test.trouble || !strings.Contains(s.Detail, test.detail) || s.Missed != test.missed || next != test.next {
				t.Errorf("want %+v, got %q (%s), %d missed, next %s", test, s.Trouble, s.Detail, s.Missed, next)
			}
		})
	}
}

// ledger is a model of what a Watch looks at.
type ledger struct {
	mu        sync.Mutex
	report    jobs.ScheduleReport
	unsettled int
	err       error
}

func (l *ledger) ScheduleReports(context.Context) ([]jobs.ScheduleReport, time.Time, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return []jobs.ScheduleReport{l.report, {ScheduleState: jobs.ScheduleState{SchedulePlan: jobs.SchedulePlan{Name: "off", Cron: "@daily", CatchUp: jobs.CatchUpLatest, Paused: true}}}}, time.Now(), l.err
}

func (l *ledger) SettleTicks(_ context.Context, limit int) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(limit, l.unsettled)
	l.unsettled -= n
	return n, l.err
}

func (l *ledger) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

func TestAWatchSettlesTicksAndTellsOfTroubleOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{unsettled: 2500}
		l.report.SchedulePlan = jobs.SchedulePlan{Name: "sweep", Cron: "* * * * *", CatchUp: jobs.CatchUpLatest}
		l.report.Anchor, l.report.LastDueAt = time.Now(), time.Now()
		var log bytes.Buffer
		w, err := scheduler.NewWatch(l, scheduler.WatchConfig{Logger: slog.New(slog.NewTextHandler(&log, nil)), Refused: []string{"entry 3: bad"}})
		if err != nil {
			t.Fatal(err)
		}
		if got := w.Detail(); got != "not looked at" {
			t.Errorf("before it looked: %s", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		detail := func(when, want string) {
			t.Helper()
			synctest.Wait()
			if got := w.Detail(); got != want {
				t.Errorf("%s: want %q, got %q", when, want, got)
			}
		}
		detail("at first", "2 schedules, 1 paused, entry 3: bad")
		l.set(func() {
			if l.unsettled != 0 {
				t.Errorf("%d ticks are not settled", l.unsettled)
			}
		})
		elapse(2*time.Minute + 30*time.Second)
		detail("without ticks", "2 schedules, 1 paused, sweep is overdue (nothing has come of it since it was due 1m30s ago); entry 3: bad")
		if standings, ok := w.Standings(); !ok || standings[0].Missed != 1 {
			t.Errorf("standings: %+v, %v", standings, ok)
		}
		l.set(func() { l.report.LastDueAt = time.Now() })
		elapse(5 * time.Second)
		detail("after a tick", "2 schedules, 1 paused, entry 3: bad")
		l.set(func() { l.err = errors.New("away") })
		elapse(5 * time.Second)
		detail("without the database", "not looked at")
		if w.Ready() == nil {
			t.Error("it is ready without the database")
		}
		l.set(func() { l.err = nil })
		elapse(5 * time.Second)
		synctest.Wait()
		if err := w.Ready(); err != nil {
			t.Errorf("with the database again: %v", err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		for message, want := range map[string]int{"schedule in trouble": 1, "schedule is well again": 1, "cannot look at the schedules": 1} {
			if n := strings.Count(log.String(), message); n != want {
				t.Errorf("%q is told %d times:\n%s", message, n, log.String())
			}
		}
	})
}
