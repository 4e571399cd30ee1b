package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

const (
	// writeWait is how long a writer waits for the others, in Go's queue and again in SQLite's.
	writeWait = 5 * time.Second
	// busyWait is how long SQLite waits by itself for another process's writer: see untilFree.
	busyWait = 20 * time.Millisecond
	// readers bounds the connections that only read. Each has a page cache of its own (2 MiB at most).
	readers = 4
)

// DB is one SQLite file. Its methods may be called concurrently.
type DB struct {
	path  string
	write *sql.DB       // one connection, which whoever holds turn may use
	read  *sql.DB       // query_only
	turn  chan struct{} // holds one token: the turn to write. Waiting goroutines get it first come, first served.
}

// Open opens the file, which it creates with mode 0600 where there is none. The folder has to be there. Tables are not
// created: see Migrate.
func Open(ctx context.Context, path string) (*DB, error) { return OpenAt(ctx, path, nil) }

// OpenAt is Open with another clock than SQLite's, for whoever makes a history: what is written then has its times. Nobody else may work
// on the file meanwhile. Nil is SQLite's.
func OpenAt(ctx context.Context, path string, clock func() time.Time) (*DB, error) {
	path, err := prepareFile(path)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db := &DB{path: path, turn: make(chan struct{}, 1)}
	db.turn <- struct{}{}
	if db.write, err = pool(path, 1, busyWait, clock, url.Values{
		"_txlock": {"immediate"},
		// FULL syncs the log at every commit. NORMAL, which WAL mode is often run with, keeps the file sound but
		// may lose the last commits with the power: a registration that was confirmed to a person would be gone. The
		// sync is most of a commit's cost: 0.3 ms instead of 0.1 ms on a virtual disk (BenchmarkCommit).
		// fullfsync does on macOS what fsync does elsewhere; other systems ignore it.
		"_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "fullfsync(1)", "journal_size_limit(67108864)"},
	}); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if db.read, err = pool(path, readers, writeWait, clock, url.Values{"_query_only": {"1"}}); err != nil {
		return nil, errors.Join(fmt.Errorf("open database: %w", err), db.write.Close())
	}
	// The writer first: it puts the file into WAL mode. Both answer only when SQLite has understood the file.
	for _, p := range []*sql.DB{db.write, db.read} {
		var tables int
		if err := untilFree(ctx, func() error {
			return p.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables)
		}); err != nil {
			return nil, errors.Join(fmt.Errorf("open database: %w", db.explain(err)), db.closePools())
		}
	}
	return db, nil
}

func pool(path string, connections int, busy time.Duration, clock func() time.Time, options url.Values) (*sql.DB, error) {
	options.Set("_busy_timeout", strconv.FormatInt(busy.Milliseconds(), 10))
	options.Set("mode", "rw") // prepareFile has made the file, with the mode that it should have
	options.Set("_error_rc", "1")
	options.Set("_dqs", "0")       // a misspelt column is an error and not a string
	options.Set("_defensive", "1") // SQL cannot damage the file
	options["_pragma"] = append(options["_pragma"], "foreign_keys(1)", "trusted_schema(0)")
	path = "/" + strings.TrimPrefix(filepath.ToSlash(path), "/") // Windows: file:///C:/…
	connector, err := connectorAt((&url.URL{Scheme: "file", Path: path, RawQuery: options.Encode()}).String(), clock)
	if err != nil {
		return nil, fmt.Errorf("options of the SQLite driver: %w", err)
	}
	p := sql.OpenDB(connector)
	p.SetMaxOpenConns(connections)
	p.SetMaxIdleConns(connections)
	return p, nil
}

// Close waits for a transaction under way, though not for ever, and closes the file.
func (db *DB) Close() error {
	if db.waitTurn(context.Background()) == nil {
		defer func() { db.turn <- struct{}{} }() // whoever comes now is told that the database is closed
	}
	return db.closePools()
}

// closePools closes the reader first: the last connection to go writes the log back into the file.
func (db *DB) closePools() error {
	if err := errors.Join(db.read.Close(), db.write.Close()); err != nil {
		return fmt.Errorf("close database: %w", db.explain(err))
	}
	return nil
}

// Ping asks the file something.
func (db *DB) Ping(ctx context.Context) error {
	if _, err := now(ctx, db.read); err != nil {
		return fmt.Errorf("ping database: %w", db.explain(err))
	}
	return nil
}

// InTx runs fn in a transaction of its own, in which it is the only writer from the start (BEGIN IMMEDIATE), commits it
// if fn returns nil, and else rolls it back and returns fn's error as it is. fn must neither commit nor roll back, nor
// call methods of DB that take no transaction and write: they wait for this one, and end in ErrBusy.
func (db *DB) InTx(ctx context.Context, fn func(tx *sql.Tx) error) error {
	err := db.waitTurn(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { db.turn <- struct{}{} }()
	tx, err := db.begin(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", db.explain(err))
	}
	defer func() { _ = tx.Rollback() }() // says that tx is over where it is; and a panic of fn must leave no writer behind
	if err := fn(tx); err != nil {
		return endedBy(ctx, err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", endedBy(ctx, db.explain(err)))
	}
	return nil
}

// endedBy says that the context ended a transaction: database/sql rolls back by itself then, and may only say that it is over.
func endedBy(ctx context.Context, err error) error {
	if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return err
}

// begin waits for other processes' writers.
func (db *DB) begin(ctx context.Context) (tx *sql.Tx, err error) {
	err = untilFree(ctx, func() (err error) {
		tx, err = db.write.BeginTx(ctx, nil)
		return err //nolint:wrapcheck // InTx wraps it
	})
	return tx, err
}

// untilFree tries again while other processes write. SQLite's own waiting hears nothing of ctx: it is kept short, and repeated.
func untilFree(ctx context.Context, try func() error) error {
	waiting, cancel := context.WithTimeout(ctx, writeWait)
	defer cancel()
	for {
		err := try()
		busy, ok := errors.AsType[*sqlite.Error](err)
		switch {
		case !ok || busy.Code()&0xff != lib.SQLITE_BUSY:
			return err
		case ctx.Err() != nil:
			return ctx.Err() //nolint:wrapcheck // callers wrap it with the operation
		case waiting.Err() != nil:
			return err
		}
	}
}

func (db *DB) waitTurn(ctx context.Context) error {
	timer := time.NewTimer(writeWait)
	defer timer.Stop()
	select {
	case <-db.turn:
		return nil
	case <-ctx.Done():
		return ctx.Err() //nolint:wrapcheck // InTx wraps it
	case <-timer.C:
		return fmt.Errorf("%w: another transaction of this process has been open for %v", ErrBusy, writeWait)
	}
}

// querier is *sql.DB or *sql.Tx.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// execute runs one statement and returns how many rows it changed.
func execute(ctx context.Context, q querier, query string, args ...any) (int, error) {
	result, err := q.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	return int(n), err
}
