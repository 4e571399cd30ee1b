package postgres

import (
	"context"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealq/sealq/jobs/sweep"
)

// OpenPatient is Open with another bound of statements.
func OpenPatient(ctx context.Context, url string, longest time.Duration) (*DB, error) {
	return open(ctx, url, longest)
}

// MaxConns is the size of the pool.
func (db *DB) MaxConns() int { return int(db.pool.Config().MaxConns) }

// MigrateFrom runs the migrations of another folder.
func (db *DB) MigrateFrom(ctx context.Context, folder fs.FS) ([]string, error) {
	return db.migrate(ctx, folder)
}

// Over is a DB over a test's own pool.
func Over(pool *pgxpool.Pool) *DB { return &DB{pool: pool, now: time.Now} }

// Connections is how many the pool has.
func (db *DB) Connections() int { return int(db.pool.Stat().TotalConns()) }

// Statements that run often, whatever else is in their tables.
const (
	ClaimRowsSQL      = claimRowsSQL
	RowsEnqueuedSQL   = rowsEnqueuedSQL
	OverdueRowsSQL    = overdueRowsSQL
	ExpireRowsSQL     = expireRowsSQL
	OutboxBacklogSQL  = outboxBacklogSQL
	MailBacklogSQL    = mailBacklogSQL
	RecentMailsSQL    = recentMailsSQL
	RefusedOfSQL      = refusedOfSQL
	ReissueRowSQL     = reissueRowSQL
	ReopenTickSQL     = reopenTickSQL
	TickHistorySQL    = tickHistorySQL
	OutboxDepthSQL    = outboxDepthSQL
	PendingOfKeySQL   = pendingOfKeySQL
	RowsNeedingKeySQL = rowsNeedingKeySQL
	LinksOfKeySQL     = linksOfKeySQL
	ForgetAttemptsSQL = forgetAttemptsSQL
	ChargeDeviceSQL   = chargeDeviceSQL
	MailsOfSQL        = mailsOfSQL
	RequestsOfSQL     = requestsOfSQL
)

// LiftOwnedSQL is the statement that lifts lockouts whose owners are to be told, from the mark.
func LiftOwnedSQL() string { return liftLockoutsSQL(lockedFromSQL, true) }

// SweepSQL is the statement of a batch of a part: "from" the mark, or of rows that were "held".
func SweepSQL(part sweep.Part, which string) string {
	held := which == "held"
	if part == sweep.Lockouts {
		return liftLockoutsSQL(map[bool]string{false: lockedFromSQL, true: lockedAtSQL}[held], false)
	}
	s, err := sweptBy(part)
	if err != nil {
		panic(err)
	}
	if held {
		return s.sweepSQL(s.heldOnes())
	}
	return s.sweepSQL(s.from())
}
