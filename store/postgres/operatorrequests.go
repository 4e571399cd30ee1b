package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/requests"
)

const makeRequestSQL = `
WITH old AS (
	DELETE FROM requests WHERE made_at <= statement_timestamp() - $6::interval
)
INSERT INTO requests (id, kind, args, actor, expires_at) SELECT $1, $2, $3, $4, statement_timestamp() + $5::interval
WHERE NOT EXISTS (SELECT FROM requests WHERE kind = $2 AND args = $3 AND
	(state = 'waiting' AND expires_at > statement_timestamp() OR state = 'taken' AND lease_until > statement_timestamp()))`

// MakeRequest writes a request, as requests.Desk says. Who asks for the same at the same moment waits for the first.
func (db *DB) MakeRequest(ctx context.Context, r requests.Request, life time.Duration) error {
	args, err := json.Marshal(facts(r.Args)) // names sorted
	if err != nil {
		return fmt.Errorf("pack the request: %w", err)
	}
	err = db.InTx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(requestLock)); err != nil {
			return err //nolint:wrapcheck // wrapped below
		}
		tag, err := tx.Exec(ctx, makeRequestSQL, name(r.ID), name(string(r.Kind)), name(string(args)), name(r.Actor), life, requests.Kept)
		if err != nil {
			return err //nolint:wrapcheck // wrapped below
		}
		if tag.RowsAffected() == 0 {
			return requests.ErrAsked
		}
		return db.AppendAudit(ctx, tx, r.MadeEntry())
	})
	switch {
	case errors.Is(err, requests.ErrAsked):
		return requests.ErrAsked
	case err != nil:
		return wrap("make request", err)
	}
	return nil
}

// requestLock is the key of the advisory lock under which requests are made, next to that of the audit log.
const requestLock = auditLock + 1

const requestColumns = ` id, kind, args, actor, CASE WHEN state = 'waiting' AND expires_at <= statement_timestamp() THEN 'expired'
	WHEN state = 'taken' AND lease_until <= statement_timestamp() THEN 'lost' ELSE state END, made_at, expires_at, holder, taken_at, ended_at, outcome `

func scanRequest(row pgx.CollectableRow) (r requests.Request, err error) {
	var args string
	var taken, ended *time.Time
	if err := row.Scan(&r.ID, &r.Kind, &args, &r.Actor, &r.State, &r.MadeAt, &r.ExpiresAt, &r.Holder, &taken, &ended, &r.Outcome); err != nil {
		return r, err //nolint:wrapcheck // callers wrap it
	}
	r.MadeAt, r.ExpiresAt, r.TakenAt, r.EndedAt = r.MadeAt.UTC(), r.ExpiresAt.UTC(), timeOrZero(taken), timeOrZero(ended)
	if err := json.Unmarshal([]byte(args), &r.Args); err != nil {
		return r, fmt.Errorf("request %s: %w", r.ID, err)
	}
	return r, nil
}

// Requests lists requests, the newest first, as requests.Desk says.
func (db *DB) Requests(ctx context.Context, limit int) ([]requests.Request, error) {
	rows, err := db.pool.Query(ctx, `SELECT`+requestColumns+`FROM requests ORDER BY made_at DESC, id DESC LIMIT $1`, limit)
	if err != nil {
		return nil, wrap("list requests", err)
	}
	all, err := pgx.CollectRows(rows, scanRequest)
	if err != nil {
		return nil, wrap("list requests", err)
	}
	return all, nil
}

const claimRequestSQL = `
UPDATE requests SET state = 'taken', holder = $2, taken_at = statement_timestamp(), lease_until = statement_timestamp() + $3::interval
WHERE id = (SELECT id FROM requests WHERE state = 'waiting' AND expires_at > statement_timestamp() AND kind = ANY ($1::text[])
            ORDER BY made_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING` + requestColumns

// ClaimRequest takes the oldest request that waits, as requests.Store says.
func (db *DB) ClaimRequest(ctx context.Context, kinds []requests.Kind, holder string, lease time.Duration) (requests.Request, error) {
	rows, err := db.pool.Query(ctx, claimRequestSQL, kinds, name(holder), lease)
	if err != nil {
		return requests.Request{}, wrap("claim request", err)
	}
	r, err := pgx.CollectExactlyOneRow(rows, scanRequest)
	if errors.Is(err, pgx.ErrNoRows) {
		return requests.Request{}, requests.ErrNone
	}
	if err != nil {
		return requests.Request{}, wrap("claim request", err)
	}
	return r, nil
}

const endRequestSQL = `
UPDATE requests SET state = $3, ended_at = statement_timestamp(), outcome = $4 WHERE id = $1 AND holder = $2 AND state = 'taken' RETURNING` + requestColumns

// EndRequest ends a request, as requests.Store says.
func (db *DB) EndRequest(ctx context.Context, id, holder string, state requests.State, outcome string) (ended bool, err error) {
	outcome = prose(outcome)
	err = db.InTx(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, endRequestSQL, name(id), name(holder), string(state), outcome)
		if err != nil {
			return err //nolint:wrapcheck // wrapped below
		}
		r, err := pgx.CollectExactlyOneRow(rows, scanRequest)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err //nolint:wrapcheck // likewise
		}
		ended = true
		return db.AppendAudit(ctx, tx, r.EndEntry(holder, state, outcome))
	})
	if err != nil {
		return false, wrap("end request", err)
	}
	return ended, nil
}
