package sqlite_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs/sweep"
	"github.com/sealq/sealq/store/sqlite"
)

func TestOpenMakesFilesThatOnlyTheirOwnerReads(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		return // its files have no such modes
	}
	_, path := migrated(t)
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(os.FileMode(0o600).String(), info.Mode().String()); diff != "" {
			t.Errorf("mode of %s (-want +got):\n%s", filepath.Base(name), diff)
		}
	}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
	if err != nil || len(files) > 0 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

func TestOpenLeavesTheModeOfAFileThatIsThere(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sealq.db")
	if err := os.WriteFile(path, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	db, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode() != 0o640 {
		t.Errorf("mode %v, want 0640", info.Mode())
	}
}

func TestOpenSaysInWordsWhatIsWrong(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	nonsense := filepath.Join(folder, "nonsense.db")
	if err := os.WriteFile(nonsense, []byte(strings.Repeat("not a database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	dangling := filepath.Join(folder, "dangling.db")
	if err := os.Symlink(filepath.Join(folder, "nowhere"), dangling); err != nil {
		t.Fatal(err)
	}
	for sentence, c := range map[string]struct{ path, want string }{
		"no path":                     {"", "no file is named"},
		"memory":                      {":memory:", "in memory"},
		"a URI":                       {"file:sealq.db", "is a URI"},
		"the URL":                     {"sqlite:sealq.db", "is a URL"},
		"a folder":                    {folder, "is not a file"},
		"a missing folder":            {filepath.Join(folder, "missing", "sealq.db"), "does not exist: create it"},
		"a file instead of a folder":  {filepath.Join(nonsense, "sealq.db"), "not a directory"},
		"a file that is no database":  {nonsense, "is not an SQLite database"},
		"a link that leads to nobody": {dangling, "cannot be opened"},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			db, err := sqlite.Open(t.Context(), c.path)
			if err == nil {
				t.Fatal("opened", db.Close())
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "--database-url sqlite:PATH") {
				t.Errorf("%v does not say %q and name the flag", err, c.want)
			}
		})
	}
	if _, err := os.Lstat(filepath.Join(folder, "nowhere")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a link's target was created: %v", err)
	}
}

// The file format's write version (byte 18) says that only a newer SQLite may write the file: a read-only database that
// root cannot write either.
func TestAFileThatCannotBeWrittenIsAClearError(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sealq.db")
	db, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[18] = 9
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err = sqlite.Open(t.Context(), path)
	if err == nil {
		_, err = db.SweepBatch(t.Context(), sweep.Walk{Part: sweep.Registrations}, 1)
		defer func() { _ = db.Close() }()
	}
	if err == nil || !strings.Contains(err.Error(), "cannot be written") || !strings.Contains(err.Error(), "--database-url sqlite:PATH") {
		t.Errorf("got %v", err)
	}
}

func TestManyMayOpenAndMigrateOneNewFileAtOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sealq.db")
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			db, err := sqlite.Open(t.Context(), path)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := db.Migrate(t.Context()); err != nil {
				t.Error(err)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}
