package jobs

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealq/sealq/signing"
)

// ErrGroup refuses asynq's Group option: aggregation makes a new task, which nobody has signed.
var ErrGroup = errors.New("asynq.Group cannot be signed: aggregation makes a new task; enqueue the tasks one by one")

// Client is an asynq client that signs. It has the methods of *asynq.Client, so that an app that has asynq
// changes one line; every option means what it means to asynq, but for Group, which is refused. Task headers
// are signed with the task, but for those whose names start with "sealq-": they are ours and are left out, so
// that a handler may enqueue what it was given once more, as a new task.
//
// Tasks enqueued this way have no outbox row: what Redis loses is lost, and where the worker has no ledger a
// genuine task that is replayed before its signature expires runs again.
type Client struct {
	// MaxAge is how long a signature is accepted after the task is due. Zero: as long as the key ring's
	// max_lifetime allows, counted from now, since asynq's 25 default retries take about 20 days.
	MaxAge time.Duration

	client    *asynq.Client
	resolve   *resolver
	options   plainOptions
	keys      *signing.Keys
	noHeaders map[string]string // empty, for asynq to clone; never written to
}

// Wrap makes an app's asynq client sign. Set MaxAge on the result, before its first use, to shorten how long a
// task may wait.
func Wrap(c *asynq.Client, k *signing.Keys) *Client {
	return &Client{client: c, resolve: newResolver(), options: newPlainOptions(), keys: k, noHeaders: make(map[string]string)}
}

// Enqueue is asynq's Enqueue with a signature.
func (c *Client) Enqueue(task *asynq.Task, opts ...asynq.Option) (*asynq.TaskInfo, error) {
	return c.EnqueueContext(context.Background(), task, opts...)
}

// EnqueueContext is asynq's EnqueueContext with a signature. The task itself is not changed. A trace that ctx is part of goes
// on in the worker.
func (c *Client) EnqueueContext(ctx context.Context, task *asynq.Task, opts ...asynq.Option) (*asynq.TaskInfo, error) {
	s, ok := c.options.settle(task, opts)
	if !ok {
		r, err := c.resolve.resolve(ctx, task, opts)
		if err != nil {
			return nil, err
		}
		if r.info.Group != "" {
			return nil, fmt.Errorf("enqueue %s: %w", r.info.Type, ErrGroup)
		}
		s = settled{id: r.info.ID, queue: r.info.Queue, maxRetry: r.info.MaxRetry, processAt: r.processAt, at: r.at, options: r.options()}
	}
	if err := checkBraces(s.queue); err != nil {
		return nil, fmt.Errorf("enqueue %s: %w", task.Type(), err)
	}
	if s.maxRetry > math.MaxInt32 {
		return nil, fmt.Errorf("enqueue %s: MaxRetry(%d) is more than %d, asynq would store a negative number", task.Type(), s.maxRetry, math.MaxInt32)
	}
	signed, err := c.sign(ctx, task, s)
	if err != nil {
		return nil, fmt.Errorf("enqueue %s: %w", task.Type(), err)
	}
	return c.client.EnqueueContext(ctx, signed) //nolint:wrapcheck // asynq's own errors, for code written against asynq
}

// sign makes the task that is enqueued. asynq clones the headers that it is made with: the clone is ours to change.
func (c *Client) sign(ctx context.Context, task *asynq.Task, s settled) (*asynq.Task, error) {
	headers := task.Headers()
	if headers == nil {
		headers = c.noHeaders
	}
	signed := asynq.NewTaskWithHeaders(task.Type(), task.Payload(), headers, s.options...)
	headers = signed.Headers()
	for name := range headers {
		if strings.HasPrefix(name, reservedHeaders) {
			delete(headers, name)
		}
	}
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		setTrace(headers, sc)
	}
	sig, _, err := c.keys.Sign(signing.Task{
		Kind: task.Type(), ID: s.id, Queue: s.queue, MaxRetry: s.maxRetry, Headers: headers, Payload: task.Payload(),
	}, c.validity(s))
	if err != nil {
		return nil, err
	}
	headers[signing.SignatureHeader] = sig
	return signed, nil
}

func (c *Client) validity(s settled) signing.Validity {
	lifetime := c.keys.MaxLifetime()
	if c.MaxAge == 0 {
		return signing.Validity{NotBefore: s.processAt, Expires: s.at.Add(lifetime)}
	}
	return signing.Validity{
		NotBefore: s.processAt,
		Expires:   earliest(latest(s.processAt, s.at).Add(c.MaxAge), s.at.Add(lifetime)),
	}
}

// Ping is asynq's Ping.
func (c *Client) Ping() error { return c.client.Ping() } //nolint:wrapcheck // asynq's own

// Close is asynq's Close.
func (c *Client) Close() error {
	return errors.Join(c.resolve.close(), c.client.Close())
}
