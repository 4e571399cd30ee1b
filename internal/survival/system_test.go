package survival_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/store/postgres"
)

// What a run can be told by its environment.
const (
	jobsEnv = "SEALQ_SURVIVAL_JOBS" // how many jobs each test records
	seedEnv = "SEALQ_SURVIVAL_SEED" // of all that happens by chance
)

const (
	// within is how long everything may take to come to rest after the last harm.
	within = 90 * time.Second
	// patience is how long recording the jobs may take, on a machine that is busy with other things.
	patience = 4 * time.Minute
)

// system is an outbox with its servers and processes.
type system struct {
	seed        uint64
	jobs        int
	random      *rand.Rand
	server      *testservers.RedisServer
	redis       *redis.Client
	redisURL    string
	databaseURL string
	app         *pgxpool.Pool
	ringFile    string
	logs        string
	processes   int
	relays      []*running
	workers     []*running
}

// newSystem prepares everything and starts two relays and two workers.
func newSystem(t *testing.T, databaseURL string, jobs int) *system {
	t.Helper()
	s := &system{seed: rand.Uint64(), jobs: fromEnv(t, jobsEnv, jobs), databaseURL: databaseURL, server: testservers.Redis(t)}
	s.seed = fromEnv(t, seedEnv, s.seed)
	t.Logf("%s=%d %s=%d repeats what happens by chance", seedEnv, s.seed, jobsEnv, s.jobs)
	s.random = rand.New(rand.NewPCG(s.seed, 1))
	s.redis, s.redisURL = s.server.Client(t), s.server.URL()
	dir := t.TempDir()
	s.logs, s.ringFile = dir, filepath.Join(dir, "keys.json")
	ring, err := signing.NewRing(time.Now(), 30*24*time.Hour)
	check(t, err)
	check(t, signing.NewFile(s.ringFile).Create(ring))
	db, err := postgres.Open(t.Context(), databaseURL)
	check(t, err)
	_, err = db.Migrate(t.Context())
	check(t, err)
	check(t, db.Close())
	s.app, err = pgxpool.New(t.Context(), databaseURL)
	check(t, err)
	t.Cleanup(s.app.Close)
	_, err = s.app.Exec(t.Context(), tables)
	check(t, err)
	for range 2 {
		s.relays = append(s.relays, s.start(t, process{Role: "relay"}))
		s.workers = append(s.workers, s.start(t, process{Role: "worker"}))
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
	return s.start(t, process{Role: "enqueuer", Jobs: s.jobs, Over: over})
}

// until does harm again and again, after pauses between shortest and longest, until the process has ended.
func (s *system) until(t *testing.T, r *running, shortest, longest time.Duration, harm func()) (times int) {
	t.Helper()
	for {
		select {
		case <-r.done:
			return times
		case <-time.After(shortest + time.Duration(s.random.Int64N(int64(longest-shortest)))):
			harm()
			times++
		}
	}
}

// rest is what has not come to rest: unfinished rows by state, and what the active lists and lease sets of all queues hold.
type rest struct {
	Rows   map[string]int
	Active map[string]int64
}

func (r rest) some() bool { return len(r.Rows)+len(r.Active) > 0 }

func (s *system) rest(ctx context.Context) (rest, error) {
	r := rest{Active: make(map[string]int64)}
	var err error
	if r.Rows, err = s.counts(ctx, `SELECT state, count(*) FROM outbox WHERE state IN ('queued', 'claimed', 'enqueued') GROUP BY state`); err != nil {
		return r, err
	}
	for _, pattern := range []string{"asynq:{*}:active", "asynq:{*}:lease"} {
		keys := s.redis.Scan(ctx, 0, pattern, 1000).Iterator()
		for keys.Next(ctx) {
			key := keys.Val()
			n, lenErr := s.redis.LLen(ctx, key).Result()
			if lenErr != nil {
				n, lenErr = s.redis.ZCard(ctx, key).Result()
			}
			if lenErr != nil || n > 0 {
				r.Active[key] = max(n, 1) // of another type: it is not empty either
			}
		}
		err = errors.Join(err, keys.Err())
	}
	return r, err
}

func (s *system) counts(ctx context.Context, query string) (map[string]int, error) {
	rows, err := s.app.Query(ctx, query)
	if err != nil {
		return nil, err
	}
	counts := make(map[string]int)
	var name string
	var n int
	_, err = pgx.ForEachRow(rows, []any{&name, &n}, func() error {
		counts[name] = n
		return nil
	})
	return counts, err
}

// survived waits until those processes that end by themselves have done so, and everything is at rest. Then it ends all others
// and looks at what has happened.
func (s *system) survived(t *testing.T, ending ...*running) {
	t.Helper()
	for _, r := range ending {
		r.wait(t, patience)
	}
	began := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		r, err := s.rest(t.Context())
		if err == nil && !r.some() {
			break
		}
		if time.Since(began) > within {
			t.Errorf("not at rest after %v: %+v %v%s", within, r, err, s.witness(t))
			break
		}
		<-tick.C
	}
	t.Logf("at rest %v after the last harm", time.Since(began).Round(100*time.Millisecond))
	for _, p := range slices.Concat(s.relays, s.workers) {
		p.stop(t)
	}
	s.everyEffectOnce(t)
	s.everyRowDone(t)
}

