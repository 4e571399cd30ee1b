package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// firstUses are those with which BEGIN travels, and those with which it does not.
func firstUses() []use {
	return []use{
		{"a statement first", func(ctx context.Context, s *script, tx pgx.Tx) error {
			s.exec(ctx, tx, "INSERT INTO orders VALUES ($1)", "hat")
			s.enqueue(ctx, tx, "a")
			s.exec(ctx, tx, "INSERT INTO orders VALUES ($1)", "coat")
			return nil
		}},
		{"a statement first, undone", func(ctx context.Context, s *script, tx pgx.Tx) error {
			s.exec(ctx, tx, "INSERT INTO orders VALUES ($1)", "hat")
			return errors.New("changed its mind")
		}},
		{"a first statement that is not SQL", func(ctx context.Context, s *script, tx pgx.Tx) error {
			s.exec(ctx, tx, "INSERT $1", "hat")
			s.exec(ctx, tx, "INSERT INTO orders VALUES ($1)", "hat") // in an aborted transaction
			return nil
		}},
		{"a first statement that fails", func(ctx context.Context, s *script, tx pgx.Tx) error {
			s.exec(ctx, tx, "SELECT 1/$1::int", 0)
			s.enqueue(ctx, tx, "a")
			return nil
		}},
		{"a first statement's argument that cannot be", func(ctx context.Context, s *script, tx pgx.Tx) error {
			s.exec(ctx, tx, "SELECT $1::int", "hat")
			s.enqueue(ctx, tx, "a")
			return nil
		}},
		{"several statements first", func(ctx context.Context, s *script, tx pgx.Tx) error {
			s.exec(ctx, tx, "INSERT INTO orders VALUES ('hat'); INSERT INTO orders VALUES ('coat')")
			return nil
		}},
		{"an option of pgx first", func(ctx context.Context, s *script, tx pgx.Tx) error {
			s.exec(ctx, tx, "SELECT $1::int", pgx.QueryExecModeSimpleProtocol, 1)
			return nil
		}},
		{"named arguments first", func(ctx context.Context, s *script, tx pgx.Tx) error {
			s.exec(ctx, tx, "INSERT INTO orders VALUES (@item)", pgx.NamedArgs{"item": "hat"})
			return nil
		}},
		{"a query first", func(ctx context.Context, s *script, tx pgx.Tx) error {
			rows, err := tx.Query(ctx, "SELECT n FROM generate_series(1, $1) n", 3)
			numbers, e := pgx.CollectRows(rows, pgx.RowTo[int])
			s.see(fmt.Sprint(numbers, rows.CommandTag()), errors.Join(err, e))
			s.enqueue(ctx, tx, "a")
			return nil
		}},
		{"a first query's values", func(ctx context.Context, s *script, tx pgx.Tx) error {
			rows, err := tx.Query(ctx, "SELECT n FROM generate_series(1, $1) n", 3)
			numbers, e := pgx.CollectRows(rows, pgx.RowToMap)
			s.see(fmt.Sprint(numbers, rows.CommandTag()), errors.Join(err, e))
			return nil
		}},
		{"a first query that is left early", func(ctx context.Context, s *script, tx pgx.Tx) error {
			rows, err := tx.Query(ctx, "SELECT n FROM generate_series(1, $1) n", 3)
			s.see(fmt.Sprint(rows.Next()), err)
			rows.Close()
			rows.Close()
			s.enqueue(ctx, tx, "a")
			return rows.Err()
		}},
		{"a first query that fails on the way", func(ctx context.Context, s *script, tx pgx.Tx) error {
			rows, err := tx.Query(ctx, "SELECT 1/(n - $1) FROM generate_series(1, 3) n", 2)
			numbers, e := pgx.CollectRows(rows, pgx.RowTo[int])
			s.see(fmt.Sprint(numbers, rows.Err()), errors.Join(err, e))
			s.enqueue(ctx, tx, "a")
			return nil
		}},
		{"a first query that is not SQL", func(ctx context.Context, s *script, tx pgx.Tx) error {
			rows, err := tx.Query(ctx, "SELECT FROM WHERE $1", 2)
			s.see(fmt.Sprint(rows.Next(), rows.Err()), err)
			s.enqueue(ctx, tx, "a")
			return nil
		}},
		{"a first query whose rows are something else", func(ctx context.Context, s *script, tx pgx.Tx) error {
			rows, err := tx.Query(ctx, "SELECT n::text FROM generate_series(1, $1) n", 3)
			s.see(fmt.Sprint(rows.Next()), err)
			s.see("scan", rows.Scan(new(time.Time)))
			s.enqueue(ctx, tx, "a") // the connection is free, though nobody closed the rows
			s.look(ctx, tx)
			return rows.Err()
		}},
		{"a row first", func(ctx context.Context, s *script, tx pgx.Tx) error {
			var n int
			s.see("row", tx.QueryRow(ctx, "SELECT $1::int", 7).Scan(&n))
			s.enqueue(ctx, tx, fmt.Sprint("q", n))
			return nil
		}},
		{"no row first", func(ctx context.Context, s *script, tx pgx.Tx) error {
			s.see("row", tx.QueryRow(ctx, "SELECT item FROM orders WHERE item = $1", "hat").Scan(new(string)))
			s.enqueue(ctx, tx, "a")
			return nil
		}},
		{"a first row that fails", func(ctx context.Context, s *script, tx pgx.Tx) error {
			s.see("row", tx.QueryRow(ctx, "SELECT 1/$1::int", 0).Scan(new(int)))
			s.enqueue(ctx, tx, "a")
			return nil
		}},
		{"a batch first", func(ctx context.Context, s *script, tx pgx.Tx) error {
			b := &pgx.Batch{}
			b.Queue("INSERT INTO orders VALUES ($1)", "hat")
			s.see("batch", tx.SendBatch(ctx, b).Close())
			return nil
		}},
		{"a copy first", func(ctx context.Context, s *script, tx pgx.Tx) error {
			n, err := tx.CopyFrom(ctx, pgx.Identifier{"orders"}, []string{"item"}, pgx.CopyFromRows([][]any{{"hat"}}))
			s.see(fmt.Sprint("copied ", n), err)
			return errors.New("changed its mind")
		}},
		{"a savepoint first", func(ctx context.Context, s *script, tx pgx.Tx) error {
			s.see("dropped", pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
				s.exec(ctx, tx, "INSERT INTO orders VALUES ($1)", "hat")
				return errors.New("changed its mind")
			}))
			s.exec(ctx, tx, "INSERT INTO orders VALUES ($1)", "coat")
			return nil
		}},
		{"the connection first", func(ctx context.Context, s *script, tx pgx.Tx) error {
			_, err := tx.Conn().Exec(ctx, "INSERT INTO orders VALUES ($1)", "hat")
			s.see("insert", err)
			return errors.New("changed its mind")
		}},
		{"a large object first", func(ctx context.Context, s *script, tx pgx.Tx) error {
			objects := tx.LargeObjects()
			_, err := objects.Create(ctx, 4294967294)
			s.see("create", err)
			return errors.New("changed its mind")
		}},
		{"a context that is over first", func(ctx context.Context, s *script, tx pgx.Tx) error {
			over, cancel := context.WithCancel(ctx)
			cancel()
			s.exec(over, tx, "INSERT INTO orders VALUES ($1)", "hat")
			s.exec(ctx, tx, "INSERT INTO orders VALUES ($1)", "coat")
			return nil
		}},
		{"a transaction that serialises", func(ctx context.Context, s *script, tx pgx.Tx) error {
			s.exec(ctx, tx, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
			s.exec(ctx, tx, "INSERT INTO orders VALUES ($1)", "hat")
			return nil
		}},
	}
}
