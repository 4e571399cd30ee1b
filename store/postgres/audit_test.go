package postgres_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/audit"
)

func TestTheAuditLogIsNotTruncated(t *testing.T) {
	t.Parallel()
	_, raw := open(t)
	if _, err := raw.Exec(t.Context(), "TRUNCATE audit_log"); err == nil || !strings.Contains(err.Error(), "append-only") {
		t.Errorf("want it refused as append-only, got %v", err)
	}
}

// An entry of such a time could not be read, nor any after it linked.
func TestAnEntryOfNoTimeIsRefusedAndLinkingGoesOn(t *testing.T) {
	t.Parallel()
	db, raw := open(t)
	for _, at := range []string{"infinity", "-infinity"} {
		_, err := raw.Exec(t.Context(), "INSERT INTO audit_log (at, actor, action, subject, detail) VALUES ($1::text::timestamptz, 'a', 'b', 'c', '{}')", at)
		if err == nil || !strings.Contains(err.Error(), "audit_log_at_check") {
			t.Errorf("%s: want it refused by the check of its time, got %v", at, err)
		}
	}
	commit(t, db, func(tx pgx.Tx) error { return db.AppendAudit(t.Context(), tx, audit.Entry{Actor: "a", Action: "b"}) })
	if n, err := db.ChainAudit(t.Context(), 10); err != nil || n != 1 {
		t.Errorf("want 1 linked, got %d, %v", n, err)
	}
}

// Whoever appends waits for nobody, and is linked when he has committed: after others that began later.
func TestAnOpenTransactionHoldsUpNeitherWritersNorTheLinker(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	write := func(ctx context.Context, action string) {
		t.Helper()
		if err := db.InTx(ctx, func(tx pgx.Tx) error { return db.AppendAudit(ctx, tx, audit.Entry{Actor: "a", Action: action}) }); err != nil {
			t.Fatal(err)
		}
	}
	link := func(want int) {
		t.Helper()
		if n, err := db.ChainAudit(t.Context(), 10); err != nil || n != want {
			t.Errorf("want %d linked, got %d, %v", want, n, err)
		}
	}
	if err := db.InTx(t.Context(), func(tx pgx.Tx) error {
		if err := db.AppendAudit(t.Context(), tx, audit.Entry{Actor: "a", Action: "began first"}); err != nil {
			return err
		}
		write(t.Context(), "began second")
		link(1)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	link(1)
	links, err := db.AuditLinks(t.Context(), 0, 10)
	if err != nil || len(links) != 2 || links[0].Entry.Action != "began second" || links[0].ID < links[1].ID {
		t.Errorf("links: %+v, %v", links, err)
	}
	if _, err := audit.Verify(t.Context(), db, audit.Head{}); err != nil {
		t.Error(err)
	}
}
