package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/jobs"
)

// Errors of GrantEnqueue and RevokeEnqueue.
var (
	// ErrNoSuchRole means that PostgreSQL has no role of that name.
	ErrNoSuchRole = errors.New("there is no such role: make it with CREATE ROLE … LOGIN, or correct the name (upper and lower case count)")
	// ErrRoleCannotLogIn means that a grant would have no effect: sealq_enqueue asks who logged in, and no member inherits.
	ErrRoleCannotLogIn = errors.New("the role cannot log in, and what is granted to a group is not its members': name the roles that log in")
)

// EnqueueGrant is what one role may enqueue with sealq_enqueue.
type EnqueueGrant struct {
	Role  string
	Kinds []jobs.Kind // in order
	// Unbounded: the grant does not bound the role, which can write the outbox or the grants themselves: it is a superuser,
	// owns the tables, or has privileges on them.
	Unbounded bool
}

// RecordKinds tells the database what the definitions of these kinds say, for jobs that are enqueued in SQL: their queue,
// retries, life and uniqueness. Call it where you call Migrate. Kinds of other catalogs stay as they are; of two
// definitions of one kind the one that was recorded last counts.
func (db *DB) RecordKinds(ctx context.Context, c *jobs.Catalog) error {
	b := &pgx.Batch{}
	for _, kind := range c.Kinds() {
		d, err := c.Lookup(kind)
		if err != nil {
			return err
		}
		p := d.Policy()
		b.Queue(`
			INSERT INTO job_kinds AS k (kind, queue, retries, life, unique_by_args) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (kind) DO UPDATE
			SET queue = excluded.queue, retries = excluded.retries, life = excluded.life, unique_by_args = excluded.unique_by_args
			WHERE (k.queue, k.retries, k.life, k.unique_by_args) IS DISTINCT FROM
			      (excluded.queue, excluded.retries, excluded.life, excluded.unique_by_args)`,
			name(string(kind)), name(p.Queue), p.Retries, p.MaxAge, p.Unique)
	}
	if err := db.pool.SendBatch(ctx, b).Close(); err != nil {
		return wrap("record kinds", err)
	}
	return nil
}

// Kinds lists the recorded kinds in order: those that can be granted.
func (db *DB) Kinds(ctx context.Context) ([]jobs.Kind, error) { return recordedKinds(ctx, db.pool) }

func recordedKinds(ctx context.Context, q querier) ([]jobs.Kind, error) {
	rows, err := q.Query(ctx, `SELECT kind FROM job_kinds ORDER BY kind`)
	if err != nil {
		return nil, wrap("list kinds", err)
	}
	kinds, err := pgx.CollectRows(rows, pgx.RowTo[jobs.Kind])
	if err != nil {
		return nil, wrap("list kinds", err)
	}
	return kinds, nil
}

// A privilege on a single column is one too, and who may set a trigger on a table runs code as whoever writes to it.
const enqueueGrantsSQL = `
SELECT r.rolname::text, array_agg(g.kind ORDER BY g.kind), EXISTS (
	SELECT FROM pg_class AS t WHERE t.oid IN ('outbox'::regclass, 'enqueue_grants'::regclass, 'job_kinds'::regclass)
	AND (has_any_column_privilege(r.oid, t.oid, 'INSERT, UPDATE') OR has_table_privilege(r.oid, t.oid, 'TRIGGER')
	     OR pg_has_role(r.oid, t.relowner, 'MEMBER')))
FROM enqueue_grants AS g JOIN pg_roles AS r ON r.oid = g.role
GROUP BY r.oid, r.rolname ORDER BY r.rolname`

// EnqueueGrants lists the roles that may enqueue in SQL, by name. Roles that were dropped are not listed.
func (db *DB) EnqueueGrants(ctx context.Context) ([]EnqueueGrant, error) {
	rows, err := db.pool.Query(ctx, enqueueGrantsSQL)
	if err != nil {
		return nil, wrap("list grants", err)
	}
	grants, err := pgx.CollectRows(rows, pgx.RowToStructByPos[EnqueueGrant])
	if err != nil {
		return nil, wrap("list grants", err)
	}
	return grants, nil
}

// GrantEnqueue lets the role enqueue jobs of these kinds with sealq_enqueue, in addition to those that it may enqueue
// already. The role gets EXECUTE of that function and USAGE of its schema, and no privilege on a table. The kinds have to be
// recorded, and the role has to be one that logs in.
func (db *DB) GrantEnqueue(ctx context.Context, role string, kinds ...jobs.Kind) error {
	return db.runScript(ctx, "grant to "+role, func(tx pgx.Tx) (string, error) { return grantScript(ctx, tx, role, kinds) })
}

// GrantEnqueueSQL is the script that GrantEnqueue would run, for those who run SQL themselves.
func (db *DB) GrantEnqueueSQL(ctx context.Context, role string, kinds ...jobs.Kind) (string, error) {
	return grantScript(ctx, db.pool, role, kinds)
}

