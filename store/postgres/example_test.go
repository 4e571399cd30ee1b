package postgres_test

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/store/postgres"
)

// A password with special characters is percent-encoded in the URL. Errors say so, and show no password.
func ExampleOpen() {
	_, err := postgres.Open(context.Background(), "postgres://sealq:p@ss@db.example.org/sealq")
	fmt.Println(err)
	// Output: open database: the database URL is ambiguous: write postgres://USER:PASSWORD@HOST:5432/DATABASE with @ as %40, / as %2F, : as %3A, ? as %3F and # as %23 within its parts
}

// The job travels with COMMIT. What cannot be connected to is an error before fn is called.
func ExampleBeginFunc() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, "postgres://shop@127.0.0.1:1/shop?sslmode=disable") // nobody is there
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	invoice := jobs.Define[struct{ OrderID int64 }]("orders:invoice", jobs.Policy{})
	var db *postgres.DB // of postgres.Open

	err = postgres.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		var order struct{ OrderID int64 }
		if err := tx.QueryRow(ctx, `INSERT INTO orders (item) VALUES ($1) RETURNING id`, "a hat").Scan(&order.OrderID); err != nil {
			return err
		}
		_, err := db.EnqueueTx(ctx, tx, invoice.With(order))
		return err
	})
	fmt.Println(err != nil)
	// Output: true
}
