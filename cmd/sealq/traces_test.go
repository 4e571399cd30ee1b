package main

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func tracingSession(environ []string, log *bytes.Buffer) *session {
	return &session{program: &program{now: time.Now, environ: environ}, logger: slog.New(slog.NewTextHandler(log, nil))}
}

func TestNothingIsTracedUnlessTheEnvironmentNamesAnEndpoint(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	var sv service
	provider, err := tracingSession([]string{"OTEL_SERVICE_NAME=sealq"}, &log).traces(t.Context(), &sv)
	if provider != nil || err != nil || len(sv.close) > 0 {
		t.Errorf("got %v, %v and %d to close", provider, err, len(sv.close))
	}
}

func TestAProtocolThatIsNotSpokenIsAMistakeOfUse(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	var sv service
	environ := []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}
	if _, err := tracingSession(environ, &log).traces(t.Context(), &sv); !isUsage(err) || !strings.Contains(err.Error(), "http/protobuf") {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsLeftIsSentAtTheEndAndACollectorThatIsAwayFailsNothing(t *testing.T) {
	for name, test := range map[string]struct {
		away bool
		want int32
	}{"it is there": {false, 1}, "it is away": {true, 0}} {
		t.Run(name, func(t *testing.T) {
			var got atomic.Int32
			collector := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { got.Add(1) }))
			t.Cleanup(collector.Close)
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
			if test.away {
				collector.Close()
			}
			var log bytes.Buffer
			var sv service
			provider, err := tracingSession(os.Environ(), &log).traces(t.Context(), &sv)
			if err != nil {
				t.Fatal(err)
			}
			_, span := provider.Tracer("a test's").Start(context.Background(), "one")
			span.End()
			if err := sv.closeAll(); err != nil {
				t.Error(err)
			}
			if got.Load() != test.want {
				t.Errorf("the collector was asked %d times", got.Load())
			}
			if told := strings.Contains(log.String(), "traces not sent"); told != test.away {
				t.Errorf("the log says:\n%s", log.String())
			}
		})
	}
}
