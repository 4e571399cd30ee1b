package postgres_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// A role that was granted a kind gets nothing but that kind out of the database.
func TestAGrantedRoleReachesNoTable(t *testing.T) {
	t.Parallel()
	w := newSQLWorld(t)
	enqueueSQL(t, w.conn, `'test:mine'`)
	for _, table := range []string{"outbox", "job_kinds", "enqueue_grants", "ledger", "signing_keys", "users"} {
		for _, statement := range []string{
			"SELECT * FROM %s", "SELECT count(*) FROM %s", "INSERT INTO %s DEFAULT VALUES", "UPDATE %s SET %s = NULL", "DELETE FROM %s", "TRUNCATE %s CASCADE",
			"DO $$ BEGIN LOCK TABLE %s; END $$", "COPY %s TO STDOUT", "ALTER TABLE %s DISABLE TRIGGER ALL", "DROP TABLE %s CASCADE", "CREATE INDEX ON %s ((1))",
			"CREATE RULE r AS ON INSERT TO %s DO NOTHING", "CREATE TEMP TABLE t (LIKE %s)", "DEALLOCATE ALL; PREPARE p AS SELECT * FROM %s; EXECUTE p",
			"CREATE TEMP VIEW v AS SELECT * FROM %s; SELECT * FROM v", "EXPLAIN ANALYZE SELECT * FROM %s", "SELECT * FROM %s FOR UPDATE",
		} {
			column := map[string]string{"outbox": "kind", "job_kinds": "queue", "enqueue_grants": "kind", "ledger": "kind", "signing_keys": "version", "users": "email"}[table]
			statement = strings.Replace(strings.Replace(statement, "%s", table, 1), "%s", column, 1)
			wantCode(t, w.conn, "42501", statement)
		}
	}
	for _, statement := range []string{
		`INSERT INTO outbox (id, kind, queue, payload, headers, retries, not_before, next_at, expires_at)
		 VALUES (gen_random_uuid(), 'test:other', 'q', '{}', '[]', 0, now(), now(), now() + '1 h')`,
		`DEALLOCATE ALL; PREPARE p AS INSERT INTO outbox (id, kind, queue, payload, headers, retries, not_before, next_at, expires_at)
		 VALUES (gen_random_uuid(), $1, 'q', '{}', '[]', 0, now(), now(), now() + '1 h'); EXECUTE p('test:other')`,
		`INSERT INTO enqueue_grants VALUES (session_user::regrole, 'test:other')`,
		`MERGE INTO enqueue_grants USING (VALUES (1)) AS v ON false WHEN NOT MATCHED THEN INSERT VALUES (session_user::regrole, 'test:other')`,
		`GRANT INSERT ON outbox TO CURRENT_USER`,
		`CREATE OR REPLACE FUNCTION sealq_enqueue(kind text, args jsonb DEFAULT '{}', delay interval DEFAULT NULL, unique_key text DEFAULT NULL)
		 RETURNS uuid LANGUAGE sql AS 'SELECT gen_random_uuid()'`,
		`CREATE FUNCTION sealq_enqueue(text, text) RETURNS uuid LANGUAGE sql AS 'SELECT gen_random_uuid()'`, // for literals of other callers
		`ALTER FUNCTION sealq_enqueue SECURITY INVOKER`,
		`ALTER FUNCTION sealq_enqueue SET search_path = pg_temp`,
		`ALTER FUNCTION sealq_enqueue RESET ALL`,
		`DROP FUNCTION sealq_enqueue`,
		`SELECT lo_import('/etc/passwd')`,
	} {
		wantCode(t, w.conn, "42501", statement)
	}
	w.wantRows(t, "1")
}

