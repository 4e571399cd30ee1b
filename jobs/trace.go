package jobs

import (
	"context"
	"encoding/hex"
	"maps"

	"go.opentelemetry.io/otel/trace"
)

// The headers in which a job carries its trace, as in W3C's Trace Context. They are readable, and signed with the task.
const (
	traceParent = "traceparent"
	traceState  = "tracestate"
)

// maxTraceState is how much of a tracestate is carried, in bytes: what W3C asks everybody to carry. A longer one is left out.
const maxTraceState = 512

// Traced is the job as part of ctx's trace: the worker's span is going to be a child of the span in ctx, through outbox, relay
// and queue. Without a span in ctx it is the job itself. Enqueuer and outboxes call it; call it where they are given no ctx.
func (j Job) Traced(ctx context.Context) Job {
	j.headers = traced(ctx, j.headers)
	return j
}

// traced returns headers, with those of ctx's span in place of others of their names.
func traced(ctx context.Context, headers map[string]string) map[string]string {
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsValid() {
		return headers
	}
	with := make(map[string]string, len(headers)+2)
	maps.Copy(with, headers)
	setTrace(with, sc)
	return with
}

// setTrace changes headers. A trace keeps no job from being enqueued: where they would be too many or too long, they stay as
// they are.
func setTrace(headers map[string]string, sc trace.SpanContext) {
	before := maps.Clone(headers)
	putTrace(headers, sc)
	if checkHeaders(headers) != nil {
		clear(headers)
		maps.Copy(headers, before)
	}
}

func putTrace(headers map[string]string, sc trace.SpanContext) {
	const length = len("00-") + 32 + len("-") + 16 + len("-00")
	traceID, spanID, flags := sc.TraceID(), sc.SpanID(), sc.TraceFlags()&(trace.FlagsSampled|trace.FlagsRandom)
	text := append(make([]byte, 0, length), "00-"...)
	text = append(hex.AppendEncode(text, traceID[:]), '-')
	text = append(hex.AppendEncode(text, spanID[:]), '-')
	headers[traceParent] = string(hex.AppendEncode(text, []byte{byte(flags)}))
	delete(headers, traceState)
	if state := sc.TraceState().String(); state != "" && len(state) <= maxTraceState {
		headers[traceState] = state
	}
}

// ContextWithTrace is ctx in the trace that a job's headers name, or ctx itself where they name none. The headers must have
// been verified, or come from an outbox: a trace that a stranger names would join his to ours.
func ContextWithTrace(ctx context.Context, headers map[string]string) context.Context {
	parent, ok := headers[traceParent]
	if !ok {
		return ctx
	}
	sc, ok := parseTrace(parent, headers[traceState])
	if !ok {
		return ctx
	}
	return trace.ContextWithRemoteSpanContext(ctx, sc)
}

// parseTrace reads version 00 of traceparent, which is the only one that sealq writes.
func parseTrace(parent, state string) (trace.SpanContext, bool) {
	const length = len("00-") + 32 + len("-") + 16 + len("-00")
	if len(parent) != length || parent[:3] != "00-" || parent[35] != '-' || parent[52] != '-' {
		return trace.SpanContext{}, false
	}
	traceID, err := trace.TraceIDFromHex(parent[3:35])
	if err != nil {
		return trace.SpanContext{}, false
	}
	spanID, err := trace.SpanIDFromHex(parent[36:52])
	if err != nil {
		return trace.SpanContext{}, false
	}
	flags, err := hex.DecodeString(parent[53:])
	if err != nil {
		return trace.SpanContext{}, false
	}
	c := trace.SpanContextConfig{
		TraceID: traceID, SpanID: spanID, TraceFlags: trace.TraceFlags(flags[0]) & (trace.FlagsSampled | trace.FlagsRandom), Remote: true,
	}
	if len(state) <= maxTraceState {
		c.TraceState, _ = trace.ParseTraceState(state) // one that is no tracestate changes nothing else (W3C, 4.3)
	}
	return trace.NewSpanContext(c), true
}
