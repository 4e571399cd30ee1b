package jobs_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/internal/fixture"
	"github.com/sealq/sealq/signing"
)

// The example of W3C's Trace Context, section 3.2.2.
const (
	exampleTrace  = "4bf92f3577b34da6a3ce929d0e0e4736"
	exampleParent = "00-" + exampleTrace + "-00f067aa0ba902b7-01"
)

// within is a context in a span of that trace state.
func within(t *testing.T, state string) context.Context {
	t.Helper()
	carrier := propagation.MapCarrier{"traceparent": exampleParent, "tracestate": state}
	return propagation.TraceContext{}.Extract(context.Background(), carrier)
}

// ofTrace are the headers of a job that are its trace's.
func ofTrace(headers map[string]string) map[string]string {
	found := make(map[string]string)
	for _, name := range []string{"traceparent", "tracestate"} {
		if value, ok := headers[name]; ok {
			found[name] = value
		}
	}
	return found
}

func TestAJobTakesTheTraceOfItsContextAlong(t *testing.T) {
	t.Parallel()
	long := "a=" + strings.Repeat("x", 250) + ",b=" + strings.Repeat("y", 250) + ",c=" + strings.Repeat("z", 250)
	many := make([]jobs.Option, 0, signing.DefaultMaxHeaders)
	for i := range signing.DefaultMaxHeaders - 1 {
		many = append(many, jobs.Header(fmt.Sprint("h", i), ""))
	}
	old := []jobs.Option{jobs.Header("traceparent", "00-11111111111111111111111111111111-2222222222222222-00"), jobs.Header("tracestate", "old=1")}
	for name, test := range map[string]struct {
		ctx  context.Context //nolint:containedctx // what is tested
		opts []jobs.Option
		want map[string]string
	}{
		"no span":                              {ctx: context.Background(), want: map[string]string{}},
		"no span, and a trace of the app's":    {ctx: context.Background(), opts: old, want: map[string]string{"traceparent": "00-11111111111111111111111111111111-2222222222222222-00", "tracestate": "old=1"}},
		"a span":                               {ctx: within(t, ""), want: map[string]string{"traceparent": exampleParent}},
		"a span with a state":                  {ctx: within(t, "rojo=00f067aa0ba902b7,congo=t61"), want: map[string]string{"traceparent": exampleParent, "tracestate": "rojo=00f067aa0ba902b7,congo=t61"}},
		"a span with a state that is too long": {ctx: within(t, long), want: map[string]string{"traceparent": exampleParent}},
		"a span, in place of an older one":     {ctx: within(t, ""), opts: old, want: map[string]string{"traceparent": exampleParent}},
		"a span for which there is no room":    {ctx: within(t, ""), opts: many, want: map[string]string{}},
		"a span that is not sampled": {
			ctx:  trace.ContextWithSpanContext(context.Background(), trace.SpanContextFromContext(within(t, "")).WithTraceFlags(0)),
			want: map[string]string{"traceparent": strings.TrimSuffix(exampleParent, "1") + "0"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			job := noteDef(jobs.Policy{}).With(note{}, test.opts...)
			row, err := job.Traced(test.ctx).Row(time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, ofTrace(row.Headers)); diff != "" {
				t.Errorf("trace (-want +got):\n%s", diff)
			}
			if plain, err := job.Row(time.Now()); err != nil || len(ofTrace(plain.Headers)) != len(ofTrace(row.Headers)) && len(test.opts) == 0 && len(plain.Headers) > 0 {
				t.Errorf("the job itself was changed: %v, %v", plain.Headers, err)
			}
		})
	}
}