// RevokeEnqueue takes these kinds from the role, or all where none is named, and with its last kind the function. Sessions
// that are open feel it at their next call. USAGE of the schema is left: others may have given it too.
func (db *DB) RevokeEnqueue(ctx context.Context, role string, kinds ...jobs.Kind) error {
	return db.runScript(ctx, "revoke from "+role, func(tx pgx.Tx) (string, error) { return revokeScript(ctx, tx, role, kinds) })
}

// RevokeEnqueueSQL is the script that RevokeEnqueue would run.
func (db *DB) RevokeEnqueueSQL(ctx context.Context, role string, kinds ...jobs.Kind) (string, error) {
	return revokeScript(ctx, db.pool, role, kinds)
}

// runScript runs a script as one transaction. The lock is that of migrations: PostgreSQL fails one of two that change a
// function's privileges at once.
func (db *DB) runScript(ctx context.Context, operation string, script func(tx pgx.Tx) (string, error)) error {
	return db.InTx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", int64(migrationLock)); err != nil {
			return wrap(operation, err)
		}
		text, err := script(tx)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, text); err != nil { // without arguments, so of several statements
			return wrap(operation, err)
		}
		return nil
	})
}

// PostgreSQL quotes: %1$s is the schema, %2$I the role, %3$L the role as its ID is written, %4$L the kinds.
const (
	grantSQL = `GRANT USAGE ON SCHEMA %1$s TO %2$I;
GRANT EXECUTE ON FUNCTION %1$s.sealq_enqueue(text, jsonb, interval, text) TO %2$I;
INSERT INTO %1$s.enqueue_grants (role, kind) SELECT %3$L::regrole, unnest(%4$L::text[]) ON CONFLICT DO NOTHING;
`
	revokeSQL = `DELETE FROM %1$s.enqueue_grants WHERE role = %3$L::regrole AND kind = ANY (%4$L::text[]);
`
	revokeLastSQL = `REVOKE EXECUTE ON FUNCTION %1$s.sealq_enqueue(text, jsonb, interval, text) FROM %2$I;
`
	fillInSQL = `
SELECT format($3::text, relnamespace::regnamespace, $1::text, quote_ident($1::text), $2::text[])
FROM pg_class WHERE oid = 'enqueue_grants'::regclass`
)

func grantScript(ctx context.Context, q querier, role string, kinds []jobs.Kind) (string, error) {
	operation := "grant to " + role
	if len(kinds) == 0 {
		return "", fmt.Errorf("%s: no kind is named", operation)
	}
	logsIn, err := roleLogsIn(ctx, q, role)
	if err != nil {
		return "", fmt.Errorf("%s: %w", operation, err)
	}
	if !logsIn {
		return "", fmt.Errorf("%s: %w", operation, ErrRoleCannotLogIn)
	}
	recorded, err := recordedKinds(ctx, q)
	if err != nil {
		return "", err
	}
	for _, kind := range kinds {
		if !slices.Contains(recorded, kind) {
			return "", fmt.Errorf("%s: %w %q: recorded in this database are %s", operation, jobs.ErrUnknownKind, kind, list(recorded))
		}
	}
	return fillIn(ctx, q, operation, grantSQL, role, kinds)
}

func revokeScript(ctx context.Context, q querier, role string, kinds []jobs.Kind) (string, error) {
	operation := "revoke from " + role
	if _, err := roleLogsIn(ctx, q, role); err != nil {
		return "", fmt.Errorf("%s: %w", operation, err)
	}
	rows, err := q.Query(ctx, `SELECT kind FROM enqueue_grants WHERE role = to_regrole(quote_ident($1)) ORDER BY kind`, name(role))
	if err != nil {
		return "", wrap(operation, err)
	}
	granted, err := pgx.CollectRows(rows, pgx.RowTo[jobs.Kind])
	if err != nil {
		return "", wrap(operation, err)
	}
	if len(kinds) == 0 {
		kinds = granted
	}
	statements := revokeSQL
	if !slices.ContainsFunc(granted, func(k jobs.Kind) bool { return !slices.Contains(kinds, k) }) {
		statements += revokeLastSQL
	}
	return fillIn(ctx, q, operation, statements, role, kinds)
}

func roleLogsIn(ctx context.Context, q querier, role string) (bool, error) {
	var logsIn bool
	err := q.QueryRow(ctx, `SELECT rolcanlogin FROM pg_roles WHERE rolname = $1`, name(role)).Scan(&logsIn)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, ErrNoSuchRole
	}
	if err != nil {
		return false, wrap("look up the role", err)
	}
	return logsIn, nil
}

func fillIn(ctx context.Context, q querier, operation, statements, role string, kinds []jobs.Kind) (text string, err error) {
	names := make([]string, len(kinds))
	for i, kind := range kinds {
		names[i] = name(string(kind))
	}
	if err := q.QueryRow(ctx, fillInSQL, role, names, statements).Scan(&text); err != nil {
		return "", wrap(operation, err)
	}
	return text, nil
}

// list is for people.
func list(kinds []jobs.Kind) string {
	if len(kinds) == 0 {
		return "none"
	}
	names := make([]string, len(kinds))
	for i, kind := range kinds {
		names[i] = string(kind)
	}
	return strings.Join(names, ", ")
}
