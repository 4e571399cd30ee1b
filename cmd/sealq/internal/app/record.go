package app

import (
	"context"

	"github.com/sealq/sealq/audit"
)

// Record enters what somebody is about to do, where no row of the database changes with it.
func (d database[Tx]) Record(ctx context.Context, e audit.Entry) error {
	return d.InTx(ctx, func(tx Tx) error { return d.AppendAudit(ctx, tx, e) })
}
