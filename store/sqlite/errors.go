package sqlite

import (
	"errors"
	"fmt"
	"strings"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

// ErrBusy means that the database's one writer was not to be had in time. Nothing was changed; trying again is safe.
var ErrBusy = errors.New("the SQLite database is busy")

// ErrNotMigrated means that the database lacks a table: sealq migrate up creates it.
var ErrNotMigrated = errors.New("the SQLite database is not migrated: run sealq migrate up")

// explained is an error of SQLite with what it means for whoever runs the program.
type explained struct{ why, cause error }

func (e *explained) Error() string { return e.why.Error() + ": " + e.cause.Error() }

func (e *explained) Unwrap() []error { return []error{e.why, e.cause} }

// explain adds what a person can do about err. The cause stays in the chain.
func (db *DB) explain(err error) error {
	if _, done := errors.AsType[*explained](err); done {
		return err
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		if why := db.why(e); why != nil {
			return &explained{why, err}
		}
	}
	return err
}

func (db *DB) why(e *sqlite.Error) error {
	if e.Code() == lib.SQLITE_BUSY_SNAPSHOT { // of a connection that is not ours: InTx begins with BEGIN IMMEDIATE
		return fmt.Errorf("%w: the transaction read before it wrote, and another one has written since: begin it with BEGIN IMMEDIATE", ErrBusy)
	}
	switch e.Code() & 0xff { // the low byte is the primary code, the rest says where it came from
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED:
		return fmt.Errorf("%w: another process has been writing to %s for %v", ErrBusy, db.path, writeWait)
	case lib.SQLITE_NOTADB:
		return fmt.Errorf("%s is not an SQLite database: let --database-url sqlite:PATH name one, or a file that does not exist yet", db.path)
	case lib.SQLITE_READONLY, lib.SQLITE_PERM:
		return fmt.Errorf("%s cannot be written: --database-url sqlite:PATH needs a file and a folder that this user may write to", db.path)
	case lib.SQLITE_CANTOPEN:
		return fmt.Errorf("%s cannot be opened: --database-url sqlite:PATH needs a file and a folder that this user may read and write", db.path)
	case lib.SQLITE_FULL:
		return fmt.Errorf("the disk of %s is full: make room, nothing was changed", db.path)
	case lib.SQLITE_CORRUPT:
		return fmt.Errorf("%s is damaged: restore it from a backup", db.path)
	}
	switch text := e.Error(); {
	case strings.Contains(text, "no such table"), strings.Contains(text, "no such column"):
		return ErrNotMigrated
	case strings.Contains(text, "already exists"):
		return fmt.Errorf("%s has a table of this name that is not sealq's: let --database-url sqlite:PATH name a file of its own", db.path)
	}
	return nil
}

// wrap names the operation that err ended.
func (db *DB) wrap(operation string, err error) error {
	return fmt.Errorf("%s: %w", operation, db.explain(err))
}
