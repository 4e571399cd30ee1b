package outbox_test

import (
	"context"
	"math/rand/v2"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
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

// statement is one of an application's own.
type statement struct {
	sql  string
	args []any
}

// transaction is what an application does between BEGIN and COMMIT, one statement after the other. name is another one each time.
type transaction struct {
	name       string
	grown      string // tables that begin every round empty
	statements func(name string) []statement
}

// scale is pgbench's: at 50 branches, 32 clients seldom wait for each other's.
const scale = 50

func transactions() []transaction {
	return []transaction{
		{"TPC-B, scale 50", "pgbench_history", transfer},
		{"sign-up by hand", "members, profiles", signUp},
		{"one INSERT", "customers", insert},
	}
}

// transfer is pgbench's own transaction, TPC-B-like, to the letter.
func transfer(string) []statement {
	account, branch, teller := 1+rand.IntN(100_000*scale), 1+rand.IntN(scale), 1+rand.IntN(10*scale)
	delta := rand.IntN(10_001) - 5000
	return []statement{
		{`UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2`, []any{delta, account}},
		{`SELECT abalance FROM pgbench_accounts WHERE aid = $1`, []any{account}},
		{`UPDATE pgbench_tellers SET tbalance = tbalance + $1 WHERE tid = $2`, []any{delta, teller}},
		{`UPDATE pgbench_branches SET bbalance = bbalance + $1 WHERE bid = $2`, []any{delta, branch}},
		{`INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES ($1, $2, $3, $4, CURRENT_TIMESTAMP)`, []any{teller, branch, account, delta}},
	}
}

// signUp is what an application does that keeps its users itself. It has hashed the password before.
func signUp(name string) []statement {
	id, email := uuid.Must(uuid.NewV7()), name+"@example.com"
	return []statement{
		{`SELECT id FROM members WHERE email = $1`, []any{email}},
		{`INSERT INTO members (id, email, password_hash) VALUES ($1, $2, $3)`, []any{id, email, passwordHash}},
		{`INSERT INTO profiles (member_id, name, locale) VALUES ($1, $2, $3)`, []any{id, "Ada Lovelace", "en"}},
	}
}

const passwordHash = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$h2v1c8Vq6n0b7t3kYwq2l1x9p5r4s8d6f7g0j3k5m1n"

// insert is the least that a transaction can be: the worst case.
func insert(name string) []statement {
	return []statement{{`INSERT INTO customers (email, name) VALUES ($1, $2)`, []any{name + "@example.com", "Ada Lovelace"}}}
}

const tablesSQL = `
CREATE TABLE customers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	email text NOT NULL UNIQUE, name text NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE members (id uuid PRIMARY KEY, email text NOT NULL UNIQUE, password_hash text NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE profiles (member_id uuid PRIMARY KEY REFERENCES members (id), name text NOT NULL, locale text NOT NULL, updated_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE pgbench_branches (bid int NOT NULL PRIMARY KEY, bbalance int, filler char(88)) WITH (fillfactor = 100);
CREATE TABLE pgbench_tellers (tid int NOT NULL PRIMARY KEY, bid int, tbalance int, filler char(84)) WITH (fillfactor = 100);
CREATE TABLE pgbench_accounts (aid int NOT NULL, bid int, abalance int, filler char(84)) WITH (fillfactor = 100);
CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
INSERT INTO pgbench_branches SELECT n, 0 FROM generate_series(1, 50) n;
INSERT INTO pgbench_tellers SELECT n, (n - 1) / 10 + 1, 0 FROM generate_series(1, 10 * 50) n;
INSERT INTO pgbench_accounts SELECT n, (n - 1) / 100000 + 1, 0, '' FROM generate_series(1, 100000 * 50) n;
ALTER TABLE pgbench_accounts ADD PRIMARY KEY (aid);`

// way is how a job is recorded in an application's transaction.
type way struct {
	name  string
	begin func(ctx context.Context, conn *pgxpool.Conn, fn func(tx pgx.Tx) error) error
	do    func(ctx context.Context, tx pgx.Tx, own []statement) error
}

func (a *app) ways() []way {
	alone := func(ctx context.Context, tx pgx.Tx, own []statement) error {
		for _, s := range own {
			if _, err := tx.Exec(ctx, s.sql, s.args...); err != nil {
				return err
			}
		}
		return nil
	}
	and := func(do func(ctx context.Context, tx pgx.Tx) error) func(context.Context, pgx.Tx, []statement) error {
		return func(ctx context.Context, tx pgx.Tx, own []statement) error {
			if err := alone(ctx, tx, own); err != nil {
				return err
			}
			return do(ctx, tx)
		}
	}
	enqueue := and(func(ctx context.Context, tx pgx.Tx) error {
		_, err := a.db.EnqueueTx(ctx, tx, kind.With(note{Text: text}))
		return err
	})
	plain := func(ctx context.Context, conn *pgxpool.Conn, fn func(tx pgx.Tx) error) error {
		return pgx.BeginFunc(ctx, conn, fn)
	}
	return []way{
		{"alone", plain, alone},
		{"alone, of postgres.Begin", postgres.BeginFunc[*pgxpool.Conn], alone},
		{"and SELECT 1", plain, and(func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `SELECT $1::int`, 1)
			return err
		})},
		{"and EnqueueTx", plain, enqueue},
		{"and EnqueueTx, of postgres.Begin", postgres.BeginFunc[*pgxpool.Conn], enqueue},
		{"and EnqueueBatch, with its last statement", plain, func(ctx context.Context, tx pgx.Tx, own []statement) error {
			last := own[len(own)-1]
			if err := alone(ctx, tx, own[:len(own)-1]); err != nil {
				return err
			}
			b := &pgx.Batch{}
			b.Queue(last.sql, last.args...)
			if _, err := a.db.EnqueueBatch(b, kind.With(note{Text: text})); err != nil {
				return err
			}
			return tx.SendBatch(ctx, b).Close()
		}},
		{"and sealq_enqueue", plain, and(func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `SELECT sealq_enqueue($1, $2)`, "bench:note", note{Text: text})
			return err
		})},
	}
}
