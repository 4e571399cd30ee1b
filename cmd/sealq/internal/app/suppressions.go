package app

import (
	"context"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs/authjobs"
)

// SuppressionReader shows the addresses to which nothing is sent.
type SuppressionReader interface {
	// Suppressions lists up to limit of them, the newest first.
	Suppressions(ctx context.Context, limit int) ([]authjobs.Suppression, error)
	// SuppressionOf returns that of a normalised address, or authjobs.ErrNotSuppressed.
	SuppressionOf(ctx context.Context, emailNorm string) (authjobs.Suppression, error)
}

// Suppressions are what an operator does about them.
type Suppressions interface {
	SuppressionReader
	// Unsuppress takes an address off the list in actor's name, or returns authjobs.ErrNotSuppressed.
	Unsuppress(ctx context.Context, actor string, email accounts.Email) error
}

func (d database[Tx]) Unsuppress(ctx context.Context, actor string, email accounts.Email) error {
	return d.InTx(ctx, func(tx Tx) error {
		if err := d.RemoveSuppression(ctx, tx, email.Norm()); err != nil {
			return err
		}
		return d.AppendAudit(ctx, tx, audit.Entry{
			Actor: actor, Action: "mail.suppression_removed", Subject: email.Subject(), Detail: map[string]string{"email": email.LogValue().String()},
		})
	})
}
