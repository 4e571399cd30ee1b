//go:build unix

package signing_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/sealq/sealq/signing"
)

// TestMain requires that no test leaves a goroutine, of a watched folder for instance.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// eventually waits for what another goroutine does about a real folder.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline, tick := time.After(20*time.Second), time.NewTicker(2*time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		case <-tick.C:
		}
	}
}

// logBuffer is a log that a test reads while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

func (l *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// versions are three rings, each made of the one before.
func versions(t *testing.T) [3]*signing.Ring {
	t.Helper()
	must := must(t)
	one := must(signing.NewRing(time.Now(), time.Hour))
	two := must(one.Rotate(time.Now(), nil))
	return [3]*signing.Ring{one, two, must(two.Rotate(time.Now(), nil))}
}

// follow opens the ring at path with a poll that comes after the test's patience, so that only watching can tell of a change.
func follow(t *testing.T, path string, l *logBuffer) *signing.Keys {
	t.Helper()
	return openWith(t, signing.NewFile(path), "test", signing.Options{Poll: 3 * time.Minute, Logger: l.logger()})
}

func put(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func requireVersion(t *testing.T, k *signing.Keys, want uint64) {
	t.Helper()
	eventually(t, fmt.Sprintf("version %d is in use", want), func() bool { return k.Version() == want })
}

func TestWatchSeesAnUpdate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys.json")
	file, rings := signing.NewFile(path), versions(t)
	if err := file.Create(rings[0]); err != nil {
		t.Fatal(err)
	}
	k := follow(t, path, new(logBuffer))
	for _, next := range rings[1:] {
		if _, err := file.Update(t.Context(), func(*signing.Ring) (*signing.Ring, error) { return next, nil }); err != nil {
			t.Fatal(err)
		}
		requireVersion(t, k, next.Version())
	}
}

func TestWatchSeesARename(t *testing.T) {
	t.Parallel()
	elsewhere, folder, rings := t.TempDir(), t.TempDir(), versions(t)
	path, next := filepath.Join(folder, "keys.json"), filepath.Join(elsewhere, "next.json")
	put(t, path, rings[0].Marshal())
	k := follow(t, path, new(logBuffer))
	put(t, next, rings[1].Marshal())
	rename(t, next, path)
	requireVersion(t, k, 2)
}

func TestWatchSeesAWriteInPlace(t *testing.T) {
	t.Parallel()
	path, rings := filepath.Join(t.TempDir(), "keys.json"), versions(t)
	put(t, path, rings[0].Marshal())
	k := follow(t, path, new(logBuffer))
	put(t, path, rings[1].Marshal())
	requireVersion(t, k, 2)
}

// TestWatchSeesKubernetes mounts a secret as Kubernetes does: the file is a link through the link ..data, which alone is
// exchanged.
func TestWatchSeesKubernetes(t *testing.T) {
	t.Parallel()
	folder, rings := t.TempDir(), versions(t)
	path := filepath.Join(folder, "keys.json")
	mount := func(r *signing.Ring) {
		t.Helper()
		dated := fmt.Sprintf("..2026_01_0%d", r.Version())
		if err := os.Mkdir(filepath.Join(folder, dated), 0o700); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(folder, dated, "keys.json"), r.Marshal())
		if err := os.Symlink(dated, filepath.Join(folder, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		rename(t, filepath.Join(folder, "..data_tmp"), filepath.Join(folder, "..data"))
	}
	mount(rings[0])
	if err := os.Symlink(filepath.Join("..data", "keys.json"), path); err != nil {
		t.Fatal(err)
	}
	k := follow(t, path, new(logBuffer))
	for _, r := range rings[1:] {
		mount(r)
		requireVersion(t, k, r.Version())
	}
}

func TestWatchKeepsTheRingInUse(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(t *testing.T, path string, rings [3]*signing.Ring)
		want  error
	}{
		"when a lower version is written": {func(t *testing.T, path string, rings [3]*signing.Ring) {
			t.Helper()
			put(t, path, rings[0].Marshal())
		}, signing.ErrOlderRing},
		"when garbage is written": {func(t *testing.T, path string, _ [3]*signing.Ring) {
			t.Helper()
			put(t, path, []byte(`{"version": 3, "max_`))
		}, signing.ErrInvalidRing},
		"when the file is emptied": {func(t *testing.T, path string, _ [3]*signing.Ring) {
			t.Helper()
			put(t, path, nil)
		}, signing.ErrInvalidRing},
		"when the file is removed": {func(t *testing.T, path string, _ [3]*signing.Ring) {
			t.Helper()
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, signing.ErrNoRing},
		"when others may read the file": {func(t *testing.T, path string, _ [3]*signing.Ring) {
			t.Helper()
			if err := os.Chmod(path, 0o644); err != nil {
				t.Fatal(err)
			}
		}, signing.ErrUnsafeFile},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, rings := filepath.Join(t.TempDir(), "keys.json"), versions(t)
			put(t, path, rings[1].Marshal())
			var l logBuffer
			k := follow(t, path, &l)
			c.spoil(t, path, rings)
			eventually(t, "the refusal is known", func() bool {
				_, err := k.Confirmed()
				return errors.Is(err, c.want)
			})
			if diff := cmp.Diff(uint64(2), k.Version()); diff != "" {
				t.Errorf("version (-want +got):\n%s", diff)
			}
			eventually(t, "the log says so", func() bool { return l.count("the old one stays in use") > 0 })
			next := path + ".next"
			put(t, next, rings[2].Marshal())
			rename(t, next, path)
			requireVersion(t, k, 3)
			eventually(t, "the ring is confirmed again", func() bool {
				_, err := k.Confirmed()
				return err == nil
			})
		})
	}
}

