package dashboard_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/dashboard"
	"github.com/sealq/sealq/operators"
)

func TestTheAuditLogIsReadInPagesAndItsChainChecked(t *testing.T) {
	t.Parallel()
	w := watched(t, nil)
	for i := range 120 {
		check(t, records{w.db}.Record(t.Context(), audit.Entry{
			Actor: fmt.Sprintf("cli:<b>%d", i%2), Action: "test.done", Subject: fmt.Sprintf("thing/%03d", i), Detail: map[string]string{"n": "\u202eevil"},
		}))
	}
	_, err := w.db.ChainAudit(t.Context(), 110)
	check(t, err)
	b := w.as(operators.RoleOperator)
	a := b.until("/audit?action=test.", "The chain is whole: 110 links")
	got := textOf(a.doc)
	if !strings.Contains(got, "not linked yet") || !strings.Contains(got, "�evil") || strings.Contains(a.text, "<b>") {
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
	a = b.until("/audit?action=test.done", "the audit chain is broken at position 105")
	if got := textOf(a.doc); !strings.Contains(got, "105 not proved") || strings.Contains(got, "104 not proved") {
		t.Errorf("an altered entry: %.800s", got)
	}
}

// long is an audit log whose chain no page can check in time.
type long struct {
	dashboard.Records

	reads atomic.Int64
}

func (l *long) AuditLinks(ctx context.Context, after int64, limit int) ([]audit.Link, error) {
	l.reads.Add(1)
	if end, ok := ctx.Deadline(); ok && time.Until(end) < 20*time.Second { // a page asks
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return l.Records.AuditLinks(ctx, after, limit)
}

func TestALongChainIsCheckedBesideThePages(t *testing.T) {
	t.Parallel()
	var l *long
	now := time.Now()
	w := watched(t, nil, func(c *dashboard.Config) {
		if l == nil {
			l = &long{Records: c.Records}
		}
		c.Records, c.Now = l, func() time.Time { return now }
	})
	for range 3 {
		check(t, records{w.db}.Record(t.Context(), audit.Entry{Actor: "cli:ann", Action: "test"}))
	}
	_, err := w.db.ChainAudit(t.Context(), 10)
	check(t, err)
	b := w.as(operators.RoleOperator)
	a := b.page("/audit?action=test")
	if got := textOf(a.doc); !strings.Contains(got, "The chain is long: whole up to position 0, and not looked at behind it yet.") || links(a.doc)["Look again"] != "/audit?action=test" {
		t.Errorf("at first: %s, %v", got, links(a.doc))
	}
	b.until("/audit", "The chain is whole: ") // its time is shown
	reads := l.reads.Load()
	if got := textOf(b.page("/audit").doc); !strings.Contains(got, "Checked "+now.UTC().Format("2 Jan 2006")) || l.reads.Load() != reads {
		t.Errorf("a page after it: %s, %d reads", got, l.reads.Load()-reads)
	}
}
