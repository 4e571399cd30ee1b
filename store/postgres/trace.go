package postgres

import (
	"context"
	"errors"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// tracer makes a span of each statement that runs within a span that is recorded, by that one's own provider. It makes none
// elsewhere: the loops that look for work would fill a tracing system with traces of nothing. A span has the statement's verb
// and table, and how PostgreSQL refused it by its code: an application's statement, its arguments and PostgreSQL's own words may
// hold anything.
type tracer struct {
	literal *regexp.Regexp
	change  *regexp.Regexp
}

var (
	_ pgx.QueryTracer = tracer{}
	_ pgx.BatchTracer = tracer{}
)

func newTracer() tracer {
	return tracer{
		literal: regexp.MustCompile(`(?s)'(?:[^']|'')*'|\$[a-z_]*\$.*?\$[a-z_]*\$|--[^\n]*|/\*.*?\*/`),
		change:  regexp.MustCompile(`(?is)\b(insert\s+into|update|delete\s+from|from|merge\s+into)\s+([a-z_][a-z0-9_]*)`),
	}
}

type spanKey struct{}

// summarise is a verb with a table, such as "INSERT outbox", or the verb alone. Of a statement with several it is the first
// that changes something, or else reads.
func (t tracer) summarise(sql string) string {
	sql = t.literal.ReplaceAllString(sql, " ")
	verb := "SQL"
	if words := strings.Fields(sql); len(words) > 0 && isVerb(words[0]) {
		verb = strings.ToUpper(words[0])
	}
	table := ""
	for _, found := range t.change.FindAllStringSubmatch(sql, -1) {
		changes := strings.ToUpper(strings.Fields(found[1])[0])
		if changes != "FROM" {
			return changes + " " + strings.ToLower(found[2])
		}
		if table == "" {
			table = " " + strings.ToLower(found[2])
		}
	}
	if verb == "WITH" {
		verb = "SELECT"
	}
	return verb + table
}

func isVerb(word string) bool {
	return len(word) <= len("savepoint") && strings.Trim(strings.ToLower(word), "abcdefghijklmnopqrstuvwxyz") == ""
}

func start(ctx context.Context, name func() string) context.Context {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx
	}
	summary := name()
	_, span := parent.TracerProvider().Tracer("github.com/sealq/sealq/store/postgres").Start(ctx, summary, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("db.system.name", "postgresql"), attribute.String("db.query.summary", summary)))
	return context.WithValue(ctx, spanKey{}, span)
}

func end(ctx context.Context, err error) {
	span, ok := ctx.Value(spanKey{}).(trace.Span)
	if !ok {
		return
	}
	if err != nil {
		status := "not executed"
		if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
			status = refused.Code
			span.SetAttributes(attribute.String("db.response.status_code", refused.Code))
		}
		span.SetStatus(codes.Error, status)
	}
	span.End()
}

// TraceQueryStart implements pgx.QueryTracer.
func (t tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	return start(ctx, func() string { return t.summarise(data.SQL) })
}

// TraceQueryEnd implements pgx.QueryTracer.
func (t tracer) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	end(ctx, data.Err)
}

// TraceBatchStart implements pgx.BatchTracer.
func (t tracer) TraceBatchStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	return start(ctx, func() string {
		var parts []string
		for i, query := range data.Batch.QueuedQueries {
			if i == mostNamed {
				parts = append(parts, "…")
				break
			}
			parts = append(parts, t.summarise(query.SQL))
		}
		return strings.Join(parts, "; ")
	})
}

// mostNamed is how many statements of a batch its span names.
const mostNamed = 8

// TraceBatchQuery implements pgx.BatchTracer: the whole batch has one span.
func (tracer) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

// TraceBatchEnd implements pgx.BatchTracer.
func (tracer) TraceBatchEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchEndData) {
	end(ctx, data.Err)
}
