package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
)

// EffectCommitted says what EffectDone says, and changes nothing.
func (db *DB) EffectCommitted(ctx context.Context, kind jobs.Kind, effect string) (committed bool, err error) {
	err = db.pool.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM ledger WHERE kind = $2 AND effect_id = $3)
		    OR EXISTS (SELECT FROM outbox WHERE id = $1::uuid AND kind = $2 AND state = 'done')`,
		uuidOf(effect), name(string(kind)), name(effect)).Scan(&committed)
	if err != nil {
		return false, wrap("look up effect "+effect, err)
	}
	return committed, nil
}

// rowInfoColumns are what RowInfo reads of the outbox, called o.
const rowInfoColumns = ` o.id::text, o.kind, o.queue, o.state, o.attempts, o.failures, o.retries, o.cause, coalesce(o.kid, ''),
	o.not_before, o.next_at, o.expires_at, o.created_at, o.signed_at, o.ended_at `

// RowInfo says where an outbox row stands, or jobs.ErrNoSuchRow.
func (db *DB) RowInfo(ctx context.Context, id string) (jobs.RowInfo, error) {
	rows, err := db.pool.Query(ctx, `
		SELECT`+rowInfoColumns+`FROM outbox AS o WHERE id = $1::uuid`, uuidOf(id))
	if err != nil {
		return jobs.RowInfo{}, wrap("look up row", err)
	}
	info, err := pgx.CollectExactlyOneRow(rows, scanRowInfo)
	if errors.Is(err, pgx.ErrNoRows) {
		return jobs.RowInfo{}, fmt.Errorf("look up row %q: %w", id, jobs.ErrNoSuchRow)
	}
	if err != nil {
		return jobs.RowInfo{}, wrap("look up row "+id, err)
	}
	return info, nil
}

func scanRowInfo(row pgx.CollectableRow) (jobs.RowInfo, error) {
	var r jobs.RowInfo
	var signed, ended *time.Time
	err := row.Scan(&r.ID, &r.Kind, &r.Queue, &r.State, &r.Attempt, &r.Failures, &r.Retries, &r.Cause, &r.KID, &r.NotBefore, &r.NextAt, &r.ExpiresAt, &r.CreatedAt, &signed, &ended)
	r.NotBefore, r.NextAt, r.ExpiresAt, r.CreatedAt, r.EndedAt = r.NotBefore.UTC(), r.NextAt.UTC(), r.ExpiresAt.UTC(), r.CreatedAt.UTC(), timeOrZero(ended)
	r.SignedAt = timeOrZero(signed)
	return r, err //nolint:wrapcheck // RowInfo wraps it
}

// What commits while this waits for the row has changed its state, which is read after the wait.
const lockForReissueSQL = `
SELECT state, attempts, expires_at <= statement_timestamp() FROM outbox WHERE id = $1::uuid AND kind = $2 FOR UPDATE`

// A release enters the effect and leaves the row's state as it is. So the ledger is asked when the row is locked, in a statement
// of its own: one that waited would answer with what had been committed when it began.
const effectEnteredSQL = `SELECT EXISTS (SELECT FROM ledger WHERE kind = $2 AND effect_id = $1::uuid::text)`

// A row that ended has all of its tries again. It is due at once, or a minute before its job may run, as when it was recorded.
const reissueRowSQL = `
UPDATE outbox SET state = 'queued', attempts = attempts + 1, failures = CASE WHEN ended_at IS NULL THEN failures ELSE 0 END, try_after = NULL,
	next_at = greatest(statement_timestamp(), not_before - interval '1 minute'),
	unique_key = coalesce(unique_key, ended_key), ended_key = NULL, lease_token = NULL, lease_until = NULL, ended_at = NULL
WHERE id = $1::uuid`

// What was said of its tick is taken back, so that its schedule is told how it ends now.
const reopenTickSQL = `UPDATE ticks SET outcome = '', started_at = NULL, finished_at = NULL, cause = '' WHERE row_id = $1::uuid`

// ReissueRow queues the row as its next attempt, and enters who did so.
func (db *DB) ReissueRow(ctx context.Context, r jobs.RowRef, e audit.Entry) error {
	err := db.InTx(ctx, func(tx pgx.Tx) error {
		var state jobs.RowState
		var attempt int
		var over, entered bool
		if err := tx.QueryRow(ctx, lockForReissueSQL, uuidOf(r.ID), name(string(r.Kind))).Scan(&state, &attempt, &over); err != nil {
			return err //nolint:wrapcheck // wrapped below
		}
		if err := tx.QueryRow(ctx, effectEnteredSQL, uuidOf(r.ID), name(string(r.Kind))).Scan(&entered); err != nil {
			return err //nolint:wrapcheck // wrapped below
		}
		switch {
		case state == jobs.RowDone || entered:
			return jobs.ErrRowDone
		case attempt != r.Attempt:
			return fmt.Errorf("%w: it is at attempt %d", jobs.ErrOtherAttempt, attempt)
		case over || state == jobs.RowExpired:
			return jobs.ErrRowExpired
		}
		for _, statement := range []string{reissueRowSQL, reopenTickSQL} {
			if _, err := tx.Exec(ctx, statement, uuidOf(r.ID)); err != nil {
				return err //nolint:wrapcheck // wrapped below
			}
		}
		e.Detail = maps.Clone(e.Detail)
		if e.Detail == nil {
			e.Detail = make(map[string]string, 1)
		}
		e.Detail["was"] = string(state)
		return db.AppendAudit(ctx, tx, e)
	})
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok && refused.Code == "23505" && refused.ConstraintName == "outbox_unique_key_key" {
		err = jobs.ErrDuplicate
	}
	if errors.Is(err, pgx.ErrNoRows) {
		err = jobs.ErrNoSuchRow
	}
	if err != nil {
		return wrap("reissue row "+r.ID, err)
	}
	return nil
}
