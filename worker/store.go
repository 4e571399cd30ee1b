package worker

import (
	"context"
	"time"

	"github.com/sealq/sealq/jobs"
)

// Ledger lets an effect happen once. Drivers implement it: store/postgres for pgx.Tx, store/sqlite for *sql.Tx.
type Ledger[Tx any] interface {
	// Once runs fn in a transaction whose first statement enters the effect, and commits both together with the
	// outbox row that the effect names (state done), if there is one and the effect is not Direct. Where the effect was
	// entered before, fn is not called, the row is completed all the same, and done is true. So it is where that row is done
	// already, though no ledger has its effect: then what fn did, if it was called, is rolled back. An error of fn rolls
	// everything back and is returned as it is.
	Once(ctx context.Context, e jobs.Effect, fn func(ctx context.Context, tx Tx) error) (done bool, err error)
}

// Effects tells what the ledger holds. It is a shortcut: the ledger's own entry decides.
type Effects interface {
	// EffectDone says whether the effect is entered, or is that of an outbox row of that kind which is done. If it is
	// entered, an outbox row that it names is completed.
	EffectDone(ctx context.Context, kind jobs.Kind, effect string) (bool, error)
}

// Outbox is told of failures, and how jobs ended that no ledger completes.
type Outbox interface {
	// RowDone completes a row of that kind, whichever attempt it is at, whose job needs no ledger. A row that is not there is
	// no error.
	RowDone(ctx context.Context, r jobs.RowRef) error
	// RowFailed counts a failed run in the row and returns how many there were, over all attempts; 0 if the row is not of that
	// kind, at another attempt, or has ended. The next run is due pause(failures) later. A run that comes before three
	// quarters of that are over is not counted: somebody has brought it forward, and must not be able to use up the tries.
	RowFailed(ctx context.Context, r jobs.RowRef, cause string, pause func(failures int) time.Duration) (failures int, err error)
	// RowDead ends the row as out of retries, if it is of that kind, at that attempt and unfinished.
	RowDead(ctx context.Context, r jobs.RowRef, cause string) error
}

// Quarantine keeps refused tasks, undecoded.
type Quarantine interface {
	// Keep stores the refused task. Where the refusal is authentic and names an attempt of an outbox row
	// (RowID, RowKind, Attempt > 0) that is of that kind, still the row's attempt and unfinished, the row's state becomes refused in
	// the same transaction. Keeping one entry ID twice keeps it once. quarantine.ErrCounted means that there was no room for
	// a task that is not authentic, and that it was counted: the refusal stands. With any other error the task stays in
	// the queue.
	Keep(ctx context.Context, r jobs.Refused) error
}
