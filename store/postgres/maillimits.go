package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/jobs/authjobs"
)

// A mail's limits are locked in one order, and what they have used is read by a statement of its own, whose snapshot is of after the lock.
const (
	lockLimitsSQL = `
INSERT INTO mail_limits (name, next_at, tail_at)
SELECT name, statement_timestamp(), statement_timestamp() FROM unnest($1::text[]) WITH ORDINALITY AS l (name, place) ORDER BY place
ON CONFLICT (name) DO UPDATE SET name = excluded.name
RETURNING name, next_at, tail_at`
	usageSQL       = `SELECT name, slice_at, taken FROM mail_usage WHERE name = ANY($1) AND slice_at > statement_timestamp() - $2::interval ORDER BY slice_at`
	limitsNowSQL   = `SELECT statement_timestamp(), EXISTS (SELECT FROM suppressions WHERE email_norm = $1)`
	moveLimitSQL   = `UPDATE mail_limits SET next_at = $2, tail_at = $3 WHERE name = $1`
	addUsageSQL    = `INSERT INTO mail_usage AS u (name, slice_at, taken) VALUES ($1, $2, 1) ON CONFLICT (name, slice_at) DO UPDATE SET taken = u.taken + 1`
	oldUsageSQL    = `DELETE FROM mail_usage WHERE name = $1 AND slice_at < statement_timestamp() - $2::interval`
	returnUsageSQL = `UPDATE mail_usage SET taken = taken - 1 WHERE name = $1 AND slice_at = $2 AND taken > 0`
	returnLineSQL  = `UPDATE mail_limits SET next_at = next_at - $2::interval WHERE name = $1`
	// Domains that nobody writes to any more.
	idleLimitsSQL = `
DELETE FROM mail_limits WHERE name IN (
	SELECT name FROM mail_limits WHERE next_at < statement_timestamp() - $1::interval
	ORDER BY next_at LIMIT 10 FOR UPDATE SKIP LOCKED)`
)

// takeShare takes a mail's share of the limits, or notes at the mail that there is no room. One whose address is suppressed takes
// none: it is for the lease to say so.
func takeShare(ctx context.Context, tx pgx.Tx, c authjobs.MailClaim, id *string, d *authjobs.MailDraft) (limited, err error) {
	norm := normOf(d.To)
	lines, now, suppressed, err := lockLimits(ctx, tx, c.Limits.Lines(norm), norm)
	if err != nil || suppressed {
		return nil, err
	}
	share, refusal := c.Limits.Take(now, norm, lines)
	d.Share = share
	var b pgx.Batch
	if share.Line != "" || refusal != nil {
		for line, at := range lines {
			b.Queue(moveLimitSQL, line, later(at.Next, now), at.Tail)
		}
	}
	for _, slice := range []struct {
		line string
		at   time.Time
	}{{authjobs.LimitHour, share.Hour}, {authjobs.LimitDay, share.Day}} {
		if !slice.at.IsZero() {
			b.Queue(moveLimitSQL, slice.line, now, lines[slice.line].Tail)
			b.Queue(addUsageSQL, slice.line, slice.at)
			b.Queue(oldUsageSQL, slice.line, authjobs.MailUsageKept)
		}
	}
	b.Queue(idleLimitsSQL, authjobs.MailUsageKept)
	if refusal != nil {
		b.Queue(holdMailSQL, name(c.MailID), id, bigint(c.Generation), c.MessageID, refusal.By, refusal.Until, refusal.Error())
		limited = refusal
	}
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return nil, wrap("take a share of the limits", err)
	}
	return limited, nil
}

func lockLimits(ctx context.Context, tx pgx.Tx, names []string, emailNorm string) (lines map[string]*authjobs.LimitLine, now time.Time, suppressed bool, err error) {
	lines = make(map[string]*authjobs.LimitLine, len(names))
	var b pgx.Batch
	b.Queue(lockLimitsSQL, names).Query(func(rows pgx.Rows) error {
		var line string
		var next, tail time.Time
		_, err := pgx.ForEachRow(rows, []any{&line, &next, &tail}, func() error {
			lines[line] = &authjobs.LimitLine{Next: next, Tail: tail}
			return nil
		})
		return err //nolint:wrapcheck // wrapped below
	})
	b.Queue(usageSQL, names, authjobs.MailUsageKept).Query(func(rows pgx.Rows) error {
		var line string
		var u authjobs.MailUsage
		_, err := pgx.ForEachRow(rows, []any{&line, &u.At, &u.Taken}, func() error {
			lines[line].Usage = append(lines[line].Usage, u)
			return nil
		})
		return err //nolint:wrapcheck // wrapped below
	})
	b.Queue(limitsNowSQL, emailNorm).QueryRow(func(row pgx.Row) error {
		return row.Scan(&now, &suppressed)
	})
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return nil, time.Time{}, false, wrap("lock the limits", err)
	}
	return lines, now.UTC(), suppressed, nil
}

// giveBack returns the share of a mail that was not sent. It comes before whatever else a transaction locks, as takeShare does.
func giveBack(b *pgx.Batch, share authjobs.MailShare) {
	if share.Line != "" {
		b.Queue(returnLineSQL, share.Line, share.Each)
	}
	if !share.Hour.IsZero() {
		b.Queue(returnUsageSQL, authjobs.LimitHour, share.Hour)
	}
	if !share.Day.IsZero() {
		b.Queue(returnUsageSQL, authjobs.LimitDay, share.Day)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
