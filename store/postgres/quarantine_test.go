package postgres_test

import (
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/sealq/sealq/jobs/quarantine"
)

// A quarantine that was filled before it had budgets is counted when they come.
func TestEntriesThatAreThereAreCountedWhenBudgetsCome(t *testing.T) {
	t.Parallel()
	db, url := openUnmigrated(t)
	before := fstest.MapFS{}
	files, err := filepath.Glob("migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_quarantine.sql") {
			break
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		before[path.Join("migrations", filepath.Base(file))] = &fstest.MapFile{Data: text}
	}
	if _, err := db.MigrateFrom(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	raw := rawPool(t, url)
	exec(t, raw, `INSERT INTO quarantine (id, task_id, queue, kind, headers, max_retry, payload, size, payload_sha256, reason, kid, detail, authentic, row_id, attempt, received_at)
		SELECT id, 't', 'q', 'k', '[]', 1, '\x0001020304', 5, decode(repeat('00', 32), 'hex'), reason, '', '', authentic, '', 0, now()
		FROM (VALUES ('a', 'malformed', false), ('b', 'bad_signature', false), ('c', 'bad_payload', true), ('d', 'wrong_queue', true)) AS e (id, reason, authentic)`)
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	usage, err := db.QuarantineUsage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := (quarantine.Used{Entries: 2, Bytes: 1038}); usage.Unverified != want {
		t.Errorf("not authentic: want %v, got %v", want, usage.Unverified)
	}
	if want := (quarantine.Used{Entries: 1, Bytes: 519}); usage.Authentic != want {
		t.Errorf("authentic: want %v, got %v", want, usage.Authentic)
	}
	if want := (quarantine.Used{Entries: 1, Bytes: 519}); usage.Moved != want {
		t.Errorf("authentic, and perhaps moved: want %v, got %v", want, usage.Moved)
	}
	exec(t, raw, "TRUNCATE quarantine")
	if usage, err = db.QuarantineUsage(t.Context()); err != nil || usage.Unverified != (quarantine.Used{}) || usage.Authentic != (quarantine.Used{}) || usage.Moved != (quarantine.Used{}) {
		t.Errorf("emptied: %+v, %v", usage, err)
	}
}
