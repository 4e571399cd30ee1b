package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/rogpeppe/go-internal/testscript"
)

// rolePassword is of all roles that scripts make: it protects nothing.
const rolePassword = "sealq"

func (w *world) makeRole(ts *testscript.TestScript, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: role NAME [ATTRIBUTES]")
	}
	attributes := strings.Join(args[1:], " ")
	if attributes == "" {
		attributes = "LOGIN"
	}
	role := "sealq_" + strings.ToLower(rand.Text()) // roles belong to the server, which others share
	address := ts.Getenv("SEALQ_DATABASE_URL")
	_, err := w.query(address, fmt.Sprintf("CREATE ROLE %s PASSWORD '%s' %s", role, rolePassword, attributes))
	ts.Check(err)
	ts.Defer(func() {
		_, err := w.query(address, fmt.Sprintf("DROP OWNED BY %[1]s; DROP ROLE %[1]s", role))
		ts.Check(err)
	})
	ts.Setenv(args[0], role)
}

func (w *world) runSQL(ts *testscript.TestScript, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: sql-as ROLE STATEMENT")
	}
	address, err := url.Parse(ts.Getenv("SEALQ_DATABASE_URL"))
	ts.Check(err)
	address.User = url.UserPassword(args[0], rolePassword)
	text, err := w.query(address.String(), args[1])
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		text, err = refused.Code+" "+refused.Message+"\n", nil
	}
	ts.Check(err)
	_, err = ts.Stdout().Write([]byte(text))
	ts.Check(err)
}

// query runs statements and returns what they return, a line for each row.
func (w *world) query(address, statements string) (string, error) {
	ctx := context.WithoutCancel(w.t.Context())
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	results, err := conn.PgConn().Exec(ctx, statements).ReadAll()
	var lines strings.Builder
	for _, result := range results {
		for _, row := range result.Rows {
			for i, value := range row {
				if i > 0 {
					lines.WriteByte('\t')
				}
				lines.Write(value)
			}
			lines.WriteByte('\n')
		}
	}
	return lines.String(), err
}
