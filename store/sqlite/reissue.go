package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
)

// EffectCommitted says what EffectDone says, and changes nothing.
func (db *DB) EffectCommitted(ctx context.Context, kind jobs.Kind, effect string) (committed bool, err error) {
	err = db.read.QueryRowContext(ctx, `
		SELECT EXISTS (SELECT 1 FROM ledger WHERE kind = ?1 AND effect_id = ?2)
		    OR EXISTS (SELECT 1 FROM outbox WHERE id = ?2 AND kind = ?1 AND state = 'done')`,
		string(kind), effect).Scan(&committed)
	if err != nil {
		return false, db.wrap("look effect up", err)
	}
	return committed, nil
}

// rowInfoColumns are what RowInfo reads of the outbox, called o.
const rowInfoColumns = ` o.id, o.kind, o.queue, o.state, o.attempts, o.failures, o.retries, o.cause, coalesce(o.kid, ''),
	o.not_before, o.next_at, o.expires_at, o.created_at, o.signed_at, o.ended_at `

// RowInfo says where an outbox row stands, or [jobs.ErrNoSuchRow].
func (db *DB) RowInfo(ctx context.Context, id string) (jobs.RowInfo, error) {
	var r jobs.RowInfo
	var notBefore, next, expires, created int64
	var ended, signed sql.NullInt64
	err := db.read.QueryRowContext(ctx, `SELECT`+rowInfoColumns+`FROM outbox AS o WHERE id = ?`, id).
		Scan(&r.ID, &r.Kind, &r.Queue, &r.State, &r.Attempt, &r.Failures, &r.Retries, &r.Cause, &r.KID, &notBefore, &next, &expires, &created, &signed, &ended)
	if errors.Is(err, sql.ErrNoRows) {
		return jobs.RowInfo{}, fmt.Errorf("look up row %q: %w", id, jobs.ErrNoSuchRow)
	}
	if err != nil {
		return jobs.RowInfo{}, db.wrap("look up outbox row", err)
	}
	r.NotBefore, r.NextAt, r.ExpiresAt, r.CreatedAt, r.EndedAt = timeOf(notBefore), timeOf(next), timeOf(expires), timeOf(created), timeOrZero(ended)
	r.SignedAt = timeOrZero(signed)
	return r, nil
}

// ReissueRow queues the row as its next attempt, and enters who did so.
func (db *DB) ReissueRow(ctx context.Context, r jobs.RowRef, e audit.Entry) error {
	err := db.InTx(ctx, func(tx *sql.Tx) error {
		instant, err := now(ctx, tx)
		if err != nil {
			return err
		}
		state, err := mayReissue(ctx, tx, r, instant)
		if err != nil {
			return err
		}
		// A row that ended has all of its tries again. It is due at once, or a minute before its job may run, as when it was
		// recorded.
		if _, err := execute(ctx, tx, `
			UPDATE outbox SET state = 'queued', attempts = attempts + 1, failures = iif(ended_at IS NULL, failures, 0), try_after = NULL,
				next_at = max(?, not_before - ?), unique_key = coalesce(unique_key, ended_key), ended_key = NULL,
				lease_token = NULL, lease_until = NULL, ended_at = NULL
			WHERE id = ?`, instant, enqueueAhead.Microseconds(), r.ID); err != nil {
			return err
		}
		// What was said of its tick is taken back, so that its schedule is told how it ends now.
		if _, err := execute(ctx, tx, `UPDATE ticks SET outcome = '', started_at = NULL, finished_at = NULL, cause = '' WHERE row_id = ?`, r.ID); err != nil {
			return err
		}
		e.Detail = maps.Clone(e.Detail)
		if e.Detail == nil {
			e.Detail = make(map[string]string, 1)
		}
		e.Detail["was"] = string(state)
		return db.AppendAudit(ctx, tx, e)
	})
	if err != nil {
		return db.wrap("reissue row "+r.ID, err)
	}
	return nil
}

// mayReissue returns the state of the row, or why it is not reissued. The transaction is the only one that writes.
func mayReissue(ctx context.Context, tx *sql.Tx, r jobs.RowRef, instant int64) (state jobs.RowState, err error) {
	var attempt int
	var over, entered, taken bool
	err = tx.QueryRowContext(ctx, `
		SELECT state, attempts, expires_at <= ?3, EXISTS (SELECT 1 FROM ledger WHERE kind = ?2 AND effect_id = ?1),
		       EXISTS (SELECT 1 FROM outbox AS other WHERE other.unique_key = o.ended_key AND o.unique_key IS NULL)
		FROM outbox AS o WHERE id = ?1 AND kind = ?2`, r.ID, string(r.Kind), instant).Scan(&state, &attempt, &over, &entered, &taken)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return "", jobs.ErrNoSuchRow
	case err != nil:
		return "", err //nolint:wrapcheck // ReissueRow wraps it
	case state == jobs.RowDone || entered:
		return "", jobs.ErrRowDone
	case attempt != r.Attempt:
		return "", fmt.Errorf("%w: it is at attempt %d", jobs.ErrOtherAttempt, attempt)
	case over || state == jobs.RowExpired:
		return "", jobs.ErrRowExpired
	case taken:
		return "", jobs.ErrDuplicate
	}
	return state, nil
}
