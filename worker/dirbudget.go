package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/signing"
)

const (
	// rescanEvery is how often the folder is measured: so soon do files that somebody deletes make room, and are those of
	// other processes counted.
	rescanEvery = time.Minute
	// overflowEvery is how often the counters are written while they grow.
	overflowEvery = time.Second
	overflowFile  = "overflow.json"
	damagedFile   = "overflow.json.damaged"
	// suffix is how the files of entries end, and the others those of entries whose signature held, so that a class is measured
	// without reading it.
	suffix          = ".json"
	movedSuffix     = ".moved.json"
	authenticSuffix = ".authentic.json"
)

func suffixOf(c quarantine.Class) string {
	switch c {
	case quarantine.Moved:
		return movedSuffix
	case quarantine.Reserved:
		return authenticSuffix
	case quarantine.Unverified:
	}
	return suffix
}

var errDamaged = errors.New("it is damaged")

// entryOf is the ID of the entry that a file holds.
func entryOf(file string) (id string, class quarantine.Class, ok bool) {
	for _, class := range []quarantine.Class{quarantine.Moved, quarantine.Reserved, quarantine.Unverified} {
		if id, ok := strings.CutSuffix(file, suffixOf(class)); ok {
			return id, class, uuid.Validate(id) == nil
		}
	}
	return "", "", false
}

// reserve takes room for an entry of that size, or returns quarantine.ErrFull.
func (d *Dir) reserve(r jobs.Refused, size int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := d.cfg.Now(); now.Sub(d.measured) >= rescanEvery || d.measured.IsZero() {
		used, err := d.measure()
		if err != nil {
			return err
		}
		d.used, d.measured = used, now
	}
	class := quarantine.ClassOf(r)
	used := d.used[class]
	if !d.cfg.Budgets.Of(r).Holds(used, size) || class == quarantine.Unverified && !d.pace.Keeps(d.cfg.Now()) {
		return quarantine.ErrFull
	}
	d.used[class] = quarantine.Used{Entries: used.Entries + 1, Bytes: used.Bytes + size}
	return nil
}

// giveBack undoes reserve for an entry that was not written.
func (d *Dir) giveBack(r jobs.Refused, size int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	class := quarantine.ClassOf(r)
	used := d.used[class]
	d.used[class] = quarantine.Used{Entries: used.Entries - 1, Bytes: used.Bytes - size}
}

// measure adds up the files of each class.
func (d *Dir) measure() (map[quarantine.Class]quarantine.Used, error) {
	files, err := os.ReadDir(d.path)
	if err != nil {
		return nil, fmt.Errorf("measure quarantine: %w", err)
	}
	used := make(map[quarantine.Class]quarantine.Used, 3)
	for _, file := range files {
		_, class, ok := entryOf(file.Name())
		if !ok {
			continue
		}
		info, err := file.Info()
		if errors.Is(err, fs.ErrNotExist) { // deleted meanwhile
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("measure quarantine: %w", err)
		}
		used[class] = quarantine.Used{Entries: used[class].Entries + 1, Bytes: used[class].Bytes + info.Size()}
	}
	return used, nil
}

// count counts an entry that found no room.
func (d *Dir) count(reason signing.Reason, size int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.cfg.Now().UTC()
	o := d.uncounted[reason]
	if o.Entries == 0 {
		o.FirstAt = now
	}
	o.Entries, o.Bytes, o.LastAt = o.Entries+1, o.Bytes+size, now
	d.uncounted[reason] = o
	if now.Sub(d.counted) < overflowEvery {
		return nil
	}
	all, err := d.overflow()
	if errors.Is(err, errDamaged) { // refused tasks have to leave the queue all the same; who looks finds the file beside the new one
		if err := os.Rename(filepath.Join(d.path, overflowFile), filepath.Join(d.path, damagedFile)); err != nil {
			return fmt.Errorf("put damaged overflow aside: %w", err)
		}
		all, err = d.overflow()
	}
	if err != nil {
		return err
	}
	data, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("encode overflow: %w", err)
	}
	if err := d.write(overflowFile, data); err != nil {
		return err
	}
	d.counted = now
	clear(d.uncounted)
	return nil
}

// overflow is what the file says, and what is not in it yet.
func (d *Dir) overflow() (map[signing.Reason]quarantine.Overflow, error) {
	all := make(map[signing.Reason]quarantine.Overflow)
	data, err := os.ReadFile(filepath.Join(d.path, overflowFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("read overflow: %w", err)
	default:
		if err := json.Unmarshal(data, &all); err != nil {
			return nil, fmt.Errorf("read overflow: delete %s: %w: %w", filepath.Join(d.path, overflowFile), errDamaged, err)
		}
	}
	for reason, n := range d.uncounted {
		sum := all[reason]
		if sum.Entries == 0 {
			sum.FirstAt = n.FirstAt
		}
		sum.Entries, sum.Bytes, sum.LastAt = sum.Entries+n.Entries, sum.Bytes+n.Bytes, n.LastAt
		all[reason] = sum
	}
	return all, nil
}

// QuarantineUsage says how much there is of each class, in bytes of files, and what found no room.
func (d *Dir) QuarantineUsage(context.Context) (quarantine.Usage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	used, err := d.measure()
	if err != nil {
		return quarantine.Usage{}, err
	}
	overflow, err := d.overflow()
	usage := quarantine.Usage{Overflow: overflow}
	for class, n := range used {
		usage.Set(class, n)
	}
	return usage, err
}
