package scheduler_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealq/sealq/bench/internal/rounds"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/scheduler"
	"github.com/sealq/sealq/store/postgres"
)

const (
	many = 1000
	// spreadFor is how long the ticks of schedules that are spread over a minute are watched.
	spreadFor = 2 * time.Minute
)

// BenchmarkSchedulerTable prints how late ticks are made.
func BenchmarkSchedulerTable(b *testing.B) {
	server := testservers.PostgresServer(b, "fsync=on", "full_page_writes=on")
	for b.Loop() {
		t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintf(t, "\n%d schedules\tticks\tdelay p50\tp99\tmax\tscheduler's CPU\tPostgreSQL's\tall at once within\n", many)
		for _, schedulers := range []int{1, 2} {
			f := newFixture(b, server)
			s := f.spread(schedulers)
			fmt.Fprintf(t, "spread over a minute, by %d\t%d\t%v\t%v\t%v\t%.1f %%\t%.1f %%\t\n", schedulers, len(s.delays), s.at(50), s.at(99), s.at(100), s.own, s.server)
		}
		for _, schedulers := range []int{1, 2} {
			f := newFixture(b, server)
			took, s := f.atOnce(schedulers)
			fmt.Fprintf(t, "due at one instant, by %d\t%d\t%v\t%v\t%v\t\t\t%v\n", schedulers, len(s.delays), s.at(50), s.at(99), s.at(100), took.Round(time.Millisecond))
		}
		f := newFixture(b, server)
		s := f.idle()
		fmt.Fprintf(t, "due next year, by 1\t\t\t\t\t%.1f %%\t%.1f %%\t\n", s.own, s.server)
		if err := t.Flush(); err != nil {
			b.Fatal(err)
		}
	}
}

type fixture struct {
	b    *testing.B
	db   *postgres.DB
	pool *pgxpool.Pool
	def  jobs.Def[args]

	mu     sync.Mutex
	delays []time.Duration
}

type args struct {
	Tick string `json:"tick"`
}

func newFixture(b *testing.B, server *testservers.PostgresInstance) *fixture {
	b.Helper()
	f := &fixture{b: b, def: jobs.Define[args]("bench:tick", jobs.Policy{})}
	address := newDatabase(b, server.URL())
	var err error
	f.db, err = postgres.Open(b.Context(), address)
	f.must(err)
	b.Cleanup(func() { _ = f.db.Close() })
	_, err = f.db.Migrate(b.Context())
	f.must(err)
	f.pool, err = pgxpool.New(b.Context(), address)
	f.must(err)
	b.Cleanup(f.pool.Close)
	return f
}

// newDatabase makes an empty database on the server.
func newDatabase(b *testing.B, server string) string {
	b.Helper()
	conn, err := pgx.Connect(b.Context(), server)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close(b.Context()) }()
	name := "bench_" + strings.ToLower(rand.Text())
	if _, err := conn.Exec(b.Context(), "CREATE DATABASE "+name); err != nil {
		b.Fatal(err)
	}
	at, err := url.Parse(server)
	if err != nil {
		b.Fatal(err)
	}
	at.Path = "/" + name
	return at.String()
}

func (f *fixture) must(err error) {
	f.b.Helper()
	if err != nil {
		f.b.Fatal(err)
	}
}

// place makes the schedules. after changes them in the database.
func (f *fixture) place(cron, after string) {
	f.b.Helper()
	p := jobs.Placement{Actor: "bench"}
	for i := range many {
		sch := scheduler.Schedule{Name: fmt.Sprintf("s%04d", i), Cron: cron, Kind: f.def.Kind()}
		p.Plans = append(p.Plans, sch.Plan())
	}
	f.must(f.db.PlaceSchedules(f.b.Context(), p))
	_, err := f.pool.Exec(f.b.Context(), after)
	f.must(err)
	_, err = f.pool.Exec(f.b.Context(), `VACUUM ANALYZE schedules`)
	f.must(err)
}

// run runs schedulers until the returned function is called.
func (f *fixture) run(n int) (stop func()) {
	f.b.Helper()
	kinds, err := jobs.NewCatalog(f.def)
	f.must(err)
	ctx, cancel := context.WithCancel(f.b.Context())
	var running sync.WaitGroup
	for range n {
		s, err := scheduler.New(f.db, scheduler.Config{Kinds: kinds, OnTick: func(m scheduler.Made) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.delays = append(f.delays, m.Delay)
		}})
		f.must(err)
		running.Go(func() { _ = s.Run(ctx) }) // ends with ctx, without an error
	}
	return func() { cancel(); running.Wait() }
}

type measured struct {
	delays      []time.Duration
	own, server float64 // percent of a core
}

func (m measured) at(percent int) time.Duration {
	if len(m.delays) == 0 {
		return 0
	}
	return m.delays[max(0, len(m.delays)*percent/100-1)].Round(100 * time.Microsecond)
}

func (f *fixture) measured() measured {
	f.mu.Lock()
	defer f.mu.Unlock()
	return measured{delays: slices.Sorted(slices.Values(f.delays))}
}

func (f *fixture) spread(schedulers int) measured {
	f.b.Helper()
	f.place("@every 1m", `UPDATE schedules SET anchor = anchor - substr(name, 2)::int * interval '60 ms'`)
	return f.watch(schedulers, spreadFor)
}

func (f *fixture) idle() measured {
	f.b.Helper()
	f.place("0 0 1 1 *", `SELECT 1`)
	return f.watch(1, 20*time.Second)
}

// watch lets schedulers run, without what they do first.
func (f *fixture) watch(schedulers int, length time.Duration) measured {
	f.b.Helper()
	defer f.run(schedulers)()
	time.Sleep(5 * time.Second)
	f.mu.Lock()
	f.delays = nil
	f.mu.Unlock()
	own, server, began := f.read(rounds.OwnCPU()), f.read(rounds.PostgresCPU(f.b.Context(), f.pool)), time.Now()
	time.Sleep(length)
	elapsed := time.Since(began)
	m := f.measured()
	m.own = 100 * float64(f.read(rounds.OwnCPU())-own) / float64(elapsed)
	m.server = 100 * float64(f.read(rounds.PostgresCPU(f.b.Context(), f.pool))-server) / float64(elapsed)
	return m
}

func (f *fixture) read(m rounds.Meter) time.Duration {
	f.b.Helper()
	used, err := m.Read()
	f.must(err)
	return used
}

func (f *fixture) atOnce(schedulers int) (took time.Duration, m measured) {
	f.b.Helper()
	f.place("* * * * *", `SELECT 1`)
	defer f.run(schedulers)()
	for {
		var n int
		var late time.Duration
		err := f.pool.QueryRow(f.b.Context(), `SELECT (SELECT count(*) FROM outbox), clock_timestamp() - date_trunc('minute', clock_timestamp())`).Scan(&n, &late)
		f.must(err)
		if n >= many {
			return late, f.measured()
		}
		time.Sleep(2 * time.Millisecond)
	}
}
