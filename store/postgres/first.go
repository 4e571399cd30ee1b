package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// begin sends BEGIN in a round trip of its own, unless it was sent before. pgx gives up a connection whose BEGIN fails: under a
// context that is over, none is sent.
func (tx *Tx) begin(ctx context.Context) (err error) {
	if tx.tx != nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err //nolint:wrapcheck // as pgx returns it
	}
	tx.tx, err = tx.at.conn.BeginTx(ctx, tx.at.options)
	return err //nolint:wrapcheck // as pgx returns it
}

// beginNow is begin for whoever is handed what he could do without the transaction, if it did not begin.
func (tx *Tx) beginNow() {
	ctx, cancel := context.WithTimeout(context.Background(), longestSilence)
	defer cancel()
	if !tx.at.over && tx.begin(ctx) != nil {
		_ = tx.at.conn.Close(ctx)
	}
}

// beginWith sends BEGIN with the transaction's first statement, whose results these are: the caller closes them. It returns nil
// where the two cannot travel together, and where nothing began: PostgreSQL prepares a statement before that, and refuses
// there what it does not understand.
func (tx *Tx) beginWith(ctx context.Context, sql string, args []any) pgx.BatchResults {
	if tx.tx != nil || tx.at.over || ctx.Err() != nil || !tx.at.habits().batches || !fitsBatch(args) {
		return nil
	}
	var b pgx.Batch
	b.BeginTx(tx.at.options)
	b.Queue(sql, args...)
	results := tx.at.conn.SendBatch(ctx, &b)
	if _, err := results.Exec(); err != nil {
		_ = results.Close()
		if tx.at.conn.IsClosed() { // as pgx does too with an argument that it cannot encode
			return pgx.FailedBatchResults(&pgx.Batch{}, err)
		}
		return nil
	}
	tx.tx = results.Tx()
	return results
}

// fitsBatch says whether a batch runs a statement with these arguments as Exec and Query do. Without any, these take several
// statements at once; and a batch does not know all of pgx's options.
func fitsBatch(args []any) bool {
	if len(args) == 0 {
		return false
	}
	switch args[0].(type) {
	case pgx.QueryExecMode, pgx.QueryResultFormats, pgx.QueryResultFormatsByOID:
		return false
	}
	return true
}

// firstRows are those of a transaction's first statement. At their end, so are the results that they are of.
type firstRows struct {
	pgx.Rows

	results pgx.BatchResults
	err     error // of the end
}

func (r *firstRows) Close() {
	r.Rows.Close()
	r.err = r.results.Close()
}

func (r *firstRows) Err() error {
	if err := r.Rows.Err(); err != nil {
		return err //nolint:wrapcheck // as pgx returns it
	}
	return r.err
}

func (r *firstRows) Next() bool {
	more := r.Rows.Next()
	if !more {
		r.Close()
	}
	return more
}

func (r *firstRows) Scan(dest ...any) error {
	err := r.Rows.Scan(dest...)
	if err != nil {
		r.Close() // pgx's rows are closed by now
	}
	return err //nolint:wrapcheck // as pgx returns it
}

func (r *firstRows) Values() ([]any, error) {
	values, err := r.Rows.Values()
	if err != nil {
		r.Close()
	}
	return values, err //nolint:wrapcheck // as pgx returns it
}

type firstRow struct {
	pgx.Row

	results pgx.BatchResults
}

func (r firstRow) Scan(dest ...any) error {
	err := r.Row.Scan(dest...)
	if ended := r.results.Close(); err == nil {
		err = ended
	}
	return err
}