// Everything that a role may create, under the names that the function uses, in whatever path, changes nothing.
func TestWhatARoleShadowsChangesNothing(t *testing.T) {
	t.Parallel()
	w := newSQLWorld(t)
	// Schemas of the role's own, one of them named like a schema of ours could be. The database's owner let it.
	exec(t, w.raw, fmt.Sprintf("CREATE SCHEMA sealq AUTHORIZATION %[1]s; CREATE SCHEMA evil AUTHORIZATION %[1]s", quoted(w.role)))
	trap := `RETURNS %s LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped' USING ERRCODE = 'XX000'; END $$;`
	for _, schema := range []string{"sealq", "evil", "pg_temp"} {
		statements := []string{
			`CREATE TABLE %[1]s.enqueue_grants (role regrole, kind text); INSERT INTO %[1]s.enqueue_grants VALUES (quote_ident(session_user)::regrole, 'test:other')`,
			`CREATE TABLE %[1]s.job_kinds (kind text, queue text, retries int, life interval, unique_by_args bool);
			 INSERT INTO %[1]s.job_kinds VALUES ('test:other', 'critical', 1000, '1000 h', false), ('test:mine', 'critical', 1000, '1000 h', false)`,
			`CREATE TABLE %[1]s.outbox (id uuid, kind text, queue text, payload bytea, headers bytea, retries int, unique_key text UNIQUE,
			 not_before timestamptz, next_at timestamptz, expires_at timestamptz)`,
			`CREATE VIEW %[1]s.pg_roles AS SELECT 1 AS oid`,
			`CREATE TYPE %[1]s.uuid AS (a int); CREATE TYPE %[1]s.bytea AS (a int); CREATE DOMAIN %[1]s.text AS pg_catalog.text CHECK (false);
			 CREATE DOMAIN %[1]s.bigint AS pg_catalog.int8 CHECK (false); CREATE TYPE %[1]s.regrole AS (a int); CREATE TYPE %[1]s.record AS (a int)`,
			`CREATE COLLATION %[1]s."C" FROM "POSIX"`,
		}
		for _, f := range []struct{ signature, returns string }{
			{"quote_ident(name)", "text"},
			{"quote_ident(text)", "text"},
			{"to_regrole(text)", "regrole"},
			{"format(text, text, text)", "text"},
			{"quote_nullable(text)", "text"},
			{"quote_literal(text)", "text"},
			{"left(text, int)", "text"},
			{"jsonb_typeof(jsonb)", "text"},
			{"convert_to(text, name)", "bytea"},
			{"octet_length(bytea)", "int"},
			{"octet_length(text)", "int"},
			{"btrim(text)", "text"},
			{"chr(int)", "text"},
			{"sha256(bytea)", "bytea"},
			{"encode(bytea, text)", "text"},
			{"overlay(bytea, bytea, int, int)", "bytea"},
			{"uuid_send(uuid)", "bytea"},
			{"gen_random_uuid()", "uuid"},
			{"int8send(bigint)", "bytea"},
			{"clock_timestamp()", "timestamptz"},
			{"statement_timestamp()", "timestamptz"},
			{"extract(text, timestamptz)", "numeric"},
		} {
			statements = append(statements, "CREATE FUNCTION %[1]s."+f.signature+" "+fmt.Sprintf(trap, f.returns))
		}
		for i, o := range []struct{ name, left, right, returns string }{
			{"=", "regrole", "regrole", "bool"},
			{"=", "oid", "regrole", "bool"},
			{"=", "text", "text", "bool"},
			{"||", "text", "text", "text"},
			{"+", "timestamptz", "interval", "timestamptz"},
			{"-", "timestamptz", "interval", "timestamptz"},
			{"/", "bigint", "int", "bigint"},
			{"<<", "bigint", "int", "bigint"},
			{"|", "bigint", "int", "bigint"},
			{">", "int", "int", "bool"},
			{"*", "numeric", "int", "numeric"},
			{">=", "interval", "interval", "bool"},
			{"<=", "interval", "interval", "bool"},
			{"%%", "bigint", "int", "bigint"},
		} {
			statements = append(statements, fmt.Sprintf("CREATE FUNCTION %%[1]s.op%d(a %s, b %s) %s CREATE OPERATOR %%[1]s.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = %%[1]s.op%d)",
				i, o.left, o.right, fmt.Sprintf(trap, o.returns), o.name, o.left, o.right, i))
		}
		for _, statement := range statements {
			wantCode(t, w.conn, "", fmt.Sprintf("SET search_path = pg_catalog; "+statement, schema))
		}
	}
	call := func(kind, key string) string {
		return "SELECT public.sealq_enqueue('" + kind + "', '{}', '1 h', " + literal(key) + ")"
	}
	for _, setting := range []string{
		"SET search_path = pg_catalog", // the plan of the first call is kept for those after it
		"SET search_path = sealq, public", "SET search_path = evil, sealq, pg_catalog, public", "SET search_path = pg_temp, evil, pg_catalog, public",
		"SET search_path = ''",
		"SET plpgsql.extra_errors = 'all'", "SET plpgsql.check_asserts = off", "SET transform_null_equals = on", "SET standard_conforming_strings = off",
		"SET quote_all_identifiers = on", "SET IntervalStyle = sql_standard", "SET DateStyle = 'German'", "SET TimeZone = '-12:34'", "SET bytea_output = escape",
		"SET extra_float_digits = -15", "SET row_security = off", "SET plan_cache_mode = force_generic_plan", "SET client_encoding = 'LATIN1'",
		"SET array_nulls = off", "SET lock_timeout = '1 min'", "SET check_function_bodies = off", "SET default_transaction_isolation = serializable",
	} {
		before := scalar(t, w.raw, "SELECT count(*) FROM outbox")
		wantCode(t, w.conn, "", setting+"; "+call("test:mine", setting))
		if after := scalar(t, w.raw, "SELECT count(*) FROM outbox"); after == before {
			t.Errorf("after %s no row came", setting)
		}
		wantCode(t, w.conn, "42501", call("test:other", setting))
		wantCode(t, w.conn, "23505", call("test:mine", setting))
	}
	if got := scalar(t, w.raw, "SELECT count(*) FROM outbox WHERE kind <> 'test:mine' OR queue <> 'notes' OR retries <> 7 OR expires_at <> not_before + '1 h'"); got != "0" {
		t.Errorf("%s rows are not as their kind is defined", got)
	}
	for _, schema := range []string{"sealq", "evil"} {
		if got := scalar(t, w.raw, "SELECT count(*) FROM "+schema+".outbox"); got != "0" {
			t.Errorf("%s rows in %s", got, schema)
		}
	}
}

