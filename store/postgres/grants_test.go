package postgres_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/store/postgres"
)

// ours are the grants of this test's database whose role is still there.
func ours(t *testing.T, w *sqlWorld) []postgres.EnqueueGrant {
	t.Helper()
	grants, err := w.db.EnqueueGrants(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return grants
}

func TestGrantsAreListedAddedToAndTakenAway(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newSQLWorld(t)
	wantGrants := func(what string, want ...postgres.EnqueueGrant) {
		t.Helper()
		if diff := cmp.Diff(want, ours(t, w), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	mine := func(kinds ...jobs.Kind) postgres.EnqueueGrant {
		return postgres.EnqueueGrant{Role: w.role, Kinds: kinds}
	}
	wantGrants("granted", mine("test:mine"))
	for range 2 {
		if err := w.db.GrantEnqueue(ctx, w.role, "test:other", "test:mine", "test:other"); err != nil {
			t.Fatal(err)
		}
		wantGrants("granted more", mine("test:mine", "test:other"))
	}
	for range 2 {
		if err := w.db.RevokeEnqueue(ctx, w.role, "test:mine", "test:none"); err != nil {
			t.Fatal(err)
		}
		wantGrants("revoked one", mine("test:other"))
	}
	if got := scalar(t, w.raw, "SELECT has_function_privilege("+literal(w.role)+", 'sealq_enqueue(text, jsonb, interval, text)', 'EXECUTE')"); got != "true" {
		t.Errorf("EXECUTE with one kind left: %s", got)
	}
	for range 2 {
		if err := w.db.RevokeEnqueue(ctx, w.role); err != nil {
			t.Fatal(err)
		}
		wantGrants("revoked all")
	}
	if got := scalar(t, w.raw, "SELECT has_function_privilege("+literal(w.role)+", 'sealq_enqueue(text, jsonb, interval, text)', 'EXECUTE')"); got != "false" {
		t.Errorf("EXECUTE with no kind left: %s", got)
	}
	exec(t, w.raw, "DROP OWNED BY "+quoted(w.role)+"; DROP ROLE "+quoted(w.role))
	exec(t, w.raw, "CREATE ROLE "+quoted(w.role)+" LOGIN")
	wantGrants("dropped, and made again")
}

func TestTheScriptOfAGrantDoesWhatTheGrantDoes(t *testing.T) {
	t.Parallel()
	w := newSQLWorld(t)
	role := w.newRole(t, "LOGIN")
	script, err := w.db.GrantEnqueueSQL(t.Context(), role, "test:mine", "test:other")
	if err != nil {
		t.Fatal(err)
	}
	if got := len(ours(t, w)); got != 1 {
		t.Errorf("%d roles have grants before the script has run", got)
	}
	exec(t, w.raw, script)
	conn := w.login(t, role)
	enqueueSQL(t, conn, `'test:mine'`)
	enqueueSQL(t, conn, `'test:other'`)
	if script, err = w.db.RevokeEnqueueSQL(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	exec(t, w.raw, script)
	wantCode(t, conn, "42501", "SELECT sealq_enqueue('test:mine')")
	if !strings.Contains(script, "REVOKE EXECUTE") {
		t.Errorf("the function is left to the role:\n%s", script)
	}
}

func TestGrantsThatWouldHaveNoEffectAreRefused(t *testing.T) {
	t.Parallel()
	w := newSQLWorld(t)
	group := w.newRole(t, "NOLOGIN")
	for name, test := range map[string]struct {
		role  string
		kinds []jobs.Kind
		want  error
		says  string
	}{
		"to a role that does not exist":       {"nobody \x00\xff", []jobs.Kind{"test:mine"}, postgres.ErrNoSuchRole, "CREATE ROLE"},
		"to everybody":                        {"public", []jobs.Kind{"test:mine"}, postgres.ErrNoSuchRole, "CREATE ROLE"},
		"to a group":                          {group, []jobs.Kind{"test:mine"}, postgres.ErrRoleCannotLogIn, "log in"},
		"of a kind that is not recorded":      {w.role, []jobs.Kind{"test:mine", "test:none"}, jobs.ErrUnknownKind, "test:mine, test:other"},
		"of no kind":                          {w.role, nil, nil, "no kind"},
		"of a kind that PostgreSQL can't say": {w.role, []jobs.Kind{"\x00"}, jobs.ErrUnknownKind, `"\x00"`},
	} {
		err := w.db.GrantEnqueue(t.Context(), test.role, test.kinds...)
		if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: want an error with %q, got %v", name, test.says, err)
		}
	}
	if err := w.db.RevokeEnqueue(t.Context(), "nobody"); !errors.Is(err, postgres.ErrNoSuchRole) {
		t.Errorf("revoked from nobody: %v", err)
	}
	if got := len(ours(t, w)); got != 1 {
		t.Errorf("%d roles have grants", got)
	}
}

// A list that says whom the grants bind must not be wrong about whom they do not.
func TestARoleThatCanWriteTheTablesIsListedAsUnbounded(t *testing.T) {
	t.Parallel()
	for name, privilege := range map[string]string{
		"inserts rows":             "GRANT INSERT ON outbox TO %s",
		"changes rows":             "GRANT UPDATE ON outbox TO %s",
		"writes a single column":   "GRANT INSERT (id) ON outbox TO %s",
		"grants itself kinds":      "GRANT INSERT ON enqueue_grants TO %s",
		"defines kinds":            "GRANT UPDATE (queue) ON job_kinds TO %s",
		"sets triggers":            "GRANT TRIGGER ON outbox TO %s",
		"inherits from another":    "GRANT pg_write_all_data TO %s",
		"is a superuser":           "ALTER ROLE %s SUPERUSER",
		"may become the owner":     "ALTER ROLE %s NOINHERIT; GRANT sealq_owner_of_tables TO %s",
		"has what everybody has":   "GRANT INSERT ON outbox TO PUBLIC",
		"only reads":               "GRANT SELECT ON outbox, enqueue_grants, job_kinds TO %s",
		"has tables of its own to": "CREATE TABLE %s (id int)",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSQLWorld(t)
			if strings.Contains(privilege, "sealq_owner_of_tables") {
				owner := w.newRole(t, "NOLOGIN")
				exec(t, w.raw, "ALTER TABLE outbox OWNER TO "+quoted(owner))
				privilege = strings.ReplaceAll(privilege, "sealq_owner_of_tables", quoted(owner))
			}
			exec(t, w.raw, strings.ReplaceAll(privilege, "%s", quoted(w.role)))
			want := []postgres.EnqueueGrant{{
				Role: w.role, Kinds: []jobs.Kind{"test:mine"}, Unbounded: !strings.HasPrefix(name, "only") && !strings.HasPrefix(name, "has tables"),
			}}
			if diff := cmp.Diff(want, ours(t, w)); diff != "" {
				t.Errorf("grants (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRolesAreGrantedKindsConcurrently(t *testing.T) {
	t.Parallel()
	w := newSQLWorld(t)
	roles := []string{w.role, w.newRole(t, "LOGIN"), w.newRole(t, "LOGIN"), w.newRole(t, "LOGIN")}
	var wg sync.WaitGroup
	for _, role := range roles {
		for _, kind := range []jobs.Kind{"test:mine", "test:other"} {
			wg.Go(func() {
				if err := w.db.GrantEnqueue(t.Context(), role, kind); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	for _, grant := range ours(t, w) {
		if len(grant.Kinds) != 2 {
			t.Errorf("%s has %v", grant.Role, grant.Kinds)
		}
	}
}

func TestAKindIsAsItWasRecordedLast(t *testing.T) {
	t.Parallel()
	w := newSQLWorld(t)
	w.record(t, jobs.Define[noteArgs]("test:mine", jobs.Policy{Queue: "later", MaxAge: 2 * time.Hour, Retries: 3}))
	enqueueSQL(t, w.conn, `'test:mine'`)
	if got := scalar(t, w.raw, "SELECT queue || ' ' || retries || ' ' || (expires_at - not_before) FROM outbox"); got != "later 3 02:00:00" {
		t.Errorf("recorded as %q", got)
	}
	kinds, err := w.db.Kinds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]jobs.Kind{"test:mine", "test:other"}, kinds); diff != "" { // the other catalog's stays
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
	before := scalar(t, w.raw, "SELECT string_agg(kind || xmin, ' ') FROM job_kinds")
	w.record(t, other())
	if after := scalar(t, w.raw, "SELECT string_agg(kind || xmin, ' ') FROM job_kinds"); after != before {
		t.Error("what has not changed was written again")
	}
}

// A database whose owner gives its tables away by default must not give these.
func TestDefaultPrivilegesDoNotReachTheGrants(t *testing.T) {
	t.Parallel()
	db, address := openUnmigrated(t)
	w := &sqlWorld{db: db, raw: rawPool(t, address), url: address}
	role := w.newRole(t, "LOGIN")
	exec(t, w.raw, strings.ReplaceAll(`ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO %s; ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO %s;
		ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC`, "%s", quoted(role)))
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.record(t, mine())
	conn := w.login(t, role)
	for _, statement := range []string{
		"SELECT * FROM enqueue_grants", "INSERT INTO enqueue_grants VALUES (session_user::regrole, 'test:mine')", "UPDATE job_kinds SET queue = 'x'",
		"SELECT sealq_enqueue('test:mine')",
	} {
		wantCode(t, conn, "42501", statement)
	}
	if got := scalar(t, w.raw, "SELECT has_function_privilege("+literal(role)+", 'sealq_enqueue(text, jsonb, interval, text)', 'EXECUTE')"); got != "false" {
		t.Errorf("EXECUTE: %s", got)
	}
}

func TestBeforeTheMigrationGrantsSaySo(t *testing.T) {
	t.Parallel()
	db, raw := openUnmigratedRaw(t)
	user := scalar(t, raw, "SELECT current_user")
	_, list := db.EnqueueGrants(t.Context())
	_, kinds := db.Kinds(t.Context())
	catalog, err := jobs.NewCatalog(mine())
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"EnqueueGrants": list, "Kinds": kinds, "RecordKinds": db.RecordKinds(t.Context(), catalog),
		"GrantEnqueue": db.GrantEnqueue(t.Context(), user, "test:mine"), "RevokeEnqueue": db.RevokeEnqueue(t.Context(), user),
	} {
		if !errors.Is(err, postgres.ErrNotMigrated) {
			t.Errorf("%s: want %v, got %v", name, postgres.ErrNotMigrated, err)
		}
	}
}

func TestAUserThatOwnsNothingGrantsNothing(t *testing.T) {
	t.Parallel()
	w := newSQLWorld(t)
	db, err := postgres.Open(t.Context(), w.conn.Config().ConnString())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.GrantEnqueue(t.Context(), w.role, "test:other")
	if err == nil || !strings.Contains(err.Error(), "owns the tables") {
		t.Errorf("want advice, got %v", err)
	}
	if err := pgx.BeginFunc(t.Context(), w.conn, func(tx pgx.Tx) error {
		_, err := db.EnqueueTx(t.Context(), tx, mine().With(noteArgs{}))
		return err
	}); err == nil || !strings.Contains(err.Error(), "grant it") {
		t.Errorf("EnqueueTx of a role without INSERT: %v", err)
	}
}
