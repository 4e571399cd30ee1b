package signing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	watchQuiet   = 50 * time.Millisecond  // a change is told when nothing has happened for so long: writers touch a file often
	watchPatient = 500 * time.Millisecond // but at the latest so long after it
)

// ErrNotWatched says that a source cannot tell when its ring changes. [Options].Poll finds changes all the same.
var ErrNotWatched = errors.New("the key ring is not watched")

// Watcher is a [Source] that tells when its ring may have changed, so that nobody need wait for the next poll.
type Watcher interface {
	// Watch calls changed after every change, one call at a time, and once when it has begun to watch. It returns when ctx has
	// ended, or why it cannot watch any longer, and leaves nothing running.
	Watch(ctx context.Context, changed func()) error
}

// Watch watches the file's folder, because whoever replaces the ring replaces the file: by a rename, as [File.Update] does, or
// by exchanging the folder that a link beside it leads to, as Kubernetes does with "..data".
func (f *File) Watch(ctx context.Context, changed func()) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the folder of %s: %w: %w", f.path, ErrNotWatched, err)
	}
	defer func() { _ = w.Close() }()
	folder := filepath.Dir(f.path)
	if err := w.Add(folder); err != nil {
		return fmt.Errorf("watch the folder of %s: %w: %w", f.path, ErrNotWatched, err)
	}
	changed()

	var quiet, late <-chan time.Time // nil while there is nothing to tell
	happened := func() {
		quiet = time.After(watchQuiet)
		if late == nil {
			late = time.After(watchPatient)
		}
	}
	tell := func() {
		quiet, late = nil, nil
		changed()
	}
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("watch the folder of %s: %w", f.path, context.Cause(ctx))
		case <-quiet:
			tell()
		case <-late:
			tell()
		case e := <-w.Events:
			switch {
			case filepath.Clean(e.Name) == folder && e.Has(fsnotify.Remove|fsnotify.Rename):
				return fmt.Errorf("watch the folder of %s: %w: the folder was moved or removed", f.path, ErrNotWatched)
			case f.concerns(e.Name):
				happened()
			}
		case err := <-w.Errors:
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				return fmt.Errorf("watch the folder of %s: %w: %w", f.path, ErrNotWatched, err)
			}
			happened() // among what was lost may be the ring
		}
	}
}

// concerns reports whether a change of that name may change the ring: its own, and those of Kubernetes, which begin with two
// dots. Others are somebody else's, or the temporary ones of a writer.
func (f *File) concerns(name string) bool {
	base := filepath.Base(name)
	return base == f.base() || strings.HasPrefix(base, "..")
}

// watch follows the source's own word of changes, if it gives any. When watching fails it says so once, and tries again at every
// poll.
func (k *Keys) watch(ctx context.Context) {
	w, ok := k.source.(Watcher)
	if !ok {
		return
	}
	told := false
	for {
		began := false
		err := w.Watch(ctx, func() {
			began = true
			k.reloadChanged()
		})
		if ctx.Err() != nil {
			return
		}
		if began || !told {
			k.opts.Logger.WarnContext(ctx, "key ring not watched, its changes are seen at the next poll",
				slog.String("source", k.source.String()), slog.Duration("poll", k.opts.Poll), slog.Any("error", err))
		}
		told = true
		select {
		case <-ctx.Done():
			return
		case <-time.After(k.opts.Poll):
		}
	}
}

// reloadChanged loads what has changed just now. A load that is running may have read before the change: another follows it.
func (k *Keys) reloadChanged() {
	k.reload.mu.Lock()
	running := k.reload.flight
	k.reload.mu.Unlock()
	if running != nil {
		<-running.done
	}
	if f := k.start(); f != nil {
		<-f.done
	}
}
