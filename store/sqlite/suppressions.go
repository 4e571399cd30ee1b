package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"time"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs/authjobs"
)

// normOf is the address as suppressions have it.
func normOf(address string) string {
	email, err := accounts.ParseEmail(address)
	if err != nil {
		return address
	}
	return email.Norm()
}

// suppress enters an address. The first refusal stays.
func suppress(ctx context.Context, tx *sql.Tx, d authjobs.MailDraft, a authjobs.MailAnswer, instant int64) error {
	_, err := execute(ctx, tx, `
		INSERT INTO suppressions (email_norm, reason, smtp_code, smtp_reply, mail, suppressed_at) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT DO NOTHING`, normOf(d.To), authjobs.ReasonHardBounce, a.Code, prose(a.Reply), d.MailID, instant)
	return err
}

// hold notes why a mail is not tried. One that is held has its next try counted.
func hold(ctx context.Context, tx *sql.Tx, c authjobs.MailClaim, accountID string, by authjobs.Hold, until time.Time, cause string, instant int64) error {
	var heldUntil any
	if !until.IsZero() {
		heldUntil = until.UnixMicro()
	}
	_, err := execute(ctx, tx, `
		INSERT INTO mails (id, pending_id, generation, message_id, created_at, held_by, held_until, cause) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
		ON CONFLICT (id) DO UPDATE SET tries = tries + (held_by IS NULL), held_by = ?6, held_until = ?7, cause = ?8, lease_until = NULL, lease_token = NULL
		WHERE sent_at IS NULL AND (lease_until IS NULL OR lease_until <= ?5)`,
		c.MailID, accountID, integer(c.Generation), c.MessageID, instant, string(by), heldUntil, cause)
	return err
}

const suppressionColumns = ` email_norm, reason, smtp_code, smtp_reply, mail, suppressed_at `

func scanSuppression(scan func(...any) error) (s authjobs.Suppression, err error) {
	var since int64
	err = scan(&s.Address, &s.Reason, &s.SMTPCode, &s.SMTPReply, &s.MailID, &since)
	s.Since = timeOf(since)
	return s, err
}

// suppressed says why nothing is sent to the address, nil if nothing speaks against it.
func suppressed(ctx context.Context, q querier, emailNorm string) (*authjobs.SuppressedError, error) {
	s, err := scanSuppression(q.QueryRowContext(ctx, `SELECT`+suppressionColumns+`FROM suppressions WHERE email_norm = ?`, emailNorm).Scan)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil //nolint:nilnil // nothing speaks against it
	case err != nil:
		return nil, err
	}
	return &authjobs.SuppressedError{Reason: s.Reason, SMTPCode: s.SMTPCode, Since: s.Since}, nil
}

// Suppressions lists addresses to which nothing is sent, the newest first.
func (db *DB) Suppressions(ctx context.Context, limit int) ([]authjobs.Suppression, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT`+suppressionColumns+`FROM suppressions ORDER BY suppressed_at DESC, email_norm LIMIT ?`, limit)
	if err != nil {
		return nil, db.wrap("list suppressions", err)
	}
	list, err := collect(rows, func(rows *sql.Rows) (authjobs.Suppression, error) { return scanSuppression(rows.Scan) })
	if err != nil {
		return nil, db.wrap("list suppressions", err)
	}
	return list, nil
}

// SuppressionOf returns the suppression of a normalised address, or [authjobs.ErrNotSuppressed].
func (db *DB) SuppressionOf(ctx context.Context, emailNorm string) (authjobs.Suppression, error) {
	s, err := scanSuppression(db.read.QueryRowContext(ctx, `SELECT`+suppressionColumns+`FROM suppressions WHERE email_norm = ?`, emailNorm).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		err = authjobs.ErrNotSuppressed
	}
	if err != nil {
		return authjobs.Suppression{}, db.wrap("look up suppression", err)
	}
	return s, nil
}

// RemoveSuppression takes a normalised address off the list, or returns [authjobs.ErrNotSuppressed].
func (db *DB) RemoveSuppression(ctx context.Context, tx *sql.Tx, emailNorm string) error {
	n, err := execute(ctx, tx, `DELETE FROM suppressions WHERE email_norm = ?`, emailNorm)
	if err == nil && n == 0 {
		err = authjobs.ErrNotSuppressed
	}
	if err != nil {
		return db.wrap("remove suppression", err)
	}
	return nil
}

const suppressionFilterSQL = ` (?1 = 0 OR smtp_code = ?1) AND suppressed_at >= ?2 `

// sinceOf is the first instant that the filter means.
func sinceOf(f authjobs.SuppressionFilter) int64 {
	if f.Since.IsZero() {
		return math.MinInt64
	}
	return f.Since.UnixMicro()
}

// CountSuppressions says how many there are of those that the filter means.
func (db *DB) CountSuppressions(ctx context.Context, f authjobs.SuppressionFilter) (n int64, err error) {
	row := db.read.QueryRowContext(ctx, `SELECT count(*) FROM suppressions WHERE`+suppressionFilterSQL, f.SMTPCode, sinceOf(f))
	if err := row.Scan(&n); err != nil {
		return 0, db.wrap("count suppressions", err)
	}
	return n, nil
}

// RemoveSuppressions takes up to limit of those that the filter means off the list, the oldest first, and says how many it took.
func (db *DB) RemoveSuppressions(ctx context.Context, tx *sql.Tx, f authjobs.SuppressionFilter, limit int) (int64, error) {
	n, err := execute(ctx, tx, `
		DELETE FROM suppressions WHERE email_norm IN (
			SELECT email_norm FROM suppressions WHERE`+suppressionFilterSQL+`ORDER BY suppressed_at, email_norm LIMIT ?3)`, f.SMTPCode, sinceOf(f), limit)
	if err != nil {
		return 0, db.wrap("remove suppressions", err)
	}
	return int64(n), nil
}
