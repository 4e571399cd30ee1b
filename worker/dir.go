package worker

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/signing"
)

// DefaultDir is the quarantine's folder where none is named.
const DefaultDir = "sealq-quarantine"

// Dir is a quarantine in a folder, for workers without a database: one file of JSON for each refused task, mode
// 0600, named by the entry's ID. It keeps within its budgets: forgeries that find no room are counted by their reason in
// overflow.json, about once a second. Processes that share a folder see each other's files once a minute, and may lose a few of
// each other's counts.
type Dir struct {
	path string
	cfg  DirConfig

	mu        sync.Mutex
	used      map[quarantine.Class]quarantine.Used // as of measured and by this process since
	measured  time.Time
	uncounted map[signing.Reason]quarantine.Overflow // not in the file yet
	pace      quarantine.Pace
	counted   time.Time // when the file was written
}

var _ Quarantine = (*Dir)(nil)

// DirConfig of a Dir.
type DirConfig struct {
	// Budgets, in files and their bytes. Zero: quarantine.DefaultBudgets.
	Budgets quarantine.Budgets
	// Now is the clock. Zero: time.Now.
	Now func() time.Time
}

// OpenDir opens the folder with the default budgets, making it (mode 0700) where it is not there. "" is DefaultDir.
func OpenDir(path string) (*Dir, error) { return OpenDirWith(path, DirConfig{}) }

// OpenDirWith is OpenDir with budgets.
func OpenDirWith(path string, c DirConfig) (*Dir, error) {
	if path == "" {
		path = DefaultDir
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("quarantine folder: %w", err)
	}
	return &Dir{path: path, cfg: c, uncounted: make(map[signing.Reason]quarantine.Overflow)}, nil
}

// dirEntry is the format of a file. Header values of an unverified task are any UTF-8; the payload is any bytes.
type dirEntry struct {
	ID            string            `json:"id"`
	TaskID        string            `json:"task_id"`
	Queue         string            `json:"queue"`
	Kind          string            `json:"kind"`
	Reason        signing.Reason    `json:"reason"`
	Detail        string            `json:"detail"`
	KID           string            `json:"kid"`
	Authentic     bool              `json:"authentic"`
	Size          int64             `json:"size"`
	PayloadSHA256 string            `json:"payload_sha256"`
	ReceivedAt    time.Time         `json:"received_at"`
	MaxRetry      int               `json:"max_retry"`
	Headers       map[string]string `json:"headers"`
	Payload       []byte            `json:"payload"` // base64
}

// Keep writes the entry, if it is not there and there is room. Otherwise a reserved one is quarantine.ErrFull, and others are
// counted: quarantine.ErrCounted.
func (d *Dir) Keep(_ context.Context, r jobs.Refused) error {
	if _, err := d.find(r.ID); err == nil {
		return nil
	}
	data, err := json.Marshal(dirEntry{
		ID: r.ID, TaskID: r.TaskID, Queue: r.Queue, Kind: r.Kind, Reason: r.Reason, Detail: r.Detail, KID: r.KID,
		Authentic: r.Authentic, Size: r.Size, PayloadSHA256: hex.EncodeToString(r.PayloadSHA256[:]),
		ReceivedAt: r.ReceivedAt.UTC(), MaxRetry: r.MaxRetry, Headers: r.Headers, Payload: r.Payload,
	})
	if err != nil {
		return fmt.Errorf("encode entry: %w", err)
	}
	size := int64(len(data))
	switch err := d.reserve(r, size); {
	case errors.Is(err, quarantine.ErrFull) && !quarantine.ClassOf(r).Counted():
		return fmt.Errorf("%w of tasks that were signed and refused for what they say: look at those in %s, and delete what is done with", err, d.path)
	case errors.Is(err, quarantine.ErrFull):
		if err := d.count(r.Reason, size); err != nil {
			return err
		}
		return quarantine.ErrCounted
	case err != nil:
		return err
	}
	name := r.ID + suffixOf(quarantine.ClassOf(r))
	if err := d.write(name, data); err != nil {
		d.giveBack(r, size)
		return err
	}
	return d.sync()
}

