package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/jobs"
)

// enterEffectSQL decides. Where another transaction has entered the effect and not ended yet, it waits for it.
const enterEffectSQL = `
INSERT INTO ledger (kind, effect_id, keep_until) VALUES ($1, $2, statement_timestamp() + $3::interval) ON CONFLICT DO NOTHING`

// Once runs fn once for the effect, as worker.Ledger says. fn must write through its tx: what it does elsewhere is not
// undone with it, and happens again with the next try.
func (db *DB) Once(ctx context.Context, e jobs.Effect, fn func(ctx context.Context, tx pgx.Tx) error) (done bool, err error) {
	err = db.InTx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, enterEffectSQL, name(string(e.Kind)), name(e.ID), e.Keep)
		if err != nil {
			return wrap("enter effect "+e.ID, err)
		}
		if done = tag.RowsAffected() == 0; !done {
			if err := fn(ctx, tx); err != nil {
				return err
			}
		}
		// Last, so that the row is not locked for as long as fn runs.
		if row := uuidOf(e.ID); row != nil {
			if _, err := tx.Exec(ctx, completeRowSQL, row, name(string(e.Kind))); err != nil {
				return wrap("complete row "+e.ID, err)
			}
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	return done, nil
}

// EffectDone says whether the effect is in the ledger, or its outbox row is done; an effect of the ledger completes its row.
func (db *DB) EffectDone(ctx context.Context, kind jobs.Kind, effect string) (done bool, err error) {
	err = db.pool.QueryRow(ctx, `
		WITH entered AS (SELECT FROM ledger WHERE kind = $2 AND effect_id = $3),
		completed AS (`+completeRowSQL+` AND EXISTS (SELECT FROM entered))
		SELECT EXISTS (SELECT FROM entered) OR EXISTS (SELECT FROM outbox WHERE id = $1::uuid AND kind = $2 AND state = 'done')`, uuidOf(effect), name(string(kind)), name(effect)).Scan(&done)
	if err != nil {
		return false, wrap("look up effect "+effect, err)
	}
	return done, nil
}
