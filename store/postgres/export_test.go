package postgres

import (
	"context"
	"io/fs"
)

// MigrateFrom runs the migrations of another folder.
func (db *DB) MigrateFrom(ctx context.Context, folder fs.FS) ([]string, error) {
	return db.migrate(ctx, folder)
}

// Statements that run often, whatever else is in their tables.
const (
	ClaimRowsSQL      = claimRowsSQL
	RowsEnqueuedSQL   = rowsEnqueuedSQL
	OverdueRowsSQL    = overdueRowsSQL
	ExpireRowsSQL     = expireRowsSQL
	ExpirePendingSQL  = expirePendingSQL
	ResetLockoutsSQL  = resetLockoutsSQL
	PendingOfKeySQL   = pendingOfKeySQL
	RowsNeedingKeySQL = rowsNeedingKeySQL
)
