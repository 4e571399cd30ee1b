//go:build unix

package signing_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/signing"
)

func TestFileUpdate(t *testing.T) {
	t.Parallel()
	path := chmod(t, ringFile(t), 0o400)
	f := signing.NewFile(path)
	next, err := f.Update(t.Context(), rotate)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := f.Load(t.Context()); err != nil || !r.Equal(next) || r.Version() != 8 {
		t.Errorf("got %v, %v", r, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fs.FileMode(0o400), info.Mode()); diff != "" {
		t.Errorf("mode (-want +got):\n%s", diff)
	}

	broken := errors.New("no")
	for name, c := range map[string]struct {
		change func(*signing.Ring) (*signing.Ring, error)
		want   string // in the error; empty: none
	}{
		"an error":      {func(*signing.Ring) (*signing.Ring, error) { return nil, broken }, "no"},
		"no ring":       {func(*signing.Ring) (*signing.Ring, error) { return nil, nil }, "there is no key ring"},
		"another ring":  {func(*signing.Ring) (*signing.Ring, error) { return signing.NewRing(t0, time.Hour) }, "version 1 of version 8"},
		"two moves":     {func(r *signing.Ring) (*signing.Ring, error) { r, _ = rotate(r); return rotate(r) }, "one move a write"},
		"the same ring": {func(r *signing.Ring) (*signing.Ring, error) { return r, nil }, ""},
	} {
		_, err := f.Update(t.Context(), c.change)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	after, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(info, after) {
		t.Error("a change of nothing wrote the file")
	}
	if diff := cmp.Diff([]string{"keys.json"}, entries(t, path)); diff != "" {
		t.Errorf("the folder (-want +got):\n%s", diff)
	}
}

func TestFileUpdateRemovesWhatACrashLeft(t *testing.T) {
	t.Parallel()
	path := ringFile(t)
	folder := filepath.Dir(path)
	write(t, filepath.Join(folder, ".keys.json.tmp-0123456789abcdef"), ringA(t).Marshal())
	write(t, filepath.Join(folder, ".other.json.tmp-0123456789abcdef"), nil)
	if _, err := signing.NewFile(path).Update(t.Context(), rotate); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{".other.json.tmp-0123456789abcdef", "keys.json"}, entries(t, path)); diff != "" {
		t.Errorf("the folder (-want +got):\n%s", diff)
	}
}

func TestFileUpdateKeepsTheOwner(t *testing.T) {
	t.Parallel()
	path := ringFile(t)
	group := os.Getgid()
	if os.Geteuid() == 0 {
		group = 12345 // only root may choose a group that it is not in; others keep their own
	}
	if err := os.Chown(path, -1, group); err != nil {
		t.Fatal(err)
	}
	if _, err := signing.NewFile(path).Update(t.Context(), rotate); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(group, int(info.Sys().(*syscall.Stat_t).Gid)); diff != "" {
		t.Errorf("group (-want +got):\n%s", diff)
	}
}

// TestFileUpdatesDoNotOverlap lets many writers rotate at once, each through its own File as processes would, while readers
// read: no rotation is lost, and no reader ever meets half a ring.
func TestFileUpdatesDoNotOverlap(t *testing.T) {
	t.Parallel()
	const writers, each = 8, 10
	path := ringFile(t)
	ctx, cancel := context.WithCancel(t.Context())
	var readers, wg sync.WaitGroup
	errs := make(chan error, writers+2)
	for range 2 {
		readers.Go(func() {
			var last uint64
			for ctx.Err() == nil {
				r, err := signing.NewFile(path).Load(context.WithoutCancel(ctx))
				if err != nil {
					errs <- fmt.Errorf("reader: %w", err)
					return
				}
				if r.Version() < last {
					errs <- fmt.Errorf("version %d after %d", r.Version(), last)
					return
				}
				last = r.Version()
			}
		})
	}
	for range writers {
		wg.Go(func() {
			for range each {
				if _, err := signing.NewFile(path).Update(ctx, rotate); err != nil {
					errs <- fmt.Errorf("writer: %w", err)
					return
				}
			}
		})
	}
	wg.Wait()
	cancel()
	readers.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	r, err := signing.NewFile(path).Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Version() != 7+writers*each || len(r.Keys()) != 1+writers*each {
		t.Errorf("want %d rotations, got version %d with %d keys", writers*each, r.Version(), len(r.Keys()))
	}
	if diff := cmp.Diff([]string{"keys.json"}, entries(t, path)); diff != "" {
		t.Errorf("the folder (-want +got):\n%s", diff)
	}
}

func TestFileUpdateWaitsForTheLockUntilItsContextEnds(t *testing.T) {
	t.Parallel()
	path := ringFile(t)
	_, err := signing.NewFile(path).Update(t.Context(), func(r *signing.Ring) (*signing.Ring, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		_, err := signing.NewFile(path).Update(ctx, rotate)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "another process is writing it") {
			t.Errorf("a second writer got %v", err)
		}
		return rotate(r)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestFileWritesWhereItRead moves the folder away between reading and writing.
func TestFileWritesWhereItRead(t *testing.T) {
	t.Parallel()
	path := ringFile(t)
	_, err := signing.NewFile(path).Update(t.Context(), func(r *signing.Ring) (*signing.Ring, error) {
		if err := os.Rename(filepath.Dir(path), filepath.Dir(path)+".gone"); err != nil {
			return nil, fmt.Errorf("move the folder: %w", err)
		}
		if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
			return nil, fmt.Errorf("make the folder: %w", err)
		}
		return rotate(r)
	})
	// The opened folder is still the old one: the write ends where the ring was read, not where the name now leads.
	if err != nil {
		t.Fatal(err)
	}
	if got := entries(t, path); len(got) != 0 {
		t.Errorf("the new folder got %v", got)
	}
	r, err := signing.NewFile(filepath.Join(filepath.Dir(path)+".gone", "keys.json")).Load(t.Context())
	if err != nil || r.Version() != 8 {
		t.Errorf("got %v, %v", r, err)
	}
}
