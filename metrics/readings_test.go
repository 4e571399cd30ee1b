package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/jobs/relay"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/metrics"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/store/postgres"
)

// told are sources whose answers stand fixed.
type told struct {
	stats    relay.Stats
	overflow map[signing.Reason]quarantine.Overflow
	usage    quarantine.Usage
	keys     []signing.KeyInfo
	at       time.Time
	down     error
}

func (t told) Stats() relay.Stats                                        { return t.stats }
func (t told) Overflow() map[signing.Reason]quarantine.Overflow          { return t.overflow }
func (t told) Version() uint64                                           { return 7 }
func (t told) Infos() []signing.KeyInfo                                  { return t.keys }
func (t told) Confirmed() (time.Time, error)                             { return t.at, nil }
func (t told) System() string                                            { return "smtp" }
func (t told) Open() error                                               { return t.down }
func (t told) QuarantineUsage(context.Context) (quarantine.Usage, error) { return t.usage, nil }

// scraped registers readings of the sources, and returns what scrapes them.
func scraped(t *testing.T, s metrics.Sources) *prometheus.Registry {
	t.Helper()
	readings, err := metrics.NewReadings(s)
	check(t, err)
	t.Cleanup(func() { check(t, readings.Close()) })
	registry := prometheus.NewPedanticRegistry() // it also checks each sample against its description
	check(t, registry.Register(readings))
	return registry
}

// whole are sources of every sort.
func whole(client redis.UniversalClient) metrics.Sources {
	now := time.Unix(1_800_000_000, 0)
	all := told{
		stats: relay.Stats{
			Relayed: 5, Restored: 2, Left: 1,
			Held: []relay.HeldQueue{{Queue: "mail"}, {Queue: "somebody's"}},
			Backlog: []jobs.Backlog{
				{Kind: "mail:confirmation", Queue: "mail", State: jobs.RowQueued, Rows: 3, Oldest: time.Minute},
				{Kind: "mail:confirmation", Queue: "urgent", State: jobs.RowQueued, Rows: 1, Oldest: time.Hour},
				{Kind: "theirs:one", Queue: "theirs", State: jobs.RowEnqueued, Rows: 10, Oldest: time.Second},
				{Kind: "theirs:two", Queue: "theirs", State: jobs.RowEnqueued, Rows: 10, Oldest: 2 * time.Second},
				{Kind: "theirs:two", Queue: "theirs", State: "invented", Rows: 10},
			},
			BacklogAt: now.Add(-30 * time.Second),
		},
		overflow: map[signing.Reason]quarantine.Overflow{signing.ReasonMalformed: {Entries: 9}, "invented": {Entries: 1}},
		usage:    quarantine.Usage{Unverified: quarantine.Used{Entries: 4, Bytes: 4000}, Authentic: quarantine.Used{Entries: 1, Bytes: 600}},
		keys: []signing.KeyInfo{
			{KID: signing.KID{1}, State: signing.Active, CreatedAt: now.Add(-time.Hour)},
			{KID: signing.KID{2}, State: signing.Destroyed, CreatedAt: now.Add(-time.Hour)},
		},
		at:   now.Add(-time.Minute),
		down: errors.New("it answers nobody"),
	}
	return metrics.Sources{
		Ring: all, Relay: all, Kinds: []jobs.Kind{"mail:confirmation"}, Overflow: all, Quarantine: all, Redis: client, Queues: []string{"mail"},
		Breakers: []metrics.Breaker{all}, Connections: func() metrics.Connections {
			return metrics.Connections(mail.Stats{Open: 7, Idle: 5, Waiting: 3, Dialled: 11, Reused: 200})
		}, Alarms: map[string]func() error{"key_refusals": func() error { return nil }},
		Dependencies: map[string]func(context.Context) error{
			"database": func(context.Context) error { return nil },
			"keys":     func(context.Context) error { return errors.New("not confirmed") },
		},
		Now: func() time.Time { return now },
	}
}

