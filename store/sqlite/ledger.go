package sqlite

import (
	"context"
	"database/sql"

	"github.com/sealq/sealq/jobs"
)

// Once lets an effect happen once: see worker.Ledger. While fn runs nothing else is written to the database, so fn
// must not wait for anybody.
func (db *DB) Once(ctx context.Context, e jobs.Effect, fn func(ctx context.Context, tx *sql.Tx) error) (bool, error) {
	done := false
	var fnErr error
	err := db.InTx(ctx, func(tx *sql.Tx) error {
		// The first statement of the transaction decides, unless the row that the effect names is done.
		entered, err := execute(ctx, tx, `
			INSERT INTO ledger (kind, effect_id, done_at, keep_until) SELECT ?1, ?2, `+nowSQL+`, `+nowSQL+` + ?3
			WHERE ?4 OR NOT EXISTS (SELECT 1 FROM outbox WHERE id = ?2 AND kind = ?1 AND state = 'done')
			ON CONFLICT DO NOTHING`,
			string(e.Kind), e.ID, e.Keep.Microseconds(), e.Direct)
		if err != nil {
			return err
		}
		if done = entered == 0; !done {
			if fnErr = fn(ctx, tx); fnErr != nil {
				return fnErr
			}
		}
		if e.Direct {
			return nil
		}
		return completeEffect(ctx, tx, e.Kind, e.ID)
	})
	switch {
	case fnErr != nil:
		return false, fnErr
	case err != nil:
		return false, db.wrap("enter effect", err)
	}
	return done, nil
}

// EffectDone looks an effect up: see worker.Effects.
func (db *DB) EffectDone(ctx context.Context, kind jobs.Kind, effect string) (bool, error) {
	var entered, finished, unfinished bool
	err := db.read.QueryRowContext(ctx, `
		SELECT EXISTS (SELECT 1 FROM ledger WHERE kind = ?1 AND effect_id = ?2),
		       EXISTS (SELECT 1 FROM outbox WHERE id = ?2 AND kind = ?1 AND state = 'done'),
		       EXISTS (SELECT 1 FROM outbox WHERE id = ?2 AND kind = ?1 AND state <> 'done')`,
		string(kind), effect).Scan(&entered, &finished, &unfinished)
	switch {
	case err != nil:
		return false, db.wrap("look effect up", err)
	case !entered || !unfinished: // the usual cases cost no turn to write
		return entered || finished, nil
	}
	if err := db.InTx(ctx, func(tx *sql.Tx) error { return completeEffect(ctx, tx, kind, effect) }); err != nil {
		return false, db.wrap("complete outbox row", err)
	}
	return true, nil
}
