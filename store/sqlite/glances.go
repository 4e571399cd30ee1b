package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
)

// RecentMails lists the mails that workers had first most lately, the newest first, whether or not the outbox has their rows.
func (db *DB) RecentMails(ctx context.Context, limit int) ([]authjobs.MailGlance, error) {
	rows, err := db.read.QueryContext(ctx, `
		SELECT m.id, coalesce(o.kind, ''), coalesce(o.state, ''), m.message_id, m.created_at, m.tries - (m.held_by IS NOT NULL), m.lease_until, m.sent_at,
			coalesce(m.held_by, ''), m.held_until, coalesce(a.try, 0), a.started_at, a.ended_at, coalesce(a.server, ''), coalesce(a.stage, ''),
			coalesce(a.outcome, ''), coalesce(a.smtp_code, 0), coalesce(a.smtp_reply, ''), coalesce(a.cause, '')
		FROM (SELECT * FROM mails ORDER BY created_at DESC, id DESC LIMIT ?) AS m LEFT JOIN outbox AS o ON o.id = m.id
		LEFT JOIN mail_attempts AS a ON a.mail = m.id AND a.try = (SELECT max(try) FROM mail_attempts WHERE mail = m.id)
		ORDER BY m.created_at DESC, m.id DESC`, limit)
	if err != nil {
		return nil, db.wrap("list recent mails", err)
	}
	mails, err := collect(rows, func(rows *sql.Rows) (g authjobs.MailGlance, err error) {
		var first int64
		var lease, sent, held, started, ended sql.NullInt64
		a := &g.Last
		err = rows.Scan(&g.ID, &g.Kind, &g.State, &g.MessageID, &first, &g.Tries, &lease, &sent, &g.HeldBy, &held,
			&a.Try, &started, &ended, &a.Server, &a.Stage, &a.Outcome, &a.SMTPCode, &a.SMTPReply, &a.Cause)
		g.FirstTry, g.LeaseUntil, g.SentAt, g.HeldUntil = timeOf(first), timeOrZero(lease), timeOrZero(sent), timeOrZero(held)
		a.StartedAt, a.EndedAt = timeOrZero(started), timeOrZero(ended)
		return g, err //nolint:wrapcheck // wrapped below
	})
	if err != nil {
		return nil, db.wrap("list recent mails", err)
	}
	return mails, nil
}

// MailUse says what the deployment has used of its caps.
func (db *DB) MailUse(ctx context.Context) (u authjobs.MailUse, err error) {
	instant, err := now(ctx, db.read)
	if err != nil {
		return u, db.wrap("count mails", err)
	}
	hour, day := authjobs.UsedSince(timeOf(instant))
	err = db.read.QueryRowContext(ctx, `
		SELECT coalesce(sum(taken) FILTER (WHERE name = ?1 AND slice_at > ?2), 0), coalesce(sum(taken) FILTER (WHERE name = ?3 AND slice_at > ?4), 0) FROM mail_usage`,
		authjobs.LimitHour, hour.UnixMicro(), authjobs.LimitDay, day.UnixMicro()).Scan(&u.Hour, &u.Day)
	if err != nil {
		return u, db.wrap("count mails", err)
	}
	return u, nil
}

// MailBacklog counts the unfinished rows of mails by kind, queue and state, of up to limit that wait for a relay and up to limit of any
// kind that are enqueued. more says that it stopped at the limit, so that there may be more.
func (db *DB) MailBacklog(ctx context.Context, limit int) (backlog []jobs.Backlog, more bool, err error) {
	rows, err := db.read.QueryContext(ctx, `
		SELECT kind, queue, state, count(*), max(0, `+nowSQL+` - min(not_before)) FROM (
			SELECT * FROM (SELECT kind, queue, state, not_before FROM outbox
				WHERE claimable_at IS NOT NULL AND kind >= 'mail:' AND kind < 'mail;' ORDER BY kind, queue, claimable_at, id LIMIT ?1)
			UNION ALL SELECT * FROM (SELECT kind, queue, state, not_before FROM outbox WHERE state = 'enqueued' AND ended_at IS NULL ORDER BY next_at, expires_at LIMIT ?1)
		) GROUP BY kind, queue, state ORDER BY kind, queue, state`, limit)
	if err != nil {
		return nil, false, db.wrap("count mails", err)
	}
	all, err := collect(rows, func(rows *sql.Rows) (b jobs.Backlog, err error) {
		var waited int64
		err = rows.Scan(&b.Kind, &b.Queue, &b.State, &b.Rows, &waited)
		b.Oldest = time.Duration(waited) * time.Microsecond
		return b, err //nolint:wrapcheck // wrapped below
	})
	if err != nil {
		return nil, false, db.wrap("count mails", err)
	}
	backlog, more = authjobs.MailBacklog(all, limit)
	return backlog, more, nil
}

// SuppressedUpTo counts the addresses to which nothing is sent, up to that many.
func (db *DB) SuppressedUpTo(ctx context.Context, most int) (n int64, err error) {
	if err := db.read.QueryRowContext(ctx, `SELECT count(*) FROM (SELECT 1 FROM suppressions LIMIT ?)`, most).Scan(&n); err != nil {
		return 0, db.wrap("count suppressions", err)
	}
	return n, nil
}
