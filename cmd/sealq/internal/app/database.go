package app

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/jobs/relay"
	"github.com/sealq/sealq/operators"
	"github.com/sealq/sealq/requests"
	"github.com/sealq/sealq/scheduler"
	"github.com/sealq/sealq/store"
	"github.com/sealq/sealq/store/postgres"
	"github.com/sealq/sealq/store/sqlite"
	"github.com/sealq/sealq/worker"
	"github.com/sealq/sealq/worker/authworker"
)

// backend is all that sealq's packages ask of a driver. That both drivers have it is checked by Open.
type backend[Tx any] interface {
	store.DB
	InTx(ctx context.Context, fn func(tx Tx) error) error
	jobs.Outbox[Tx]
	relay.Rows
	worker.Ledger[Tx]
	worker.Effects
	worker.Outbox
	worker.Quarantine
	authworker.Store[Tx]
	accounts.Store[Tx]
	scheduler.Ticks
	scheduleTables[Tx]
	QuarantineReader
	quarantine.Store
	Rows
	quarantine.Releases[Tx]
	quarantine.Purges[Tx]
	MatchRefused(ctx context.Context, f quarantine.Filter) (quarantine.Purged, error)
	Rings
	Audit
	Ailments
	Histories
	SuppressionReader
	operators.Store
	RefusedGroups
	requests.Desk
	requests.Store
	Pages
	// RemoveSuppression takes a normalised address off the list, or returns authjobs.ErrNotSuppressed.
	RemoveSuppression(ctx context.Context, tx Tx, emailNorm string) error
	// RemoveSuppressions takes up to limit of those that the filter means off the list, the oldest first, and says how many it took.
	RemoveSuppressions(ctx context.Context, tx Tx, f authjobs.SuppressionFilter, limit int) (int64, error)
}

// Ailments are what only a look at all of the outbox tells.
type Ailments interface {
	// OutboxTrouble counts rows that ended within that time and were not done, and unfinished ones at more than that many attempts.
	OutboxTrouble(ctx context.Context, within time.Duration, attempts int) (jobs.Trouble, error)
	// OutboxBacklog counts what is unfinished by kind, queue and state.
	OutboxBacklog(ctx context.Context) ([]jobs.Backlog, error)
}

// QuarantineReader shows refused tasks to people.
type QuarantineReader interface {
	// QuarantineList lists entries, the newest first, without payloads.
	QuarantineList(ctx context.Context, limit int) ([]jobs.Refused, error)
	// QuarantineShow reads one entry whole, or jobs.ErrNoSuchEntry.
	QuarantineShow(ctx context.Context, id string) (jobs.Refused, error)
	// QuarantineUsage says how full it is, and what found no room.
	QuarantineUsage(ctx context.Context) (quarantine.Usage, error)
}

// RefusedGroups are the quarantine in numbers.
type RefusedGroups interface {
	// RefusedGroups counts what was not released by queue and reason, the most numerous first.
	RefusedGroups(ctx context.Context, limit int) ([]jobs.RefusedGroup, error)
}

// Pages are lists that come in pages, and what a page compares.
type Pages interface {
	// RefusedPage lists entries of the quarantine, the newest first, without payloads.
	RefusedPage(ctx context.Context, q quarantine.Query, limit int) ([]jobs.Refused, error)
	// OutboxPayload returns the arguments of an outbox row, or jobs.ErrNoSuchRow.
	OutboxPayload(ctx context.Context, id string) ([]byte, error)
	// AuditPage lists entries of the audit log, the newest first.
	AuditPage(ctx context.Context, q audit.Query, limit int) ([]audit.Link, error)
}

// Rows shows single rows of the outbox to people, and queues one anew.
type Rows interface {
	// EffectCommitted says whether the effect is done, and changes nothing.
	EffectCommitted(ctx context.Context, kind jobs.Kind, effect string) (bool, error)
	// RowInfo says where a row stands, or jobs.ErrNoSuchRow.
	RowInfo(ctx context.Context, id string) (jobs.RowInfo, error)
	// ReissueRow queues the row as its next attempt and enters e, or says why not.
	ReissueRow(ctx context.Context, r jobs.RowRef, e audit.Entry) error
}

// Database is a database of either driver.
type Database interface {
	store.DB
	QuarantineReader
	Rows
	scheduler.Ticks
	Schedules
	Rings
	Audit
	Ailments
	Histories
	Suppressions
	Quarantine
	operators.Store
	RefusedGroups
	requests.Desk
	requests.Store
	Pages
	SweepReader
	// Record enters what somebody is about to do in the audit log.
	Record(ctx context.Context, e audit.Entry) error
	// RenewKeys voids the unused links of a key that leaked, and asks for their mails anew. It says how many there were.
	RenewKeys(ctx context.Context, kid string) (int, error)
	// Enqueue records a job in the outbox.
	Enqueue(ctx context.Context, j jobs.Job) (id string, err error)
	// Accounts are the accounts in this database. Their mails go through its outbox.
	Accounts(c accounts.Config) (Accounts, error)
	// Worker makes a worker, with its relay, on this database.
	Worker(c WorkerConfig) (*Worker, error)
	// RecordKinds tells a PostgreSQL database of the auth kinds, for jobs that are enqueued in SQL. Migrate does so too.
	RecordKinds(ctx context.Context) error
	// Postgres is the driver, for what it alone has. ok is false for SQLite.
	Postgres() (db *postgres.DB, ok bool)
}

