package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/sealq/sealq/jobs/authjobs"
)

// takeShare takes a mail's share of the limits, or notes at the mail that there is no room, which is to be committed.
func takeShare(ctx context.Context, tx *sql.Tx, c authjobs.MailClaim, d *authjobs.MailDraft, instant int64) (limited, err error) {
	norm := normOf(d.To)
	lines := make(map[string]*authjobs.LimitLine)
	for _, line := range c.Limits.Lines(norm) {
		if lines[line], err = limitLine(ctx, tx, line, instant); err != nil {
			return nil, err
		}
	}
	share, refusal := c.Limits.Take(timeOf(instant), norm, lines)
	d.Share = share
	for line, at := range lines {
		if _, err := execute(ctx, tx, `UPDATE mail_limits SET next_at = ?, tail_at = ? WHERE name = ?`, max(at.Next.UnixMicro(), instant), at.Tail.UnixMicro(), line); err != nil {
			return nil, err
		}
	}
	kept := authjobs.MailUsageKept.Microseconds()
	for line, slice := range map[string]time.Time{authjobs.LimitHour: share.Hour, authjobs.LimitDay: share.Day} {
		if slice.IsZero() {
			continue
		}
		if _, err := execute(ctx, tx, `INSERT INTO mail_usage (name, slice_at, taken) VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET taken = taken + 1`, line, slice.UnixMicro()); err != nil {
			return nil, err
		}
		if _, err := execute(ctx, tx, `DELETE FROM mail_usage WHERE name = ? AND slice_at < ?`, line, instant-kept); err != nil {
			return nil, err
		}
	}
	// Domains that nobody writes to any more.
	if _, err := execute(ctx, tx, `DELETE FROM mail_limits WHERE name IN (
		SELECT name FROM mail_limits WHERE next_at < ?1 ORDER BY next_at LIMIT 10)`, instant-kept); err != nil {
		return nil, err
	}
	if refusal == nil {
		return nil, nil //nolint:nilnil // neither limited nor wrong
	}
	return refusal, hold(ctx, tx, c, d.AccountID(), refusal.By, refusal.Until, refusal.Error(), instant)
}

func limitLine(ctx context.Context, tx *sql.Tx, line string, instant int64) (*authjobs.LimitLine, error) {
	var next, tail int64
	err := tx.QueryRowContext(ctx, `INSERT INTO mail_limits (name, next_at, tail_at) VALUES (?1, ?2, ?2)
		ON CONFLICT DO UPDATE SET name = name RETURNING next_at, tail_at`, line, instant).Scan(&next, &tail)
	if err != nil {
		return nil, err //nolint:wrapcheck // whoever claims wraps it
	}
	rows, err := tx.QueryContext(ctx, `SELECT slice_at, taken FROM mail_usage WHERE name = ? AND slice_at > ? ORDER BY slice_at`, line, instant-authjobs.MailUsageKept.Microseconds())
	if err != nil {
		return nil, err //nolint:wrapcheck // whoever claims wraps it
	}
	usage, err := collect(rows, func(rows *sql.Rows) (u authjobs.MailUsage, err error) {
		var at int64
		err = rows.Scan(&at, &u.Taken)
		u.At = timeOf(at)
		return u, err //nolint:wrapcheck // whoever claims wraps it
	})
	return &authjobs.LimitLine{Next: timeOf(next), Tail: timeOf(tail), Usage: usage}, err
}

// giveBack returns the share of a mail that was not sent.
func giveBack(ctx context.Context, tx *sql.Tx, share authjobs.MailShare) error {
	if share.Line != "" {
		if _, err := execute(ctx, tx, `UPDATE mail_limits SET next_at = next_at - ? WHERE name = ?`, share.Each.Microseconds(), share.Line); err != nil {
			return err
		}
	}
	for line, slice := range map[string]time.Time{authjobs.LimitHour: share.Hour, authjobs.LimitDay: share.Day} {
		if slice.IsZero() {
			continue
		}
		if _, err := execute(ctx, tx, `UPDATE mail_usage SET taken = taken - 1 WHERE name = ? AND slice_at = ? AND taken > 0`, line, slice.UnixMicro()); err != nil {
			return err
		}
	}
	return nil
}
