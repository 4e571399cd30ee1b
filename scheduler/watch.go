package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/sealq/sealq/jobs"
)

// Reports is what a Watch asks of a database.
type Reports interface {
	// ScheduleReports lists what there is to judge, by name, and the database's clock.
	ScheduleReports(ctx context.Context) (reports []jobs.ScheduleReport, now time.Time, err error)
	// SettleTicks writes into up to limit ticks how their jobs ended, so that it is known when the outbox row is gone, and
	// returns how many there were. Any number may call it at once.
	SettleTicks(ctx context.Context, limit int) (settled int, err error)
}

// WatchConfig of a Watch.
type WatchConfig struct {
	// Kinds are those whose jobs run here. Zero: nothing is said of kinds.
	Kinds *jobs.Catalog
	// Every is the pause between two looks. Zero: 5 s.
	Every time.Duration
	// Refused are schedules that a configuration has and that could not be placed: a sentence each. Zero: there are none.
	Refused []string
	// Logger is told when a schedule gets into trouble and out of it. Zero: nothing is logged.
	Logger *slog.Logger
}

// Watch looks at all schedules again and again, and says which have not done what they should have.
type Watch struct {
	reports Reports
	cfg     WatchConfig

	mu        sync.Mutex
	standings []Standing
	looked    bool
	err       error // of the last look
}

// NewWatch makes a Watch.
func NewWatch(r Reports, c WatchConfig) (*Watch, error) {
	if r == nil {
		return nil, errors.New("new watch: it needs reports")
	}
	if c.Every <= 0 {
		c.Every = 5 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Watch{reports: r, cfg: c}, nil
}

// Run looks until ctx ends, then returns nil.
func (w *Watch) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := w.look(ctx); err != nil && ctx.Err() == nil {
			w.cfg.Logger.WarnContext(ctx, "cannot look at the schedules, trying again", slog.Any("error", err))
		}
		wait(ctx, w.cfg.Every)
	}
	return nil
}

// mostSettled bounds the ticks of one transaction.
const mostSettled = 1000

func (w *Watch) look(ctx context.Context) error {
	standings, err := w.judge(ctx)
	w.mu.Lock()
	before := w.standings
	if w.err = err; err == nil {
		w.standings, w.looked = standings, true
	}
	w.mu.Unlock()
	if err != nil {
		return err
	}
	troubles := make(map[string]Trouble)
	for _, s := range before {
		troubles[s.Name] = s.Trouble
	}
	for _, s := range standings {
		switch s.Trouble {
		case troubles[s.Name]:
		case "":
			w.cfg.Logger.InfoContext(ctx, "schedule is well again", slog.String("schedule", s.Name))
		default:
			w.cfg.Logger.WarnContext(ctx, "schedule in trouble", slog.String("schedule", s.Name), slog.String("trouble", string(s.Trouble)), slog.String("detail", s.Detail))
		}
	}
	return nil
}

func (w *Watch) judge(ctx context.Context) ([]Standing, error) {
	for {
		n, err := w.reports.SettleTicks(ctx, mostSettled)
		if err != nil {
			return nil, err
		}
		if n < mostSettled {
			break
		}
	}
	reports, now, err := w.reports.ScheduleReports(ctx)
	if err != nil {
		return nil, err
	}
	standings := make([]Standing, len(reports))
	for i, r := range reports {
		standings[i] = Judge(r, w.cfg.Kinds, now)
	}
	return standings, nil
}

// Standings are what the last look found, by name; ok is false where there was none that succeeded.
func (w *Watch) Standings() (all []Standing, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.standings, w.looked && w.err == nil
}

// Ready says why the last look failed, nil where it did not. Trouble with a schedule makes no process unready.
func (w *Watch) Ready() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return errors.New("the schedules could not be looked at")
	}
	return nil
}

// Detail is a sentence about all schedules, for who asks whether a process is ready.
func (w *Watch) Detail() string {
	standings, ok := w.Standings()
	if !ok {
		return "not looked at"
	}
	var wrong []string
	paused := 0
	for _, s := range standings {
		if s.Paused {
			paused++
		}
		if s.Trouble != "" {
			wrong = append(wrong, fmt.Sprintf("%s is %s (%s)", s.Name, s.Trouble, s.Detail))
		}
	}
	wrong = append(wrong, w.cfg.Refused...)
	text := fmt.Sprintf("%d schedules, %d paused, ", len(standings), paused)
	if len(wrong) == 0 {
		return text + "none in trouble"
	}
	const shown = 5
	if more := len(wrong) - shown; more > 0 {
		wrong = append(wrong[:shown], fmt.Sprintf("and %d more", more))
	}
	return text + strings.Join(wrong, "; ")
}
