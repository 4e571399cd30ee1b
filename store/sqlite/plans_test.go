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
	rows, err := raw(t, path).QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+sqlite.ForgetAttemptsSQL, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var plan []string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		plan = append(plan, detail)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(plan, "\n")
	if !strings.Contains(text, "INDEX login_state_failed (last_failed_at<?)") || strings.Contains(text, "SCAN") || strings.Contains(text, "TEMP") {
		t.Errorf("want login_state_failed, from its oldest end, got\n%s", text)
	}
}