// Three ways lead into Redis, and each signs the trace with the task.
func TestTheTraceIsSignedWithTheTask(t *testing.T) {
	t.Parallel()
	e := newEnqueued(t)
	ctx := within(t, "rojo=1")
	want := map[string]string{"traceparent": exampleParent, "tracestate": "rojo=1"}
	d := noteDef(jobs.Policy{})

	direct, err := e.enqueuer.Enqueue(ctx, d.With(note{User: 1}))
	if err != nil {
		t.Fatal(err)
	}
	row, err := d.With(note{User: 2}).Traced(ctx).Row(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	row.NotBefore, row.ExpiresAt = time.Now(), time.Now().Add(time.Hour)
	relayed, err := e.enqueuer.EnqueueRow(t.Context(), jobs.ClaimedRow{Row: row, Attempt: 1}, d)
	if err != nil {
		t.Fatal(err)
	}
	own := asynq.NewTaskWithHeaders("own", nil, map[string]string{"mine": "1"})
	info, err := jobs.Wrap(asynq.NewClientFromRedisClient(e.redis), e.keys).EnqueueContext(ctx, own)
	if err != nil {
		t.Fatal(err)
	}
	if len(own.Headers()) != 1 {
		t.Errorf("the app's own task was changed: %v", own.Headers())
	}
	for name, receipt := range map[string]jobs.Receipt{"Enqueue": direct, "EnqueueRow": relayed, "Wrap": {ID: info.ID, Queue: info.Queue}} {
		e.verify(t, receipt) // as it stands
		task := e.task(t, receipt)
		if diff := cmp.Diff(want, ofTrace(task.Headers)); diff != "" {
			t.Errorf("%s: trace (-want +got):\n%s", name, diff)
		}
		task.Headers["traceparent"] = strings.Replace(exampleParent, "4bf9", "4bf8", 1)
		_, err := e.keys.Verify(signing.Task{
			Kind: task.Kind, ID: task.ID, Queue: task.Queue, MaxRetry: task.MaxRetry, Headers: task.Headers, Payload: task.Payload,
		}, task.Headers[signing.SignatureHeader])
		if err == nil {
			t.Errorf("%s: another trace verifies", name)
		}
	}
}

// What W3C's own implementation reads of the headers, this one does, and no more.
func TestATraceIsReadAsItsStandardSays(t *testing.T) {
	t.Parallel()
	for name, headers := range map[string]map[string]string{
		"none":                      {},
		"the example":               {"traceparent": exampleParent},
		"with a state":              {"traceparent": exampleParent, "tracestate": "rojo=1,congo=2"},
		"with a state that is none": {"traceparent": exampleParent, "tracestate": "no state"},
		"not sampled":               {"traceparent": exampleParent[:53] + "00"},
		"capital letters":           {"traceparent": strings.ToUpper(exampleParent)},
		"no trace":                  {"traceparent": "00-00000000000000000000000000000000-00f067aa0ba902b7-01"},
		"no span":                   {"traceparent": "00-" + exampleTrace + "-0000000000000000-01"},
		"too short":                 {"traceparent": exampleParent[:54]},
		"too long":                  {"traceparent": exampleParent + "0"},
		"no hexadecimal":            {"traceparent": strings.Replace(exampleParent, "4bf9", "4bfg", 1)},
		"flags that are none":       {"traceparent": exampleParent[:53] + "0x"},
		"dashes elsewhere":          {"traceparent": strings.Replace(exampleParent, "-00f0", "000f-", 1)},
		"empty":                     {"traceparent": ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier(headers)))
			got := trace.SpanContextFromContext(jobs.ContextWithTrace(context.Background(), headers))
			if !want.Equal(got) {
				t.Errorf("want %+v, got %+v", want, got)
			}
		})
	}
	for name, parent := range map[string]string{
		"a version to come":   "01" + exampleParent[2:],
		"flags that are none": exampleParent[:53] + "ff",
	} {
		sc := trace.SpanContextFromContext(jobs.ContextWithTrace(context.Background(), map[string]string{"traceparent": parent}))
		if sc.TraceFlags() > trace.FlagsSampled|trace.FlagsRandom || name == "a version to come" && sc.IsValid() {
			t.Errorf("%s: %+v", name, sc)
		}
	}
}

func FuzzContextWithTrace(f *testing.F) {
	f.Add(exampleParent, "rojo=1")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, parent, state string) {
		sc := trace.SpanContextFromContext(jobs.ContextWithTrace(context.Background(), map[string]string{"traceparent": parent, "tracestate": state}))
		if !sc.IsValid() {
			return
		}
		ctx := trace.ContextWithSpanContext(context.Background(), sc)
		row, err := noteDef(jobs.Policy{}).With(note{}).Traced(ctx).Row(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if again := trace.SpanContextFromContext(jobs.ContextWithTrace(context.Background(), row.Headers)); !again.Equal(sc) {
			t.Errorf("%+v is read back as %+v", sc, again)
		}
	})
}

type requestKey struct{}

// Whoever traces nothing pays nothing.
func TestWithoutASpanATraceCostsNoAllocation(t *testing.T) { //nolint:paralleltest // it counts all goroutines' allocations
	ctx := context.WithValue(t.Context(), requestKey{}, "an app's own")
	job := noteDef(jobs.Policy{}).With(note{}, jobs.Header("a", "b"))
	var headers map[string]string
	if n := testing.AllocsPerRun(1000, func() { job = job.Traced(ctx) }); n != 0 {
		t.Errorf("Traced allocates %v times", n)
	}
	if n := testing.AllocsPerRun(1000, func() { _ = jobs.ContextWithTrace(ctx, headers) }); n != 0 {
		t.Errorf("ContextWithTrace allocates %v times", n)
	}
}

// answering is a Redis that takes everything at once.
type answering struct{}

func (answering) DialHook(next redis.DialHook) redis.DialHook { return next }

func (answering) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(_ context.Context, cmd redis.Cmder) error {
		if called, ok := cmd.(*redis.Cmd); ok {
			called.SetVal(int64(1))
		}
		return nil
	}
}

func (answering) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// What the way to Redis costs beside it: compare `go test -bench Enqueue -benchmem` with and without a span.
func BenchmarkEnqueue(b *testing.B) {
	keys := fixture.Keys(b)
	client := redis.NewClient(&redis.Options{Addr: "nowhere.invalid:0"})
	b.Cleanup(func() { _ = client.Close() })
	client.AddHook(answering{})
	enqueuer, err := jobs.NewEnqueuer(asynq.NewClientFromRedisClient(client), keys, jobs.Config{})
	if err != nil {
		b.Fatal(err)
	}
	carrier := propagation.MapCarrier{"traceparent": exampleParent}
	for name, ctx := range map[string]context.Context{
		"without a span": context.Background(), "within a span": propagation.TraceContext{}.Extract(context.Background(), carrier),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := enqueuer.Enqueue(ctx, noteDef(jobs.Policy{}).With(note{User: 7, Text: "hi"})); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
