package postgres_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/store/postgres"
)

// Who settles ticks has read a row as dead while another reissues it: what is settled then is not the old end.
func TestATickWhoseRowIsReissuedMeanwhileIsNotSettled(t *testing.T) {
	t.Parallel()
	db, raw := open(t)
	for _, statement := range []string{
		`INSERT INTO outbox (id, kind, queue, payload, headers, retries, state, not_before, next_at, expires_at, ended_at)
		 VALUES ('0199a1b2-0000-7000-8000-000000000001', 'k', 'q', '{}', '[]', 1, 'dead', now(), now(), now() + interval '1 day', now())`,
		`INSERT INTO schedules (name, cron, anchor, last_due_at) VALUES ('night', '', now(), now())`,
		`INSERT INTO ticks (schedule, due_at, row_id) VALUES ('night', now(), '0199a1b2-0000-7000-8000-000000000001')`,
	} {
		exec(t, raw, statement)
	}
	settled := make(chan error, 1)
	err := pgx.BeginFunc(t.Context(), raw, func(tx pgx.Tx) error {
		for _, statement := range []string{postgres.ReissueRowSQL, postgres.ReopenTickSQL} {
			if _, err := tx.Exec(t.Context(), statement, "0199a1b2-0000-7000-8000-000000000001"); err != nil {
				return err
			}
		}
		go func() {
			n, err := db.SettleTicks(t.Context(), 10)
			if err == nil && n != 0 {
				err = fmt.Errorf("it settled %d", n)
			}
			settled <- err
		}()
		waitUntilBlocked(t.Context(), t, raw)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-settled; err != nil {
		t.Error(err)
	}
	if got := scalar(t, raw, "SELECT outcome || '.' FROM ticks"); got != "." {
		t.Errorf("the tick's outcome is %q", got)
	}
}
