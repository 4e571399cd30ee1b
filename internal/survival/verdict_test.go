package survival_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
)

// within is how long everything may take to come to rest after the last harm.
const within = 90 * time.Second

// patience is how long recording the jobs may take, on a machine that is busy with other things.
func patience() time.Duration { return seconds(4*60, 20*60) }

// unrest is what has not come to rest: unfinished rows by state, and what the active lists and lease sets of the queues hold.
type unrest struct {
	Rows   map[string]int
	Active map[string]int64
}

func (u unrest) some() bool { return len(u.Rows)+len(u.Active) > 0 }

func (s *system) unrest(ctx context.Context) (unrest, error) {
	u := unrest{Active: make(map[string]int64)}
	var err error
	if u.Rows, err = s.counts(ctx, `SELECT state, count(*) FROM outbox WHERE state IN ('queued', 'claimed', 'enqueued') GROUP BY state`); err != nil {
		return u, err
	}
	for queue := range queues() {
		for name, size := range map[string]func(context.Context, string) *redis.IntCmd{"active": s.redis.LLen, "lease": s.redis.ZCard} {
			n, sizeErr := size(ctx, key(queue, name)).Result()
			if sizeErr != nil || n > 0 {
				u.Active[key(queue, name)] = max(n, 1) // of another type: it is not empty either
			}
			if _, answered := errors.AsType[redis.Error](sizeErr); !answered {
				err = errors.Join(err, sizeErr)
			}
		}
	}
	return u, err
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
		r.wait(t, patience())
	}
	for _, r := range s.schedulers { // they would never come to rest
		r.stop(t)
	}
	began := time.Now()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		u, err := s.unrest(t.Context())
		if err == nil && !u.some() {
			break
		}
		if time.Since(began) > within {
			t.Errorf("not at rest after %v: %+v %v%s", within, u, err, s.witness(t))
			break
		}
		<-tick.C
	}
	t.Logf("at rest %v after the last harm", time.Since(began).Round(100*time.Millisecond))
	for _, p := range slices.Concat(s.relays, s.workers) {
		p.stop(t)
	}
	s.everyEffectOnce(t)
	s.everyTickOnce(t)
	s.noneEarly(t)
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
	repeatedOutside := s.count(t, `SELECT count(*) - count(DISTINCT n) FROM effects WHERE kind = $1`, outside().Kind())
	begunAgain := s.count(t, `SELECT count(*) FROM (SELECT n FROM begun GROUP BY n HAVING count(*) > 1) AS again`)
	recorded := s.recorded(t)
	if recorded < s.jobs {
		t.Errorf("only %d jobs were recorded, not %d", recorded, s.jobs)
	}
	for what, query := range map[string]string{
		"jobs without an effect":             `SELECT n FROM recorded EXCEPT SELECT n FROM effects`,
		"effects in the database done twice": `SELECT n FROM effects WHERE kind <> '` + string(outside().Kind()) + `' GROUP BY n HAVING count(*) > 1`,
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
	t.Logf("%d jobs recorded; effects outside the database repeated: %d; jobs begun again: %d", recorded, repeatedOutside, begunAgain)
}

// everyTickOnce compares what the schedule's jobs have done with its ticks.
func (s *system) everyTickOnce(t *testing.T) {
	t.Helper()
	wrong, err := s.counts(t.Context(), `SELECT tick, coalesce(times, 0)
		FROM (SELECT schedule || '@' || regexp_replace(to_char(due_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), '\.?0+$', '') || 'Z' AS tick FROM ticks) AS due
		FULL JOIN (SELECT tick, count(*) AS times FROM swept GROUP BY tick) AS done USING (tick)
		WHERE due.tick IS NULL OR times IS DISTINCT FROM 1`)
	check(t, err)
	if len(wrong) > 0 {
		t.Errorf("ticks, and how often each had its effect, where that is not once: %v", wrong)
	}
	if len(s.schedulers) > 0 && s.count(t, `SELECT count(*) FROM ticks`) == 0 {
		t.Error("the schedulers made no tick")
	}
}

// noneEarly compares when things were done with when they were due.
func (s *system) noneEarly(t *testing.T) {
	t.Helper()
	early := s.count(t, `SELECT coalesce(max(due - at), 0) FROM effects JOIN recorded USING (n)`)
	if by := time.Duration(early) * time.Millisecond; by > s.early {
		t.Errorf("an effect came %v before its time, more than %v", by, s.early)
	}
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
