package postgres_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/store/postgres"
)

// The kinds that the tests' applications have. What is "mine" is granted to the role under test, "other" is not.
func mine() jobs.Def[noteArgs] {
	return jobs.Define[noteArgs]("test:mine", jobs.Policy{Queue: "notes", MaxAge: time.Hour, Retries: 7})
}

func other() jobs.Def[noteArgs] { return jobs.Define[noteArgs]("test:other", jobs.Policy{}) }

type noteArgs struct {
	Note string `json:"note"`
}

// sqlWorld is a migrated database in a schema of its own, with kinds recorded and a role that is granted test:mine.
type sqlWorld struct {
	db   *postgres.DB
	raw  *pgxpool.Pool // as superuser
	url  string        // as superuser
	role string
	conn *pgx.Conn // as the role
}

func newSQLWorld(t *testing.T) *sqlWorld {
	t.Helper()
	db, address := openUnmigrated(t)
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := &sqlWorld{db: db, url: address, raw: rawPool(t, address)}
	w.record(t, mine(), other())
	w.role = w.newRole(t, "LOGIN")
	if err := db.GrantEnqueue(t.Context(), w.role, "test:mine"); err != nil {
		t.Fatal(err)
	}
	w.conn = w.login(t, w.role)
	return w
}

func (w *sqlWorld) record(t *testing.T, defs ...jobs.Definition) {
	t.Helper()
	catalog, err := jobs.NewCatalog(defs...)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.db.RecordKinds(t.Context(), catalog); err != nil {
		t.Fatal(err)
	}
}

// rolePassword is of all the tests' roles: it protects nothing.
const rolePassword = "sealq"

// newRole makes a role with an awkward name, dropped when t ends. Roles belong to the whole server, so names are random.
func (w *sqlWorld) newRole(t *testing.T, attributes string) string {
	t.Helper()
	role := `App "` + rand.Text() + `"'$$;`
	quoted := pgx.Identifier{role}.Sanitize()
	exec(t, w.raw, "CREATE ROLE "+quoted+" PASSWORD '"+rolePassword+"' "+attributes)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		for _, statement := range []string{"DROP OWNED BY " + quoted + " CASCADE", "DROP ROLE " + quoted} {
			if _, err := w.raw.Exec(ctx, statement); err != nil {
				var gone *pgconn.PgError
				if !errors.As(err, &gone) || gone.Code != "42704" { // the test dropped it itself
					t.Errorf("%s: %v", statement, err)
				}
			}
		}
	})
	return role
}

// login connects as the role.
func (w *sqlWorld) login(t *testing.T, role string) *pgx.Conn {
	t.Helper()
	u, err := url.Parse(w.url)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(role, rolePassword)
	query := u.Query()
	query.Del("pool_max_conns")
	u.RawQuery = query.Encode()
	conn, err := pgx.Connect(t.Context(), u.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// try runs statements as the role, in one go, and returns the SQLSTATE of what went wrong, "" where nothing did.
func try(t *testing.T, conn *pgx.Conn, statements string) (code, message string) {
	t.Helper()
	_, err := conn.PgConn().Exec(t.Context(), statements).ReadAll()
	refused, ok := errors.AsType[*pgconn.PgError](err)
	if err != nil && !ok {
		t.Fatalf("%s: %v", statements, err)
	}
	if ok {
		return refused.Code, refused.Message
	}
	return "", ""
}

// wantCode runs statements that must end so.
func wantCode(t *testing.T, conn *pgx.Conn, code, statements string) {
	t.Helper()
	if got, message := try(t, conn, statements); got != code {
		t.Errorf("%.200s: want SQLSTATE %q, got %q: %s", statements, code, got, message)
	}
}

// enqueueSQL calls the function and returns the row's ID.
func enqueueSQL(t *testing.T, conn *pgx.Conn, arguments string) string {
	t.Helper()
	var id string
	if err := conn.QueryRow(t.Context(), "SELECT sealq_enqueue("+arguments+")::text").Scan(&id); err != nil {
		t.Fatalf("sealq_enqueue(%.100s): %v", arguments, err)
	}
	return id
}

func (w *sqlWorld) wantRows(t *testing.T, want string) {
	t.Helper()
	if got := scalar(t, w.raw, "SELECT count(*) FROM outbox"); got != want {
		t.Errorf("rows in the outbox: want %s, got %s", want, got)
	}
}

// quoted is a name as SQL has it.
func quoted(role string) string { return pgx.Identifier{role}.Sanitize() }

// literal is text as SQL has it.
func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
