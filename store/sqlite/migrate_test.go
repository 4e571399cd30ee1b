package sqlite_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/store/sqlite"
)

func TestMigrationsThatThisProgramDoesNotKnowAreRefused(t *testing.T) {
	t.Parallel()
	for sentence, c := range map[string]struct {
		tamper string
		want   error
	}{
		"a newer program's migration": {`INSERT INTO sealq_migrations VALUES ('9999_future', 'x', 0)`, sqlite.ErrNewerSchema},
		"an edited migration":         {`UPDATE sealq_migrations SET checksum = 'x' WHERE name = '0001_accounts'`, sqlite.ErrEditedMigration},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			db, path := migrated(t)
			execRaw(t, raw(t, path), c.tamper)
			if ran, err := db.Migrate(t.Context()); !errors.Is(err, c.want) || ran != nil {
				t.Errorf("migrate: %v, %v", ran, err)
			}
			if _, _, err := db.MigrationStatus(t.Context()); !errors.Is(err, c.want) {
				t.Errorf("status: %v", err)
			}
		})
	}
}

func TestAMigrationThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sealq.db")
	db, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	conn := raw(t, path)
	execRaw(t, conn, `CREATE TABLE ticks (an_apps_own INTEGER)`)
	if ran, err := db.Migrate(t.Context()); err == nil || ran != nil {
		t.Errorf("migrated over an app's table: %v, %v", ran, err)
	}
	applied, pending, err := db.MigrationStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"0001_accounts", "0002_jobs", "0003_schedules", "0004_rings", "0005_audit", "0006_quarantine", "0007_reissue", "0008_relay", "0009_accounts_life", "0010_owner_requests", "0011_signed_by", "0012_languages", "0013_mail_attempts", "0014_forget_attempts", "0015_operators", "0016_schedule_book", "0017_sweeps", "0018_requests", "0019_refused_of_row", "0020_mails_of_account"}
	if diff := cmp.Diff(want, pending); diff != "" || len(applied) > 0 {
		t.Errorf("applied %v, pending (-want +got):\n%s", applied, diff)
	}
	execRaw(t, conn, `DROP TABLE ticks`)
	ran, err := db.Migrate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, ran); diff != "" {
		t.Errorf("ran (-want +got):\n%s", diff)
	}
}

func TestADatabaseWithoutTablesSaysWhatToRun(t *testing.T) {
	t.Parallel()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "sealq.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ClaimRows(t.Context(), jobs.Claim{Limit: 1}); !errors.Is(err, sqlite.ErrNotMigrated) {
		t.Errorf("got %v", err)
	}
}
