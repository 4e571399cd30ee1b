package postgres

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/jobs"
)

const rowColumns = `o.id::text, o.kind, o.queue, o.payload, o.headers, o.retries, coalesce(o.unique_key, ''),
	o.not_before, o.expires_at, o.attempts, coalesce(o.lease_token, '')`

// A lane is a kind in a queue. Those that have rows waiting are found by skipping through an index from one to the next;
// few kinds of a relay are in many queues. In each lane rows are picked by when they became due, which the same index hands
// out however many wait for later or in other lanes. A claimed row is due again when its lease ends; the expression is that
// of the index. The rows to claim are an array, because the planner takes what comes out of lanes for so many that it would
// rather read the whole table. Lanes take turns: however many rows of one are due, those of the others are among the claimed.
const claimRowsSQL = `
WITH RECURSIVE lane (kind, queue) AS (
	SELECT k.kind, (SELECT min(w.queue) FROM outbox w WHERE w.kind = k.kind AND w.state IN ('queued', 'claimed'))
	FROM (SELECT DISTINCT unnest($4::text[])) AS k (kind)
	UNION ALL
	SELECT kind, (SELECT min(w.queue) FROM outbox w WHERE w.kind = lane.kind AND w.queue > lane.queue AND w.state IN ('queued', 'claimed'))
	FROM lane WHERE queue IS NOT NULL
), due AS (
	SELECT d.id FROM lane CROSS JOIN LATERAL (
		SELECT w.id, coalesce(w.lease_until, w.next_at) AS since FROM outbox w
		WHERE w.kind = lane.kind AND w.queue = lane.queue AND w.state IN ('queued', 'claimed')
		  AND coalesce(w.lease_until, w.next_at) <= statement_timestamp() AND w.expires_at > statement_timestamp()
		ORDER BY coalesce(w.lease_until, w.next_at), w.id LIMIT $1 FOR UPDATE SKIP LOCKED
	) AS d
	WHERE lane.queue <> ALL ($5::text[])
	ORDER BY row_number() OVER (PARTITION BY lane.kind, lane.queue ORDER BY d.since, d.id), d.since, d.id LIMIT $1
), o AS (
	UPDATE outbox SET state = 'claimed', lease_token = $3, lease_until = statement_timestamp() + $2::interval
	WHERE id = ANY (ARRAY(SELECT id FROM due)) RETURNING *
)
SELECT ` + rowColumns + ` FROM o ORDER BY o.id`

// ClaimRows claims rows for a relay, under one fresh lease token.
func (db *DB) ClaimRows(ctx context.Context, c jobs.Claim) ([]jobs.ClaimedRow, error) {
	kinds, skip := make([]string, len(c.Kinds)), make([]string, len(c.SkipQueues))
	for i, kind := range c.Kinds {
		kinds[i] = name(string(kind))
	}
	for i, queue := range c.SkipQueues {
		skip[i] = name(queue)
	}
	return db.claimedRows(ctx, "claim rows", claimRowsSQL, c.Limit, c.Lease, rand.Text(), kinds, skip)
}

// stillClaimed is of the rows that are told of those whose claim has not passed on to another.
const stillClaimed = ` WHERE outbox.id = told.id AND state = 'claimed' AND lease_token = told.token`

const returnRowsSQL = `UPDATE outbox SET state = 'queued', lease_token = NULL, lease_until = NULL, cause = told.cause,
	next_at = CASE WHEN told.pause > '0' THEN statement_timestamp() + told.pause ELSE next_at END
	FROM unnest($1::text[]::uuid[], $2::text[], $3::interval[], $4::text[]) AS told (id, token, pause, cause)` + stillClaimed

