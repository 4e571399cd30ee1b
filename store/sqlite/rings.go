package sqlite

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sealq/sealq/signing"
)

// reportsKept is after what time the next report deletes a report.
const reportsKept = 24 * time.Hour

// LoadWrappedRing returns what was saved last, or [signing.ErrNoRing].
func (db *DB) LoadWrappedRing(ctx context.Context) (version uint64, wrapped []byte, err error) {
	err = db.read.QueryRowContext(ctx, `SELECT version, wrapped FROM signing_keys`).Scan(&version, &wrapped)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return 0, nil, signing.ErrNoRing
	case err != nil:
		return 0, nil, db.wrap("load key ring", err)
	}
	return version, wrapped, nil
}

// SaveWrappedRing saves the version after the saved one: see [signing.Vault].
func (db *DB) SaveWrappedRing(ctx context.Context, version uint64, wrapped []byte) error {
	save := `UPDATE signing_keys SET version = ?1, wrapped = ?2, written_at = ?3 WHERE version = ?1 - 1`
	if version == 1 {
		save = `INSERT INTO signing_keys (id, version, wrapped, written_at) VALUES (1, ?1, ?2, ?3) ON CONFLICT DO NOTHING`
	}
	saved, err := db.countInTx(ctx, "save key ring", func(tx *sql.Tx, instant int64) (int, error) {
		n, err := execute(ctx, tx, save, integer(version), notNil(wrapped), instant)
		if err == nil && n > 0 {
			err = raiseHighestRing(ctx, tx, version)
		}
		return n, err
	})
	if err == nil && saved == 0 {
		return signing.ErrRingMoved
	}
	return err
}

func raiseHighestRing(ctx context.Context, tx *sql.Tx, version uint64) error {
	_, err := execute(ctx, tx, `
		INSERT INTO highest_ring (id, version) VALUES (1, ?)
		ON CONFLICT (id) DO UPDATE SET version = excluded.version WHERE version < excluded.version`, integer(version))
	return err
}

// ReportRing keeps what a process says of its ring, in place of what it said before, as of now by the database's clock
// (r.SeenAt is ignored). It deletes reports that are a day old.
func (db *DB) ReportRing(ctx context.Context, r signing.Report) error {
	values := make(map[signing.KID]string, len(r.CheckValues))
	for kid, check := range r.CheckValues {
		values[kid] = hex.EncodeToString(check[:])
	}
	packed, err := json.Marshal(values)
	if err != nil {
		return fmt.Errorf("report key ring: %w", err)
	}
	_, err = db.countInTx(ctx, "report key ring", func(tx *sql.Tx, instant int64) (int, error) {
		if _, err := execute(ctx, tx, `
			INSERT INTO ring_reports (process, ring_version, check_values, seen_at) VALUES (?, ?, ?, ?)
			ON CONFLICT (process) DO UPDATE SET
				ring_version = excluded.ring_version, check_values = excluded.check_values, seen_at = excluded.seen_at`,
			r.Process, integer(r.Version), string(packed), instant); err != nil {
			return 0, err
		}
		if err := raiseHighestRing(ctx, tx, r.Version); err != nil {
			return 0, err
		}
		return execute(ctx, tx, `DELETE FROM ring_reports WHERE seen_at <= ?`, instant-reportsKept.Microseconds())
	})
	return err
}

// RingReports lists the reports that came in within that time, by process.
func (db *DB) RingReports(ctx context.Context, within time.Duration) ([]signing.Report, error) {
	instant, err := now(ctx, db.read)
	if err != nil {
		return nil, db.wrap("list ring reports", err)
	}
	rows, err := db.read.QueryContext(ctx, `
		SELECT process, ring_version, check_values, seen_at FROM ring_reports WHERE seen_at > ? ORDER BY process`, instant-within.Microseconds())
	if err != nil {
		return nil, db.wrap("list ring reports", err)
	}
	reports, err := collect(rows, scanReport)
	if err != nil {
		return nil, db.wrap("list ring reports", err)
	}
	return reports, nil
}

func scanReport(rows *sql.Rows) (signing.Report, error) {
	var r signing.Report
	var packed string
	var seen int64
	if err := rows.Scan(&r.Process, &r.Version, &packed, &seen); err != nil {
		return r, err //nolint:wrapcheck // RingReports wraps it
	}
	damaged := fmt.Errorf("the report of %q is damaged: delete it from ring_reports, the process reports again within a minute", r.Process)
	var values map[signing.KID]string
	if json.Unmarshal([]byte(packed), &values) != nil {
		return r, damaged
	}
	r.SeenAt = timeOf(seen)
	r.CheckValues = make(map[signing.KID][16]byte, len(values))
	for kid, text := range values {
		check, err := hex.DecodeString(text)
		if err != nil || len(check) != 16 {
			return r, damaged
		}
		r.CheckValues[kid] = [16]byte(check)
	}
	return r, nil
}

// HighestRingVersion returns the highest version that was ever saved or reported, 0 if there was none.
func (db *DB) HighestRingVersion(ctx context.Context) (uint64, error) {
	var version uint64
	if err := db.read.QueryRowContext(ctx, `SELECT coalesce(max(version), 0) FROM highest_ring`).Scan(&version); err != nil {
		return 0, db.wrap("highest ring version", err)
	}
	return version, nil
}

// RowsNeedingKey counts the registrations and tokens whose link was made with that key and whose mail was not accepted yet: each try
// makes the link again, so the key must not be destroyed before.
func (db *DB) RowsNeedingKey(ctx context.Context, kid string) (int, error) {
	instant, err := now(ctx, db.read)
	if err != nil {
		return 0, db.wrap("count rows that need a key", err)
	}
	var n int
	err = db.read.QueryRowContext(ctx, `
		SELECT (SELECT count(*) FROM pending_users WHERE kid = ?1 AND expires_at > ?2 AND sent_at IS NULL)
		     + (SELECT count(*) FROM user_tokens WHERE kid = ?1 AND expires_at > ?2 AND sent_at IS NULL)`, kid, instant).Scan(&n)
	if err != nil {
		return 0, db.wrap("count rows that need a key", err)
	}
	return n, nil
}
