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
			for id, e := range map[string]struct {
				reason    string
				authentic int
			}{"a": {"bad_signature", 0}, "b": {"malformed", 0}, "c": {"expired", 1}, "d": {"bad_payload", 1}} {
				execRaw(t, conn, `INSERT INTO quarantine (id, task_id, queue, kind, headers, max_retry, payload, size, payload_sha256, reason, kid, detail, authentic, row_id, attempt, received_at)
					VALUES (?, 't', 'q', 'k', '[]', 1, x'0001020304', 5, zeroblob(32), ?, '', '', ?, '', 0, 1)`, id, e.reason, e.authentic)
			}
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		execRaw(t, conn, string(text))
	}
	for query, want := range map[string]string{
		"SELECT entries || '/' || bytes FROM quarantine_totals WHERE class = 'unverified'": "2/1038",
		"SELECT entries || '/' || bytes FROM quarantine_totals WHERE class = 'moved'":      "1/519",
		"SELECT entries || '/' || bytes FROM quarantine_totals WHERE class = 'reserved'":   "1/519",
		"SELECT sum(charged) FROM quarantine":                                              "2076",
	} {
		if got := scalar(t, conn, query); got != want {
			t.Errorf("%s: want %s, got %s", query, want, got)
		}
	}
}
