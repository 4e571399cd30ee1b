package postgres_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/store/postgres"
)

// link counts what a pool sends. Where done is set, the answer to the next COMMIT is lost; done is called when that was sent.
type link struct {
	trips atomic.Int64
	done  atomic.Pointer[func()]
}

type linked struct {
	net.Conn
	link *link
	deaf atomic.Bool
}

func (c *linked) Write(p []byte) (int, error) {
	c.link.trips.Add(1)
	done := c.link.done.Load()
	if done == nil || !bytes.Contains(p, []byte("commit")) {
		return c.Conn.Write(p)
	}
	c.link.done.Store(nil)
	c.deaf.Store(true)
	n, err := c.Conn.Write(p)
	(*done)()
	return n, err
}

func (c *linked) Read(p []byte) (int, error) {
	if c.deaf.Load() {
		return 0, io.ErrUnexpectedEOF
	}
	return c.Conn.Read(p)
}

// openPool has one connection at a time.
func openPool(t *testing.T, url string, change func(*pgxpool.Config)) (*link, *pgxpool.Pool) {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	l := &link{}
	var dialer net.Dialer
	config.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		return &linked{Conn: conn, link: l}, err
	}
	config.MaxConns = 1
	if change != nil {
		change(config)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return l, pool
}

// shop is an application with a table of its own and a pool of one connection.
type shop struct {
	db   *postgres.DB
	raw  *pgxpool.Pool
	pool *pgxpool.Pool
	link *link
}

func newShop(t *testing.T, change func(*pgxpool.Config)) *shop {
	t.Helper()
	db, raw := open(t)
	exec(t, raw, `CREATE TABLE orders (item text PRIMARY KEY, twin text REFERENCES orders DEFERRABLE INITIALLY DEFERRED)`)
	exec(t, raw, `ALTER TABLE outbox ADD CHECK (queue <> 'refused')`) // no job of sealq's fails here by itself
	s := &shop{db: db, raw: raw}
	s.link, s.pool = openPool(t, raw.Config().ConnString(), change)
	return s
}

// buy commits an order with a job in each queue.
func (s *shop) buy(ctx context.Context, item string, queues ...string) error {
	return postgres.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO orders VALUES ($1)`, item); err != nil {
			return err
		}
		for _, queue := range queues {
			if _, err := s.db.EnqueueTx(ctx, tx, note(jobs.Queue(queue))); err != nil {
				return err
			}
		}
		return nil
	})
}

// requireUsable says whether the pool's one connection was given back as good as new, or a new one in its place.
func (s *shop) requireUsable(t *testing.T) {
	t.Helper()
	requireNoneAcquired(t, s.pool)
	if err := s.buy(t.Context(), "afterwards", "after"); err != nil {
		t.Errorf("the next transaction: %v", err)
	}
	if got := scalar(t, s.raw, `SELECT count(*) FROM orders WHERE item = 'afterwards'`); got != "1" {
		t.Error("the next transaction did not commit")
	}
}

// requireNoneAcquired waits for a connection that broke to be cleared away.
func requireNoneAcquired(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); pool.Stat().AcquiredConns() > 0; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections were not given back", pool.Stat().AcquiredConns())
		}
	}
}
