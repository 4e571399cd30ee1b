package main

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealq/sealq/cmd/sealq/internal/tracing"
)

// lastTraces is how long sending the last traces may take.
const lastTraces = 5 * time.Second

// traces are made where the OTEL_… variables name an endpoint; else the provider is nil.
func (s *session) traces(ctx context.Context, sv *service) (trace.TracerProvider, error) {
	if !tracing.On(s.environ) {
		return nil, nil //nolint:nilnil // off is no error
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { // the SDK's own prints to standard error
		s.logger.WarnContext(ctx, "traces not sent", slog.Any("error", err))
	}))
	provider, err := tracing.New(ctx, s.environ, buildOf(debug.ReadBuildInfo()).Version)
	if err != nil {
		return nil, wrongly("%w", err)
	}
	sv.facts = append(sv.facts, slog.Bool("traces", true))
	sv.closes(func() error {
		sending, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTraces)
		defer cancel()
		if err := provider.Shutdown(sending); err != nil { // a collector that is away fails no worker
			s.logger.WarnContext(sending, "last traces not sent", slog.String("error", fmt.Sprint(err)))
		}
		return nil
	})
	return provider, nil
}