// TestWatchIgnoresOtherFiles writes to other files for longer than a change is ever held back.
func TestWatchIgnoresOtherFiles(t *testing.T) {
	t.Parallel()
	folder, rings := t.TempDir(), versions(t)
	path := filepath.Join(folder, "keys.json")
	put(t, path, rings[0].Marshal())
	changes := make(chan struct{}, 16)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- signing.NewFile(path).Watch(ctx, func() { changes <- struct{}{} }) }()
	<-changes // it has begun
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 150 {
		put(t, filepath.Join(folder, "app.log"), nil)
		put(t, filepath.Join(folder, ".keys.json.tmp-1"), nil)
		<-tick.C
	}
	if len(changes) != 0 {
		t.Errorf("it told of %d changes of other files", len(changes))
	}
	put(t, path, rings[1].Marshal())
	<-changes
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}

// TestPollFollowsWhenTheFolderIsReplaced takes the watched folder away, which ends the watching, and puts another there.
func TestPollFollowsWhenTheFolderIsReplaced(t *testing.T) {
	t.Parallel()
	root, rings := t.TempDir(), versions(t)
	folder := filepath.Join(root, "keys")
	path := filepath.Join(folder, "keys.json")
	mount := func(r *signing.Ring) {
		t.Helper()
		next := filepath.Join(root, "next")
		if err := os.Mkdir(next, 0o700); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(next, "keys.json"), r.Marshal())
		rename(t, next, folder)
	}
	mount(rings[0])
	var l logBuffer
	k := openWith(t, signing.NewFile(path), "test", signing.Options{Poll: 20 * time.Millisecond, Logger: l.logger()})
	eventually(t, "it is watched", func() bool {
		rename(t, folder, filepath.Join(root, "old"))
		mount(rings[1])
		_ = os.RemoveAll(filepath.Join(root, "old"))
		return l.count("key ring not watched") > 0
	})
	requireVersion(t, k, 2)
	put(t, path, rings[2].Marshal())
	requireVersion(t, k, 3)
}

// told is a source in memory that tells of changes when the test says so, or cannot.
type told struct {
	memory
	changes chan struct{}
	err     error
}

func (w *told) Watch(ctx context.Context, changed func()) error {
	if w.err != nil {
		return w.err
	}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-w.changes:
			changed()
		}
	}
}

func TestAFailingWatchIsLoggedOnceAndPolled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rings := versions(t)
		source := &told{memory: memory{ring: rings[0]}, err: signing.ErrNotWatched}
		var l logBuffer
		k := openWith(t, source, "test", signing.Options{Logger: l.logger()})
		source.set(rings[1], nil)
		time.Sleep(5*time.Minute + time.Second) // the bubble's time
		synctest.Wait()
		if diff := cmp.Diff(uint64(2), k.Version()); diff != "" {
			t.Errorf("version (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(1, l.count("key ring not watched")); diff != "" {
			t.Errorf("said so (-want +got):\n%s", diff)
		}
	})
}

// TestAChangeDuringALoadIsLoadedToo changes the ring after a running load has read it.
func TestAChangeDuringALoadIsLoadedToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rings := versions(t)
		source := &told{memory: memory{ring: rings[0]}, changes: make(chan struct{})}
		k := openWith(t, source, "test", signing.Options{})
		gate := make(chan struct{})
		source.hold(gate)
		go func() { _ = k.Reload(t.Context()) }()
		synctest.Wait()
		source.changes <- struct{}{}
		synctest.Wait()
		if diff := cmp.Diff(2, source.count()); diff != "" {
			t.Errorf("loads while one is running (-want +got):\n%s", diff)
		}
		source.set(rings[1], nil)
		source.hold(nil)
		close(gate)
		synctest.Wait()
		if diff := cmp.Diff(3, source.count()); diff != "" {
			t.Errorf("loads (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(uint64(2), k.Version()); diff != "" {
			t.Errorf("version (-want +got):\n%s", diff)
		}
	})
}
