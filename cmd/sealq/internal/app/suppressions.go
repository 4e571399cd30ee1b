package app

import (
	"context"
	"maps"
	"strconv"
	"time"

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
	// CountSuppressions says how many there are of those that the filter means.
	CountSuppressions(ctx context.Context, f authjobs.SuppressionFilter) (int64, error)
}

// Suppressions are what an operator does about them.
type Suppressions interface {
	SuppressionReader
	// Unsuppress takes an address off the list in actor's name, or returns authjobs.ErrNotSuppressed.
	Unsuppress(ctx context.Context, actor string, email accounts.Email) error
	// UnsuppressAll takes those that the filter means off the list in actor's name, and says how many, also where it fails on its way. The audit log
	// shows how many, and the filter.
	UnsuppressAll(ctx context.Context, actor string, f authjobs.SuppressionFilter) (int64, error)
}

// mostUnsuppressed is how many are taken off in one transaction.
const mostUnsuppressed = 1000

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

func (d database[Tx]) UnsuppressAll(ctx context.Context, actor string, f authjobs.SuppressionFilter) (removed int64, err error) {
	detail := make(map[string]string)
	if f.SMTPCode != 0 {
		detail["smtp_code"] = strconv.Itoa(f.SMTPCode)
	}
	if !f.Since.IsZero() {
		detail["since"] = f.Since.UTC().Format(time.RFC3339)
	}
	for {
		var n int64
		err := d.InTx(ctx, func(tx Tx) (err error) {
			if n, err = d.RemoveSuppressions(ctx, tx, f, mostUnsuppressed); err != nil || n == 0 {
				return err
			}
			entry := audit.Entry{Actor: actor, Action: "mail.suppressions_removed", Subject: "suppressions", Detail: maps.Clone(detail)}
			entry.Detail["addresses"] = strconv.FormatInt(n, 10)
			return d.AppendAudit(ctx, tx, entry)
		})
		if err != nil {
			return removed, err
		}
		removed += n
		if n < mostUnsuppressed {
			return removed, nil
		}
	}
}
