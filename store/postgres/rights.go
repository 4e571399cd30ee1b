package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Everybody is PostgreSQL's name for all roles, in Rights.
const Everybody = "PUBLIC"

// Rights says who may do what, apart from superusers and who owns the tables.
type Rights struct {
	Role      string // that this connection has
	Superuser bool
	Server    int       // the server's version, such as 150004
	Clock     time.Time // the server's
	// Writers are other roles that can write the outbox, the grants or the kinds themselves, whatever sealq_enqueue would let them.
	Writers []string
	// Public are the tables of sealq, and "sealq_enqueue", on which everybody has a privilege.
	Public []string
}

// A role that belongs to the tables' owner is the owner. has_…_privilege says NULL of a role that was dropped meanwhile.
const writersSQL = `
SELECT r.rolname::text FROM pg_roles AS r
WHERE NOT r.rolsuper AND r.rolname <> current_user AND NOT pg_has_role(r.oid, (SELECT relowner FROM pg_class WHERE oid = 'outbox'::regclass), 'MEMBER')
AND EXISTS (
	SELECT FROM pg_class AS t WHERE t.oid IN ('outbox'::regclass, 'enqueue_grants'::regclass, 'job_kinds'::regclass)
	AND (has_any_column_privilege(r.oid, t.oid, 'INSERT, UPDATE') OR has_table_privilege(r.oid, t.oid, 'TRIGGER')))
ORDER BY r.rolname`

const publicSQL = `
SELECT object FROM (
	SELECT c.relname::text AS object FROM pg_class AS c, aclexplode(c.relacl) AS a
	WHERE a.grantee = 0 AND c.relkind IN ('r', 'p') AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'outbox'::regclass)
	AND c.relowner = (SELECT relowner FROM pg_class WHERE oid = 'outbox'::regclass)
	UNION
	SELECT p.proname::text FROM pg_proc AS p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
	WHERE a.grantee = 0 AND p.proname = 'sealq_enqueue' AND p.pronamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'outbox'::regclass)
) AS everybodys ORDER BY object`

// Rights reads who may do what, of a database that is up to date. Any role may ask.
func (db *DB) Rights(ctx context.Context) (Rights, error) {
	var r Rights
	err := db.pool.QueryRow(ctx, `
		SELECT current_user::text, rolsuper, current_setting('server_version_num')::int, statement_timestamp()
		FROM pg_roles WHERE rolname = current_user`).Scan(&r.Role, &r.Superuser, &r.Server, &r.Clock)
	if err != nil {
		return Rights{}, wrap("read the role's rights", err)
	}
	for sql, list := range map[string]*[]string{writersSQL: &r.Writers, publicSQL: &r.Public} {
		rows, err := db.pool.Query(ctx, sql)
		if err != nil {
			return Rights{}, wrap("read rights", err)
		}
		if *list, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			return Rights{}, wrap("read rights", err)
		}
	}
	return r, nil
}