func TestTheRoleThatLoggedInIsBoundWhateverRoleItTakes(t *testing.T) {
	t.Parallel()
	w := newSQLWorld(t)
	rich := w.newRole(t, "LOGIN")
	if err := w.db.GrantEnqueue(t.Context(), rich, "test:other"); err != nil {
		t.Fatal(err)
	}
	exec(t, w.raw, "GRANT "+quoted(rich)+" TO "+quoted(w.role)) // inherits, and may SET ROLE
	for _, c := range []struct{ code, statements string }{
		{"42501", "SELECT sealq_enqueue('test:other')"},
		{"42501", "SET ROLE " + quoted(rich) + "; SELECT sealq_enqueue('test:other')"},
		{"", "SET ROLE " + quoted(rich) + "; SELECT sealq_enqueue('test:mine')"}, // the function's EXECUTE is both roles'
		{"42501", "RESET ROLE; SET SESSION AUTHORIZATION " + quoted(rich)},
		{"42501", "BEGIN; SET LOCAL SESSION AUTHORIZATION " + quoted(rich)},
		{"42501", "ROLLBACK; SET ROLE NONE; SET SESSION AUTHORIZATION sealq_test"},
		{"42501", "SELECT set_config('session_authorization', " + literal(rich) + ", false)"},
		{"0A000", "ALTER ROLE " + quoted(w.role) + " RENAME TO " + quoted(rich+"2")},
		// A function that runs as the rich role, made by it and called by the other.
		{"", "SET ROLE " + quoted(rich) + `; CREATE FUNCTION pg_temp.as_rich() RETURNS uuid LANGUAGE sql SECURITY DEFINER
			AS 'SELECT public.sealq_enqueue(''test:other'')'; GRANT EXECUTE ON FUNCTION pg_temp.as_rich TO ` + quoted(w.role)},
		{"42501", "RESET ROLE; SELECT pg_temp.as_rich()"},
	} {
		wantCode(t, w.conn, c.code, c.statements)
	}
	// One that has EXECUTE by inheritance, or from PUBLIC, and no kind.
	bare := w.newRole(t, "LOGIN")
	conn := w.login(t, bare)
	wantCode(t, conn, "42501", "SELECT sealq_enqueue('test:mine')")
	exec(t, w.raw, "GRANT "+quoted(w.role)+" TO "+quoted(bare))
	wantCode(t, conn, "42501", "SELECT sealq_enqueue('test:mine')")
	exec(t, w.raw, "GRANT EXECUTE ON FUNCTION sealq_enqueue TO PUBLIC")
	for _, kind := range []string{"test:mine", "test:other"} {
		wantCode(t, conn, "42501", "SELECT sealq_enqueue('"+kind+"')")
	}
	// Whoever owns everything is bound too, as long as it goes through the function.
	super, err := pgx.Connect(t.Context(), strings.ReplaceAll(w.url, "&pool_max_conns=20", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer super.Close(t.Context())
	wantCode(t, super, "42501", "SELECT sealq_enqueue('test:mine')")
	wantCode(t, super, "", "SET SESSION AUTHORIZATION "+quoted(w.role)+"; SELECT sealq_enqueue('test:mine')")
	w.wantRows(t, "2")
}

func TestAGrantEndsWithTheNextCallOfAnOpenSession(t *testing.T) {
	t.Parallel()
	w := newSQLWorld(t)
	wantCode(t, w.conn, "", "PREPARE mine AS SELECT sealq_enqueue('test:mine'); PREPARE other AS SELECT sealq_enqueue('test:other')")
	for range 8 { // past the point where plans become generic and are kept
		wantCode(t, w.conn, "", "EXECUTE mine")
		wantCode(t, w.conn, "42501", "EXECUTE other")
	}
	if err := w.db.GrantEnqueue(t.Context(), w.role, "test:other"); err != nil {
		t.Fatal(err)
	}
	if err := w.db.RevokeEnqueue(t.Context(), w.role, "test:mine"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, w.conn, "", "EXECUTE other")
	wantCode(t, w.conn, "42501", "EXECUTE mine")
	if err := w.db.RevokeEnqueue(t.Context(), w.role); err != nil {
		t.Fatal(err)
	}
	wantCode(t, w.conn, "42501", "EXECUTE other")
	w.wantRows(t, "9")
}

func TestARoleThatTakesADroppedOnesNameHasNoneOfItsKinds(t *testing.T) {
	t.Parallel()
	w := newSQLWorld(t)
	renamed := w.role + " renamed"
	wantCode(t, w.conn, "", "SELECT sealq_enqueue('test:mine')")
	exec(t, w.raw, "ALTER ROLE "+quoted(w.role)+" RENAME TO "+quoted(renamed))
	exec(t, w.raw, "CREATE ROLE "+quoted(w.role)+" LOGIN PASSWORD '"+rolePassword+"'")
	// Even with the function's EXECUTE, which it would get with another kind.
	if err := w.db.GrantEnqueue(t.Context(), w.role, "test:other"); err != nil {
		t.Fatal(err)
	}
	usurper := w.login(t, w.role)
	wantCode(t, usurper, "42501", "SELECT sealq_enqueue('test:mine')")
	wantCode(t, usurper, "", "SELECT sealq_enqueue('test:other')")
	wantCode(t, w.conn, "", "SELECT sealq_enqueue('test:mine')") // the renamed one, in its old session
	exec(t, w.raw, fmt.Sprintf("DROP OWNED BY %[1]s; DROP ROLE %[1]s", quoted(renamed)))
	exec(t, w.raw, "ALTER ROLE "+quoted(w.role)+" RENAME TO "+quoted(renamed))
	wantCode(t, usurper, "42501", "SELECT sealq_enqueue('test:mine')")
	exec(t, w.raw, "ALTER ROLE "+quoted(renamed)+" RENAME TO "+quoted(w.role)) // so that it is dropped at the end
}
