package relay

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealq/sealq/jobs"
)

// scope is what the spans of this package are made under.
const scope = "github.com/sealq/sealq/jobs/relay"

// startSpan begins the span of one row, from its being signed until Redis has its task. It is a child of the span in which the
// row was recorded, and the parent of the worker's. Where no spans are made, the row's own trace goes on as it is.
func (r *Relay) startSpan(ctx context.Context, row jobs.ClaimedRow) (context.Context, trace.Span) {
	if r.tracer == nil {
		return ctx, nil
	}
	return r.tracer.Start(jobs.ContextWithTrace(ctx, row.Headers), "relay "+string(row.Kind), trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(
			attribute.String("messaging.system", "asynq"), attribute.String("messaging.operation.type", "send"),
			attribute.String("messaging.destination.name", row.Queue), attribute.String("messaging.message.id", row.TaskID()),
			attribute.String("sealq.kind", string(row.Kind)), attribute.Int("sealq.attempt", row.Attempt),
		))
}

// endSpans ends the spans of what was signed. What went wrong is told by what becomes of the row: an error's own words may
// repeat anything.
func endSpans(items []*item) {
	for _, it := range items {
		if it.span == nil {
			continue
		}
		if it.err != nil {
			it.span.SetStatus(codes.Error, it.fate().String())
		}
		it.span.End()
	}
}