// witness shows a few of the rows that have not ended.
func (s *system) witness(t *testing.T) string {
	t.Helper()
	rows, err := s.app.Query(t.Context(), `SELECT row_to_json(o)::text FROM (
		SELECT id, kind, queue, state, attempts, failures, next_at - now() AS due_in, lease_until, cause FROM outbox
		WHERE state IN ('queued', 'claimed', 'enqueued') LIMIT 5) AS o`)
	check(t, err)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	check(t, err)
	text := ""
	for _, row := range list {
		text += "\n\t" + row
	}
	return text
}

// everyEffectOnce compares what was done with what was committed.
func (s *system) everyEffectOnce(t *testing.T) {
	t.Helper()
	var recorded, repeatedOutside int
	check(t, s.app.QueryRow(t.Context(), `SELECT count(*) FROM recorded`).Scan(&recorded))
	check(t, s.app.QueryRow(t.Context(), `SELECT count(*) - count(DISTINCT n) FROM effects WHERE kind = $1`, outside().Kind()).Scan(&repeatedOutside))
	if recorded < s.jobs {
		t.Errorf("only %d jobs were recorded, not %d", recorded, s.jobs)
	}
	for what, query := range map[string]string{
		"jobs without an effect":             `SELECT n FROM recorded EXCEPT SELECT n FROM effects`,
		"effects in the database done twice": `SELECT n FROM effects WHERE kind = '` + string(inside().Kind()) + `' GROUP BY n HAVING count(*) > 1`,
		"effects that nobody committed":      `SELECT n FROM effects EXCEPT SELECT n FROM recorded`,
		"effects of another kind":            `SELECT n FROM effects JOIN recorded USING (n) WHERE effects.kind <> recorded.kind`,
	} {
		rows, err := s.app.Query(t.Context(), query)
		check(t, err)
		numbers, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		check(t, err)
		if len(numbers) > 0 {
			t.Errorf("%d %s: %v", len(numbers), what, numbers[:min(len(numbers), 10)])
		}
	}
	t.Logf("%d jobs recorded; effects outside the database repeated: %d", recorded, repeatedOutside)
}

func (s *system) everyRowDone(t *testing.T) {
	t.Helper()
	states, err := s.counts(t.Context(), `SELECT state, count(*) FROM outbox GROUP BY state`)
	check(t, err)
	attempts, err := s.counts(t.Context(), `SELECT lpad(attempts::text, 2, '0'), count(*) FROM outbox GROUP BY attempts`)
	check(t, err)
	refused, err := s.counts(t.Context(), `SELECT reason, count(*) FROM quarantine GROUP BY reason`)
	check(t, err)
	histogram, restored := "", 0
	for _, n := range slices.Sorted(maps.Keys(attempts)) {
		histogram += fmt.Sprintf(" %s×%d", n, attempts[n])
		often, err := strconv.Atoi(n)
		check(t, err)
		restored += (often - 1) * attempts[n]
	}
	t.Logf("rows %v; restored %d times; rows by attempts:%s; quarantined %v", states, restored, histogram, refused)
	delete(states, "done")
	if len(states) > 0 {
		t.Errorf("rows that did not end as done: %v", states)
	}
}
