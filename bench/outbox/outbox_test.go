package outbox_test

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/store/postgres"
)

const (
	clients  = 32
	rounds   = 5
	perRound = 3 * time.Second
)

// BenchmarkOutboxTable prints what recording a job costs an application's commit rate: medians of rounds in which the ways
// take turns. Each round is compared with its own round of the application alone.
func BenchmarkOutboxTable(b *testing.B) {
	server := testservers.PostgresServer(b, "fsync=on", "full_page_writes=on")
	for _, link := range []struct {
		name  string
		delay time.Duration
	}{{"loopback", 0}, {"1 ms away", time.Millisecond}} {
		b.Run(link.name, func(b *testing.B) {
			app := openApp(b, server.URL(), link.delay)
			for b.Loop() {
				app.table(b, link.name)
			}
		})
	}
}

func (a *app) table(b *testing.B, link string) {
	b.Helper()
	ways := a.ways()
	rates, ratios := make([][]float64, len(ways)), make([][]float64, len(ways))
	for range rounds {
		round := make([]float64, len(ways))
		for i, w := range ways {
			round[i] = a.rate(b, w)
			rates[i] = append(rates[i], round[i])
			ratios[i] = append(ratios[i], round[i]/round[0])
		}
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\n%s, %d clients, 256 B, %s\tcommits/s\t× app alone (medians of %d)\n", link, clients, a.settings(b), rounds)
	for i, w := range ways {
		fmt.Fprintf(t, "%s\t%.0f\t%.2f\n", w.name, median(rates[i]), median(ratios[i]))
	}
	if err := t.Flush(); err != nil {
		b.Fatal(err)
	}
}

func median(of []float64) float64 {
	slices.SortFunc(of, cmp.Compare)
	return of[len(of)/2]
}

// rate is how many transactions a second commit. Every round begins with empty tables and a checkpoint behind it.
func (a *app) rate(b *testing.B, w way) float64 {
	b.Helper()
	for _, statement := range []string{`TRUNCATE customers, outbox`, `CHECKPOINT`} {
		if _, err := a.pool.Exec(b.Context(), statement); err != nil {
			b.Fatal(err)
		}
	}
	var commits atomic.Int64
	var g sync.WaitGroup
	errs := make(chan error, clients)
	began := time.Now()
	for client := range clients {
		g.Go(func() {
			for n := 0; time.Since(began) < perRound; n++ {
				customer := fmt.Sprintf("%d.%d@example.com", client, n)
				if err := pgx.BeginFunc(b.Context(), a.pool, func(tx pgx.Tx) error { return w.do(b.Context(), tx, customer) }); err != nil {
					errs <- err
					return
				}
				commits.Add(1)
			}
		})
	}
	g.Wait()
	close(errs)
	for err := range errs {
		b.Fatal(err)
	}
	return float64(commits.Load()) / time.Since(began).Seconds()
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

// openApp makes the database of an application, with the kind that it enqueues.
func openApp(b *testing.B, url string, delay time.Duration) *app {
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
	config.MaxConns, config.MinConns = clients, clients
	config.ConnConfig.DialFunc = dialer(delay)
	pool, err := pgxpool.NewWithConfig(b.Context(), config)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	_, err = pool.Exec(b.Context(), `CREATE TABLE IF NOT EXISTS customers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		email text NOT NULL UNIQUE, name text NOT NULL, created_at timestamptz NOT NULL DEFAULT now())`)
	if err != nil {
		b.Fatal(err)
	}
	return &app{db: db, pool: pool}
}
