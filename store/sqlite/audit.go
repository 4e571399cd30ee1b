package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/audit"
)

// AppendAudit writes the entry in tx: see [audit.Log].
func (db *DB) AppendAudit(ctx context.Context, tx *sql.Tx, e audit.Entry) error {
	e, err := e.Bounded()
	if err != nil {
		return err
	}
	detail := []byte("{}")
	if len(e.Detail) > 0 {
		if detail, err = json.Marshal(e.Detail); err != nil {
			return fmt.Errorf("audit %s: %w", e.Action, err)
		}
	}
	if _, err := execute(ctx, tx, `INSERT INTO audit_log (at, actor, action, subject, detail) VALUES (`+nowSQL+`, ?, ?, ?, ?)`,
		e.Actor, e.Action, e.Subject, string(detail)); err != nil {
		return db.wrap("audit "+e.Action, err)
	}
	return nil
}

// RecordChange enters a change of an account in tx: see [accounts.AuditStore].
func (db *DB) RecordChange(ctx context.Context, tx *sql.Tx, c accounts.Change) error {
	return db.AppendAudit(ctx, tx, audit.Entry{Actor: c.Actor, Action: c.Action, Subject: c.Subject, Detail: c.Detail})
}

// ChainAudit links up to limit committed entries, in the order of their IDs, and returns how many there were. Where there is
// none, it takes no turn to write.
func (db *DB) ChainAudit(ctx context.Context, limit int) (int, error) {
	var waiting bool
	if err := db.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM audit_log WHERE position IS NULL)`).Scan(&waiting); err != nil {
		return 0, db.wrap("link the audit log", err)
	}
	if !waiting {
		return 0, nil
	}
	linked := 0
	err := db.InTx(ctx, func(tx *sql.Tx) error {
		head, err := auditHead(ctx, tx)
		if err != nil {
			return err
		}
		entries, err := auditLinks(ctx, tx, `WHERE position IS NULL ORDER BY id LIMIT ?`, limit)
		if err != nil {
			return err
		}
		for _, e := range entries {
			head = head.Next(e.ID, e.Entry)
			if _, err := execute(ctx, tx, `UPDATE audit_log SET position = ?, hash = ? WHERE id = ?`, head.Position, head.Hash[:], e.ID); err != nil {
				return err
			}
		}
		linked = len(entries)
		return nil
	})
	if err != nil {
		return 0, db.wrap("link the audit log", err)
	}
	return linked, nil
}

// AuditHead returns the head of the chain, the zero one where nothing is linked.
func (db *DB) AuditHead(ctx context.Context) (audit.Head, error) {
	head, err := auditHead(ctx, db.read)
	if err != nil {
		return audit.Head{}, db.wrap("read the audit log's head", err)
	}
	return head, nil
}

func auditHead(ctx context.Context, q querier) (head audit.Head, err error) {
	var sum []byte
	err = q.QueryRowContext(ctx, `SELECT position, hash FROM audit_log WHERE position IS NOT NULL ORDER BY position DESC LIMIT 1`).Scan(&head.Position, &sum)
	if errors.Is(err, sql.ErrNoRows) {
		return audit.Head{}, nil
	}
	copy(head.Hash[:], sum)
	return head, err //nolint:wrapcheck // callers wrap it
}

// AuditLinks lists links after a position: see [audit.Chain].
func (db *DB) AuditLinks(ctx context.Context, after int64, limit int) ([]audit.Link, error) {
	links, err := auditLinks(ctx, db.read, `WHERE position > ? ORDER BY position LIMIT ?`, after, limit)
	if err != nil {
		return nil, db.wrap("read the audit log", err)
	}
	return links, nil
}

func auditLinks(ctx context.Context, q querier, which string, args ...any) ([]audit.Link, error) {
	rows, err := q.QueryContext(ctx, `SELECT coalesce(position, 0), id, at, actor, action, subject, detail, hash FROM audit_log `+which, args...)
	if err != nil {
		return nil, err
	}
	return collect(rows, func(rows *sql.Rows) (audit.Link, error) {
		var l audit.Link
		var at int64
		var detail string
		var sum []byte
		err := rows.Scan(&l.Position, &l.ID, &at, &l.Entry.Actor, &l.Entry.Action, &l.Entry.Subject, &detail, &sum)
		copy(l.Hash[:], sum)
		l.Entry.At, l.Entry.Detail = timeOf(at), audit.ParseDetail(detail)
		return l, err //nolint:wrapcheck // callers wrap it
	})
}
