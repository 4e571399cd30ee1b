package survival_test

import (
	"testing"
	"time"

	"github.com/sealq/sealq/internal/testservers"
)

// Two of everything: relays, workers with their janitors, and schedulers, whose clocks differ; and everything that can happen to
// them, to the servers, and on the way between.
func TestEveryEffectHappensOnceThoughEverythingHappensAtOnce(t *testing.T) {
	t.Parallel()
	server, database := testservers.Redis(t), testservers.PostgresServer(t)
	p := plan{
		database: database.URL(), redis: server.URL(), jobs: sized(1_500, 5_000), dwell: 10 * time.Millisecond,
		relays:  []process{{ClockOff: apart / 2}, {ClockOff: -apart / 2}},
		workers: []process{{ClockOff: -apart / 2}, {ClockOff: apart / 2, DropIn: true}},
	}
	n := newNetwork(t, &p, server.URL())
	s := newSystem(t, p)
	s.early = broughtForward
	for range 2 {
		s.schedulers = append(s.schedulers, s.start(t, process{Role: roleScheduler}))
	}
	hostile := s.start(t, process{Role: roleHostile})
	enqueuer := s.goOn(t, seconds(20, 120))
	done := make(map[string]int)
	end := time.Now().Add(seconds(20, 180))
	for time.Now().Before(end) || s.recorded(t) < s.jobs {
		s.after(t, 50*time.Millisecond, time.Second, func() {
			what := "a worker killed"
			switch s.random.IntN(12) {
			case 0:
				what = "PostgreSQL restarted"
				s.restart(t, database)
			case 1:
				what = "Redis flushed"
				server.Flush(t)
			case 2:
				what = "Redis frozen"
				server.Freeze(t)
				s.after(t, 0, 4*time.Second, func() { server.Thaw(t) })
			case 3:
				what = "Redis killed and restarted"
				server.Stop(t)
				s.after(t, 0, time.Second, func() { server.Start(t) })
			case 4, 5:
				to, name := []string{toRedis, toPostgres}[s.random.IntN(2)], s.shuffled()[0]
				what = to + " " + name
				n.spoil(t, to, trouble()[name], func() { s.after(t, 0, 2*time.Second, func() {}) })
			case 6:
				what = "a scheduler killed"
				s.killOne(t, s.schedulers)
			case 7, 8:
				what = "a relay killed"
				s.killOne(t, s.relays)
			default:
				s.killOne(t, s.workers)
			}
			done[what]++
		})
	}
	t.Log(done)
	hostile.stop(t)
	enqueuer.stop(t)
	s.survived(t)
}
