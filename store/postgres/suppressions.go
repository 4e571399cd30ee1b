package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs/authjobs"
)

// normOf is the address as suppressions have it.
func normOf(address string) string {
	email, err := accounts.ParseEmail(address)
	if err != nil {
		return name(address)
	}
	return email.Norm()
}

// The first refusal stays.
const suppressSQL = `
INSERT INTO suppressions (email_norm, reason, smtp_code, smtp_reply, mail) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING`

// A mail that is held has its next try counted.
const holdMailSQL = `
INSERT INTO mails AS m (id, pending_id, generation, message_id, held_by, held_until, cause) VALUES ($1, $2::uuid, $3, $4, $5, $6, $7)
ON CONFLICT (id) DO UPDATE SET tries = m.tries + CASE WHEN m.held_by IS NULL THEN 1 ELSE 0 END,
	held_by = excluded.held_by, held_until = excluded.held_until, cause = excluded.cause, lease_until = NULL, lease_token = NULL
WHERE m.sent_at IS NULL AND (m.lease_until IS NULL OR m.lease_until <= statement_timestamp())`

// holdSuppressed notes that a mail is not sent because of its address.
func (db *DB) holdSuppressed(ctx context.Context, c authjobs.MailClaim, accountID string, why *authjobs.SuppressedError) error {
	_, err := db.pool.Exec(ctx, holdMailSQL, name(c.MailID), uuidOf(accountID), bigint(c.Generation), c.MessageID, authjobs.HeldBySuppressed, nil, why.Error())
	if err != nil {
		return wrap("hold mail", err)
	}
	return why
}

const suppressionColumns = ` email_norm, reason, smtp_code, smtp_reply, mail, suppressed_at `

func scanSuppression(row pgx.CollectableRow) (s authjobs.Suppression, err error) {
	err = row.Scan(&s.Address, &s.Reason, &s.SMTPCode, &s.SMTPReply, &s.MailID, &s.Since)
	s.Since = s.Since.UTC()
	return s, err //nolint:wrapcheck // callers wrap it
}

// suppressed says why nothing is sent to the address, nil if nothing speaks against it.
func suppressed(ctx context.Context, q querier, emailNorm string) (*authjobs.SuppressedError, error) {
	e := &authjobs.SuppressedError{}
	err := q.QueryRow(ctx, `SELECT reason, smtp_code, suppressed_at FROM suppressions WHERE email_norm = $1`, emailNorm).Scan(&e.Reason, &e.SMTPCode, &e.Since)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, nil //nolint:nilnil // nothing speaks against it
	case err != nil:
		return nil, wrap("look up suppression", err)
	}
	e.Since = e.Since.UTC()
	return e, nil
}

// Suppressions lists addresses to which nothing is sent, the newest first.
func (db *DB) Suppressions(ctx context.Context, limit int) ([]authjobs.Suppression, error) {
	rows, err := db.pool.Query(ctx, `SELECT`+suppressionColumns+`FROM suppressions ORDER BY suppressed_at DESC, email_norm LIMIT $1`, limit)
	if err != nil {
		return nil, wrap("list suppressions", err)
	}
	list, err := pgx.CollectRows(rows, scanSuppression)
	if err != nil {
		return nil, wrap("list suppressions", err)
	}
	return list, nil
}

// SuppressionOf returns the suppression of a normalised address, or authjobs.ErrNotSuppressed.
func (db *DB) SuppressionOf(ctx context.Context, emailNorm string) (authjobs.Suppression, error) {
	rows, err := db.pool.Query(ctx, `SELECT`+suppressionColumns+`FROM suppressions WHERE email_norm = $1`, name(emailNorm))
	if err != nil {
		return authjobs.Suppression{}, wrap("look up suppression", err)
	}
	s, err := pgx.CollectExactlyOneRow(rows, scanSuppression)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return authjobs.Suppression{}, fmt.Errorf("look up suppression: %w", authjobs.ErrNotSuppressed)
	case err != nil:
		return authjobs.Suppression{}, wrap("look up suppression", err)
	}
	return s, nil
}

// RemoveSuppression takes a normalised address off the list, or returns authjobs.ErrNotSuppressed.
func (db *DB) RemoveSuppression(ctx context.Context, tx pgx.Tx, emailNorm string) error {
	tag, err := tx.Exec(ctx, `DELETE FROM suppressions WHERE email_norm = $1`, name(emailNorm))
	if err != nil {
		return wrap("remove suppression", err)
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("remove suppression: %w", authjobs.ErrNotSuppressed)
	}
	return nil
}

// Either argument may be missing.
const suppressionFilterSQL = ` (@code = 0 OR smtp_code = @code) AND (@since::timestamptz IS NULL OR suppressed_at >= @since) `

func suppressionArgs(f authjobs.SuppressionFilter) pgx.NamedArgs {
	args := pgx.NamedArgs{"code": f.SMTPCode, "since": nil}
	if !f.Since.IsZero() {
		args["since"] = f.Since
	}
	return args
}

// CountSuppressions says how many there are of those that the filter means.
func (db *DB) CountSuppressions(ctx context.Context, f authjobs.SuppressionFilter) (n int64, err error) {
	if err := db.pool.QueryRow(ctx, `SELECT count(*) FROM suppressions WHERE`+suppressionFilterSQL, suppressionArgs(f)).Scan(&n); err != nil {
		return 0, wrap("count suppressions", err)
	}
	return n, nil
}

// RemoveSuppressions takes up to limit of those that the filter means off the list, the oldest first, and says how many it took.
func (db *DB) RemoveSuppressions(ctx context.Context, tx pgx.Tx, f authjobs.SuppressionFilter, limit int) (int64, error) {
	args := suppressionArgs(f)
	args["limit"] = limit
	tag, err := tx.Exec(ctx, `
		DELETE FROM suppressions WHERE email_norm IN (
			SELECT email_norm FROM suppressions WHERE`+suppressionFilterSQL+`ORDER BY suppressed_at, email_norm LIMIT @limit FOR UPDATE)`, args)
	if err != nil {
		return 0, wrap("remove suppressions", err)
	}
	return tag.RowsAffected(), nil
}
