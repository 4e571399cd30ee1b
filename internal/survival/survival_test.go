package survival_test

import (
	"testing"
	"time"

	"github.com/sealq/sealq/internal/testservers"
)

// Every test has two relays and two workers, each a process of its own, and an enqueuer in another.

func TestEveryEffectHappensOnceThoughRedisIsFlushedAtRandomMoments(t *testing.T) {
	t.Parallel()
	s := newSystem(t, testservers.Postgres(t), 10_000)
	enqueuer := s.enqueue(t, 15*time.Second)
	flushes := s.until(t, enqueuer, 100*time.Millisecond, 3*time.Second, func() { s.server.Flush(t) })
	t.Logf("flushed %d times", flushes)
	s.survived(t, enqueuer)
}

func TestEveryEffectHappensOnceThoughSomebodyHostileWritesToRedis(t *testing.T) {
	t.Parallel()
	s := newSystem(t, testservers.Postgres(t), 6_000)
	hostile := s.start(t, process{Role: "hostile"})
	enqueuer := s.enqueue(t, 20*time.Second)
	enqueuer.wait(t, patience)
	hostile.stop(t)
	t.Logf("somebody hostile\n%s", hostile.lastWords(t))
	s.survived(t)
}

func TestEveryEffectHappensOnceThoughRelaysAreKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	s := newSystem(t, testservers.Postgres(t), 5_000)
	enqueuer := s.enqueue(t, 15*time.Second)
	kills := s.until(t, enqueuer, 100*time.Millisecond, 1200*time.Millisecond, func() { s.killOne(t, s.relays) })
	t.Logf("killed %d relays", kills)
	s.survived(t, enqueuer)
}

func TestEveryEffectHappensOnceThoughPostgreSQLIsRestartedAgainAndAgain(t *testing.T) {
	t.Parallel()
	database := testservers.PostgresServer(t)
	s := newSystem(t, database.URL(), 5_000)
	enqueuer := s.enqueue(t, 15*time.Second)
	restarts := s.until(t, enqueuer, 300*time.Millisecond, 2*time.Second, func() { s.restart(t, database) })
	t.Logf("restarted PostgreSQL %d times", restarts)
	s.survived(t, enqueuer)
}

// For a minute Redis refuses connections, and comes back empty.
func TestEveryEffectHappensOnceThoughRedisIsAwayForAMinute(t *testing.T) {
	t.Parallel()
	s := newSystem(t, testservers.Postgres(t), 5_000)
	enqueuer := s.enqueue(t, 15*time.Second)
	s.after(t, 3*time.Second, 11*time.Second, func() { s.server.Stop(t) })
	s.after(t, time.Minute, time.Minute, func() { s.server.Start(t) })
	s.survived(t, enqueuer)
}

// Redis answers nothing for longer than a lease, and goes on with what it held: what ran is active still.
func TestEveryEffectHappensOnceThoughRedisHangs(t *testing.T) {
	t.Parallel()
	s := newSystem(t, testservers.Postgres(t), 5_000)
	enqueuer := s.enqueue(t, 15*time.Second)
	s.after(t, 3*time.Second, 11*time.Second, func() { s.server.Freeze(t) })
	s.after(t, 40*time.Second, 45*time.Second, func() { s.server.Thaw(t) })
	s.survived(t, enqueuer)
}

func TestEveryEffectHappensOnceThoughEverythingHappensAtOnce(t *testing.T) {
	t.Parallel()
	database := testservers.PostgresServer(t)
	s := newSystem(t, database.URL(), 5_000)
	hostile := s.start(t, process{Role: "hostile"})
	enqueuer := s.enqueue(t, 15*time.Second)
	times := s.until(t, enqueuer, 50*time.Millisecond, 2*time.Second, func() {
		switch s.random.IntN(10) {
		case 0:
			s.restart(t, database)
		case 1:
			s.server.Flush(t)
		case 2:
			s.server.Freeze(t)
			s.after(t, 0, 4*time.Second, func() { s.server.Thaw(t) })
		case 3, 4, 5:
			s.killOne(t, s.workers)
		default:
			s.killOne(t, s.relays)
		}
	})
	t.Logf("something happened %d times", times)
	hostile.stop(t)
	s.survived(t, enqueuer)
}

// killOne kills one of some processes with kill -9, and starts another in its place.
func (s *system) killOne(t *testing.T, of []*running) {
	t.Helper()
	victim := s.random.IntN(len(of))
	of[victim].kill(t)
	of[victim] = s.start(t, process{Role: of[victim].Role})
}

// restart stops the database in order, or as a crash would, and starts it again.
func (s *system) restart(t *testing.T, database *testservers.PostgresInstance) {
	t.Helper()
	if s.random.IntN(2) == 0 {
		database.Stop(t)
	} else {
		database.Kill(t)
	}
	database.Start(t)
}

// after does something once, after a time by chance.
func (s *system) after(t *testing.T, shortest, longest time.Duration, do func()) {
	t.Helper()
	timer := time.NewTimer(shortest + time.Duration(s.random.Int64N(int64(longest-shortest)+1)))
	defer timer.Stop()
	<-timer.C
	do()
}
