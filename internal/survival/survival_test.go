package survival_test

import (
	"testing"
	"time"

	"github.com/sealq/sealq/internal/testservers"
)

// Every test has two relays and two workers, each a process of its own, and an enqueuer in another. One worker is a worker.Server,
// the other an app's own asynq server with a Verifier.

func TestEveryEffectHappensOnceThoughRedisIsFlushedAtRandomMoments(t *testing.T) {
	t.Parallel()
	s := newSystem(t, plan{database: testservers.Postgres(t), jobs: sized(1_500, 10_000), grace: shortGrace})
	enqueuer := s.enqueue(t, seconds(10, 15))
	flushes := s.until(t, enqueuer, 100*time.Millisecond, 3*time.Second, func() { s.server.Flush(t) })
	t.Logf("flushed %d times", flushes)
	s.survived(t, enqueuer)
}

func TestEveryEffectHappensOnceThoughRedisIsKilledAndComesBackEmpty(t *testing.T) {
	t.Parallel()
	s := newSystem(t, plan{database: testservers.Postgres(t), jobs: sized(1_500, 20_000), grace: shortGrace})
	enqueuer := s.enqueue(t, seconds(12, 60))
	restarts := s.until(t, enqueuer, 500*time.Millisecond, 3*time.Second, func() {
		s.server.Stop(t)
		s.after(t, 0, time.Second, func() { s.server.Start(t) })
	})
	t.Logf("killed and restarted Redis %d times", restarts)
	s.survived(t, enqueuer)
}

func TestEveryEffectHappensOnceThoughSomebodyHostileWritesToRedis(t *testing.T) {
	t.Parallel()
	s := newSystem(t, plan{database: testservers.Postgres(t), jobs: sized(1_500, 6_000), grace: shortGrace})
	s.early = broughtForward
	hostile := s.start(t, process{Role: roleHostile})
	enqueuer := s.enqueue(t, seconds(12, 20))
	enqueuer.wait(t, patience())
	hostile.stop(t)
	t.Logf("somebody hostile\n%s", hostile.lastWords(t))
	s.survived(t)
}

// broughtForward is by how much somebody who writes to Redis can bring a job forward: by what clocks may differ.
const broughtForward = 61 * time.Second

func TestEveryEffectHappensOnceThoughRelaysAreKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	s := newSystem(t, plan{database: testservers.Postgres(t), jobs: sized(1_500, 5_000), grace: shortGrace})
	enqueuer := s.enqueue(t, seconds(12, 15))
	kills := s.until(t, enqueuer, 100*time.Millisecond, 1200*time.Millisecond, func() { s.killOne(t, s.relays) })
	t.Logf("killed %d relays", kills)
	s.survived(t, enqueuer)
}

// Workers are killed with kill -9 while they have runs in hand, which is counted: their tasks are lost to them in the middle.
func TestEveryEffectHappensOnceThoughWorkersAreKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	kills := sized(15, 100)
	s := newSystem(t, plan{database: testservers.Postgres(t), jobs: sized(2_000, 20_000), dwell: 40 * time.Millisecond})
	enqueuer := s.goOn(t, seconds(12, 120))
	for s.cut(t, s.killed...) < kills || s.recorded(t) < s.jobs {
		s.after(t, 200*time.Millisecond, sized(600*time.Millisecond, 1200*time.Millisecond), func() { s.killInHand(t) })
	}
	enqueuer.stop(t)
	t.Logf("killed %d workers, %d of them in the middle of runs", len(s.killed), s.cut(t, s.killed...))
	s.survived(t)
	if cut := s.cut(t, s.killed...); cut < kills {
		t.Errorf("%d workers were killed in the middle of runs, want %d", cut, kills)
	}
}

func TestEveryEffectHappensOnceThoughPostgreSQLIsRestartedAgainAndAgain(t *testing.T) {
	t.Parallel()
	database := testservers.PostgresServer(t)
	s := newSystem(t, plan{database: database.URL(), jobs: sized(1_500, 5_000), grace: shortGrace})
	enqueuer := s.enqueue(t, seconds(12, 15))
	restarts := s.until(t, enqueuer, 300*time.Millisecond, 2*time.Second, func() { s.restart(t, database) })
	t.Logf("restarted PostgreSQL %d times", restarts)
	s.survived(t, enqueuer)
}

// For a minute Redis refuses connections, and comes back empty.
func TestEveryEffectHappensOnceThoughRedisIsAwayForAMinute(t *testing.T) {
	t.Parallel()
	s := newSystem(t, plan{database: testservers.Postgres(t), jobs: sized(1_500, 5_000), grace: shortGrace})
	enqueuer := s.enqueue(t, 12*time.Second)
	s.after(t, 3*time.Second, 9*time.Second, func() { s.server.Stop(t) })
	s.after(t, time.Minute, time.Minute, func() { s.server.Start(t) })
	s.survived(t, enqueuer)
}

// Redis answers nothing for longer than a lease, and goes on with what it held: what ran is active still.
func TestEveryEffectHappensOnceThoughRedisHangs(t *testing.T) {
	t.Parallel()
	s := newSystem(t, plan{database: testservers.Postgres(t), jobs: sized(1_500, 5_000), grace: shortGrace})
	enqueuer := s.enqueue(t, 12*time.Second)
	s.after(t, 3*time.Second, 9*time.Second, func() { s.server.Freeze(t) })
	s.after(t, 40*time.Second, 45*time.Second, func() { s.server.Thaw(t) })
	s.survived(t, enqueuer)
}
