package seed

import (
	"context"
	"slices"
	"time"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
)

// event is what happens so long before the end.
type event struct {
	ago  time.Duration
	what func(ctx context.Context) error
}

// The scheduler that stands still misses ticks. Until shortly before the end schedules are due less often than dev's own, so that the
// story is told in seconds.
const (
	stopsAgo = 9*time.Hour + 10*time.Minute
	goesAgo  = 6*time.Hour + 20*time.Minute
	oftenAgo = 20 * time.Minute
	moment   = time.Second
)

func rare() app.Crons { return app.Crons{ExpirePending: "5 * * * *", ResetLockouts: "*/30 * * * *"} }

// tell lets the day happen, one thing after another.
func (s *story) tell(ctx context.Context) error {
	day := slices.Concat(s.staff(), s.keyMoves(), s.people(), s.forgeries(), s.scheduleLife())
	// The scheduler makes ticks when they are due: the clock stops there.
	for at := s.cfg.End.Add(-Day).Truncate(time.Minute); at.Before(s.cfg.End); at = at.Add(time.Minute) {
		if ago := s.cfg.End.Sub(at); ago <= oftenAgo || at.Minute() == 5 || at.Minute()%30 == 0 {
			day = append(day, event{ago - moment, nothing})
		}
	}
	for ago := oftenAdded - oftenEvery; ago > 0; ago -= oftenEvery {
		day = append(day, event{ago - moment, nothing})
	}
	slices.SortStableFunc(day, func(a, b event) int { return int(b.ago - a.ago) })
	for _, e := range day {
		at := s.cfg.End.Add(-e.ago)
		s.keyClock.put(at)
		if err := s.keys.Reload(ctx); err != nil {
			return err
		}
		s.clock.put(at)
		if err := s.settle(ctx); err != nil { // what came due meanwhile
			return err
		}
		if err := e.what(ctx); err != nil {
			return err
		}
		if err := s.settle(ctx); err != nil {
			return err
		}
	}
	return s.stopScheduler()
}

func nothing(context.Context) error { return nil }

// between is some time between two others, to the second.
func (s *story) between(least, most time.Duration) time.Duration {
	return least + time.Duration(s.dice.Int64N(int64((most-least)/time.Second)))*time.Second
}