// write writes to a temporary file and renames it, so that a file that is there is whole.
func (d *Dir) write(name string, data []byte) error {
	tmp, err := os.CreateTemp(d.path, ".new-*")
	if err != nil {
		return err //nolint:wrapcheck // names operation and path itself
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), filepath.Join(d.path, name))
	}
	if err != nil {
		_ = os.Remove(tmp.Name()) // it may be gone; the write's error is the one to tell
	}
	return err //nolint:wrapcheck // likewise
}

// sync makes the folder's entries survive a loss of power: the task leaves the queue next.
func (d *Dir) sync() error {
	folder, err := os.Open(d.path)
	if err != nil {
		return err //nolint:wrapcheck // names operation and path itself
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// QuarantineList lists at most limit entries, the newest first, without payload and headers.
func (d *Dir) QuarantineList(ctx context.Context, limit int) ([]jobs.Refused, error) {
	names, err := os.ReadDir(d.path)
	if err != nil {
		return nil, fmt.Errorf("list quarantine: %w", err)
	}
	var all []jobs.Refused
	for _, name := range names {
		id, _, isEntry := entryOf(name.Name())
		if !isEntry {
			continue
		}
		r, err := d.QuarantineShow(ctx, id)
		if err != nil {
			return nil, err
		}
		r.Payload, r.Headers = nil, nil
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b jobs.Refused) int {
		return cmp.Or(b.ReceivedAt.Compare(a.ReceivedAt), cmp.Compare(a.ID, b.ID))
	})
	return all[:min(limit, len(all))], nil
}

// QuarantineShow reads one entry, or jobs.ErrNoSuchEntry.
func (d *Dir) QuarantineShow(_ context.Context, id string) (jobs.Refused, error) {
	path, err := d.find(id)
	if err != nil {
		return jobs.Refused{}, err
	}
	data, err := os.ReadFile(path) //nolint:gosec // find made it of a UUID
	if errors.Is(err, fs.ErrNotExist) {
		return jobs.Refused{}, fmt.Errorf("%w: %s", jobs.ErrNoSuchEntry, id)
	}
	if err != nil {
		return jobs.Refused{}, fmt.Errorf("read quarantine: %w", err)
	}
	var e dirEntry
	if err := json.Unmarshal(data, &e); err != nil {
		return jobs.Refused{}, fmt.Errorf("read quarantine %s: %w", id, err)
	}
	r := jobs.Refused{
		ID: e.ID, TaskID: e.TaskID, Queue: e.Queue, Kind: e.Kind, Headers: e.Headers, MaxRetry: e.MaxRetry,
		Payload: e.Payload, Size: e.Size, Reason: e.Reason, KID: e.KID, Detail: e.Detail, Authentic: e.Authentic, ReceivedAt: e.ReceivedAt,
	}
	if _, err := hex.Decode(r.PayloadSHA256[:], []byte(e.PayloadSHA256)); err != nil || len(e.PayloadSHA256) != 64 {
		return jobs.Refused{}, fmt.Errorf("read quarantine %s: payload_sha256 is not 64 hex digits", id)
	}
	return r, nil
}

// find is the path of an entry's file, whose class is not known.
func (d *Dir) find(id string) (string, error) {
	if uuid.Validate(id) != nil {
		return "", fmt.Errorf("%w: %q is not an entry's ID", jobs.ErrNoSuchEntry, id)
	}
	for _, end := range []string{suffix, movedSuffix, authenticSuffix} {
		path := filepath.Join(d.path, id+end)
		switch _, err := os.Lstat(path); {
		case err == nil:
			return path, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", err //nolint:wrapcheck // names operation and path itself
		}
	}
	return "", fmt.Errorf("%w: %s", jobs.ErrNoSuchEntry, id)
}
