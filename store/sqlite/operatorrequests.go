package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sealq/sealq/requests"
)

// openSQL are the requests that may still come to something at the instant ?1.
const openSQL = `(state = 'waiting' AND expires_at > ?1 OR state = 'taken' AND lease_until > ?1)`

// requestArgs are a request's arguments as they are stored, which is the same for the same.
func requestArgs(r requests.Request) (string, error) {
	args := r.Args
	if args == nil {
		args = map[string]string{}
	}
	packed, err := json.Marshal(args) // names sorted
	if err != nil {
		return "", fmt.Errorf("pack the request: %w", err)
	}
	return string(packed), nil
}

// MakeRequest writes a request: see [requests.Desk].
func (db *DB) MakeRequest(ctx context.Context, r requests.Request, life time.Duration) error {
	args, err := requestArgs(r)
	if err != nil {
		return err
	}
	err = db.InTx(ctx, func(tx *sql.Tx) error {
		instant, err := now(ctx, tx)
		if err != nil {
			return err
		}
		if _, err := execute(ctx, tx, `DELETE FROM requests WHERE made_at <= ?`, instant-requests.Kept.Microseconds()); err != nil {
			return err
		}
		n, err := execute(ctx, tx, `
			INSERT INTO requests (id, kind, args, actor, made_at, expires_at) SELECT ?2, ?3, ?4, ?5, ?1, ?1 + ?6
			WHERE NOT EXISTS (SELECT 1 FROM requests WHERE kind = ?3 AND args = ?4 AND `+openSQL+`)`,
			instant, r.ID, string(r.Kind), args, r.Actor, life.Microseconds())
		if err != nil {
			return err
		}
		if n == 0 {
			return requests.ErrAsked
		}
		return db.AppendAudit(ctx, tx, r.MadeEntry())
	})
	if errors.Is(err, requests.ErrAsked) {
		return requests.ErrAsked
	}
	return db.wrapSome("make request", err)
}

// requestColumns are what scanRequest reads; ?1 is now.
const requestColumns = ` id, kind, args, actor, CASE WHEN state = 'waiting' AND expires_at <= ?1 THEN 'expired'
	WHEN state = 'taken' AND lease_until <= ?1 THEN 'lost' ELSE state END, made_at, expires_at, holder, taken_at, ended_at, outcome `

func scanRequest(scan func(...any) error) (r requests.Request, err error) {
	var args string
	var made, expires int64
	var taken, ended sql.NullInt64
	if err := scan(&r.ID, &r.Kind, &args, &r.Actor, &r.State, &made, &expires, &r.Holder, &taken, &ended, &r.Outcome); err != nil {
		return r, err
	}
	r.MadeAt, r.ExpiresAt, r.TakenAt, r.EndedAt = timeOf(made), timeOf(expires), timeOrZero(taken), timeOrZero(ended)
	if err := json.Unmarshal([]byte(args), &r.Args); err != nil {
		return r, fmt.Errorf("request %s: %w", r.ID, err)
	}
	return r, nil
}

// Requests lists requests, the newest first: see [requests.Desk].
func (db *DB) Requests(ctx context.Context, limit int) ([]requests.Request, error) {
	instant, err := now(ctx, db.read)
	if err != nil {
		return nil, db.wrap("list requests", err)
	}
	rows, err := db.read.QueryContext(ctx, `SELECT`+requestColumns+`FROM requests ORDER BY made_at DESC, id DESC LIMIT ?2`, instant, limit)
	if err != nil {
		return nil, db.wrap("list requests", err)
	}
	all, err := collect(rows, func(rows *sql.Rows) (requests.Request, error) { return scanRequest(rows.Scan) })
	return all, db.wrapSome("list requests", err)
}

// claimableSQL is the oldest request that waits: ?1 is now, ?2 a JSON list of kinds.
const claimableSQL = `SELECT id FROM requests WHERE state = 'waiting' AND expires_at > ?1 AND kind IN (SELECT value FROM json_each(?2)) ORDER BY made_at, id LIMIT 1`

// ClaimRequest takes the oldest request that waits: see [requests.Store]. Where there is none, it takes no turn to write.
func (db *DB) ClaimRequest(ctx context.Context, kinds []requests.Kind, holder string, lease time.Duration) (r requests.Request, err error) {
	list, err := json.Marshal(append([]requests.Kind{}, kinds...))
	if err != nil {
		return r, fmt.Errorf("pack kinds: %w", err)
	}
	instant, err := now(ctx, db.read)
	var id string
	if err == nil {
		err = db.read.QueryRowContext(ctx, claimableSQL, instant, string(list)).Scan(&id)
	}
	if err == nil {
		err = db.InTx(ctx, func(tx *sql.Tx) error {
			instant, err := now(ctx, tx)
			if err != nil {
				return err
			}
			r, err = scanRequest(tx.QueryRowContext(ctx, `
				UPDATE requests SET state = 'taken', holder = ?3, taken_at = ?1, lease_until = ?1 + ?4 WHERE id = (`+claimableSQL+`)
				RETURNING`+requestColumns, instant, string(list), holder, lease.Microseconds()).Scan)
			return err
		})
	}
	if errors.Is(err, sql.ErrNoRows) {
		return requests.Request{}, requests.ErrNone
	}
	return r, db.wrapSome("claim request", err)
}

// EndRequest ends a request: see [requests.Store].
func (db *DB) EndRequest(ctx context.Context, id, holder string, state requests.State, outcome string) (ended bool, err error) {
	outcome = prose(outcome)
	_, err = db.countInTx(ctx, "end request", func(tx *sql.Tx, instant int64) (int, error) {
		r, err := scanRequest(tx.QueryRowContext(ctx, `
			UPDATE requests SET state = ?4, ended_at = ?1, outcome = ?5 WHERE id = ?2 AND holder = ?3 AND state = 'taken' RETURNING`+requestColumns,
			instant, id, holder, string(state), outcome).Scan)
		if errors.Is(err, sql.ErrNoRows) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		ended = true
		return 1, db.AppendAudit(ctx, tx, r.EndEntry(holder, state, outcome))
	})
	return ended && err == nil, err
}