// Accounts is accounts.Accounts with a transaction of its own for each call.
type Accounts interface {
	Register(ctx context.Context, r accounts.Registration) (accounts.Pending, error)
	ActivateWithPassword(ctx context.Context, key, password string) (accounts.User, error)
	Authenticate(ctx context.Context, email, password string) (accounts.User, error)
	RequestReset(ctx context.Context, email string) error
	ResetPassword(ctx context.Context, key, newPassword string) (accounts.User, error)
	Show(ctx context.Context, email string) (accounts.Status, error)
	Roles(ctx context.Context, userID string) ([]string, error)
	// Operator changes other people's accounts under that name.
	Operator(name string) Operator
}

// Open opens the database at url: postgres://… or sqlite:PATH. It does not migrate.
func Open(ctx context.Context, url string) (Database, error) {
	db, err := store.Open(ctx, url)
	if err != nil {
		return nil, err
	}
	switch db := db.(type) {
	case *postgres.DB:
		return database[pgx.Tx]{backend: db}, nil
	case *sqlite.DB:
		return database[*sql.Tx]{backend: db}, nil
	default:
		return nil, errors.Join(fmt.Errorf("open database: no driver for %T", db), db.Close())
	}
}

// OpenAt opens a SQLite file with another clock than its own: see [sqlite.OpenAt]. It does not migrate.
func OpenAt(ctx context.Context, path string, clock func() time.Time) (Database, error) {
	db, err := sqlite.OpenAt(ctx, path, clock)
	if err != nil {
		return nil, err
	}
	return database[*sql.Tx]{backend: db}, nil
}

type database[Tx any] struct{ backend[Tx] }

// Migrate brings the schema up to date, and the auth kinds in it.
func (d database[Tx]) Migrate(ctx context.Context) ([]string, error) {
	ran, err := d.backend.Migrate(ctx)
	if err != nil {
		return ran, err
	}
	return ran, d.RecordKinds(ctx)
}

func (d database[Tx]) RecordKinds(ctx context.Context) error {
	db, ok := d.Postgres()
	if !ok {
		return nil
	}
	catalog, err := jobs.NewCatalog(authjobs.Definitions()...)
	if err != nil {
		return err
	}
	return db.RecordKinds(ctx, catalog)
}

func (d database[Tx]) Postgres() (*postgres.DB, bool) {
	db, ok := any(d.backend).(*postgres.DB)
	return db, ok
}

func (d database[Tx]) Enqueue(ctx context.Context, j jobs.Job) (string, error) {
	var id string
	err := d.InTx(ctx, func(tx Tx) error {
		var err error
		id, err = d.EnqueueTx(ctx, tx, j)
		return err
	})
	return id, err
}

func (d database[Tx]) Accounts(c accounts.Config) (Accounts, error) {
	a, err := accounts.New(d.backend, authjobs.NewNotifier(d.backend), c)
	if err != nil {
		return nil, err
	}
	return inTx[Tx]{Accounts: a, run: d.InTx}, nil
}

type inTx[Tx any] struct {
	*accounts.Accounts[Tx]
	run func(context.Context, func(Tx) error) error
}

func (a inTx[Tx]) Register(ctx context.Context, r accounts.Registration) (accounts.Pending, error) {
	var p accounts.Pending
	prepared, err := a.PrepareRegistration(ctx, r)
	if err != nil {
		return p, err
	}
	err = a.run(ctx, func(tx Tx) error {
		var err error
		p, err = a.Accounts.Register(ctx, tx, prepared)
		return err
	})
	return p, err
}

func (a inTx[Tx]) ActivateWithPassword(ctx context.Context, key, password string) (accounts.User, error) {
	var u accounts.User
	prepared, err := a.PrepareActivation(ctx, key, password)
	if err != nil {
		return u, err
	}
	err = a.run(ctx, func(tx Tx) error {
		var err error
		u, err = a.ActivatePrepared(ctx, tx, prepared)
		return err
	})
	return u, err
}

func (a inTx[Tx]) RequestReset(ctx context.Context, email string) error {
	return a.run(ctx, func(tx Tx) error { return a.Accounts.RequestReset(ctx, tx, email) })
}

func (a inTx[Tx]) ResetPassword(ctx context.Context, key, newPassword string) (accounts.User, error) {
	var u accounts.User
	prepared, err := a.PrepareReset(ctx, key, newPassword)
	if err != nil {
		return u, err
	}
	err = a.run(ctx, func(tx Tx) error {
		var err error
		u, err = a.SetPassword(ctx, tx, prepared)
		return err
	})
	return u, err
}
