package outbox_test

import (
	"context"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/store/postgres"
)

type note struct {
	Text string `json:"text"`
}

var (
	kind = jobs.Define[note]("bench:note", jobs.Policy{})
	text = strings.Repeat("x", 256-len(`{"text":""}`))
)

const insertCustomer = `INSERT INTO customers (email, name) VALUES ($1, $2)`

// app is an application with its own pool on the database of an outbox.
type app struct {
	db   *postgres.DB
	pool *pgxpool.Pool
}

// way is an application's transaction.
type way struct {
	name string
	do   func(ctx context.Context, tx pgx.Tx, customer string) error
}

func (a *app) ways() []way {
	alone := func(ctx context.Context, tx pgx.Tx, customer string) error {
		_, err := tx.Exec(ctx, insertCustomer, customer, "Ada Lovelace")
		return err
	}
	and := func(do func(ctx context.Context, tx pgx.Tx) error) func(context.Context, pgx.Tx, string) error {
		return func(ctx context.Context, tx pgx.Tx, customer string) error {
			if err := alone(ctx, tx, customer); err != nil {
				return err
			}
			return do(ctx, tx)
		}
	}
	return []way{
		{"app alone", alone},
		{"app and SELECT 1", and(func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `SELECT $1::int`, 1)
			return err
		})},
		{"app and EnqueueTx", and(func(ctx context.Context, tx pgx.Tx) error {
			_, err := a.db.EnqueueTx(ctx, tx, kind.With(note{Text: text}))
			return err
		})},
		{"app and sealq_enqueue", and(func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `SELECT sealq_enqueue($1, $2)`, "bench:note", note{Text: text})
			return err
		})},
		{"app and EnqueueBatch, in one batch", func(ctx context.Context, tx pgx.Tx, customer string) error {
			b := &pgx.Batch{}
			b.Queue(insertCustomer, customer, "Ada Lovelace")
			if _, err := a.db.EnqueueBatch(b, kind.With(note{Text: text})); err != nil {
				return err
			}
			return tx.SendBatch(ctx, b).Close()
		}},
	}
}

// dialer connects to a server that is so far away: every flush, of which a statement or a batch has one, waits that long.
func dialer(delay time.Duration) pgconn.DialFunc {
	var plain net.Dialer
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := plain.DialContext(ctx, network, address)
		if err != nil || delay == 0 {
			return conn, err
		}
		return &distant{Conn: conn, delay: delay}, nil
	}
}

type distant struct {
	net.Conn
	delay time.Duration
}

func (d *distant) Write(p []byte) (int, error) {
	<-time.After(d.delay)
	return d.Conn.Write(p)
}
