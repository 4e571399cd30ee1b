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
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
)

// DefaultDir is the quarantine's folder where none is named.
const DefaultDir = "sealq-quarantine"

// Dir is a quarantine in a folder, for workers without a database: one file of JSON for each refused task, mode
// 0600, named by the entry's ID.
type Dir struct{ path string }

var _ Quarantine = (*Dir)(nil)

// OpenDir opens the folder, making it (mode 0700) where it is not there. "" is DefaultDir.
func OpenDir(path string) (*Dir, error) {
	if path == "" {
		path = DefaultDir
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("quarantine folder: %w", err)
	}
	return &Dir{path: path}, nil
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

// Keep writes the entry to a temporary file and renames it, so that a file that is there is whole.
func (d *Dir) Keep(_ context.Context, r jobs.Refused) error {
	data, err := json.Marshal(dirEntry{
		ID: r.ID, TaskID: r.TaskID, Queue: r.Queue, Kind: r.Kind, Reason: r.Reason, Detail: r.Detail, KID: r.KID,
		Authentic: r.Authentic, Size: r.Size, PayloadSHA256: hex.EncodeToString(r.PayloadSHA256[:]),
		ReceivedAt: r.ReceivedAt.UTC(), MaxRetry: r.MaxRetry, Headers: r.Headers, Payload: r.Payload,
	})
	if err != nil {
		return fmt.Errorf("encode entry: %w", err)
	}
	tmp, err := os.CreateTemp(d.path, ".new-*")
	if err != nil {
		return err //nolint:wrapcheck // names operation and path itself
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), d.file(r.ID))
	}
	if err != nil {
		_ = os.Remove(tmp.Name()) // it may be gone; the write's error is the one to tell
		return err                //nolint:wrapcheck // likewise
	}
	return d.sync()
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
		id, isEntry := strings.CutSuffix(name.Name(), ".json")
		if !isEntry || uuid.Validate(id) != nil {
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
	if uuid.Validate(id) != nil {
		return jobs.Refused{}, fmt.Errorf("%w: %q is not an entry's ID", jobs.ErrNoSuchEntry, id)
	}
	data, err := os.ReadFile(d.file(id))
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

func (d *Dir) file(id string) string { return filepath.Join(d.path, id+".json") }
