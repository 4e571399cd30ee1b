package jobs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/sync/errgroup"

	"github.com/sealq/sealq/signing"
)

// ErrAlreadyEnqueued means that Redis holds a task under the job's ID.
var ErrAlreadyEnqueued = errors.New("a task with this ID is already in the queue")

// farDeadline replaces asynq's timeout, which would start a second run beside a handler that ignores its
// context. The worker applies the kind's own timeout and waits.
const farDeadline = 7258118400 // Unix seconds: 2200-01-01

// Config of an Enqueuer.
type Config struct {
	// Concurrency bounds the round trips of EnqueueMany. Zero: 32.
	Concurrency int
	// Now is the clock. Zero: time.Now.
	Now func() time.Time
}

// Receipt says what was enqueued.
type Receipt struct {
	ID        string    `json:"id"`
	Queue     string    `json:"queue"`
	Kind      Kind      `json:"kind"`
	KID       string    `json:"kid"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Enqueuer signs jobs and enqueues them at once. It is safe for concurrent use.
type Enqueuer struct {
	client      *asynq.Client
	keys        *signing.Keys
	concurrency int
	now         func() time.Time
	far         asynq.Option      // the same for every task
	noHeaders   map[string]string // empty, for asynq to clone; never written to
}

// NewEnqueuer needs an asynq client and the keys to sign with. The client stays the caller's to close.
func NewEnqueuer(c *asynq.Client, k *signing.Keys, cfg Config) (*Enqueuer, error) {
	if c == nil || k == nil {
		return nil, errors.New("new enqueuer: it needs an asynq client and keys")
	}
	if cfg.Concurrency <= 0 {
		cfg.Concurrency = 32
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Enqueuer{
		client: c, keys: k, concurrency: cfg.Concurrency, now: cfg.Now,
		far: asynq.Deadline(time.Unix(farDeadline, 0)), noHeaders: make(map[string]string),
	}, nil
}

// Enqueue signs the job now and puts it into Redis. What Redis loses afterwards is lost; see Outbox for jobs
// that must survive that. A trace that ctx is part of goes on in the worker. A context that ends during the call leaves open whether the task is in Redis: give
// the job an ID and enqueue it again; ErrAlreadyEnqueued then means that it was.
func (e *Enqueuer) Enqueue(ctx context.Context, j Job) (Receipt, error) {
	if err := j.Err(); err != nil {
		return Receipt{}, err
	}
	if j.uniqueKey != "" {
		return Receipt{}, fmt.Errorf("enqueue %s: a unique job goes through the outbox (EnqueueTx), whose index decides", j.kind)
	}
	id := j.id
	if id == "" {
		var err error
		if id, err = newID(); err != nil {
			return Receipt{}, err
		}
	}
	now := e.now()
	due := j.due(now)
	expires := latest(due, now).Add(j.policy.MaxAge)
	if !j.until.IsZero() {
		expires = earliest(expires, j.until)
	}
	task := signing.Task{
		Kind: string(j.kind), ID: id, Queue: j.queue, MaxRetry: j.retries + Headroom,
		Headers: traced(ctx, j.headers), Payload: j.payload,
	}
	var more []asynq.Option
	if j.retain > 0 {
		more = append(more, asynq.Retention(j.retain))
	}
	return e.enqueue(ctx, task, signing.Validity{NotBefore: due, Expires: expires, Encrypt: j.policy.Encrypt}, now, more...)
}

// EnqueueMany enqueues concurrently (asynq has no batch call) and returns a receipt for each job, in order. A
// receipt is zero where its job was not enqueued; the error joins what went wrong.
func (e *Enqueuer) EnqueueMany(ctx context.Context, js []Job) ([]Receipt, error) {
	receipts := make([]Receipt, len(js))
	errs := make([]error, len(js))
	var g errgroup.Group
	g.SetLimit(e.concurrency)
	for i, j := range js {
		g.Go(func() error {
			receipts[i], errs[i] = e.Enqueue(ctx, j)
			return nil
		})
	}
	_ = g.Wait() // the functions return nil: every job is tried
	return receipts, errors.Join(errs...)
}

// ErrInvalidRow means that an outbox row is none that an outbox would have recorded for its kind: its arguments
// do not decode, or a name or number in it is refused.
var ErrInvalidRow = errors.New("the outbox row is refused")

// EnqueueRow signs and enqueues one attempt of an outbox row, under the definition's policy. It checks the row
// as strictly as a job and a worker are checked, and returns ErrInvalidRow: it is no signing oracle for whoever
// can insert a row. The signature ends when the row does, or before that by the kind's max age or the ring's
// max_lifetime; a task that outlives its signature is restored under a new one. The task is of the row's trace, or of ctx's
// where that has one.
func (e *Enqueuer) EnqueueRow(ctx context.Context, r ClaimedRow, d Definition) (Receipt, error) {
	if err := r.check(d); err != nil {
		return Receipt{}, fmt.Errorf("%w: %w", ErrInvalidRow, err)
	}
	p, now := d.Policy(), e.now()
	expires := earliest(latest(r.NotBefore, now).Add(p.MaxAge), now.Add(e.keys.MaxLifetime()))
	expires = earliest(expires, r.ExpiresAt)
	carried := traced(ctx, r.Headers)
	headers := make(map[string]string, len(carried)+2)
	maps.Copy(headers, carried)
	headers[signing.EffectHeader] = r.ID
	task := signing.Task{
		Kind: string(r.Kind), ID: r.TaskID(), Queue: r.Queue, MaxRetry: r.Retries + Headroom,
		Headers: headers, Payload: r.Payload,
	}
	return e.enqueue(ctx, task, signing.Validity{NotBefore: r.NotBefore, Expires: expires, Encrypt: p.Encrypt}, now)
}

func (e *Enqueuer) enqueue(ctx context.Context, t signing.Task, v signing.Validity, now time.Time, more ...asynq.Option) (Receipt, error) {
	sig, payload, err := e.keys.Sign(t, v)
	if err != nil {
		return Receipt{}, fmt.Errorf("enqueue %s: %w", t.Kind, err)
	}
	if _, err := e.client.EnqueueContext(ctx, e.task(t, v, sig, payload, now), more...); err != nil {
		if errors.Is(err, asynq.ErrTaskIDConflict) {
			err = fmt.Errorf("%w: %s", ErrAlreadyEnqueued, t.ID)
		}
		return Receipt{}, fmt.Errorf("enqueue %s: %w", t.Kind, err)
	}
	kid, _ := signing.KIDOf(sig)
	return Receipt{ID: t.ID, Queue: t.Queue, Kind: Kind(t.Kind), KID: kid.String(), ExpiresAt: v.Expires}, nil
}

// task is what asynq gets. It clones the headers that it is made with, so that the clone may take the signature; and it
// copies the options that come with a call, so that all of them come with the task.
func (e *Enqueuer) task(t signing.Task, v signing.Validity, sig string, payload []byte, now time.Time) *asynq.Task {
	opts := make([]asynq.Option, 0, 5)
	opts = append(opts, asynq.TaskID(t.ID), asynq.Queue(t.Queue), asynq.MaxRetry(t.MaxRetry), e.far)
	if v.NotBefore.After(now) {
		opts = append(opts, asynq.ProcessAt(v.NotBefore))
	}
	headers := t.Headers
	if headers == nil {
		headers = e.noHeaders
	}
	task := asynq.NewTaskWithHeaders(t.Kind, payload, headers, opts...)
	task.Headers()[signing.SignatureHeader] = sig
	return task
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
