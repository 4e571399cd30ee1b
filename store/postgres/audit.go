package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/audit"
)

// auditLock is the key of the advisory lock under which entries are linked: "sealr", next to that of migrations.
const auditLock = migrationLock + 1

// AppendAudit writes the entry in tx, as audit.Log says.
func (db *DB) AppendAudit(ctx context.Context, tx pgx.Tx, e audit.Entry) error {
	e, err := e.Bounded()
	if err != nil {
		return err
	}
	detail, err := json.Marshal(facts(e.Detail))
	if err != nil {
		return fmt.Errorf("audit %s: %w", e.Action, err)
	}
	if _, err := tx.Exec(ctx, `INSERT INTO audit_log (actor, action, subject, detail) VALUES ($1, $2, $3, $4::text::jsonb)`,
		e.Actor, e.Action, e.Subject, string(detail)); err != nil {
		return wrap("audit "+e.Action, err)
	}
	return nil
}

// RecordChange enters a change of an account in tx, as accounts.AuditStore says.
func (db *DB) RecordChange(ctx context.Context, tx pgx.Tx, c accounts.Change) error {
	return db.AppendAudit(ctx, tx, audit.Entry{Actor: c.Actor, Action: c.Action, Subject: c.Subject, Detail: c.Detail})
}

// facts is an object in JSON where there are none, too.
func facts(detail map[string]string) map[string]string {
	if detail == nil {
		return map[string]string{}
	}
	return detail
}

// unlinkedSQL reads what has been committed by now. An entry whose transaction commits later comes later, whatever its ID.
const unlinkedSQL = `SELECT 0, id, at, actor, action, subject, detail::text, NULL FROM audit_log WHERE position IS NULL ORDER BY id LIMIT $1`

// ChainAudit links up to limit committed entries, in the order of their IDs, and returns how many there were. It never waits:
// while another links, it links nothing.
func (db *DB) ChainAudit(ctx context.Context, limit int) (linked int, err error) {
	var waiting bool
	if err := db.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM audit_log WHERE position IS NULL)`).Scan(&waiting); err != nil {
		return 0, wrap("link the audit log", err)
	}
	if !waiting {
		return 0, nil
	}
	err = db.InTx(ctx, func(tx pgx.Tx) error {
		var mine bool
		if err := tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock($1)", int64(auditLock)).Scan(&mine); err != nil || !mine {
			return err //nolint:wrapcheck // wrapped below
		}
		linked, err = link(ctx, tx, limit)
		return err
	})
	if err != nil {
		return 0, wrap("link the audit log", err)
	}
	return linked, nil
}

// link reads the head in a statement of its own, after the lock was taken: so it sees what was linked before.
func link(ctx context.Context, tx pgx.Tx, limit int) (int, error) {
	head, err := auditHead(ctx, tx)
	if err != nil {
		return 0, err
	}
	rows, err := tx.Query(ctx, unlinkedSQL, limit)
	if err != nil {
		return 0, err //nolint:wrapcheck // ChainAudit wraps it
	}
	entries, err := pgx.CollectRows(rows, scanLink)
	if err != nil {
		return 0, err //nolint:wrapcheck // likewise
	}
	var batch pgx.Batch // one statement each, because the table takes places in their order alone
	for _, e := range entries {
		head = head.Next(e.ID, e.Entry)
		batch.Queue(`UPDATE audit_log SET position = $2, hash = $3 WHERE id = $1`, e.ID, head.Position, slices.Clone(head.Hash[:]))
	}
	err = tx.SendBatch(ctx, &batch).Close()
	return len(entries), err
}

// AuditHead returns the head of the chain, the zero one where nothing is linked.
func (db *DB) AuditHead(ctx context.Context) (audit.Head, error) {
	head, err := auditHead(ctx, db.pool)
	if err != nil {
		return audit.Head{}, wrap("read the audit log's head", err)
	}
	return head, nil
}

func auditHead(ctx context.Context, q querier) (head audit.Head, err error) {
	var sum []byte
	err = q.QueryRow(ctx, `SELECT position, hash FROM audit_log WHERE position IS NOT NULL ORDER BY position DESC LIMIT 1`).Scan(&head.Position, &sum)
	if errors.Is(err, pgx.ErrNoRows) {
		return audit.Head{}, nil
	}
	copy(head.Hash[:], sum)
	return head, err //nolint:wrapcheck // callers wrap it
}

// AuditLinks lists links after a position, as audit.Chain says.
func (db *DB) AuditLinks(ctx context.Context, after int64, limit int) ([]audit.Link, error) {
	rows, err := db.pool.Query(ctx, `SELECT position, id, at, actor, action, subject, detail::text, hash FROM audit_log
		WHERE position > $1 ORDER BY position LIMIT $2`, after, limit)
	if err != nil {
		return nil, wrap("read the audit log", err)
	}
	links, err := pgx.CollectRows(rows, scanLink)
	if err != nil {
		return nil, wrap("read the audit log", err)
	}
	return links, nil
}

func scanLink(row pgx.CollectableRow) (audit.Link, error) {
	var l audit.Link
	var detail string
	var sum []byte
	var at time.Time
	if err := row.Scan(&l.Position, &l.ID, &at, &l.Entry.Actor, &l.Entry.Action, &l.Entry.Subject, &detail, &sum); err != nil {
		return l, err //nolint:wrapcheck // callers wrap it
	}
	copy(l.Hash[:], sum)
	l.Entry.At, l.Entry.Detail = at.UTC(), audit.ParseDetail(detail)
	return l, nil
}
