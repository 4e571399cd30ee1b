//go:build unix

package signing_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/signing"
)

// ringFile writes ring A to a new folder.
func ringFile(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "keys.json")
	if err := signing.NewFile(path).Create(ringA(t)); err != nil {
		t.Fatal(err)
	}
	return path
}

func rotate(r *signing.Ring) (*signing.Ring, error) { return r.Rotate(t0, nil) }

// entries are the names in the folder of path, for what a write might leave behind.
func entries(t *testing.T, path string) (names []string) {
	t.Helper()
	es, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		names = append(names, e.Name())
	}
	return names
}

func TestFileLoadRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(t *testing.T, path string) (load string)
		cause error
		want  string
	}{
		"no file": {func(t *testing.T, path string) string {
			t.Helper()
			return path + "x"
		}, signing.ErrNoRing, "sealq keys init"},
		"no folder": {func(t *testing.T, path string) string {
			t.Helper()
			return filepath.Join(path+"x", "keys.json")
		}, signing.ErrNoRing, "create the folder"},
		"readable for the group": {func(t *testing.T, path string) string {
			t.Helper()
			return chmod(t, path, 0o640)
		}, signing.ErrUnsafeFile, "chmod 600 "},
		"readable for all": {func(t *testing.T, path string) string {
			t.Helper()
			return chmod(t, path, 0o604)
		}, signing.ErrUnsafeFile, "its mode 0604"},
		"executable": {func(t *testing.T, path string) string {
			t.Helper()
			return chmod(t, path, 0o700)
		}, signing.ErrUnsafeFile, "chmod 600 "},
		"a folder": {func(t *testing.T, path string) string {
			t.Helper()
			return filepath.Dir(path)
		}, signing.ErrUnsafeFile, "no regular file"},
		"a pipe": {func(t *testing.T, path string) string {
			t.Helper()
			if err := syscall.Mkfifo(path+".pipe", 0o600); err != nil {
				t.Fatal(err)
			}
			return path + ".pipe"
		}, signing.ErrUnsafeFile, "no regular file"},
		"a link out of its folder": {func(t *testing.T, path string) string {
			t.Helper()
			return link(t, "../"+filepath.Base(filepath.Dir(path))+"/keys.json", path+".link")
		}, signing.ErrUnsafeFile, "leads out of its folder"},
		"an absolute link": {func(t *testing.T, path string) string {
			t.Helper()
			return link(t, path, path+".link")
		}, signing.ErrUnsafeFile, "leads out of its folder"},
		"a link through a folder that leads out": {func(t *testing.T, path string) string {
			t.Helper()
			link(t, t.TempDir(), filepath.Join(filepath.Dir(path), "..data"))
			return link(t, "..data/keys.json", path+".link")
		}, signing.ErrUnsafeFile, "leads out of its folder"},
		"a link to itself": {func(t *testing.T, path string) string {
			t.Helper()
			return link(t, filepath.Base(path)+".link", path+".link")
		}, signing.ErrUnsafeFile, "is a link"},
		"a link to nothing": {func(t *testing.T, path string) string {
			t.Helper()
			return link(t, "nothing", path+".link")
		}, signing.ErrNoRing, "sealq keys init"},
		"an empty file": {func(t *testing.T, path string) string {
			t.Helper()
			return write(t, path, nil)
		}, signing.ErrInvalidRing, "is empty"},
		"half a ring": {func(t *testing.T, path string) string {
			t.Helper()
			return write(t, path, ringA(t).Marshal()[:100])
		}, signing.ErrInvalidRing, "not valid JSON"},
		"a file without an end": {func(t *testing.T, path string) string {
			t.Helper()
			return write(t, path, make([]byte, 2<<20))
		}, signing.ErrInvalidRing, "larger than 1 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := c.spoil(t, ringFile(t))
			_, err := signing.NewFile(path).Load(t.Context())
			if !errors.Is(err, c.cause) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("want %v with %q and the path, got %v", c.cause, c.want, err)
			}
			if _, err := signing.NewFile(path).Update(t.Context(), rotate); err == nil {
				t.Error("Update writes what Load refuses")
			}
		})
	}
}

func chmod(t *testing.T, path string, mode fs.FileMode) string {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func link(t *testing.T, to, path string) string {
	t.Helper()
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func write(t *testing.T, path string, text []byte) string {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFileOfAnotherUser(t *testing.T) {
	t.Parallel()
	const stranger = 12345
	path := ringFile(t)
	if os.Geteuid() == 0 { // only root may give a file away
		if err := os.Chown(path, stranger, -1); err != nil {
			t.Fatal(err)
		}
		_, err := signing.NewFile(path).Load(t.Context())
		if !errors.Is(err, signing.ErrUnsafeFile) || !strings.Contains(err.Error(), "belongs to another user") {
			t.Errorf("root read a stranger's ring: %v", err)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	owner := int(info.Sys().(*syscall.Stat_t).Uid)
	for user, want := range map[int]bool{owner: true, owner + 1: owner == 0} {
		if got, err := signing.OwnedBy(info, user); err != nil || got != want {
			t.Errorf("a file of %d read by %d: want %v, got %v, %v", owner, user, want, got, err)
		}
	}
}

func TestFileFollowsLinksWithinItsFolder(t *testing.T) {
	t.Parallel()
	path := ringFile(t)
	folder := filepath.Dir(path)
	// As Kubernetes mounts a secret: keys.json → ..data/keys.json, ..data → ..2026_01_01
	if err := os.Mkdir(filepath.Join(folder, "..2026_01_01"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, filepath.Join(folder, "..2026_01_01", "keys.json")); err != nil {
		t.Fatal(err)
	}
	link(t, "..2026_01_01", filepath.Join(folder, "..data"))
	link(t, "..data/keys.json", path)
	f := signing.NewFile(path)
	r, err := f.Load(t.Context())
	if err != nil || !r.Equal(ringA(t)) {
		t.Errorf("got %v, %v", r, err)
	}
	if _, err := f.Update(t.Context(), rotate); err == nil || !strings.Contains(err.Error(), "it is a link") {
		t.Errorf("Update replaced a link: %v", err)
	}
}

func TestFileCreate(t *testing.T) {
	t.Parallel()
	path := ringFile(t)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fs.FileMode(0o600), info.Mode()); diff != "" {
		t.Errorf("mode (-want +got):\n%s", diff)
	}
	other, err := signing.NewRing(t0, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := signing.NewFile(path).Create(other); !errors.Is(err, signing.ErrRingExists) || !strings.Contains(err.Error(), path) {
		t.Errorf("overwriting: %v", err)
	}
	if err := signing.NewFile(path + "2").Create(&signing.Ring{}); !errors.Is(err, signing.ErrInvalidRing) {
		t.Errorf("a ring of nothing: %v", err)
	}
	if r, err := signing.NewFile(path).Load(t.Context()); err != nil || !r.Equal(ringA(t)) {
		t.Errorf("the ring changed: %v, %v", r, err)
	}
	if diff := cmp.Diff([]string{"keys.json"}, entries(t, path)); diff != "" {
		t.Errorf("the folder (-want +got):\n%s", diff)
	}
}

func TestFileNames(t *testing.T) {
	t.Parallel()
	f := signing.NewFile("/etc/sealq/keys.json")
	if f.String() != "file:/etc/sealq/keys.json" || f.Path() != "/etc/sealq/keys.json" {
		t.Errorf("got %s, %s", f, f.Path())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Load(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}
