package survival_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/store/postgres"
)

// What a run can be told by its environment.
const (
	fullEnv = "SEALQ_SURVIVAL_FULL" // set by make soak: each test at its full length
	jobsEnv = "SEALQ_SURVIVAL_JOBS" // how many jobs each test records
	seedEnv = "SEALQ_SURVIVAL_SEED" // of all that happens by chance
)

// sized is the measure of a run of all tests, or of a long one.
func sized[T any](ordinary, full T) T {
	if os.Getenv(fullEnv) != "" {
		return full
	}
	return ordinary
}

// seconds is sized in seconds.
func seconds(ordinary, full int) time.Duration {
	return time.Duration(sized(ordinary, full)) * time.Second
}

// plan says what a system is made of.
type plan struct {
	database string // a PostgreSQL URL
	redis    string // a Redis URL of one of the forms that connect knows. Zero: a private server, of which system.server is the handle
	// The way by which processes reach them. Zero: straight.
	processDatabase, processRedis string

	jobs    int
	relays  []process     // zero: two
	workers []process     // zero: two, one of them a drop-in
	dwell   time.Duration // how long each run takes
	grace   time.Duration // of the workers' janitors. Zero: their own
}

// asynqsSecond is by how much an effect may be early where clocks agree: asynq counts in whole seconds.
const asynqsSecond = 1100 * time.Millisecond

// shortGrace makes tests shorter where hosts' clocks do not differ.
const shortGrace = 5 * time.Second

// system is an outbox with its servers and processes.
type system struct {
	plan                          plan
	seed                          uint64
	jobs                          int
	random                        *rand.Rand
	server                        *testservers.RedisServer // nil where the plan has another
	redis                         redis.UniversalClient
	processDatabase, processRedis string
	app                           *pgxpool.Pool
	ringFile                      string
	logs                          string
	processes                     int
	relays                        []*running
	workers                       []*running
	schedulers                    []*running
	killed                        []int         // workers with runs in hand, by their numbers
	early                         time.Duration // by how much an effect may come before its time
}

// newSystem prepares everything and starts the relays and workers.
func newSystem(t *testing.T, p plan) *system {
	t.Helper()
	s := &system{plan: p, seed: fromEnv(t, seedEnv, rand.Uint64()>>1), jobs: fromEnv(t, jobsEnv, p.jobs), early: asynqsSecond}
	t.Logf("%s=%d %s=%d repeats what happens by chance", seedEnv, s.seed, jobsEnv, s.jobs)
	s.random = rand.New(rand.NewPCG(s.seed, 1))
	if p.redis == "" {
		s.server = testservers.Redis(t)
		p.redis = s.server.URL()
	}
	s.processDatabase, s.processRedis = p.processDatabase, p.processRedis
	if s.processDatabase == "" {
		s.processDatabase = p.database
	}
	if s.processRedis == "" {
		s.processRedis = p.redis
	}
	var err error
	s.redis, err = connect(p.redis)
	check(t, err)
	t.Cleanup(func() { check(t, s.redis.Close()) })
	s.logs = t.TempDir()
	s.ringFile = filepath.Join(s.logs, "keys.json")
	ring, err := signing.NewRing(time.Now(), 30*24*time.Hour)
	check(t, err)
	check(t, signing.NewFile(s.ringFile).Create(ring))
	db, err := postgres.Open(t.Context(), p.database)
	check(t, err)
	_, err = db.Migrate(t.Context())
	check(t, err)
	check(t, db.Close())
	s.app, err = pgxpool.New(t.Context(), p.database)
	check(t, err)
	t.Cleanup(s.app.Close)
	_, err = s.app.Exec(t.Context(), tables)
	check(t, err)
	if p.relays == nil {
		p.relays = make([]process, 2)
	}
	if p.workers == nil {
		p.workers = []process{{}, {DropIn: true}}
	}
	for _, r := range p.relays {
		r.Role = roleRelay
		s.relays = append(s.relays, s.start(t, r))
	}
	for _, w := range p.workers {
		w.Role = roleWorker
		s.workers = append(s.workers, s.start(t, w))
	}
	return s
}