// rowsEnqueuedSQL also tells a row that a worker was quicker to end who signed it. One condition, so that a row that ends meanwhile is not missed.
const rowsEnqueuedSQL = `UPDATE outbox SET state = CASE WHEN ended_at IS NULL THEN 'enqueued' ELSE state END, lease_token = NULL, lease_until = NULL,
	cause = CASE WHEN ended_at IS NULL THEN '' ELSE cause END,
	next_at = CASE WHEN ended_at IS NULL THEN greatest(not_before, statement_timestamp()) ELSE next_at END, kid = nullif(told.kid, ''), signed_at = statement_timestamp()
	FROM unnest($1::text[]::uuid[], $2::text[], $3::text[]) AS told (id, token, kid)
	WHERE outbox.id = told.id AND (state = 'claimed' AND lease_token = told.token OR ended_at IS NOT NULL AND signed_at IS NULL)`

// RowsEnqueued marks claimed rows as enqueued. Their tasks may be missed from their due time on.
func (db *DB) RowsEnqueued(ctx context.Context, rows []jobs.ClaimedRow) error {
	ids, tokens := claims(rows)
	kids := make([]string, len(rows))
	for i, row := range rows {
		kids[i] = name(row.KID)
	}
	_, err := db.pool.Exec(ctx, rowsEnqueuedSQL, ids, tokens, kids)
	if err != nil {
		return wrap("mark rows as enqueued", err)
	}
	return nil
}

// ReturnRows queues claimed rows again, each to be claimed after its pause. Without one it is due since when it was, so that
// the outbox's depth tells how long it has waited.
func (db *DB) ReturnRows(ctx context.Context, rows []jobs.ReturnedRow) error {
	ids, tokens, causes := make([]string, len(rows)), make([]string, len(rows)), make([]string, len(rows))
	pauses := make([]time.Duration, len(rows))
	for i, row := range rows {
		ids[i], tokens[i], pauses[i], causes[i] = row.ID, row.LeaseToken, row.Pause, prose(row.Cause)
	}
	_, err := db.pool.Exec(ctx, returnRowsSQL, ids, tokens, pauses, causes)
	if err != nil {
		return wrap("return rows", err)
	}
	return nil
}

func claims(rows []jobs.ClaimedRow) (ids, tokens []string) {
	ids, tokens = make([]string, len(rows)), make([]string, len(rows))
	for i, row := range rows {
		ids[i], tokens[i] = row.ID, row.LeaseToken
	}
	return ids, tokens
}

// RefuseRow ends a claimed row that no worker would understand.
func (db *DB) RefuseRow(ctx context.Context, row jobs.ClaimedRow, cause string) error {
	_, err := db.pool.Exec(ctx, `UPDATE outbox SET state = 'refused', cause = $3, `+endRow+`
		WHERE id = $1::uuid AND state = 'claimed' AND lease_token = $2`, uuidOf(row.ID), row.LeaseToken, prose(cause))
	if err != nil {
		return wrap("refuse row "+row.ID, err)
	}
	return nil
}

// Rows that wait are found where claims find them, at the front of their lanes, so that an application's insert pays for no index
// of ends. Nor is there one for enqueued rows: past their end, they are due. A claimed row is treated as an enqueued one: its relay may have got that far.
const expireRowsSQL = `
WITH RECURSIVE lane AS (
	(SELECT kind, queue FROM outbox WHERE ` + waiting + ` ORDER BY kind, queue LIMIT 1)
	UNION ALL
	SELECT next.kind, next.queue FROM lane CROSS JOIN LATERAL (
		SELECT w.kind, w.queue FROM outbox w
		WHERE (w.kind, w.queue) > (lane.kind, lane.queue) AND w.state IN ('queued', 'claimed') ORDER BY w.kind, w.queue LIMIT 1
	) AS next
), due AS (
	SELECT front.id FROM lane CROSS JOIN LATERAL (
		SELECT w.id, w.state, w.expires_at FROM outbox w
		WHERE w.kind = lane.kind AND w.queue = lane.queue AND w.state IN ('queued', 'claimed')
		  AND coalesce(w.lease_until, w.next_at) <= statement_timestamp()
		ORDER BY coalesce(w.lease_until, w.next_at), w.id LIMIT $2
	) AS front
	WHERE front.expires_at <= statement_timestamp() - CASE front.state WHEN 'queued' THEN '0' ELSE $1::interval END
	UNION ALL
	(SELECT id FROM outbox WHERE state = 'enqueued' AND next_at <= statement_timestamp() AND expires_at <= statement_timestamp() - $1::interval
	 ORDER BY next_at LIMIT $2)
	LIMIT $2
), over AS (
	SELECT id FROM outbox WHERE id = ANY (ARRAY(SELECT id FROM due)) AND ` + unfinished + `
	  AND expires_at <= statement_timestamp() - CASE state WHEN 'queued' THEN '0' ELSE $1::interval END
	FOR UPDATE SKIP LOCKED
)
UPDATE outbox SET state = 'expired', ` + endRow + ` FROM over WHERE outbox.id = over.id`

