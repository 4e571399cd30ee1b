package postgres

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Errors of Migrate and MigrationStatus.
var (
	// ErrNewerSchema means that a newer sealq has migrated the database.
	ErrNewerSchema = errors.New("a newer sealq has migrated this database: run that version or a later one")
	// ErrEditedMigration means that a migration is not what it was when it ran.
	ErrEditedMigration = errors.New("a migration was edited after it ran on this database: restore it as it was released, and change the schema by a new one")
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migrationLock is the key of the advisory lock under which migrations run: "sealq" in ASCII.
const migrationLock = 0x7365616c71

const migrationTable = `
CREATE TABLE IF NOT EXISTS sealq_migrations (
    version    integer     PRIMARY KEY,
    name       text        NOT NULL,
    checksum   bytea       NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT statement_timestamp()
)`

// migration is one file of the folder. Its version is its place in the order of the file names, from 1.
type migration struct {
	name     string // file name without .sql
	sql      string
	checksum [sha256.Size]byte
}

func migrationsIn(folder fs.FS) ([]migration, error) {
	names, err := fs.Glob(folder, "migrations/*.sql") // sorted
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	list := make([]migration, 0, len(names))
	for i, file := range names {
		text, err := fs.ReadFile(folder, file)
		if err != nil {
			return nil, fmt.Errorf("read migration: %w", err)
		}
		text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")) // as a checkout may have made them
		m := migration{name: strings.TrimSuffix(path.Base(file), ".sql"), sql: string(text), checksum: sha256.Sum256(text)}
		if want := fmt.Sprintf("%04d_", i+1); !strings.HasPrefix(m.name, want) {
			return nil, fmt.Errorf("migration %s: the %d. file's name has to begin with %s", m.name, i+1, want)
		}
		list = append(list, m)
	}
	return list, nil
}

// Migrate runs the migrations that the database lacks, each in a transaction of its own with an advisory lock, so any
// number of processes may call it at once. It returns the names of those that it ran itself.
func (db *DB) Migrate(ctx context.Context) (ran []string, err error) {
	return db.migrate(ctx, migrationFiles)
}

func (db *DB) migrate(ctx context.Context, folder fs.FS) (ran []string, err error) {
	ctx = endless(ctx) // an index over a large table takes its time, and so does waiting for another process
	known, err := migrationsIn(folder)
	if err != nil {
		return nil, err
	}
	for {
		name := ""
		if err := db.InTx(ctx, func(tx pgx.Tx) error {
			name, err = nextMigration(ctx, tx, known)
			return err
		}); err != nil {
			return ran, err
		}
		if name == "" {
			return ran, nil
		}
		ran = append(ran, name)
	}
}

// nextMigration runs the first migration that the database lacks and returns its name, "" where none is lacking. The
// lock ends with the transaction, so it also holds behind a pooler that hands out connections by transaction.
func nextMigration(ctx context.Context, tx pgx.Tx, known []migration) (string, error) {
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", int64(migrationLock)); err != nil {
		return "", wrap("lock for migrations", err)
	}
	if _, err := tx.Exec(ctx, migrationTable); err != nil {
		return "", wrap("create table sealq_migrations", err)
	}
	applied, err := appliedMigrations(ctx, tx, known)
	if err != nil || len(applied) == len(known) {
		return "", err
	}
	m := known[len(applied)]
	if _, err := tx.Exec(ctx, m.sql); err != nil {
		return "", wrap("migration "+m.name, err)
	}
	if _, err := tx.Exec(ctx, "INSERT INTO sealq_migrations (version, name, checksum) VALUES ($1, $2, $3)",
		len(applied)+1, m.name, m.checksum[:]); err != nil {
		return "", wrap("record migration "+m.name, err)
	}
	return m.name, nil
}

// MigrationStatus names the migrations that the database has and those that it lacks.
func (db *DB) MigrationStatus(ctx context.Context) (applied, pending []string, err error) {
	known, err := migrationsIn(migrationFiles)
	if err != nil {
		return nil, nil, err
	}
	var exists bool
	if err := db.pool.QueryRow(ctx, "SELECT to_regclass('sealq_migrations') IS NOT NULL").Scan(&exists); err != nil {
		return nil, nil, wrap("migration status", err)
	}
	if exists {
		if applied, err = appliedMigrations(ctx, db.pool, known); err != nil {
			return nil, nil, err
		}
	}
	for _, m := range known[len(applied):] {
		pending = append(pending, m.name)
	}
	return applied, pending, nil
}

// appliedMigrations names what has run, which is a beginning of what is known.
func appliedMigrations(ctx context.Context, q querier, known []migration) ([]string, error) {
	rows, err := q.Query(ctx, "SELECT version, name, checksum FROM sealq_migrations ORDER BY version")
	if err != nil {
		return nil, wrap("read migrations", err)
	}
	defer rows.Close()
	var applied []string
	for rows.Next() {
		var version int
		var name string
		var checksum []byte
		if err := rows.Scan(&version, &name, &checksum); err != nil {
			return nil, wrap("read migrations", err)
		}
		if version > len(known) {
			return nil, fmt.Errorf("migration %s is not known here: %w", name, ErrNewerSchema)
		}
		if m := known[len(applied)]; version != len(applied)+1 || name != m.name || !bytes.Equal(checksum, m.checksum[:]) {
			return nil, fmt.Errorf("migration %s: %w", name, ErrEditedMigration)
		}
		applied = append(applied, name)
	}
	if err := rows.Err(); err != nil {
		return nil, wrap("read migrations", err)
	}
	return applied, nil
}
