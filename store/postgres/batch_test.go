package postgres_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/jobs"
)

func TestAJobInABatchBelongsToTheTransactionThatSendsIt(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db, raw := open(t)
	exec(t, raw, "CREATE TABLE orders (item text PRIMARY KEY)")
	order := func(item string, after error) (string, error) {
		var id string
		err := db.InTx(ctx, func(tx pgx.Tx) error {
			b := &pgx.Batch{}
			b.Queue("INSERT INTO orders VALUES ($1)", item)
			var err error
			if id, err = db.EnqueueBatch(b, note(jobs.Header("item", item))); err != nil {
				return err
			}
			return errors.Join(tx.SendBatch(ctx, b).Close(), after)
		})
		return id, err
	}
	if _, err := order("a hat", errors.New("changed my mind")); err == nil {
		t.Error("it committed")
	}
	id, err := order("a coat", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := order("a coat", nil); err == nil { // the app's own statement fails
		t.Error("it committed")
	}
	if got := scalar(t, raw, "SELECT string_agg(id::text, ' ') FROM outbox"); got != id {
		t.Errorf("recorded is %q, want %q", got, id)
	}
}

func TestADuplicateInABatchLeavesTheTransactionUsable(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db, raw := open(t)
	if err := db.InTx(ctx, func(tx pgx.Tx) error {
		for _, want := range []error{nil, jobs.ErrDuplicate, jobs.ErrDuplicate} {
			b := &pgx.Batch{}
			b.Queue("SELECT 1")
			if _, err := db.EnqueueBatch(b, note(jobs.UniqueKey("one"))); err != nil {
				return err
			}
			b.Queue("SELECT 2")
			if err := tx.SendBatch(ctx, b).Close(); !errors.Is(err, want) {
				t.Errorf("Close: want %v, got %v", want, err)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got := scalar(t, raw, "SELECT count(*) FROM outbox"); got != "1" {
		t.Errorf("%s rows", got)
	}
}

func TestAFaultyJobIsNotQueuedOnABatch(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	b := &pgx.Batch{}
	if _, err := db.EnqueueBatch(b, note(jobs.ID("mine"))); !errors.Is(err, jobs.ErrInvalidName) || b.Len() != 0 {
		t.Errorf("queued %d, %v", b.Len(), err)
	}
}
