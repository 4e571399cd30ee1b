package sqlite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

var (
	// ErrNewerSchema means that a newer sealq has migrated the database.
	ErrNewerSchema = errors.New("a newer sealq has migrated this database: use that version, there is no way back")
	// ErrEditedMigration means that a migration of this program is not the one that the database was migrated with.
	ErrEditedMigration = errors.New("a migration was edited after the database was migrated with it: use a released sealq")
)

// migration is one file of the folder migrations. They are run in the order of their names and never edited.
type migration struct {
	name     string // such as 0001_accounts
	sql      string
	checksum string
}

func migrations() ([]migration, error) {
	files, err := migrationFiles.ReadDir("migrations") // sorted by name
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	all := make([]migration, 0, len(files))
	for _, file := range files {
		text, err := migrationFiles.ReadFile("migrations/" + file.Name())
		if err != nil {
			return nil, fmt.Errorf("read migrations: %w", err)
		}
		text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")) // a checkout on Windows has the same checksum
		sum := sha256.Sum256(text)
		all = append(all, migration{strings.TrimSuffix(file.Name(), ".sql"), string(text), hex.EncodeToString(sum[:])})
	}
	return all, nil
}

// Migrate brings the tables up to date, in one transaction, and returns the names of the migrations that it ran. Any
// number of processes may call it at once. It returns [ErrNewerSchema] or [ErrEditedMigration] where the database is
// not what this program knows, and changes nothing.
func (db *DB) Migrate(ctx context.Context) ([]string, error) {
	var ran []string
	err := db.InTx(ctx, func(tx *sql.Tx) error {
		if _, err := execute(ctx, tx, `CREATE TABLE IF NOT EXISTS sealq_migrations (
			name       TEXT    NOT NULL PRIMARY KEY,
			checksum   TEXT    NOT NULL,
			applied_at INTEGER NOT NULL
		) STRICT`); err != nil {
			return err
		}
		_, pending, err := compareMigrations(ctx, tx)
		if err != nil {
			return err
		}
		for _, m := range pending {
			if _, err := execute(ctx, tx, m.sql); err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
			if _, err := execute(ctx, tx, `INSERT INTO sealq_migrations (name, checksum, applied_at) VALUES (?, ?, `+nowSQL+`)`, m.name, m.checksum); err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
			ran = append(ran, m.name)
		}
		return nil
	})
	if err != nil {
		return nil, db.wrap("migrate database", err)
	}
	return ran, nil
}

// MigrationStatus lists the migrations that the database has and those that it lacks, with the errors of Migrate.
func (db *DB) MigrationStatus(ctx context.Context) (applied, pending []string, err error) {
	has, lacks, err := compareMigrations(ctx, db.read)
	if err != nil {
		return nil, nil, db.wrap("migration status", err)
	}
	for _, m := range has {
		applied = append(applied, m.name)
	}
	for _, m := range lacks {
		pending = append(pending, m.name)
	}
	return applied, pending, nil
}

// compareMigrations tells what the database has from what it lacks.
func compareMigrations(ctx context.Context, q querier) (applied, pending []migration, err error) {
	all, err := migrations()
	if err != nil {
		return nil, nil, err
	}
	checksums, err := appliedChecksums(ctx, q)
	if err != nil {
		return nil, nil, err
	}
	for _, m := range all {
		switch checksum, has := checksums[m.name]; {
		case !has:
			pending = append(pending, m)
		case checksum != m.checksum, len(pending) > 0: // or it ran without the one before it
			return nil, nil, fmt.Errorf("%s: %w", m.name, ErrEditedMigration)
		default:
			applied = append(applied, m)
		}
		delete(checksums, m.name)
	}
	for name := range checksums {
		return nil, nil, fmt.Errorf("%s: %w", name, ErrNewerSchema)
	}
	return applied, pending, nil
}

func appliedChecksums(ctx context.Context, q querier) (map[string]string, error) {
	var tables int
	if err := q.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema WHERE name = 'sealq_migrations'`).Scan(&tables); err != nil || tables == 0 {
		return nil, err //nolint:wrapcheck // callers wrap it with the operation
	}
	rows, err := q.QueryContext(ctx, `SELECT name, checksum FROM sealq_migrations`)
	if err != nil {
		return nil, err
	}
	checksums := make(map[string]string)
	_, err = collect(rows, func(rows *sql.Rows) (struct{}, error) {
		var name, checksum string
		err := rows.Scan(&name, &checksum)
		checksums[name] = checksum
		return struct{}{}, err //nolint:wrapcheck // likewise
	})
	return checksums, err
}