// ExpireRows ends up to limit rows past their end. Of those that wait for a relay it looks at as many of each kind and queue, those
// that have been due the longest; no relay claims the others before it gets there.
func (db *DB) ExpireRows(ctx context.Context, grace time.Duration, limit int) (int, error) {
	tag, err := db.pool.Exec(ctx, expireRowsSQL, grace, limit)
	if err != nil {
		return 0, wrap("expire rows", err)
	}
	return int(tag.RowsAffected()), nil
}

// Rows past their end are not looked for: nobody would run them, ExpireRows ends them.
const overdueRowsSQL = `
WITH due AS (
	SELECT id FROM outbox
	WHERE state = 'enqueued' AND next_at <= statement_timestamp() - $1::interval AND expires_at > statement_timestamp()
	ORDER BY next_at LIMIT $2 FOR UPDATE SKIP LOCKED
), o AS (
	UPDATE outbox SET next_at = statement_timestamp() FROM due WHERE outbox.id = due.id RETURNING outbox.*
)
SELECT ` + rowColumns + ` FROM o ORDER BY o.id`

// OverdueRows lists rows whose tasks may be lost, each once in after.
func (db *DB) OverdueRows(ctx context.Context, after time.Duration, limit int) ([]jobs.ClaimedRow, error) {
	return db.claimedRows(ctx, "list overdue rows", overdueRowsSQL, after, limit)
}

// RestoreRow queues the row as its next attempt, if it is still enqueued as the attempt that was listed.
func (db *DB) RestoreRow(ctx context.Context, row jobs.ClaimedRow, pause time.Duration) (restored bool, err error) {
	tag, err := db.pool.Exec(ctx, `UPDATE outbox SET state = 'queued', attempts = attempts + 1, next_at = statement_timestamp() + $3::interval
		WHERE id = $1::uuid AND attempts = $2 AND state = 'enqueued'`, uuidOf(row.ID), row.Attempt, pause)
	if err != nil {
		return false, wrap("restore row "+row.ID, err)
	}
	return tag.RowsAffected() > 0, nil
}

func (db *DB) claimedRows(ctx context.Context, operation, sql string, args ...any) ([]jobs.ClaimedRow, error) {
	rows, err := db.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, wrap(operation, err)
	}
	claimed, err := pgx.CollectRows(rows, scanRow)
	if err != nil {
		return nil, wrap(operation, err)
	}
	return claimed, nil
}

func scanRow(scanned pgx.CollectableRow) (jobs.ClaimedRow, error) {
	var row jobs.ClaimedRow
	var headers []byte
	err := scanned.Scan(&row.ID, &row.Kind, &row.Queue, &row.Payload, &headers, &row.Retries, &row.UniqueKey,
		&row.NotBefore, &row.ExpiresAt, &row.Attempt, &row.LeaseToken)
	if err != nil {
		return row, err //nolint:wrapcheck // claimedRows wraps it
	}
	row.NotBefore, row.ExpiresAt = row.NotBefore.UTC(), row.ExpiresAt.UTC()
	row.Headers, err = decodeHeaders(headers)
	return row, err
}
