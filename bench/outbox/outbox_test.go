package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/sealq/sealq/bench/internal/rounds"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/store/postgres"
)

const (
	clients = 32
	perRun  = 3000 // transactions; there are two runs a round, 3 s together on two slow cores
)

// BenchmarkOutboxTable prints what recording a job costs an application's commit rate.
func BenchmarkOutboxTable(b *testing.B) {
	server := testservers.PostgresServer(b, "fsync=on", "full_page_writes=on",
		"max_wal_size=8GB", "checkpoint_timeout=1h") // no checkpoint falls into one round and not into another
	db, pool := openDatabase(b, server.URL())
	for _, link := range []struct {
		name  string
		delay time.Duration
	}{{"loopback", 0}, {"1 ms away", time.Millisecond}} {
		for _, t := range transactions() {
			b.Run(link.name+"/"+t.name, func(b *testing.B) {
				a := &app{db: db, pool: openPool(b, pool.Config(), link.delay), own: t}
				for b.Loop() {
					a.table(b, link.name)
				}
			})
		}
	}
}

// app is an application with its own pool on the database of an outbox.
type app struct {
	db   *postgres.DB
	pool *pgxpool.Pool
	own  transaction
}

func (a *app) table(b *testing.B, link string) {
	b.Helper()
	table := rounds.Table{
		Title: fmt.Sprintf("%s, %s, %d clients, 256 B, fsync of 8 KiB %v, %s", a.own.name, link, clients, syncTime(b), a.settings(b)),
		N:     perRun,
		CPU:   []rounds.Meter{rounds.OwnCPU(), a.serverCPU(b)},
	}
	for _, w := range a.ways() {
		table.Ways = append(table.Ways, rounds.Way{Name: w.name, Run: func(n int, t *rounds.Timer) error { return a.run(b, w, n, t) }})
	}
	table.Print(b)
}

// run commits n transactions. What grows is empty at the beginning of every run, whereupon each session has to learn anew what
// the tables are and to plan its statements: that is done before time is taken.
func (a *app) run(b *testing.B, w way, n int, t *rounds.Timer) error {
	b.Helper()
	if _, err := a.pool.Exec(b.Context(), `TRUNCATE outbox, `+a.own.grown); err != nil {
		return err
	}
	conns := connectAll(b, a.pool)
	defer func() {
		for _, conn := range conns {
			conn.Release()
		}
	}()
	var next atomic.Int64
	commit := func(upTo int) error {
		g, ctx := errgroup.WithContext(b.Context())
		for _, conn := range conns {
			g.Go(func() error {
				for i := next.Add(1); i <= int64(upTo); i = next.Add(1) {
					own := a.own.statements(strconv.FormatInt(i, 10))
					if err := w.begin(ctx, conn, func(tx pgx.Tx) error { return w.do(ctx, tx, own) }); err != nil {
						return err
					}
				}
				return nil
			})
		}
		return g.Wait()
	}
	const first = 20 * clients
	if err := commit(first); err != nil {
		return err
	}
	next.Store(first)
	t.Start()
	defer t.Stop()
	return commit(first + n)
}

// serverCPU is what the sessions of the pool have used, as Linux counts it. Elsewhere it is 0.
func (a *app) serverCPU(b *testing.B) rounds.Meter {
	b.Helper()
	var files []string
	for _, conn := range connectAll(b, a.pool) {
		files = append(files, fmt.Sprintf("/proc/%d/schedstat", conn.Conn().PgConn().PID()))
		conn.Release()
	}
	return rounds.Meter{Name: "PostgreSQL's", Read: func() (all time.Duration, _ error) {
		for _, file := range files {
			text, err := os.ReadFile(file)
			if errors.Is(err, fs.ErrNotExist) {
				return 0, nil
			}
			if err != nil {
				return 0, err
			}
			nanoseconds, _, _ := strings.Cut(string(text), " ")
			used, err := strconv.ParseInt(nanoseconds, 10, 64)
			if err != nil {
				return 0, err
			}
			all += time.Duration(used)
		}
		return all, nil
	}}
}

// settings says under which conditions commits are durable.
func (a *app) settings(b *testing.B) string {
	b.Helper()
	var text string
	err := a.pool.QueryRow(b.Context(), `SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings
		WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes')`).Scan(&text)
	if err != nil {
		b.Fatal(err)
	}
	return text
}

// openDatabase makes the database of the applications, with the kind that they enqueue.
func openDatabase(b *testing.B, url string) (*postgres.DB, *pgxpool.Pool) {
	b.Helper()
	db, err := postgres.Open(b.Context(), url)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	if _, err := db.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	catalog, err := jobs.NewCatalog(kind)
	if err != nil {
		b.Fatal(err)
	}
	if err := db.RecordKinds(b.Context(), catalog); err != nil {
		b.Fatal(err)
	}
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		b.Fatal(err)
	}
	if err := db.GrantEnqueue(b.Context(), config.ConnConfig.User, kind.Kind()); err != nil {
		b.Fatal(err)
	}
	pool := openPool(b, config, 0)
	if _, err := pool.Exec(b.Context(), tablesSQL); err != nil {
		b.Fatal(err)
	}
	for _, statement := range []string{`VACUUM ANALYZE`, `CHECKPOINT`} {
		if _, err := pool.Exec(b.Context(), statement); err != nil {
			b.Fatal(err)
		}
	}
	return db, pool
}

// openPool connects to a server that is so far away: every flush, of which a statement or a batch has one, waits that long.
func openPool(b *testing.B, config *pgxpool.Config, delay time.Duration) *pgxpool.Pool {
	b.Helper()
	config = config.Copy()
	config.MaxConns, config.MinConns = clients, clients
	var plain net.Dialer
	config.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := plain.DialContext(ctx, network, address)
		if err != nil || delay == 0 {
			return conn, err
		}
		return &distant{Conn: conn, delay: delay}, nil
	}
	pool, err := pgxpool.NewWithConfig(b.Context(), config)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	for _, conn := range connectAll(b, pool) {
		conn.Release()
	}
	return pool
}

// connectAll takes every connection, so that none is made while time is taken.
func connectAll(b *testing.B, pool *pgxpool.Pool) []*pgxpool.Conn {
	b.Helper()
	all := make([]*pgxpool.Conn, pool.Config().MaxConns)
	for i := range all {
		conn, err := pool.Acquire(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		all[i] = conn
	}
	return all
}

type distant struct {
	net.Conn
	delay time.Duration
}

func (d *distant) Write(p []byte) (int, error) {
	<-time.After(d.delay)
	return d.Conn.Write(p)
}

// syncTime is how long the disk takes for what a commit alone would wait for.
func syncTime(b *testing.B) time.Duration {
	b.Helper()
	f, err := os.CreateTemp(b.TempDir(), "")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var took []time.Duration
	for range 200 {
		began := time.Now()
		if _, err := f.WriteAt(make([]byte, 8192), 0); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took[len(took)/2].Round(10 * time.Microsecond)
}
