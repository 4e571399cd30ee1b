package dashboard_test

import (
	"database/sql"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/operators"
)

func TestTheAuditLogIsReadInPagesAndItsChainChecked(t *testing.T) {
	t.Parallel()
	w := open(t)
	for i := range 120 {
		check(t, records{w.db}.Record(t.Context(), audit.Entry{
			Actor: fmt.Sprintf("cli:<b>%d", i%2), Action: "test.done", Subject: fmt.Sprintf("thing/%03d", i), Detail: map[string]string{"n": "‮evil"},
		}))
	}
	_, err := w.db.ChainAudit(t.Context(), 110)
	check(t, err)
	b := w.as(operators.RoleOperator)
	a := b.page("/audit?action=test.")
	got := textOf(a.doc)
	if !strings.Contains(got, "The chain is whole: 110 links") || !strings.Contains(got, "not linked yet") || !strings.Contains(got, "�evil") || strings.Contains(a.text, "<b>") {
		t.Errorf("the first page: %.600s", got)
	}
	n := len(texts(a.doc, "tr")) - 1
	a = b.page(links(a.doc)["Older"])
	if n += len(texts(a.doc, "tr")) - 1; n != 120 || links(a.doc)["Older"] != "" || links(a.doc)["Newest"] != "/audit?action=test." {
		t.Errorf("%d entries in two pages; %v", n, links(a.doc))
	}
	for query, want := range map[string]int{"actor=" + url.QueryEscape("cli:<b>1") + "&action=test": 60, "subject=thing/007": 1, "subject=thing": 0, "actor=%25": 0} {
		if got := max(len(texts(b.page("/audit?"+query).doc, "tr"))-1, 0); got != want {
			t.Errorf("%s: %d entries, want %d", query, got, want)
		}
	}
	check(t, w.db.InTx(t.Context(), func(tx *sql.Tx) error { // as whoever owns the database can
		for _, statement := range []string{"DROP TRIGGER audit_log_updated", "UPDATE audit_log SET actor = 'cli:nobody' WHERE position = 105"} {
			if _, err := tx.ExecContext(t.Context(), statement); err != nil {
				return err
			}
		}
		return nil
	}))
	a = b.page("/audit?action=test.done")
	if got := textOf(a.doc); !strings.Contains(got, "the audit chain is broken at position 105") || !strings.Contains(got, "105 not proved") || strings.Contains(got, "104 not proved") {
		t.Errorf("an altered entry: %.800s", got)
	}
}