func TestReadingsShowWhatTheSourcesTell(t *testing.T) {
	t.Parallel()
	client := testservers.Redis(t).Client(t)
	sources := whole(client)
	waiting := sources.Now().Add(-90 * time.Second)
	for _, command := range [][]any{
		{"LPUSH", "asynq:{mail}:pending", "first", "second", "third"}, // the first is next
		{"HSET", "asynq:{mail}:t:first", "pending_since", waiting.UnixNano()},
		{"ZADD", "asynq:{mail}:retry", 1, "a", 2, "b"},
		{"SET", "asynq:{mail}:archived", "no set"}, // somebody's doing
	} {
		check(t, client.Do(t.Context(), command...).Err())
	}
	got := samples(t, scraped(t, sources))
	want := map[string]float64{
		`sealq_dependency_up{dependency="database"}`:                1,
		`sealq_dependency_up{dependency="keys"}`:                    0,
		`sealq_alarm_raised{alarm="key_refusals"}`:                  0,
		`sealq_breaker_open{system="smtp"}`:                         1,
		`sealq_smtp_connections{state="busy"}`:                      2,
		`sealq_smtp_connections{state="idle"}`:                      5,
		`sealq_smtp_mails_waiting`:                                  3,
		`sealq_smtp_dials_total`:                                    11,
		`sealq_smtp_reuses_total`:                                   200,
		`sealq_queue_tasks{queue="mail",state="pending"}`:           3,
		`sealq_queue_tasks{queue="mail",state="active"}`:            0,
		`sealq_queue_tasks{queue="mail",state="scheduled"}`:         0,
		`sealq_queue_tasks{queue="mail",state="retry"}`:             2,
		`sealq_queue_latency_seconds{queue="mail"}`:                 90,
		`sealq_ring_version`:                                        7,
		`sealq_ring_confirmed_timestamp_seconds`:                    1_799_999_940,
		`sealq_ring_key_age_seconds{kid="01000000",state="active"}`: 3600,
		`sealq_relay_rows_total{result="relayed"}`:                  5,
		`sealq_relay_rows_total{result="present"}`:                  0,
		`sealq_relay_rows_total{result="refused"}`:                  0,
		`sealq_relay_rows_total{result="left"}`:                     1,
		`sealq_relay_rows_total{result="returned"}`:                 0,
		`sealq_relay_rows_total{result="expired"}`:                  0,
		`sealq_relay_tasks_restored_total`:                          2,
		`sealq_relay_queue_held{queue="mail"}`:                      1,
		`sealq_relay_queue_held{queue="other"}`:                     1,
		`sealq_outbox_counted_timestamp_seconds`:                    1_799_999_970,
	}
	for _, kind := range []string{"mail:confirmation", "other"} {
		for _, state := range []string{"queued", "claimed", "enqueued"} {
			want[fmt.Sprintf(`sealq_outbox_rows{kind=%q,state=%q}`, kind, state)] = 0
			want[fmt.Sprintf(`sealq_outbox_oldest_seconds{kind=%q,state=%q}`, kind, state)] = 0
		}
	}
	want[`sealq_outbox_rows{kind="mail:confirmation",state="queued"}`] = 4
	want[`sealq_outbox_oldest_seconds{kind="mail:confirmation",state="queued"}`] = 3600
	want[`sealq_outbox_rows{kind="other",state="enqueued"}`] = 20
	want[`sealq_outbox_oldest_seconds{kind="other",state="enqueued"}`] = 2
	for _, reason := range signing.Reasons() {
		want[fmt.Sprintf(`sealq_quarantine_overflow_total{reason=%q}`, reason)] = 0
	}
	want[`sealq_quarantine_overflow_total{reason="malformed"}`] = 9
	defaults := quarantine.DefaultBudgets()
	for class, of := range map[string]struct {
		used   quarantine.Used
		budget quarantine.Budget
	}{
		"unverified": {quarantine.Used{Entries: 4, Bytes: 4000}, defaults.Unverified},
		"moved":      {quarantine.Used{}, defaults.Moved},
		"reserved":   {quarantine.Used{Entries: 1, Bytes: 600}, defaults.Authentic},
	} {
		want[fmt.Sprintf(`sealq_quarantine_entries{class=%q}`, class)] = float64(of.used.Entries)
		want[fmt.Sprintf(`sealq_quarantine_bytes{class=%q}`, class)] = float64(of.used.Bytes)
		want[fmt.Sprintf(`sealq_quarantine_budget_entries{class=%q}`, class)] = float64(of.budget.Entries)
		want[fmt.Sprintf(`sealq_quarantine_budget_bytes{class=%q}`, class)] = float64(of.budget.Bytes)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
}

func TestNamesFollowPrometheussConventions(t *testing.T) {
	t.Parallel()
	registry := scraped(t, whole(testservers.Redis(t).Client(t)))
	tally := metrics.NewTally(metrics.TallyConfig{})
	tally.Signed("k", signing.KID{})
	check(t, registry.Register(tally))
	problems, err := testutil.GatherAndLint(registry)
	check(t, err)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for name := range samples(t, registry) {
		if !strings.HasPrefix(name, "sealq_") {
			t.Errorf("%s does not begin with sealq_", name)
		}
	}
}

func TestWhatIsNotGivenHasNoSeries(t *testing.T) {
	t.Parallel()
	if got := names(samples(t, scraped(t, metrics.Sources{}))); len(got) > 0 {
		t.Errorf("there are %v", got)
	}
	if _, err := metrics.NewReadings(metrics.Sources{Redis: redis.NewClient(&redis.Options{})}); err == nil {
		t.Error("a Redis without queues is taken")
	}
}

// However many scrape, Redis is asked once in a while.
func TestAnAnswerIsGivenAgainWhileItIsFresh(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		readings, err := metrics.NewReadings(metrics.Sources{
			Dependencies: map[string]func(context.Context) error{"redis": func(context.Context) error { asked.Add(1); return nil }},
			Fresh:        10 * time.Second,
		})
		check(t, err)
		registry := prometheus.NewRegistry()
		check(t, registry.Register(readings))
		for _, step := range []struct {
			after time.Duration
			want  int32
		}{{0, 1}, {9 * time.Second, 1}, {time.Second, 2}, {time.Second, 2}, {10 * time.Second, 3}} {
			time.Sleep(step.after) // of the bubble's clock
			for range 5 {
				samples(t, registry)
			}
			if got := asked.Load(); got != step.want {
				t.Errorf("asked %d times, want %d", got, step.want)
			}
		}
		check(t, readings.Close())
	})
}

