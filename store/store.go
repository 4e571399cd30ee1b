// Package store opens the database that a URL names, with the driver for it. It holds no SQL and knows no transaction:
// who needs one asks for the driver's own type.
//
//	switch db := db.(type) {
//	case *postgres.DB: // pgx.Tx
//	case *sqlite.DB: // *sql.Tx
//	}
package store

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/store/postgres"
	"github.com/sealq/sealq/store/sqlite"
)

// DB is what both drivers can do without a transaction, for whoever looks after a database.
type DB interface {
	// Ping says whether the database answers.
	Ping(ctx context.Context) error
	// Migrate brings the schema up to date and returns the names of the migrations that it ran.
	Migrate(ctx context.Context) (ran []string, err error)
	// MigrationStatus lists the migrations that the database has and those that it lacks.
	MigrationStatus(ctx context.Context) (applied, pending []string, err error)
	// QuarantineList lists entries without their payload, the newest first.
	QuarantineList(ctx context.Context, limit int) ([]jobs.Refused, error)
	// QuarantineShow returns one entry with its payload, or jobs.ErrNoSuchEntry.
	QuarantineShow(ctx context.Context, id string) (jobs.Refused, error)
	// QuarantineUsage says how full the quarantine is, and what found no room.
	QuarantineUsage(ctx context.Context) (quarantine.Usage, error)
	// OutboxDepth counts the unfinished rows by state, and says how long the queued row that has been due the longest
	// has waited.
	OutboxDepth(ctx context.Context) (unfinished map[jobs.RowState]int64, oldest time.Duration, err error)
	// Close ends every connection.
	Close() error
}

// ErrUnknownURL is the answer to a URL that names no driver.
var ErrUnknownURL = errors.New("the database URL is neither postgres://USER:PASSWORD@HOST:5432/DATABASE nor sqlite:PATH")

// Open opens the database at postgres://… (or postgresql://…) or sqlite:PATH. Its tables are not created: see Migrate.
func Open(ctx context.Context, url string) (DB, error) {
	switch scheme, rest, _ := strings.Cut(url, ":"); {
	case strings.HasPrefix(url, "postgres://"), strings.HasPrefix(url, "postgresql://"):
		return opened(postgres.Open(ctx, url))
	case scheme == "sqlite" && rest != "" && !strings.HasPrefix(rest, "//"):
		return opened(sqlite.Open(ctx, rest))
	default: // the URL is not repeated: it may hold a password
		return nil, ErrUnknownURL
	}
}

// opened keeps a nil driver out of the interface.
func opened[D DB](db D, err error) (DB, error) {
	if err != nil {
		return nil, err
	}
	return db, nil
}
