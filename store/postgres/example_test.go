package postgres_test

import (
	"context"
	"fmt"

	"github.com/sealq/sealq/store/postgres"
)

// A password with special characters is percent-encoded in the URL. Errors say so, and show no password.
func ExampleOpen() {
	_, err := postgres.Open(context.Background(), "postgres://sealq:p@ss@db.example.org/sealq")
	fmt.Println(err)
	// Output: open database: the database URL is ambiguous: write postgres://USER:PASSWORD@HOST:5432/DATABASE with @ as %40, / as %2F, : as %3A, ? as %3F and # as %23 within its parts
}
