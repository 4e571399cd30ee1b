// Package tracing makes a tracer provider of OpenTelemetry's environment variables, which every program that traces takes alike:
// OTEL_EXPORTER_OTLP_ENDPOINT and its kin say where traces go, OTEL_TRACES_SAMPLER how many, OTEL_SERVICE_NAME under which name.
// Without an endpoint there is none, and nothing is traced. It speaks OTLP over HTTP, and refuses to do otherwise than it is told:
// a protocol that it does not speak is an error.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// ErrProtocol means that OTEL_EXPORTER_OTLP_PROTOCOL names a protocol that is not spoken.
var ErrProtocol = errors.New("traces are sent by OTLP over HTTP alone: leave OTEL_EXPORTER_OTLP_PROTOCOL out, or make it http/protobuf")

// On says whether the environment, as os.Environ gives it, asks for traces.
func On(environ []string) bool {
	exporter := lookup(environ, "OTEL_TRACES_EXPORTER")
	return lookup(environ, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")+lookup(environ, "OTEL_EXPORTER_OTLP_ENDPOINT") != "" &&
		!strings.EqualFold(lookup(environ, "OTEL_SDK_DISABLED"), "true") && (exporter == "" || exporter == "otlp")
}

// lookup is a variable's value, "" where it is not set. The last one counts, as for a process that is started with them.
func lookup(environ []string, name string) string {
	value := ""
	for _, pair := range environ {
		if v, ok := strings.CutPrefix(pair, name+"="); ok {
			value = strings.TrimSpace(v)
		}
	}
	return value
}

// New makes the provider that the process's environment asks for; environ is that environment. It does not connect: what cannot
// be sent is told to OpenTelemetry's error handler, and keeps nothing from going on. Shut it down to send what is left.
func New(ctx context.Context, environ []string, version string) (*sdk.TracerProvider, error) {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"} {
		if protocol := lookup(environ, name); protocol != "" && protocol != "http/protobuf" {
			return nil, fmt.Errorf("%s=%s: %w", name, protocol, ErrProtocol)
		}
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_…: %w", err)
	}
	// What comes later counts: a name in the environment is the operator's.
	named, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "sealq"), attribute.String("service.version", version)),
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithFromEnv())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err), exporter.Shutdown(ctx))
	}
	return sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(named)), nil
}
