package postgres

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/signing"
)

// LoadWrappedRing returns what was saved last, or signing.ErrNoRing.
func (db *DB) LoadWrappedRing(ctx context.Context) (version uint64, wrapped []byte, err error) {
	err = db.pool.QueryRow(ctx, "SELECT version, wrapped FROM signing_keys").Scan(&version, &wrapped)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil, signing.ErrNoRing
	}
	if err != nil {
		return 0, nil, wrap("load key ring", err)
	}
	return version, wrapped, nil
}

// Of two who save one version the second waits for the first, and then finds another version than it looks for.
const (
	createRingSQL  = `INSERT INTO signing_keys (id, version, wrapped) VALUES (1, $1, $2) ON CONFLICT DO NOTHING`
	replaceRingSQL = `UPDATE signing_keys SET version = $1::bigint, wrapped = $2, written_at = statement_timestamp() WHERE version = $1::bigint - 1`
)

const raiseHighestRingSQL = `
INSERT INTO highest_ring AS h (id, version) VALUES (1, $1)
ON CONFLICT (id) DO UPDATE SET version = excluded.version WHERE h.version < excluded.version`

// SaveWrappedRing saves the version after the saved one, or returns signing.ErrRingMoved, as signing.Vault says.
func (db *DB) SaveWrappedRing(ctx context.Context, version uint64, wrapped []byte) error {
	save := replaceRingSQL
	if version == 1 {
		save = createRingSQL
	}
	return db.InTx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, save, bigint(version), blob(wrapped))
		if err != nil {
			return wrap("save key ring", err)
		}
		if tag.RowsAffected() == 0 {
			return signing.ErrRingMoved
		}
		if _, err := tx.Exec(ctx, raiseHighestRingSQL, bigint(version)); err != nil {
			return wrap("save key ring", err)
		}
		return nil
	})
}

const reportRingSQL = `
INSERT INTO ring_reports (process, ring_version, check_values, seen_at) VALUES ($1, $2, $3, statement_timestamp())
ON CONFLICT (process) DO UPDATE SET ring_version = excluded.ring_version, check_values = excluded.check_values, seen_at = excluded.seen_at`

// purgeReportsSQL leaves alone what its own process is about to replace: two that wait for each other's row would never end.
const purgeReportsSQL = `
WITH old AS (
	SELECT process FROM ring_reports WHERE seen_at <= statement_timestamp() - interval '1 day' FOR UPDATE SKIP LOCKED
)
DELETE FROM ring_reports r USING old WHERE r.process = old.process`

// ReportRing keeps what a process says of its ring, in place of what it said before, as of now by the database's clock
// (r.SeenAt is ignored). It deletes reports that are a day old.
func (db *DB) ReportRing(ctx context.Context, r signing.Report) error {
	values := make(map[signing.KID]string, len(r.CheckValues))
	for kid, check := range r.CheckValues {
		values[kid] = hex.EncodeToString(check[:])
	}
	var batch pgx.Batch // one transaction
	batch.Queue(reportRingSQL, name(r.Process), bigint(r.Version), values)
	batch.Queue(raiseHighestRingSQL, bigint(r.Version))
	batch.Queue(purgeReportsSQL)
	if err := db.pool.SendBatch(ctx, &batch).Close(); err != nil {
		return wrap("report key ring", err)
	}
	return nil
}

// RingReports lists the reports that came in within that time, by process.
func (db *DB) RingReports(ctx context.Context, within time.Duration) ([]signing.Report, error) {
	rows, err := db.pool.Query(ctx, `
		SELECT process, ring_version, check_values, seen_at FROM ring_reports
		WHERE seen_at > statement_timestamp() - $1::interval ORDER BY process`, within)
	if err != nil {
		return nil, wrap("list ring reports", err)
	}
	reports, err := pgx.CollectRows(rows, scanReport)
	if err != nil {
		return nil, wrap("list ring reports", err)
	}
	return reports, nil
}

func scanReport(row pgx.CollectableRow) (signing.Report, error) {
	var r signing.Report
	var packed []byte
	if err := row.Scan(&r.Process, &r.Version, &packed, &r.SeenAt); err != nil {
		return r, err //nolint:wrapcheck // RingReports wraps it
	}
	damaged := fmt.Errorf("the report of %q is damaged: delete it from ring_reports, the process reports again within a minute", r.Process)
	var values map[signing.KID]string
	if json.Unmarshal(packed, &values) != nil {
		return r, damaged
	}
	r.SeenAt = r.SeenAt.UTC()
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
func (db *DB) HighestRingVersion(ctx context.Context) (version uint64, err error) {
	if err := db.pool.QueryRow(ctx, "SELECT coalesce(max(version), 0) FROM highest_ring").Scan(&version); err != nil {
		return 0, wrap("highest ring version", err)
	}
	return version, nil
}

const rowsNeedingKeySQL = `
SELECT (SELECT count(*) FROM pending_users WHERE kid = $1 AND expires_at > statement_timestamp() AND sent_at IS NULL)
     + (SELECT count(*) FROM user_tokens WHERE kid = $1 AND expires_at > statement_timestamp() AND sent_at IS NULL)`

// RowsNeedingKey counts the registrations and tokens whose link was made with that key and whose mail was not accepted yet: each try
// makes the link again, so the key must not be destroyed before.
func (db *DB) RowsNeedingKey(ctx context.Context, kid string) (rows int, err error) {
	if err := db.pool.QueryRow(ctx, rowsNeedingKeySQL, name(kid)).Scan(&rows); err != nil {
		return 0, wrap("count rows that need key "+kid, err)
	}
	return rows, nil
}
