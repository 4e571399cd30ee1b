package postgres

import (
	"context"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sealq/sealq/jobs"
)

// enterEffectSQL decides. Where another transaction has entered the effect and not ended yet, it waits for it. It is kept as
// plain as can be: with a look at the row in the same statement it takes PostgreSQL twice the time.
const enterEffectSQL = `
INSERT INTO ledger (kind, effect_id, keep_until) VALUES ($1, $2, statement_timestamp() + $3::interval) ON CONFLICT DO NOTHING`

// Once runs fn once for the effect, as worker.Ledger says. fn must write through its tx: what it does elsewhere is not
// undone with it, and happens again with the next try. PostgreSQL ends a transaction that says nothing until 5 seconds after
// ctx's deadline, or for a minute if it has none: a worker that has vanished must not keep its effect from others.
func (db *DB) Once(ctx context.Context, e jobs.Effect, fn func(ctx context.Context, tx pgx.Tx) error) (done bool, err error) {
	tx, entered, err := db.enter(ctx, e)
	if err != nil {
		return false, wrap("enter effect "+e.ID, err)
	}
	defer func() { _ = tx.Rollback(ctx) }() // says that tx is over where it is
	if entered {
		if err := fn(ctx, tx); err != nil {
			return false, err
		}
	}
	if row := uuidOf(e.ID); row != nil && !e.Direct { // last, so that the row is not locked for as long as fn runs
		was, err := completeRow(ctx, tx, *row, e.Kind)
		if err != nil {
			return false, wrap("complete row "+e.ID, err)
		}
		if was && entered {
			return true, nil // rolled back
		}
	}
	if err := tx.Commit(ctx); err != nil {
		return false, wrap("commit", err)
	}
	return !entered, nil
}

// enter begins a transaction with the ledger's statement, both in one round trip.
func (db *DB) enter(ctx context.Context, e jobs.Effect) (tx pgx.Tx, entered bool, err error) {
	var b pgx.Batch
	b.BeginTx(pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
	b.Queue(`SELECT set_config('`+idleSetting+`', $1, true)`, strconv.FormatInt(longestIdle(ctx).Milliseconds(), 10))
	b.Queue(enterEffectSQL, name(string(e.Kind)), name(e.ID), e.Keep).Exec(func(tag pgconn.CommandTag) error {
		entered = tag.RowsAffected() == 1
		return nil
	})
	results := db.pool.SendBatch(ctx, &b)
	tx = results.Tx()
	if err := results.Close(); err != nil {
		_ = tx.Rollback(ctx)   // gives the connection back
		return nil, false, err //nolint:wrapcheck // wrapped by the caller
	}
	return tx, entered, nil
}

// completeRow completes the row, and says whether it was done before. It is no error that there is no such row.
func completeRow(ctx context.Context, tx pgx.Tx, id string, kind jobs.Kind) (was bool, err error) {
	tag, err := tx.Exec(ctx, completeRowSQL, id, name(string(kind)))
	if err != nil || tag.RowsAffected() == 1 {
		return false, err //nolint:wrapcheck // wrapped by the caller
	}
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM outbox WHERE id = $1::uuid AND kind = $2 AND state = 'done')`, id, name(string(kind))).Scan(&was)
	return was, err //nolint:wrapcheck // wrapped by the caller
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
