package worker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

const (
	strangersTrace  = "0123456789abcdef0123456789abcdef"
	strangersParent = "00-" + strangersTrace + "-0123456789abcdef-01"
)

// recorded is a provider and what it has recorded.
func recorded(t *testing.T) (trace.TracerProvider, *tracetest.SpanRecorder) {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(spans))
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	return provider, spans
}

func attributes(span sdk.ReadOnlySpan) map[string]string {
	found := make(map[string]string)
	for _, a := range span.Attributes() {
		found[string(a.Key)] = a.Value.String()
	}
	return found
}

func TestAHandlerRunsInTheTraceInWhichItsJobWasEnqueued(t *testing.T) {
	t.Parallel()
	for name, traces := range map[string]bool{"with spans": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			provider, spans := recorded(t)
			ctx, request := provider.Tracer("an app's").Start(t.Context(), "POST /register")
			var c worker.Config
			if traces {
				c.TracerProvider = provider
			}
			seen := make(chan trace.SpanContext, 1)
			def := jobs.Define[welcome]("mail:welcome", jobs.Policy{})
			h := worker.NewHandlers(worker.HandlersConfig{})
			worker.Handle(h, def, func(ctx context.Context, _ worker.Job[welcome]) error {
				seen <- trace.SpanContextFromContext(ctx)
				return errors.New("550 no such user ada@example.com")
			})
			r.serve(t, r.verifier(t, c), h, asynq.Config{})
			receipt, err := r.enqueuer(t).Enqueue(ctx, def.With(welcome{UserID: 7}))
			if err != nil {
				t.Fatal(err)
			}
			got := <-seen
			if got.TraceID() != request.SpanContext().TraceID() {
				t.Errorf("the handler is in trace %s, the request in %s", got.TraceID(), request.SpanContext().TraceID())
			}
			if !traces {
				if got.SpanID() != request.SpanContext().SpanID() || len(spans.Ended()) > 0 {
					t.Errorf("spans were made without a provider: %v", spans.Ended())
				}
				return
			}
			eventually(t, "the run's span has ended", func() bool { return len(spans.Ended()) == 1 })
			span := spans.Ended()[0]
			if span.Parent().SpanID() != request.SpanContext().SpanID() || span.SpanContext().SpanID() != got.SpanID() || span.SpanKind() != trace.SpanKindConsumer {
				t.Errorf("the span is no child of the request's, or not the handler's: %v", span)
			}
			want := map[string]string{
				"messaging.system": "asynq", "messaging.operation.type": "process", "messaging.destination.name": "default",
				"messaging.message.id": receipt.ID, "sealq.kind": "mail:welcome", "sealq.try": "1", "sealq.result": "failed",
			}
			if diff := cmp.Diff(want, attributes(span)); diff != "" {
				t.Errorf("attributes (-want +got):\n%s", diff)
			}
			if status := span.Status(); status.Code != codes.Error || status.Description != "failed" || len(span.Events()) > 0 {
				t.Errorf("status %+v, events %v: what the handler said must not be in it", status, span.Events())
			}
		})
	}
}

// A trace that a stranger writes into a task has no effect: not on spans, and not on what a handler sees.
func TestAStrangersTraceHasNoEffect(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	provider, spans := recorded(t)
	var verdicts calls
	seen := make(chan trace.SpanContext, 10)
	next := asynq.HandlerFunc(func(ctx context.Context, _ *asynq.Task) error {
		seen <- trace.SpanContextFromContext(ctx)
		return nil
	})
	v := r.verifier(t, worker.Config{
		TracerProvider: provider, UnsignedUntil: time.Now().Add(time.Hour), // a handler that runs unsigned tasks, too
		OnVerdict: func(_ context.Context, v worker.Verdict) { verdicts.add(string(v.Outcome)) },
	})
	r.serve(t, v, next, asynq.Config{Concurrency: 1})
	genuine := signing.Task{Kind: "k", ID: "1", Queue: "default", MaxRetry: 9, Headers: map[string]string{
		"traceparent": "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-aaaaaaaaaaaaaaaa-01",
	}}
	stored := genuine
	stored.ID, stored.Headers = "unsigned", map[string]string{"traceparent": strangersParent}
	r.put(t, stored, stored, nil)
	altered := genuine
	altered.Headers = map[string]string{"traceparent": strangersParent}
	r.put(t, altered, genuine, r.keys)
	genuine.ID = "2"
	r.put(t, genuine, genuine, r.keys)
	eventually(t, "all have a verdict", func() bool { return len(verdicts.all()) == 3 })
	for _, want := range []string{"", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"} {
		got := <-seen
		if want == "" && got.IsValid() || want != "" && got.TraceID().String() != want {
			t.Errorf("a handler is in trace %s, want %q", got.TraceID(), want)
		}
	}
	eventually(t, "the genuine task's span has ended", func() bool { return len(spans.Ended()) > 0 })
	for _, span := range spans.Started() {
		if span.SpanContext().TraceID().String() != "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
			t.Errorf("a span of trace %s", span.SpanContext().TraceID())
		}
	}
}

func TestASpanSaysHowTheRunEnded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err    error
		args   []byte
		before bool // the effect has been entered
		want   map[string]string
	}{
		"done":      {want: map[string]string{"sealq.result": "done"}},
		"deferred":  {err: worker.Outage("smtp", errors.New("no")), want: map[string]string{"sealq.result": "deferred", "sealq.cause": "outage"}},
		"dead":      {err: worker.Permanent(errors.New("no")), want: map[string]string{"sealq.result": "dead"}},
		"duplicate": {before: true, want: map[string]string{"sealq.result": "duplicate"}},
		"refused":   {args: []byte(`no JSON`), want: map[string]string{"sealq.result": "refused"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			provider, spans := recorded(t)
			var book ledger
			h := worker.NewHandlers(worker.HandlersConfig{})
			worker.HandleTx(h, &book, jobs.Define[welcome]("mail:welcome", jobs.Policy{}), func(context.Context, string, worker.Job[welcome]) error { return test.err })
			if test.before {
				book.entered = map[string]bool{"1": true}
			}
			if test.args == nil {
				test.args = []byte(`{"user_id":1}`)
			}
			r.serve(t, r.verifier(t, worker.Config{TracerProvider: provider}), h, asynq.Config{})
			task := signing.Task{Kind: "mail:welcome", ID: "1", Queue: "default", MaxRetry: 9, Payload: test.args}
			r.put(t, task, task, r.keys)
			eventually(t, "the span has ended", func() bool { return len(spans.Ended()) == 1 })
			got := attributes(spans.Ended()[0])
			for _, same := range []string{"messaging.system", "messaging.operation.type", "messaging.destination.name", "messaging.message.id", "sealq.kind", "sealq.try"} {
				delete(got, same)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("attributes (-want +got):\n%s", diff)
			}
		})
	}
}
