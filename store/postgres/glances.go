package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
)

// A mail's ID need not be a row's: CASE keeps what is no UUID from being taken for one. LIMIT 1 keeps the outbox from being read whole.
const recentMailsSQL = `
SELECT m.id, coalesce(o.kind, ''), coalesce(o.state, ''), m.message_id, m.created_at, m.tries - CASE WHEN m.held_by IS NULL THEN 0 ELSE 1 END, m.lease_until, m.sent_at,
	coalesce(m.held_by, ''), m.held_until, coalesce(a.try, 0), a.started_at, a.ended_at, coalesce(a.server, ''), coalesce(a.stage, ''),
	coalesce(a.outcome, ''), coalesce(a.smtp_code, 0), coalesce(a.smtp_reply, ''), coalesce(a.cause, '')
FROM (SELECT * FROM mails ORDER BY created_at DESC, id COLLATE "C" DESC LIMIT $1) AS m
LEFT JOIN LATERAL (SELECT kind, state FROM outbox WHERE id = CASE WHEN m.id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN m.id::uuid END LIMIT 1) AS o ON TRUE
LEFT JOIN LATERAL (SELECT * FROM mail_attempts WHERE mail = m.id ORDER BY try DESC LIMIT 1) AS a ON TRUE
ORDER BY m.created_at DESC, m.id COLLATE "C" DESC`

// RecentMails lists the mails that workers had first most lately, the newest first, whether or not the outbox has their rows.
func (db *DB) RecentMails(ctx context.Context, limit int) ([]authjobs.MailGlance, error) {
	rows, err := db.pool.Query(ctx, recentMailsSQL, limit)
	if err != nil {
		return nil, wrap("list recent mails", err)
	}
	mails, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (g authjobs.MailGlance, err error) {
		var lease, sent, held, started, ended *time.Time
		a := &g.Last
		err = row.Scan(&g.ID, &g.Kind, &g.State, &g.MessageID, &g.FirstTry, &g.Tries, &lease, &sent, &g.HeldBy, &held,
			&a.Try, &started, &ended, &a.Server, &a.Stage, &a.Outcome, &a.SMTPCode, &a.SMTPReply, &a.Cause)
		g.FirstTry = g.FirstTry.UTC()
		g.LeaseUntil, g.SentAt, g.HeldUntil, a.StartedAt, a.EndedAt = timeOrZero(lease), timeOrZero(sent), timeOrZero(held), timeOrZero(started), timeOrZero(ended)
		return g, err //nolint:wrapcheck // wrapped below
	})
	if err != nil {
		return nil, wrap("list recent mails", err)
	}
	return mails, nil
}

// MailUse says what the deployment has used of its caps.
func (db *DB) MailUse(ctx context.Context) (u authjobs.MailUse, err error) {
	var now time.Time
	if err := db.pool.QueryRow(ctx, `SELECT statement_timestamp()`).Scan(&now); err != nil {
		return u, wrap("count mails", err)
	}
	hour, day := authjobs.UsedSince(now)
	err = db.pool.QueryRow(ctx, `
		SELECT coalesce(sum(taken) FILTER (WHERE name = $1 AND slice_at > $2), 0), coalesce(sum(taken) FILTER (WHERE name = $3 AND slice_at > $4), 0) FROM mail_usage`,
		authjobs.LimitHour, hour, authjobs.LimitDay, day).Scan(&u.Hour, &u.Day)
	if err != nil {
		return u, wrap("count mails", err)
	}
	return u, nil
}

// The lanes are read in the order of their index, and what is enqueued by its own: no more rows are read than are counted.
const mailBacklogSQL = `
SELECT kind, queue, state, count(*), greatest(statement_timestamp() - min(not_before), '0') FROM (
	(SELECT kind, queue, state, not_before FROM outbox WHERE ` + waiting + ` AND kind >= 'mail:' AND kind < 'mail;' ORDER BY kind, queue, coalesce(lease_until, next_at), id LIMIT $1)
	UNION ALL (SELECT kind, queue, state, not_before FROM outbox WHERE state = 'enqueued' ORDER BY next_at, expires_at LIMIT $1)
) AS unfinished GROUP BY kind, queue, state ORDER BY kind, queue, state COLLATE "C"`

// MailBacklog counts the unfinished rows of mails by kind, queue and state, of up to limit that wait for a relay and up to limit of any
// kind that are enqueued. more says that it stopped at the limit, so that there may be more.
func (db *DB) MailBacklog(ctx context.Context, limit int) (backlog []jobs.Backlog, more bool, err error) {
	rows, err := db.pool.Query(ctx, mailBacklogSQL, limit)
	if err != nil {
		return nil, false, wrap("count mails", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (b jobs.Backlog, err error) {
		err = row.Scan(&b.Kind, &b.Queue, &b.State, &b.Rows, &b.Oldest)
		return b, err //nolint:wrapcheck // wrapped below
	})
	if err != nil {
		return nil, false, wrap("count mails", err)
	}
	backlog, more = authjobs.MailBacklog(all, limit)
	return backlog, more, nil
}

// SuppressedUpTo counts the addresses to which nothing is sent, up to that many.
func (db *DB) SuppressedUpTo(ctx context.Context, most int) (n int64, err error) {
	if err := db.pool.QueryRow(ctx, `SELECT count(*) FROM (SELECT FROM suppressions LIMIT $1) AS counted`, most).Scan(&n); err != nil {
		return 0, wrap("count suppressions", err)
	}
	return n, nil
}
