package authworker

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealq/sealq/mail"
)

// send is the sender's Send in a span of its own, where the run has one. Of the server's reply the span has the code alone:
// the words name the recipient.
func (m *mailer[Tx]) send(ctx context.Context, message mail.Message, beforeData func(context.Context) error) (mail.Answer, error) {
	tracer := trace.SpanFromContext(ctx).TracerProvider().Tracer("github.com/sealq/sealq/worker/authworker")
	ctx, span := tracer.Start(ctx, "SMTP send", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("network.protocol.name", "smtp"),
	))
	defer span.End()
	answer, err := m.sender.Send(ctx, message, beforeData)
	code := answer.Code
	if err != nil {
		status := "not sent"
		if failure, ok := errors.AsType[*mail.SendError](err); ok {
			code, status = failure.Code, string(failure.Outcome)
		}
		span.SetStatus(codes.Error, status)
	}
	if code != 0 {
		span.SetAttributes(attribute.Int("smtp.response.status_code", code))
	}
	return answer, err
}
