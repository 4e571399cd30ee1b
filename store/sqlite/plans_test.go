package sqlite_test

import (
	"strings"
	"testing"

	"github.com/sealq/sealq/store/sqlite"
)

// Attempts on addresses that nobody has are many, and a sweep of them that finds none must not read them all.
func TestForgettingAttemptsReadsNoMoreThanItForgets(t *testing.T) {
	t.Parallel()
	_, path := migrated(t)
	text := plan(t, path, sqlite.ForgetAttemptsSQL, 0, 1)
	if !strings.Contains(text, "INDEX login_state_failed (last_failed_at<?)") || strings.Contains(text, "SCAN") || strings.Contains(text, "TEMP") {
		t.Errorf("want login_state_failed, from its oldest end, got\n%s", text)
	}
}

// However many rows are younger than an account, those of its mails are found by it.
func TestTheMailsOfAnAccountAreFoundWithoutReadingTheOutbox(t *testing.T) {
	t.Parallel()
	_, path := migrated(t)
	for sql, indexes := range map[string][]string{
		sqlite.MailsOfSQL:    {"INDEX outbox_account (<expr>=?)", "INDEX outbox_account_odd"},
		sqlite.RequestsOfSQL: {"INDEX outbox_request (<expr>=?)"},
	} {
		text := plan(t, path, sql, "id", 1)
		for _, index := range indexes {
			if !strings.Contains(text, index) {
				t.Errorf("want %s, got\n%s", index, text)
			}
		}
	}
}

// plan is how SQLite carries a statement out.
func plan(t *testing.T, path, sql string, args ...any) string {
	t.Helper()
	rows, err := raw(t, path).QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var steps []string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, detail)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(steps, "\n")
}