func fromEnv[T int | uint64](t *testing.T, name string, value T) T {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return value
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || n == 0 {
		t.Fatalf("%s is %q: set it to a number from 1", name, text)
	}
	return T(n)
}

// enqueue starts recording the jobs.
func (s *system) enqueue(t *testing.T, over time.Duration) *running {
	t.Helper()
	return s.start(t, process{Role: roleEnqueuer, Jobs: s.jobs, Over: over})
}

// goOn starts recording the jobs, and more until the process is stopped.
func (s *system) goOn(t *testing.T, over time.Duration) *running {
	t.Helper()
	return s.start(t, process{Role: roleEnqueuer, Jobs: s.jobs, Over: over, Endless: true})
}

// count asks the database for a number, again where it was just restarted.
func (s *system) count(t *testing.T, query string, args ...any) (n int) {
	t.Helper()
	var err error
	for range 100 {
		if err = s.app.QueryRow(t.Context(), query, args...).Scan(&n); err == nil {
			return n
		}
		rest(t.Context())
	}
	t.Fatal(err)
	return 0
}

// recorded is how many jobs there are.
func (s *system) recorded(t *testing.T) int {
	t.Helper()
	return s.count(t, `SELECT count(*) FROM recorded`)
}

// enough waits until all jobs are recorded, and stops the process that goes on.
func (s *system) enough(t *testing.T, enqueuer *running) {
	t.Helper()
	s.eventually(t, patience(), "all jobs are recorded", func() bool { return s.recorded(t) >= s.jobs })
	enqueuer.stop(t)
}

// eventually asks until it is so.
func (s *system) eventually(t *testing.T, within time.Duration, what string, is func() bool) {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		if time.Since(began) > within {
			t.Fatalf("it took more than %v until %s", within, what)
		}
		<-tick.C
	}
}

// until does harm again and again, after pauses between shortest and longest, until the process has ended.
func (s *system) until(t *testing.T, r *running, shortest, longest time.Duration, harm func()) (times int) {
	t.Helper()
	for {
		select {
		case <-r.done:
			return times
		case <-time.After(s.between(shortest, longest)):
			harm()
			times++
		}
	}
}

func (s *system) between(shortest, longest time.Duration) time.Duration {
	return shortest + time.Duration(s.random.Int64N(int64(longest-shortest)+1))
}

// after does something once, after a time by chance.
func (s *system) after(t *testing.T, shortest, longest time.Duration, do func()) {
	t.Helper()
	timer := time.NewTimer(s.between(shortest, longest))
	defer timer.Stop()
	<-timer.C
	do()
}

// killOne kills one of some processes with kill -9, and starts another in its place.
func (s *system) killOne(t *testing.T, of []*running) {
	t.Helper()
	s.kill(t, of, s.random.IntN(len(of)))
}

func (s *system) kill(t *testing.T, of []*running, victim int) {
	t.Helper()
	of[victim].kill(t)
	of[victim] = s.start(t, of[victim].process)
}

// killInHand kills one of the workers with kill -9 while it has runs in hand, and starts another in its place.
func (s *system) killInHand(t *testing.T) {
	t.Helper()
	for began := time.Now(); ; {
		victim := s.random.IntN(len(s.workers))
		number := s.workers[victim].Number
		if s.cut(t, number) > 0 {
			s.killed = append(s.killed, number)
			s.kill(t, s.workers, victim)
			return
		}
		if time.Since(began) > within {
			t.Fatalf("for %v no worker has had a run in hand", within)
		}
		s.after(t, 5*time.Millisecond, 20*time.Millisecond, func() {})
	}
}

// cut is how many of these workers have begun a run that has had no effect of theirs: those that live have it in hand.
func (s *system) cut(t *testing.T, workers ...int) int {
	t.Helper()
	return s.count(t, `SELECT count(DISTINCT process) FROM begun AS b WHERE process = ANY($1)
		AND NOT EXISTS (SELECT 1 FROM effects AS e WHERE e.n = b.n AND e.process = b.process)`, workers)
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
