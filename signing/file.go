package signing

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

var (
	// ErrNoRing says that there is no key ring where one was expected.
	ErrNoRing = errors.New("there is no key ring")
	// ErrRingExists says that [File.Create] found a ring, which it never overwrites.
	ErrRingExists = errors.New("there is a key ring already")
	// ErrUnsafeFile is the cause when the file system would let others read or replace the ring.
	ErrUnsafeFile = errors.New("the key ring file is not safe")
)

// lockRetry is how often a writer asks again for the lock that another holds.
const lockRetry = 10 * time.Millisecond

// File is a key ring in a file: a regular file of mode 0600 or stricter that belongs to the reader or to root, reached through
// no link that leads out of its folder. It needs a Unix system.
type File struct {
	path string
}

// NewFile returns the ring file of that path, which need not exist yet.
func NewFile(path string) *File { return &File{path: path} }

// Path returns the file's path.
func (f *File) Path() string { return f.path }

// String returns "file:PATH".
func (f *File) String() string { return "file:" + f.path }

// Load reads the ring, or says what is wrong and what to do.
func (f *File) Load(ctx context.Context) (*Ring, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", f.path, err)
	}
	root, err := f.openFolder()
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	file, err := f.open(root)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return f.read(file)
}

// Create writes a ring where none is. It never overwrites one: that is [ErrRingExists].
func (f *File) Create(r *Ring) error {
	if err := r.check(); err != nil {
		return fmt.Errorf("create %s: %w", f.path, err)
	}
	root, err := f.openFolder()
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	temp, err := f.writeTemp(root, r, nil)
	if err != nil {
		return err
	}
	defer func() { _ = root.Remove(temp) }()
	if err := root.Link(temp, f.base()); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("create %s: %w; rotate its keys with `sealq keys rotate`, or choose another path", f.path, ErrRingExists)
		}
		return fmt.Errorf("create %s: %w", f.path, err)
	}
	return f.syncFolder(root)
}

// Update writes what change makes of the ring, under a lock that excludes other writers, in one atomic step that survives a
// crash. change returns the same ring to write nothing; what else it returns must be the next version. Update returns the
// ring that the file then holds.
func (f *File) Update(ctx context.Context, change func(*Ring) (*Ring, error)) (*Ring, error) {
	root, err := f.openFolder()
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	if info, err := root.Lstat(f.base()); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return nil, fmt.Errorf("update %s: it is a link; update the file that it leads to, by whatever made the link", f.path)
	}
	file, err := f.lock(ctx, root)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // and so unlock
	old, err := f.read(file)
	if err != nil {
		return nil, err
	}
	next, err := change(old)
	if err != nil {
		return nil, fmt.Errorf("update %s: %w", f.path, err)
	}
	if next == old {
		return old, nil
	}
	if next == nil {
		return nil, fmt.Errorf("update %s: %w: the change made none", f.path, ErrNoRing)
	}
	if next.version != old.version+1 {
		return nil, fmt.Errorf("update %s: the change made version %d of version %d; make one move a write", f.path, next.version, old.version)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("update %s: %w", f.path, err)
	}
	if err := f.sweep(root); err != nil {
		return nil, err
	}
	temp, err := f.writeTemp(root, next, info)
	if err != nil {
		return nil, err
	}
	if err := root.Rename(temp, f.base()); err != nil {
		_ = root.Remove(temp)
		return nil, fmt.Errorf("update %s: %w", f.path, err)
	}
	return next, f.syncFolder(root)
}

func (f *File) base() string { return filepath.Base(f.path) }

// openFolder opens the file's folder, out of which nothing below leads.
func (f *File) openFolder() (*os.Root, error) {
	folder := filepath.Dir(f.path)
	root, err := os.OpenRoot(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w: its folder does not exist; create the folder, then the ring with `sealq keys init`", f, ErrNoRing)
	}
	if err != nil {
		return nil, fmt.Errorf("open the folder of %s: %w", f.path, err)
	}
	return root, nil
}

