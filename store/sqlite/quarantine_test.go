package sqlite_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A quarantine that was filled before it had budgets is counted when they come.
func TestEntriesThatAreThereAreCountedWhenBudgetsCome(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "old.db")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	conn := raw(t, file)
	migrations, err := filepath.Glob("migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range migrations {
		if strings.HasSuffix(name, "_quarantine.sql") {
			for id, authentic := range map[string]int{"a": 0, "b": 0, "c": 1} {
				execRaw(t, conn, `INSERT INTO quarantine (id, task_id, queue, kind, headers, max_retry, payload, size, payload_sha256, reason, kid, detail, authentic, row_id, attempt, received_at)
					VALUES (?, 't', 'q', 'k', '[]', 1, x'0001020304', 5, zeroblob(32), 'r', '', '', ?, '', 0, 1)`, id, authentic)
			}
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		execRaw(t, conn, string(text))
	}
	for query, want := range map[string]string{
		"SELECT entries || '/' || bytes FROM quarantine_totals WHERE authentic = 0": "2/1038",
		"SELECT entries || '/' || bytes FROM quarantine_totals WHERE authentic = 1": "1/519",
		"SELECT sum(charged) FROM quarantine":                                       "1557",
	} {
		if got := scalar(t, conn, query); got != want {
			t.Errorf("%s: want %s, got %s", query, want, got)
		}
	}
}
