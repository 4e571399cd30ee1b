package postgres_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/store/postgres"
)

func TestStatementsHaveSpansWithinOneThatIsRecordedAndNothingOfTheirData(t *testing.T) {
	t.Parallel()
	db, err := postgres.Open(t.Context(), testservers.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	spans := tracetest.NewSpanRecorder()
	provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(spans))
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	run := func(ctx context.Context) {
		_ = db.InTx(ctx, func(tx pgx.Tx) error {
			for _, sql := range []string{
				`CREATE TEMPORARY TABLE people (email text UNIQUE)`,
				`INSERT INTO people (email) VALUES ('insert into ada_secret')`,
				"-- of ada_secret\n  WITH gone AS (SELECT email FROM people WHERE email <> 'x') DELETE FROM People USING gone",
				`SELECT $$delete from ada_secret$$, 'update ada_secret' FROM people`,
			} {
				if _, err := tx.Exec(ctx, sql); err != nil {
					t.Error(err)
				}
			}
			if _, err := tx.Exec(ctx, `UPDATE people SET email = $1`, "ada_secret"); err != nil {
				t.Error(err)
			}
			var b pgx.Batch
			b.Queue(`INSERT INTO people VALUES ($1)`, "ada_secret")
			b.Queue(`SELECT 1`)
			if err := tx.SendBatch(ctx, &b).Close(); err != nil {
				t.Error(err)
			}
			_, err := tx.Exec(ctx, `INSERT INTO people VALUES ($1)`, "ada_secret") // twice
			return err
		})
	}
	run(t.Context())
	if got := spans.Started(); len(got) > 0 {
		t.Fatalf("there are spans outside of a trace: %v", got)
	}
	ctx, parent := provider.Tracer("an app's").Start(t.Context(), "request")
	run(ctx)
	if !parent.IsRecording() {
		t.Error("the request's own span was ended")
	}
	var names []string
	for _, span := range spans.Ended() {
		names = append(names, span.Name())
		if span.Parent().SpanID() != parent.SpanContext().SpanID() {
			t.Errorf("%s is no child of the request's span", span.Name())
		}
		for _, a := range span.Attributes() {
			if strings.Contains(a.Value.String(), "secret") {
				t.Errorf("%s: %s is %s", span.Name(), a.Key, a.Value.String())
			}
		}
		if strings.Contains(span.Status().Description, "secret") || len(span.Events()) > 0 {
			t.Errorf("%s: %+v, %v", span.Name(), span.Status(), span.Events())
		}
	}
	want := []string{
		"BEGIN", "CREATE", "INSERT people", "DELETE people", "SELECT people", "UPDATE people", "INSERT people; SELECT", "INSERT people", "ROLLBACK",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
	if refused := spans.Ended()[7]; refused.Status().Description != "23505" {
		t.Errorf("a refused statement has the status %+v", refused.Status())
	}
}
