package postgres_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/store/postgres"
)

func TestMigrationsOfAnEmptyDatabaseArePending(t *testing.T) {
	t.Parallel()
	db, _ := openUnmigrated(t)
	applied, pending, err := db.MigrationStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"0001_accounts", "0002_jobs", "0003_schedules", "0004_rings", "0005_audit", "0006_quarantine", "0007_reissue", "0008_relay", "0009_enqueue_in_sql", "0010_cheap_insert", "0011_accounts_life", "0012_fewer_entries", "0013_owner_requests", "0014_signed_by", "0015_languages", "0016_mail_attempts", "0017_forget_attempts", "0018_operators", "0019_schedule_book", "0020_sweeps", "0021_requests", "0022_refused_of_row", "0023_mails_of_account"}, pending); diff != "" || len(applied) > 0 {
		t.Errorf("applied %v, pending (-want +got):\n%s", applied, diff)
	}
}

func TestEightProcessesMigrateAnEmptyDatabaseOnce(t *testing.T) {
	t.Parallel()
	db, _ := openUnmigrated(t)
	var mu sync.Mutex
	var wg sync.WaitGroup
	var all []string
	for range 8 {
		wg.Go(func() {
			ran, err := db.Migrate(t.Context())
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, ran...)
		})
	}
	wg.Wait()
	applied, pending, err := db.MigrationStatus(t.Context())
	if err != nil || len(pending) > 0 {
		t.Fatalf("status: pending %v, %v", pending, err)
	}
	slices.Sort(all)
	if diff := cmp.Diff(applied, all); diff != "" {
		t.Errorf("migrations run, each once (-want +got):\n%s", diff)
	}
}

func TestMigrateRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, statement string
		want            error
	}{
		{"a newer database", "INSERT INTO sealq_migrations (version, name, checksum) SELECT max(version) + 1, '9999_later', '' FROM sealq_migrations", postgres.ErrNewerSchema},
		{"an edited migration", "UPDATE sealq_migrations SET checksum = '' WHERE version = 2", postgres.ErrEditedMigration},
		{"a renamed migration", "UPDATE sealq_migrations SET name = '0002_others' WHERE version = 2", postgres.ErrEditedMigration},
		{"a gap", "DELETE FROM sealq_migrations WHERE version = 2", postgres.ErrEditedMigration},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			db, raw := open(t)
			exec(t, raw, test.statement)
			if _, err := db.Migrate(t.Context()); !errors.Is(err, test.want) {
				t.Errorf("Migrate: want %v, got %v", test.want, err)
			}
			if _, _, err := db.MigrationStatus(t.Context()); !errors.Is(err, test.want) {
				t.Errorf("MigrationStatus: want %v, got %v", test.want, err)
			}
		})
	}
}

func TestAMigrationThatFailsLeavesThoseBeforeIt(t *testing.T) {
	t.Parallel()
	db, raw := openUnmigratedRaw(t)
	folder := fstest.MapFS{
		"migrations/0001_good.sql": {Data: []byte("CREATE TABLE good (id int); INSERT INTO good VALUES (1);")},
		"migrations/0002_bad.sql":  {Data: []byte("CREATE TABLE bad (id int); SELECT 1/0;")},
	}
	ran, err := db.MigrateFrom(t.Context(), folder)
	if err == nil || !strings.Contains(err.Error(), "0002_bad") {
		t.Errorf("want an error that names the migration, got %v", err)
	}
	if diff := cmp.Diff([]string{"0001_good"}, ran); diff != "" {
		t.Errorf("ran (-want +got):\n%s", diff)
	}
	if got := scalar(t, raw, "SELECT to_regclass('bad')"); got != "" {
		t.Error("a table of the failed migration is there")
	}
	folder["migrations/0002_bad.sql"].Data = []byte("CREATE TABLE bad (id int);")
	folder["migrations/0001_good.sql"].Data = []byte("CREATE TABLE good (id int);\r\nINSERT INTO good VALUES (1);")
	if _, err := db.MigrateFrom(t.Context(), folder); !errors.Is(err, postgres.ErrEditedMigration) {
		t.Errorf("an edited migration: want %v, got %v", postgres.ErrEditedMigration, err)
	}
}

func TestACheckoutWithOtherLineEndsIsNoEdit(t *testing.T) {
	t.Parallel()
	db, _ := openUnmigrated(t)
	for _, text := range []string{"CREATE TABLE good (\n id int\n);\n", "CREATE TABLE good (\r\n id int\r\n);\r\n"} {
		if _, err := db.MigrateFrom(t.Context(), fstest.MapFS{"migrations/0001_good.sql": {Data: []byte(text)}}); err != nil {
			t.Error(err)
		}
	}
}

func TestMigrationsAreNumberedWithoutGaps(t *testing.T) {
	t.Parallel()
	db, _ := openUnmigrated(t)
	_, err := db.MigrateFrom(t.Context(), fstest.MapFS{"migrations/0002_second.sql": {}})
	if err == nil || !strings.Contains(err.Error(), "0001_") {
		t.Errorf("want an error that says which number is missing, got %v", err)
	}
}

func TestATableOfTheApplicationIsNotTaken(t *testing.T) {
	t.Parallel()
	db, raw := openUnmigratedRaw(t)
	exec(t, raw, "CREATE TABLE users (name text)")
	_, err := db.Migrate(t.Context())
	if err == nil || !strings.Contains(err.Error(), "search_path") {
		t.Errorf("want advice to use a schema of its own, got %v", err)
	}
}

func TestASchemaOfItsOwnKeepsTablesApart(t *testing.T) {
	t.Parallel()
	_, url := openUnmigrated(t)
	raw := rawPool(t, url)
	exec(t, raw, "CREATE TABLE users (name text)")
	exec(t, raw, "CREATE SCHEMA sealq")
	db, err := postgres.Open(t.Context(), withParameter(url, "search_path=sealq"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := scalar(t, raw, "SELECT to_regclass('sealq.users') || ' ' || to_regclass('sealq.outbox')"); got != "sealq.users sealq.outbox" {
		t.Errorf("tables in the schema: got %q", got)
	}
}
