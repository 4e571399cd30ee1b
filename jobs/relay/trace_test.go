package relay_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealq/sealq/jobs"
)

const (
	rowsTrace  = "4bf92f3577b34da6a3ce929d0e0e4736"
	rowsParent = "00-" + rowsTrace + "-00f067aa0ba902b7-01"
)

func TestARowsTraceGoesOnInItsTask(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		spans  bool
		header []jobs.Option
		same   bool // the task's traceparent is the row's
	}{
		"without spans of the relay's":        {header: []jobs.Option{jobs.Header("traceparent", rowsParent)}, same: true},
		"with them":                           {spans: true, header: []jobs.Option{jobs.Header("traceparent", rowsParent)}},
		"a row without a trace, without them": {},
		"a row without a trace, with them":    {spans: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			spans := tracetest.NewSpanRecorder()
			provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(spans))
			t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
			if test.spans {
				b.cfg.TracerProvider = provider
			}
			// Whatever its caller was in when it began to run.
			ctx, starting := provider.Tracer("an app's").Start(context.WithoutCancel(t.Context()), "start")
			ctx, cancel := context.WithCancel(ctx)
			ended := make(chan error, 1)
			r := b.relay(t)
			go func() { ended <- r.Run(ctx) }()
			t.Cleanup(func() { cancel(); <-ended })

			id := b.add(t, noteDef().With(note{User: 7}, test.header...))
			b.state(t, id, jobs.RowEnqueued)
			task, err := b.reader.Lookup(t.Context(), "default", id+".1")
			if err != nil {
				t.Fatal(err)
			}
			got, has := task.Headers["traceparent"]
			sc := trace.SpanContextFromContext(jobs.ContextWithTrace(t.Context(), task.Headers))
			if sc.TraceID() == starting.SpanContext().TraceID() {
				t.Error("the task is of the trace in which the relay was started")
			}
			if want := test.same || test.spans; has != want || test.same && got != rowsParent {
				t.Errorf("the task's trace is %q", got)
			}
			if !test.spans {
				if n := len(spans.Started()); n != 1 {
					t.Errorf("%d spans were made, want the app's alone", n)
				}
				return
			}
			if sc.TraceID().String() != rowsTrace && len(test.header) > 0 {
				t.Errorf("the task is of trace %s", sc.TraceID())
			}
			eventually(t, "the relay's span has ended", func() bool { return len(spans.Ended()) > 0 })
			span := spans.Ended()[0]
			if span.SpanContext().SpanID() != sc.SpanID() || span.Name() != "relay test:note" || span.SpanKind() != trace.SpanKindProducer {
				t.Errorf("the task's parent is not the span %s, %s", span.Name(), span.SpanContext().SpanID())
			}
			attributes := make(map[string]string)
			for _, a := range span.Attributes() {
				attributes[string(a.Key)] = a.Value.String()
			}
			want := map[string]string{
				"messaging.system": "asynq", "messaging.operation.type": "send", "messaging.destination.name": "default",
				"messaging.message.id": id + ".1", "sealq.kind": "test:note", "sealq.attempt": "1",
			}
			if diff := cmp.Diff(want, attributes); diff != "" {
				t.Errorf("attributes (-want +got):\n%s", diff)
			}
		})
	}
}
