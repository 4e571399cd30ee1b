package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/jobs/sweep"
)

const (
	// fullEvery is how often a walk begins at the oldest end: a row may become due before the mark when the server's clock was set back, when a
	// transaction was open for longer than its row has to live, or when somebody has restored it.
	fullEvery = 6 * time.Hour
	// settled is how far a mark stays behind the clock where there is nothing due: nobody is to commit a row before it.
	settled = 10 * time.Minute
	// mostHeld rows that somebody had locked are remembered one by one. More of them keep the mark back.
	mostHeld = 1000
)

// beginWalkSQL bounds how long a sweep waits for a table that a migration or an administrator holds: hygiene must not queue up before logins. Rows
// it does not wait for at all. It does so in a step before the sweep's statement, as preparing that waits for the table already. Where the sweep is
// all of the transaction, it does not wait for the disk either: what a crash undoes, the next one does.
const beginWalkSQL = `
SELECT current_setting('lock_timeout'), set_config('lock_timeout', '100ms', true),
       set_config('synchronous_commit', CASE WHEN $2 THEN 'off' ELSE current_setting('synchronous_commit') END, true), statement_timestamp(), m.mark, m.full_at, ARRAY(SELECT due FROM sweep_held WHERE part = $1 ORDER BY due)
FROM (SELECT) AS one LEFT JOIN sweep_marks m ON m.part = $1`

// looked is a row that a batch has looked at: when its time came, and whether it is gone.
type looked struct {
	Due  time.Time
	Gone bool
}

// walk is one batch on its way along a part.
type walk struct {
	part     sweep.Part
	byID     bool
	from, to time.Time // zero from: the oldest end
	now      time.Time
	mark     *time.Time // as it was read
	fullAt   *time.Time
	held     []time.Time
	patience string // lock_timeout as it was before
}

func beginWalk(ctx context.Context, tx pgx.Tx, w sweep.Walk, byID, alone bool) (*walk, error) {
	at := &walk{part: w.Part, byID: byID}
	var set string
	if err := tx.QueryRow(ctx, beginWalkSQL, string(w.Part), alone).Scan(&at.patience, &set, &set, &at.now, &at.mark, &at.fullAt, &at.held); err != nil {
		return nil, err //nolint:wrapcheck // callers wrap it
	}
	at.to = at.now.Add(-w.Keep)
	if at.mark != nil && !at.mark.After(at.to) && at.now.Sub(*at.fullAt) < fullEvery && !at.fullAt.After(at.now) {
		at.from = *at.mark
	}
	return at, nil
}

// batch looks at up to limit rows, moves the mark, and at the end of the walk looks again at what was held. look is given a list of times for
// that, and nil for rows from w.from on.
func (w *walk) batch(ctx context.Context, tx pgx.Tx, limit int, look func(held []time.Time, limit int) ([]looked, error)) (sweep.Batch, error) {
	rows, err := look(nil, limit)
	if err != nil {
		return sweep.Batch{}, err
	}
	b := sweep.Batch{More: len(rows) >= limit}
	mark, held := w.passed(rows, b.More)
	for _, row := range rows {
		if row.Gone {
			b.Gone++
		}
	}
	if !b.More && len(held) > 0 {
		room := limit - len(rows)
		again, err := look(held, room)
		if err != nil {
			return sweep.Batch{}, err
		}
		if len(again) < room {
			held = nil
		}
		for _, row := range again {
			switch {
			case row.Gone:
				b.Gone++
			case !slices.ContainsFunc(held, row.Due.Equal):
				held = append(held, row.Due)
			}
		}
	}
	return b, w.advance(ctx, tx, mark, held)
}

// restore gives a caller, who goes on with his transaction, his own lock_timeout back.
func (w *walk) restore(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `SELECT set_config('lock_timeout', $1, true)`, w.patience)
	return err //nolint:wrapcheck // callers wrap it
}

// passed is the mark behind these rows, and all that is held before it.
func (w *walk) passed(rows []looked, more bool) (mark time.Time, held []time.Time) {
	mark, held = w.from, w.held
	if len(rows) > 0 {
		mark = rows[len(rows)-1].Due
	}
	if end := w.to.Add(-settled); !more && end.Sub(mark) > settled {
		mark = end
	}
	for _, row := range rows {
		switch {
		case row.Gone || slices.ContainsFunc(held, row.Due.Equal):
		case w.byID || len(held) >= mostHeld:
			return row.Due, held
		default:
			held = append(held, row.Due)
		}
	}
	return mark, held
}

// advance writes mark and held rows. Of two who walk at once the first to commit writes: what the other has passed, the next batch passes
// again.
func (w *walk) advance(ctx context.Context, tx pgx.Tx, mark time.Time, held []time.Time) error {
	full := w.now
	if !w.from.IsZero() {
		full = *w.fullAt
	}
	same := slices.EqualFunc(held, w.held, time.Time.Equal)
	if w.mark != nil && w.mark.Equal(mark) && w.fullAt.Equal(full) && same {
		return nil
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO sweep_marks AS m (part, mark, full_at) VALUES ($1, $2, $3)
		ON CONFLICT (part) DO UPDATE SET mark = excluded.mark, full_at = excluded.full_at WHERE m.mark = $4 AND m.full_at = $5`,
		string(w.part), mark, full, w.mark, w.fullAt)
	if err != nil || same || tag.RowsAffected() == 0 {
		return err //nolint:wrapcheck // callers wrap it
	}
	if held == nil {
		held = []time.Time{} // and not NULL
	}
	if _, err := tx.Exec(ctx, `DELETE FROM sweep_held WHERE part = $1 AND due <> ALL ($2)`, string(w.part), held); err != nil {
		return err //nolint:wrapcheck // likewise
	}
	_, err = tx.Exec(ctx, `INSERT INTO sweep_held (part, due) SELECT $1, unnest($2::timestamptz[]) ON CONFLICT DO NOTHING`, string(w.part), held)
	return err //nolint:wrapcheck // likewise
}
