package sqlite_test

import (
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sealq/sealq/store/storetest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) storetest.Harness[*sql.Tx] {
		t.Helper()
		db, path := migrated(t)
		conn := raw(t, path)
		return storetest.Harness[*sql.Tx]{
			DB: db,
			Backdate: func(t testing.TB, d time.Duration) {
				t.Helper()
				backdate(t, conn, d)
			},
			Exec: func(t testing.TB, statement string) {
				t.Helper()
				execRaw(t, conn, statement)
			},
			Unguard: func(t testing.TB) {
				t.Helper()
				for _, trigger := range []string{"inserted", "updated", "deleted"} {
					execRaw(t, conn, "DROP TRIGGER audit_log_"+trigger)
				}
			},
			Try: func(t testing.TB, statement string) error {
				t.Helper()
				_, err := conn.ExecContext(t.Context(), statement)
				return err
			},
			Scalar: func(t testing.TB, query string) string {
				t.Helper()
				return scalar(t, conn, query)
			},
		}
	})
}

// backdate moves every column that holds a time, by its name.
func backdate(t testing.TB, conn *sql.DB, d time.Duration) {
	t.Helper()
	rows, err := conn.QueryContext(t.Context(), `
		SELECT format('UPDATE %s SET %s', s.name, group_concat(format('%s = %s - ?1', c.name, c.name), ', '))
		FROM sqlite_schema s, pragma_table_info(s.name) c
		WHERE s.type = 'table' AND c.type = 'INTEGER'
			AND (c.name GLOB '*_at' OR c.name GLOB '*_until' OR c.name IN ('until', 'try_after', 'not_before', 'anchor', 'sessions_valid_after'))
		GROUP BY s.name`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var statements []string
	for rows.Next() {
		var statement string
		if err := rows.Scan(&statement); err != nil {
			t.Fatal(err)
		}
		statements = append(statements, statement)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if len(statements) < 10 {
		t.Fatalf("found times in these tables only: %v", statements)
	}
	for _, statement := range statements {
		execRaw(t, conn, statement, d.Microseconds())
	}
}

func scalar(t testing.TB, conn *sql.DB, query string) string {
	t.Helper()
	var value any
	switch err := conn.QueryRowContext(t.Context(), query).Scan(&value); {
	case errors.Is(err, sql.ErrNoRows), err == nil && value == nil:
		return ""
	case err != nil:
		t.Fatalf("%s: %v", query, err)
	}
	if text, ok := value.([]byte); ok {
		return string(text)
	}
	return fmt.Sprint(value)
}
