package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/jobs"
)

// enterEffectSQL decides, unless the row that the effect names is done. Where another transaction has entered the effect and
// not ended yet, it waits for it. It says whether it entered the effect, and whether there is a row to complete.
const enterEffectSQL = `
WITH named AS (SELECT state FROM outbox WHERE id = $4::uuid AND kind = $1),
entered AS (
	INSERT INTO ledger (kind, effect_id, keep_until)
	SELECT $1, $2, statement_timestamp() + $3::interval WHERE NOT EXISTS (SELECT FROM named WHERE state = 'done')
	ON CONFLICT DO NOTHING RETURNING true)
SELECT EXISTS (SELECT FROM entered), EXISTS (SELECT FROM named WHERE state <> 'done')`

// Once runs fn once for the effect, as worker.Ledger says. fn must write through its tx: what it does elsewhere is not
// undone with it, and happens again with the next try.
func (db *DB) Once(ctx context.Context, e jobs.Effect, fn func(ctx context.Context, tx pgx.Tx) error) (done bool, err error) {
	tx, entered, unfinished, err := db.enter(ctx, e)
	if err != nil {
		return false, wrap("enter effect "+e.ID, err)
	}
	defer func() { _ = tx.Rollback(ctx) }() // says that tx is over where it is
	if entered {
		if err := fn(ctx, tx); err != nil {
			return false, err
		}
	}
	if unfinished { // last, so that the row is not locked for as long as fn runs
		if _, err := tx.Exec(ctx, completeRowSQL, e.ID, name(string(e.Kind))); err != nil {
			return false, wrap("complete row "+e.ID, err)
		}
	}
	if err := tx.Commit(ctx); err != nil {
		return false, wrap("commit", err)
	}
	return !entered, nil
}

// enter begins a transaction with the ledger's statement, both in one round trip.
func (db *DB) enter(ctx context.Context, e jobs.Effect) (tx pgx.Tx, entered, unfinished bool, err error) {
	var b pgx.Batch
	b.BeginTx(pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
	b.Queue(enterEffectSQL, name(string(e.Kind)), name(e.ID), e.Keep, uuidOf(e.ID)).QueryRow(func(row pgx.Row) error {
		return row.Scan(&entered, &unfinished)
	})
	results := db.pool.SendBatch(ctx, &b)
	tx = results.Tx()
	if err := results.Close(); err != nil {
		_ = tx.Rollback(ctx)          // gives the connection back
		return nil, false, false, err //nolint:wrapcheck // wrapped by the caller
	}
	return tx, entered, unfinished, nil
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
