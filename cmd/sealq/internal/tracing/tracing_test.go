package tracing_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/sealq/sealq/cmd/sealq/internal/tracing"
)

func TestTracesAreOffWithoutAnEndpoint(t *testing.T) {
	t.Parallel()
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318"
	for name, test := range map[string]struct {
		environ []string
		want    bool
	}{
		"nothing":                     {nil, false},
		"a name alone":                {[]string{"OTEL_SERVICE_NAME=sealq"}, false},
		"an empty endpoint":           {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT="}, false},
		"an endpoint":                 {[]string{endpoint}, true},
		"an endpoint for traces":      {[]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://127.0.0.1:4318/v1/traces"}, true},
		"one that was taken back":     {[]string{endpoint, "OTEL_EXPORTER_OTLP_ENDPOINT="}, false},
		"the SDK is disabled":         {[]string{endpoint, "OTEL_SDK_DISABLED=true"}, false},
		"traces are sent to nobody":   {[]string{endpoint, "OTEL_TRACES_EXPORTER=none"}, false},
		"traces are sent by OTLP":     {[]string{endpoint, "OTEL_TRACES_EXPORTER=otlp"}, true},
		"another variable's endpoint": {[]string{"MY_OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := tracing.On(test.environ); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestAProtocolThatIsNotSpokenIsAnError(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"} {
		if _, err := tracing.New(t.Context(), []string{name + "=grpc"}, "v1"); !errors.Is(err, tracing.ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// received is a collector that keeps what it gets.
type received struct {
	mu    sync.Mutex
	spans map[string]int // by name
	named map[string]string
	paths []string
}

func (c *received) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var request collector.ExportTraceServiceRequest
	if err != nil || proto.Unmarshal(body, &request) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paths = append(c.paths, r.URL.Path)
	for _, resource := range request.GetResourceSpans() {
		for _, a := range resource.GetResource().GetAttributes() {
			c.named[a.GetKey()] = a.GetValue().GetStringValue()
		}
		for _, scope := range resource.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				c.spans[span.GetName()]++
			}
		}
	}
}

func TestTracesGoWhereTheEnvironmentSaysUnderItsName(t *testing.T) {
	for name, test := range map[string]struct {
		variables map[string]string
		service   string
		spans     map[string]int
	}{
		"as it comes":           {nil, "sealq", map[string]int{"one": 1, "two": 1}},
		"with a name":           {map[string]string{"OTEL_SERVICE_NAME": "auth-mails"}, "auth-mails", map[string]int{"one": 1, "two": 1}},
		"by resource":           {map[string]string{"OTEL_RESOURCE_ATTRIBUTES": "service.name=auth,team=a"}, "auth", map[string]int{"one": 1, "two": 1}},
		"none of them is taken": {map[string]string{"OTEL_TRACES_SAMPLER": "always_off"}, "", map[string]int{}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &received{spans: make(map[string]int), named: make(map[string]string)}
			server := httptest.NewServer(c)
			defer server.Close()
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
			for variable, value := range test.variables {
				t.Setenv(variable, value)
			}
			provider, err := tracing.New(t.Context(), nil, "v1.2.3")
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"one", "two"} {
				_, span := provider.Tracer("a test's").Start(t.Context(), name)
				span.End()
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := provider.Shutdown(ctx); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.spans, c.spans); diff != "" {
				t.Errorf("spans (-want +got):\n%s", diff)
			}
			if c.named["service.name"] != test.service {
				t.Errorf("they are of %q, want %q", c.named["service.name"], test.service)
			}
			for _, path := range c.paths {
				if path != "/v1/traces" {
					t.Errorf("they were sent to %s", path)
				}
			}
		})
	}
}
