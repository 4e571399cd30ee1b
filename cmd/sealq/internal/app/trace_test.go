package app_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/relay"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/signing"
)

// traced runs a worker whose spans are recorded.
func (s *system) traced(t *testing.T) (trace.TracerProvider, *tracetest.SpanRecorder) {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(spans))
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	sender, err := mail.NewSender(mail.Config{URL: s.mails.URL(), From: "no-reply@app.example"})
	check(t, err)
	t.Cleanup(sender.Close)
	w, err := s.db.Worker(app.WorkerConfig{
		Redis: s.redis, Keys: s.keys, Sender: sender, BaseURL: "https://app.example",
		TaskPoll: 10 * time.Millisecond, ForwardPoll: 50 * time.Millisecond, Shutdown: 5 * time.Second,
		Relay:          relay.Config{Poll: 5 * time.Millisecond},
		TracerProvider: provider,
	})
	check(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() { stop(); check(t, <-ended) })
	return provider, spans
}

// paths are the names of spans with those of their parents before them, each once.
func paths(spans []sdk.ReadOnlySpan) []string {
	byID := make(map[trace.SpanID]sdk.ReadOnlySpan)
	for _, span := range spans {
		byID[span.SpanContext().SpanID()] = span
	}
	var all []string
	for _, span := range spans {
		path := span.Name()
		for parent, ok := byID[span.Parent().SpanID()]; ok; parent, ok = byID[parent.Parent().SpanID()] {
			path = parent.Name() + " > " + path
		}
		all = append(all, path)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func TestARegistrationIsOneTraceFromTheRequestToTheMail(t *testing.T) {
	t.Parallel()
	const address = "ada.lovelace@example.org"
	for name, test := range map[string]struct {
		url func(t *testing.T) string
		sql []string // what is to be seen of SQL
	}{
		"PostgreSQL": {func(t *testing.T) string { t.Helper(); return testservers.Postgres(t) }, []string{
			"POST /register > INSERT outbox", // and COMMIT, in one trip
			"POST /register > relay mail:confirmation > run mail:confirmation > UPDATE mails",
			"POST /register > relay mail:confirmation > run mail:confirmation > BEGIN; SELECT; INSERT ledger",
		}},
		"SQLite": {func(t *testing.T) string { t.Helper(); return "sqlite:" + filepath.Join(t.TempDir(), "sealq.db") }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, test.url(t))
			provider, spans := s.traced(t)
			ctx, request := provider.Tracer("an app's").Start(t.Context(), "POST /register")
			_, err := s.accounts.Register(ctx, accounts.Registration{Email: address, Password: password})
			check(t, err)
			request.End()
			eventually(t, "the mail is recorded", func() bool { return s.sentAt(t, address) })
			eventually(t, "the run's span has ended", func() bool {
				return slices.ContainsFunc(spans.Ended(), func(span sdk.ReadOnlySpan) bool { return strings.HasPrefix(span.Name(), "run ") })
			})

			ended := spans.Ended()
			for _, span := range ended {
				if span.SpanContext().TraceID() != request.SpanContext().TraceID() {
					t.Errorf("%s is of another trace", span.Name())
				}
				for _, a := range span.Attributes() {
					said := a.Value.String()
					for _, secret := range []string{address, "lovelace", password, key(t, s.mailsTo(address)[0])} {
						if strings.Contains(said, secret) {
							t.Errorf("%s: the attribute %s is %q", span.Name(), a.Key, said)
						}
					}
				}
			}
			got := paths(ended)
			for _, want := range append(test.sql,
				"POST /register", "POST /register > relay mail:confirmation",
				"POST /register > relay mail:confirmation > run mail:confirmation",
				"POST /register > relay mail:confirmation > run mail:confirmation > SMTP send",
			) {
				if !slices.Contains(got, want) {
					t.Errorf("%s is missing", want)
				}
			}
			if t.Failed() {
				t.Logf("there are:\n%s", strings.Join(got, "\n"))
			}
		})
	}
}

// A forger's trace is never joined to ours, whatever he writes into Redis: his own tasks, and genuine ones with his trace.
func TestAForgersTraceIsNotJoined(t *testing.T) {
	t.Parallel()
	const forgers = "0123456789abcdef0123456789abcdef"
	s := newSystem(t, "sqlite:"+filepath.Join(t.TempDir(), "sealq.db"))
	_, spans := s.traced(t)
	client := asynq.NewClientFromRedisClient(s.redis)
	task := signing.Task{Kind: string(authjobs.KindResetLockouts), Queue: "critical", MaxRetry: 103, Payload: []byte(`{"tick":"","limit":0}`)}
	put := func(id string, signed map[string]string) {
		task.ID, task.Headers = id, signed
		headers := map[string]string{"traceparent": "00-" + forgers + "-0123456789abcdef-01", "tracestate": "forged=1"}
		if signed != nil {
			sig, _, err := s.keys.Sign(task, signing.Validity{Expires: time.Now().Add(time.Hour)})
			check(t, err)
			headers[signing.SignatureHeader] = sig
		}
		_, err := client.Enqueue(asynq.NewTaskWithHeaders(task.Kind, task.Payload, headers), asynq.TaskID(id), asynq.Queue(task.Queue), asynq.MaxRetry(task.MaxRetry))
		check(t, err)
	}
	put("unsigned", nil)
	put("signed-without-it", map[string]string{})
	put("signed-with-another", map[string]string{"traceparent": "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-aaaaaaaaaaaaaaaa-01"})
	for id, want := range map[string]signing.Reason{
		"unsigned": signing.ReasonMissingSignature, "signed-without-it": signing.ReasonBadSignature, "signed-with-another": signing.ReasonBadSignature,
	} {
		if diff := cmp.Diff(want, s.quarantined(t, id).Reason); diff != "" {
			t.Errorf("%s: reason (-want +got):\n%s", id, diff)
		}
	}
	for _, span := range spans.Started() {
		if strings.HasPrefix(span.Name(), "run ") || span.SpanContext().TraceID().String() == forgers {
			t.Errorf("there is a span %s of trace %s", span.Name(), span.SpanContext().TraceID())
		}
	}
}