// open opens the ring for reading and refuses a file that others could read or replace. It asks the opened file, so that
// nobody can exchange it in between.
func (f *File) open(root *os.Root) (*os.File, error) {
	file, err := root.OpenFile(f.base(), os.O_RDONLY|openNonblock, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: %w; create one with `sealq keys init`, or correct the path", f, ErrNoRing)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s: this user may not read it; run as its owner, or chown the file to this user: %w", f, err)
	case err != nil:
		if info, lerr := root.Lstat(f.base()); lerr == nil && info.Mode()&fs.ModeSymlink != 0 {
			return nil, fmt.Errorf("%s: %w: it is a link that leads out of its folder; put the ring itself there", f, ErrUnsafeFile)
		}
		return nil, fmt.Errorf("open %s: %w", f.path, err)
	}
	if err := f.checkSafe(file); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

func (f *File) checkSafe(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("open %s: %w", f.path, err)
	}
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s: %w: it is no regular file; put the ring's JSON there", f, ErrUnsafeFile)
	case info.Mode().Perm()&^0o600 != 0:
		return fmt.Errorf("%s: %w: its mode %04o lets others in; run chmod 600 %s", f, ErrUnsafeFile, info.Mode().Perm(), f.path)
	}
	owned, err := ownedBy(info, os.Geteuid())
	if err != nil {
		return fmt.Errorf("%s: %w", f, err)
	}
	if !owned {
		return fmt.Errorf("%s: %w: it belongs to another user; chown it to this user or to root", f, ErrUnsafeFile)
	}
	return nil
}

func (f *File) read(file *os.File) (*Ring, error) {
	text, err := io.ReadAll(io.LimitReader(file, maxRingSize+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.path, err)
	}
	r, err := ParseRing(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f, err)
	}
	return r, nil
}

// lock opens the ring and locks it. The lock is on the file itself, so a writer that waited for one that was replaced since
// must look again.
func (f *File) lock(ctx context.Context, root *os.Root) (*os.File, error) {
	tick := time.NewTicker(lockRetry)
	defer tick.Stop()
	for {
		file, err := f.open(root)
		if err != nil {
			return nil, err
		}
		locked, err := f.tryLock(root, file)
		if locked {
			return file, nil
		}
		_ = file.Close()
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", f.path, err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("lock %s: another process is writing it: %w", f.path, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// tryLock reports whether file is locked now and still the one that the path names.
func (f *File) tryLock(root *os.Root, file *os.File) (bool, error) {
	if locked, err := flock(file); !locked || err != nil {
		return false, err
	}
	mine, err := file.Stat()
	if err != nil {
		return false, fmt.Errorf("stat the locked file: %w", err)
	}
	named, err := root.Stat(f.base())
	if err != nil {
		return false, fmt.Errorf("stat the path: %w", err)
	}
	return os.SameFile(mine, named), nil
}

func (f *File) tempPrefix() string { return "." + f.base() + ".tmp-" }

// sweep removes what a writer that crashed left behind: it holds secrets, which must not outlive their keys. Under the lock
// nobody else is writing.
func (f *File) sweep(root *os.Root) error {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return fmt.Errorf("look for remains beside %s: %w", f.path, err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), f.tempPrefix()) {
			continue
		}
		if err := root.Remove(e.Name()); err != nil {
			return fmt.Errorf("remove remains beside %s: %w", f.path, err)
		}
	}
	return nil
}

// writeTemp writes the ring to a new file in the folder, with the mode and owner of the one it will replace.
func (f *File) writeTemp(root *os.Root, r *Ring, like fs.FileInfo) (name string, err error) {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails: the process ends instead
	name = f.tempPrefix() + hex.EncodeToString(random[:])
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", fmt.Errorf("write beside %s: %w", f.path, err)
	}
	defer func() {
		if cerr := file.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("write beside %s: %w", f.path, cerr)
		}
		if err != nil {
			_ = root.Remove(name)
		}
	}()
	if err := keepOwner(file, like); err != nil {
		return "", fmt.Errorf("write beside %s: %w", f.path, err)
	}
	if _, err := file.Write(r.Marshal()); err != nil {
		return "", fmt.Errorf("write beside %s: %w", f.path, err)
	}
	if err := file.Sync(); err != nil {
		return "", fmt.Errorf("write beside %s: %w", f.path, err)
	}
	return name, nil
}

// syncFolder makes the new name survive a crash.
func (f *File) syncFolder(root *os.Root) error {
	folder, err := root.Open(".")
	if err != nil {
		return fmt.Errorf("sync the folder of %s: %w", f.path, err)
	}
	defer func() { _ = folder.Close() }()
	if err := folder.Sync(); err != nil {
		return fmt.Errorf("sync the folder of %s: %w", f.path, err)
	}
	return nil
}
