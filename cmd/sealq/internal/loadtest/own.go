package loadtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/store"
	"github.com/sealq/sealq/store/postgres"
)

// own is a database of the run's own where the named one is: a schema of that PostgreSQL database, a file in that SQLite file's
// folder. It has the same server, disk and settings. In the named database's own tables a run would not be alone: any relay
// looks after overdue rows of all kinds, and the ledger keeps effects for days.
type own struct {
	db   store.DB
	drop func(ctx context.Context) error
}

// ErrNoSchema means that the tables would not have been the run's own. None was made.
var ErrNoSchema = errors.New("the database does not look for tables where its URL says (search_path): is there a pooler before it? Name PostgreSQL itself")

// openOwn names it like the run's queue.
func openOwn(ctx context.Context, address, queue string) (*own, error) {
	if path, ok := strings.CutPrefix(address, "sqlite:"); ok {
		return openFile(ctx, filepath.Join(filepath.Dir(path), "."+queue))
	}
	return openSchema(ctx, address, strings.ReplaceAll(queue, "-", "_"))
}

func openFile(ctx context.Context, folder string) (*own, error) {
	if err := os.Mkdir(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make a folder beside the database: %w", err)
	}
	remove := func(context.Context) error { return os.RemoveAll(folder) }
	return prepare(ctx, "sqlite:"+filepath.Join(folder, "bench.db"), remove)
}

// prepare opens and migrates. remove is called last of all.
func prepare(ctx context.Context, address string, remove func(ctx context.Context) error) (*own, error) {
	sweeping, cancel := sweepContext(ctx)
	defer cancel()
	db, err := store.Open(ctx, address)
	if err != nil {
		return nil, errors.Join(err, remove(sweeping))
	}
	drop := func(ctx context.Context) error { return errors.Join(db.Close(), remove(ctx)) }
	if _, err = db.Migrate(ctx); err != nil {
		return nil, errors.Join(err, drop(sweeping))
	}
	return &own{db: db, drop: drop}, nil
}

func openSchema(ctx context.Context, address, schema string) (*own, error) {
	there, err := withSearchPath(address, schema)
	if err != nil {
		return nil, err
	}
	home, err := postgres.Open(ctx, there)
	if err != nil {
		return nil, err
	}
	execute := func(ctx context.Context, statement string) error {
		return home.InTx(ctx, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, statement)
			return err //nolint:wrapcheck // wrapped below
		})
	}
	if err := execute(ctx, "CREATE SCHEMA "+schema); err != nil {
		return nil, errors.Join(fmt.Errorf("create a schema for the run (the user needs CREATE on the database): %w", err), home.Close())
	}
	remove := func(ctx context.Context) error {
		err := execute(ctx, "DROP SCHEMA "+schema+" CASCADE")
		if err != nil {
			err = fmt.Errorf("the schema %s is left in the database (DROP SCHEMA %s CASCADE removes it): %w", schema, schema, err)
		}
		return errors.Join(err, home.Close())
	}
	var current string
	err = home.InTx(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, "SELECT coalesce(current_schema(), '')").Scan(&current)
	})
	if err != nil {
		err = fmt.Errorf("look for the run's schema: %w", err)
	} else if current != schema {
		err = ErrNoSchema
	}
	if err != nil {
		sweeping, cancel := sweepContext(ctx)
		defer cancel()
		return nil, errors.Join(err, remove(sweeping))
	}
	return prepare(ctx, there, remove)
}

// withSearchPath lets a URL lead into a schema. An error repeats nothing of the URL.
func withSearchPath(address, schema string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", errors.New("the database URL is not understood")
	}
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	return u.String(), nil
}