// Whoever ignores that his time is over holds up no scrape, and is not asked a second time meanwhile.
func TestAScrapeEndsThoughNobodyAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		release := make(chan struct{})
		readings, err := metrics.NewReadings(metrics.Sources{
			Dependencies: map[string]func(context.Context) error{
				"stuck": func(context.Context) error { asked.Add(1); <-release; return nil },
				"slow":  func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
				"wild":  func(context.Context) error { panic("a client's own") },
				"well":  func(context.Context) error { return nil },
			},
		})
		check(t, err)
		registry := prometheus.NewRegistry()
		check(t, registry.Register(readings))
		for range 3 {
			began := time.Now()
			got := samples(t, registry)
			want := map[string]float64{
				`sealq_dependency_up{dependency="stuck"}`: 0, `sealq_dependency_up{dependency="slow"}`: 0,
				`sealq_dependency_up{dependency="wild"}`: 0, `sealq_dependency_up{dependency="well"}`: 1,
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("samples (-want +got):\n%s", diff)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("it took %v", took)
			}
		}
		if n := asked.Load(); n != 1 {
			t.Errorf("asked %d times while the first question was open", n)
		}
		close(release)
		check(t, readings.Close())
	})
}

// The same with real servers, which are away in every way that there is.
func TestAScrapeIsAnsweredInTimeThoughServersAreAway(t *testing.T) {
	t.Parallel()
	queue, truth := testservers.Redis(t), testservers.PostgresServer(t)
	db, err := postgres.Open(t.Context(), truth.URL())
	check(t, err)
	t.Cleanup(func() { check(t, db.Close()) })
	_, err = db.Migrate(t.Context())
	check(t, err)
	// As an app's own: it does not heed contexts, and tries again and again.
	client := redis.NewClient(queue.Options(t))
	t.Cleanup(func() { _ = client.Close() })
	registry := scraped(t, metrics.Sources{
		Redis: client, Queues: []string{"mail"}, Quarantine: db, Fresh: time.Nanosecond,
		Dependencies: map[string]func(context.Context) error{
			"redis":    func(ctx context.Context) error { return client.Ping(ctx).Err() },
			"database": db.Ping,
		},
	})
	for _, step := range []struct {
		what            string
		do              func()
		redis, database float64
	}{
		{"all is there", func() {}, 1, 1},
		{"Redis is stopped", func() { queue.Stop(t) }, 0, 1},
		{"Redis is back", func() { queue.Start(t) }, 1, 1},
		{"Redis hangs", func() { queue.Freeze(t) }, 0, 1},
		{"Redis goes on", func() { queue.Thaw(t) }, 1, 1},
		{"PostgreSQL is stopped", func() { truth.Stop(t) }, 1, 0},
		{"PostgreSQL is back", func() { truth.Start(t) }, 1, 1},
	} {
		step.do()
		deadline := time.Now().Add(time.Minute)
		for {
			began := time.Now()
			got := samples(t, registry)
			if took := time.Since(began); took > 4*time.Second { // 2 s, on a busy machine
				t.Errorf("%s: a scrape took %v", step.what, took)
			}
			redisUp, databaseUp := got[`sealq_dependency_up{dependency="redis"}`], got[`sealq_dependency_up{dependency="database"}`]
			_, counted := got[`sealq_queue_tasks{queue="mail",state="pending"}`]
			_, measured := got[`sealq_quarantine_entries{class="unverified"}`]
			if redisUp == step.redis && databaseUp == step.database && counted == (step.redis == 1) && measured == (step.database == 1) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: redis %v (counted: %v), database %v (measured: %v)", step.what, redisUp, counted, databaseUp, measured)
			}
		}
	}
}
