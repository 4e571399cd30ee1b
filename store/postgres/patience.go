package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// longestSilence bounds a statement whose caller sets no bound. A host that vanishes leaves connections that say nothing
	// and stay open: the kernel gives them up after a quarter of an hour, and pgx by itself never.
	longestSilence = 30 * time.Second
	// idleSetting is PostgreSQL's own bound of a transaction of which nothing is heard. Without it the locks of a host that has
	// vanished stay for the two hours that TCP takes to ask (tcp_keepalives_idle).
	idleSetting = "idle_in_transaction_session_timeout"
	// idleUnbound is that bound where the caller sets none, and idleSlack what is added where it does: pgx is to say it first.
	idleUnbound = time.Minute
	idleSlack   = 5 * time.Second
	// pingTimeout bounds the question whether an idle connection is still good.
	pingTimeout = 5 * time.Second
)

// longestIdle is for how long a transaction under ctx may say nothing.
func longestIdle(ctx context.Context) time.Duration {
	deadline, bounded := ctx.Deadline()
	if !bounded {
		return idleUnbound
	}
	return max(time.Until(deadline), 0) + idleSlack //nolint:forbidigo // contexts go by the real clock
}

// patience is a tracer of pgx, whose contexts are those that statements run under.
type patience time.Duration

var (
	_ pgx.QueryTracer = patience(0)
	_ pgx.BatchTracer = patience(0)
)

type (
	boundKey   struct{} // of the function that ends a statement's bound
	endlessKey struct{} // of contexts that are to have none
)

// endless is for statements that may take as long as they do.
func endless(ctx context.Context) context.Context {
	return context.WithValue(ctx, endlessKey{}, true)
}

func (p patience) begin(ctx context.Context) context.Context {
	if ctx.Value(endlessKey{}) != nil {
		return ctx
	}
	if _, bounded := ctx.Deadline(); bounded {
		return ctx
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(p))
	return context.WithValue(ctx, boundKey{}, cancel)
}

func (patience) end(ctx context.Context) {
	if cancel, ok := ctx.Value(boundKey{}).(context.CancelFunc); ok {
		cancel()
	}
}

// TraceQueryStart implements pgx.QueryTracer.
func (p patience) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return p.begin(ctx)
}

// TraceQueryEnd implements pgx.QueryTracer.
func (p patience) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) {
	p.end(ctx)
}

// TraceBatchStart implements pgx.BatchTracer.
func (p patience) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return p.begin(ctx)
}

// TraceBatchQuery implements pgx.BatchTracer.
func (patience) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

// TraceBatchEnd implements pgx.BatchTracer.
func (p patience) TraceBatchEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchEndData) {
	p.end(ctx)
}
