package survival_test

import (
	"testing"
	"time"

	"github.com/sealq/sealq/internal/testservers"
)

// apart is how far the clocks of two hosts are apart.
const apart = 30 * time.Second

// Jobs that are due later, and some that take nearly as long as a lease, while the servers' clocks differ from those of the
// processes, or the processes' from one another.
func TestEveryEffectHappensOnceThoughClocksDiffer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what            string
		redis, postgres time.Duration
		relays, workers []process
	}{
		{what: "Redis is ahead, PostgreSQL behind", redis: apart, postgres: -apart},
		{what: "Redis is behind, PostgreSQL ahead", redis: -apart, postgres: apart},
		{
			what:    "one half of the processes is ahead, the other behind",
			relays:  []process{{ClockOff: apart}, {ClockOff: -apart}},
			workers: []process{{ClockOff: -apart}, {ClockOff: apart, DropIn: true}},
		},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			p := plan{
				database: testservers.PostgresWithClock(t, c.postgres).URL(), redis: testservers.RedisWithClock(t, c.redis).URL(),
				jobs: sized(500, 5_000), relays: c.relays, workers: c.workers, dwell: time.Millisecond,
			}
			s := newSystem(t, p)
			s.early = apart
			enqueuer := s.start(t, process{Role: roleEnqueuer, Jobs: s.jobs, Over: seconds(10, 60), Long: 4, Late: 10})
			s.survived(t, enqueuer)
			if again := s.count(t, `SELECT count(*) - count(DISTINCT n) FROM begun WHERE kind = $1`, long().Kind()); again > 0 {
				t.Errorf("%d runs of long jobs were begun though another was under way: their leases did not hold", again)
			}
			refused, err := s.counts(t.Context(), `SELECT reason, count(*) FROM quarantine GROUP BY reason`)
			check(t, err)
			if len(refused) > 0 {
				t.Errorf("honest tasks were refused: %v", refused)
			}
		})
	}
}
