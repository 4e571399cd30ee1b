package worker

import (
	"context"

	"github.com/hibiken/asynq"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
)

// scope is what the spans of this package are made under.
const scope = "github.com/sealq/sealq/worker"

// startSpan begins the span of a handler's run. The task is verified: the trace in its headers is the signer's, and not a
// stranger's who wants his to be joined to ours.
func (h *verifying) startSpan(ctx context.Context, t signing.Task) (context.Context, trace.Span) {
	ctx = jobs.ContextWithTrace(ctx, t.Headers)
	if h.tracer == nil {
		return ctx, nil
	}
	retried, _ := asynq.GetRetryCount(ctx)
	return h.tracer.Start(ctx, "run "+t.Kind, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		attribute.String("messaging.system", "asynq"), attribute.String("messaging.operation.type", "process"),
		attribute.String("messaging.destination.name", t.Queue), attribute.String("messaging.message.id", t.ID),
		attribute.String("sealq.kind", t.Kind), attribute.Int("sealq.try", max(retried, 0)+1),
	))
}

// endSpan says how the run ended. It leaves out what the handler said: an error's own words may repeat anything.
func endSpan(span trace.Span, d *delivery, end *ending) {
	if span == nil {
		return
	}
	result := string(end.result())
	switch {
	case end == nil && d.told == Duplicate:
		result = string(Duplicate)
	case end != nil && end.action != later && isRefusal(end.cause):
		result = string(Refused)
	}
	span.SetAttributes(attribute.String("sealq.result", result))
	switch {
	case end == nil:
	case end.action == later:
		span.SetAttributes(attribute.String("sealq.cause", string(causeOf(end.cause))))
	default:
		span.SetStatus(codes.Error, result)
	}
	span.End()
}
