package postgres

import (
	"context"
	"errors"
	"fmt"
	neturl "net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrNotMigrated means that the database lacks a table or column: sealq migrate up creates it.
var ErrNotMigrated = errors.New("the PostgreSQL database is not migrated: run sealq migrate up")

// urlShape is spelt in two, as linters take it for a real password.
const urlShape = "postgres://" + "USER:PASSWORD@HOST:5432/DATABASE"

// defaultMaxConns is more than pgx's 4: where a process hashes passwords, whoever waits for an answer is late to read it, and holds his
// connection meanwhile. Of 32 clients that log in, four connections served 0.8 of what the hash allows, sixteen 0.95.
const defaultMaxConns = 16

// DB is one PostgreSQL database behind a pool of connections. Its methods may be called concurrently.
type DB struct {
	pool *pgxpool.Pool
	now  func() time.Time // for delays of jobs, which callers mean by their own clock
}

// Open connects to the database that a postgres:// URL names, and returns when it has answered. The URL may carry pgx's
// parameters, such as pool_max_conns (default: 16, or as many as there are CPUs). Tables are not created: see
// Migrate. A statement whose context has no deadline is given up after 30 seconds, with its connection: the server may have
// vanished.
func Open(ctx context.Context, url string) (*DB, error) {
	return open(ctx, url, longestSilence)
}

func open(ctx context.Context, url string, longest time.Duration) (*DB, error) {
	config, err := parseURL(url)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	config.ConnConfig.Tracer = multitracer.New(config.ConnConfig.Tracer, patience(longest))
	if config.PingTimeout == 0 {
		config.PingTimeout = min(pingTimeout, longest)
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, wrap("open database", err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, wrap("open database", err)
	}
	db := &DB{pool: pool}
	db.now = time.Now
	return db, nil
}

// parseURL refuses what a person and pgx may read in two ways: then a part of the password would be taken for the host,
// and printed when it is not found.
func parseURL(url string) (*pgxpool.Config, error) {
	rest, ok := strings.CutPrefix(url, "postgres://")
	if !ok {
		rest, ok = strings.CutPrefix(url, "postgresql://")
	}
	if !ok {
		return nil, errors.New("the database URL does not begin with postgres:// or postgresql://: write " + urlShape)
	}
	_, after, found := strings.Cut(rest, "@")
	if strings.Contains(after, "@") || found && strings.ContainsAny(rest[:len(rest)-len(after)], "/?#") {
		return nil, errors.New("the database URL is ambiguous: write " + urlShape +
			" with @ as %40, / as %2F, : as %3A, ? as %3F and # as %23 within its parts")
	}
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		// Of a URL whose parts are clear pgx hides the password.
		return nil, fmt.Errorf("the database URL is not understood, write %s: %w", urlShape, err)
	}
	if params := config.ConnConfig.RuntimeParams; params["application_name"] == "" {
		params["application_name"] = "sealq"
	}
	config.ConnConfig.Tracer = newTracer()
	if u, err := neturl.Parse(url); err == nil && !u.Query().Has("pool_max_conns") {
		config.MaxConns = max(config.MaxConns, defaultMaxConns)
	}
	return config, nil
}

// Close waits until connections in use are given back, and closes them all.
func (db *DB) Close() error {
	db.pool.Close()
	return nil
}

// Ping says whether the database answers.
func (db *DB) Ping(ctx context.Context) error {
	if err := db.pool.Ping(ctx); err != nil {
		return wrap("ping database", err)
	}
	return nil
}

// InTx runs fn in a transaction of its own, a *Tx, and commits it if fn returns nil. Else, or when fn panics, it rolls back;
// fn's error is returned as it is. fn must neither commit nor roll back. What fn calls without handing it tx uses another
// connection, does not see tx's changes, and waits for ever on a row that tx has locked. PostgreSQL ends a transaction that says
// nothing for a minute, or until 5 seconds after ctx's deadline.
func (db *DB) InTx(ctx context.Context, fn func(tx pgx.Tx) error) error {
	tx, err := BeginTx(ctx, db.pool, pgx.TxOptions{BeginQuery: fmt.Sprintf("begin isolation level read committed; set local %s = %d",
		idleSetting, longestIdle(ctx).Milliseconds())})
	if err != nil {
		return wrap("begin", err)
	}
	defer func() { _ = tx.Rollback(ctx) }() // says that tx is over where it is
	if err := fn(tx); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return wrap("commit", err)
	}
	return nil
}

// querier is a pool, a connection or a transaction.
type querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// wrap names the operation that err ended, and says what to do about the errors that a person can do something about.
func wrap(operation string, err error) error {
	if hint := explain(err); hint != nil {
		return fmt.Errorf("%s: %w: %w", operation, hint, err)
	}
	return fmt.Errorf("%s: %w", operation, err)
}

// explain knows SQLSTATE codes (PostgreSQL's manual, appendix A).
func explain(err error) error {
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch refused.Code {
		case "28P01", "28000":
			return errors.New("PostgreSQL refuses the user: check user, password and database in the URL, and the server's pg_hba.conf")
		case "3D000":
			return errors.New("the database does not exist: create it (createdb), or correct its name at the end of the URL")
		case "53300":
			return errors.New("PostgreSQL has no connection left: lower pool_max_conns in the URL, or raise the server's max_connections")
		case "57P01", "57P02", "57P03":
			return errors.New("PostgreSQL is starting or stopping: try again")
		case "55P03":
			return errors.New("somebody else has locked the table: try again")
		case "42501":
			return errors.New("PostgreSQL denies this user the right: grant it, or use the user that owns the tables")
		case "42P01", "42703":
			return ErrNotMigrated
		case "42P07":
			return errors.New("a table of this name exists and is not sealq's: give sealq a database of its own, or a schema (…?search_path=sealq)")
		}
		return nil
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return errors.New("PostgreSQL cannot be reached: check that it is running, and host, port and sslmode in the URL")
	}
	return nil
}
