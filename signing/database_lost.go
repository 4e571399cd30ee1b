package signing

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// NewRingAfter makes the first ring after one that was lost for good. It is [NewRing] but for its version, the one after seen:
// processes that know the lost ring refuse any version that is not higher.
func NewRingAfter(now time.Time, maxLifetime time.Duration, seen uint64) (*Ring, error) {
	r := &Ring{version: seen + 1, maxLifetime: maxLifetime}
	if err := r.addKey(now, Active, []string{"*"}); err != nil {
		return nil, err
	}
	return r.checked()
}

// Replace saves r where the ring was lost: where there is none, or none that opens under this key-encryption key. A ring that
// opens is never replaced, [ErrRingExists], unless its version lies below what r follows: then an earlier Replace was
// interrupted, and this one goes on. See [NewRingAfter].
func (d *Database) Replace(ctx context.Context, r *Ring) error {
	opened, err := d.Load(ctx)
	switch {
	case err == nil && opened.version+1 < r.version:
		// Older than what was seen: a Replace that was interrupted left it, and this one goes on from there.
	case err == nil:
		return fmt.Errorf("replace the database's key ring: %w, and it opens; rotate its keys with `sealq keys rotate`", ErrRingExists)
	case !errors.Is(err, ErrNoRing) && !errors.Is(err, ErrWrongKEK) && !errors.Is(err, ErrInvalidRing):
		return err
	}
	last, _, err := d.vault.LoadWrappedRing(ctx)
	if err != nil && !errors.Is(err, ErrNoRing) {
		return fmt.Errorf("read the database's key ring: %w", err)
	}
	if r.version <= last {
		return fmt.Errorf("replace the database's key ring: %w: version %d does not follow version %d", ErrOlderRing, r.version, last)
	}
	// A vault takes one version after the other. Where the row is gone, the versions before r's are passed through: whoever
	// has seen the lost ring refuses each of them.
	for version := last + 1; version <= r.version; version++ {
		step := &Ring{version: version, maxLifetime: r.maxLifetime, keys: r.keys}
		if err := d.save(ctx, step); err != nil {
			return err
		}
	}
	return nil
}
