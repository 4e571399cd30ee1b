package sqlite_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/store/sqlite"
)

func TestADatabaseGoesByTheClockThatItWasOpenedWith(t *testing.T) {
	t.Parallel()
	at := time.Date(2031, 2, 3, 4, 5, 6, 789e6, time.UTC)
	path := filepath.Join(t.TempDir(), "sealq.db")
	db, err := sqlite.OpenAt(t.Context(), path, func() time.Time { return at })
	must(t, err)
	_, err = db.Migrate(t.Context())
	must(t, err)
	must(t, db.Keep(t.Context(), jobs.Refused{ID: "entry", Reason: "expired"}))
	for name, reopen := range map[string]bool{"to whoever made it": false, "to whoever opens it with SQLite's own": true} {
		if reopen {
			must(t, db.Close())
			db, err = sqlite.Open(t.Context(), path)
			must(t, err)
		}
		kept, err := db.QuarantineShow(t.Context(), "entry")
		must(t, err)
		if !kept.ReceivedAt.Equal(at) {
			t.Errorf("%s: received at %v, want %v", name, kept.ReceivedAt, at)
		}
	}
	must(t, db.Close())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
