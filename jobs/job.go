package jobs

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/sealq/sealq/signing"
)

// Job is one piece of work, typed when it was made, ready to be enqueued. Def.With makes it.
type Job struct {
	kind      Kind
	policy    Policy
	payload   []byte
	id        string
	queue     string
	retries   int
	notBefore time.Time
	delay     time.Duration
	until     time.Time
	uniqueKey string
	headers   map[string]string
	retain    time.Duration
	err       error
}

// Kind is the job's kind.
func (j Job) Kind() Kind { return j.kind }

// Payload is the job's arguments as they will be carried, before any encryption. Do not change it.
func (j Job) Payload() []byte { return j.payload }

// Err says what is wrong with the job: a faulty definition, argument or option.
func (j Job) Err() error {
	if j.err == nil && j.kind == "" {
		return fmt.Errorf("job: %w: the zero Job has no kind; use Def.With", ErrInvalidName)
	}
	return j.err
}

// Option changes one job from what its kind's policy says.
type Option func(*Job)

// ID names the task, and so the job's effect. Zero: a new UUIDv7. An outbox row's ID is chosen by the outbox:
// EnqueueTx refuses a job with one.
func ID(id string) Option { return func(j *Job) { j.id = id } }

// Queue puts the job into another queue than its kind's.
func Queue(name string) Option { return func(j *Job) { j.queue = name } }

// MaxRetry allows n tries after the first failed one. NoRetries (or 0) means none.
func MaxRetry(n int) Option { return func(j *Job) { j.retries = max(n, 0) } }

// In makes the job due after d.
func In(d time.Duration) Option { return func(j *Job) { j.delay, j.notBefore = d, time.Time{} } }

// At makes the job due at t.
func At(t time.Time) Option { return func(j *Job) { j.notBefore, j.delay = t, 0 } }

// Until ends the job's life at t: an outbox row that is not done by then expires. Zero: due time + max age.
func Until(t time.Time) Option { return func(j *Job) { j.until = t } }

// UniqueKey refuses a second unfinished outbox row with the same key, whatever its kind and arguments.
func UniqueKey(key string) Option { return func(j *Job) { j.uniqueKey = key } }

// Retain keeps the task in Redis for d once it is done, so that no second one of its ID is taken that long. It is for tasks that are
// enqueued directly; an outbox knows what was done without it.
func Retain(d time.Duration) Option { return func(j *Job) { j.retain = d } }

// Header adds a task header. It is readable, and signed with the task. Names starting with "sealq-" are ours.
func Header(name, value string) Option {
	return func(j *Job) {
		j.headers = maps.Clone(j.headers)
		if j.headers == nil {
			j.headers = make(map[string]string, 1)
		}
		j.headers[name] = value
	}
}

// With is the job with more options.
func (j Job) With(opts ...Option) Job {
	j = j.with(opts)
	if j.err == nil {
		if err := j.check(); err != nil {
			j.err = fmt.Errorf("job %s: %w", j.kind, err)
		}
	}
	return j
}

// with is apart from Def.With, so that only a job with options moves to the heap.
func (j Job) with(opts []Option) Job {
	for _, opt := range opts {
		opt(&j)
	}
	return j
}

func (j Job) check() error {
	if err := checkQueue(j.queue); err != nil {
		return err
	}
	if j.id != "" {
		if err := checkName("ID", j.id); err != nil {
			return err
		}
	}
	if j.uniqueKey != "" {
		if err := checkName("unique key", j.uniqueKey); err != nil {
			return err
		}
	}
	if j.delay < 0 {
		return fmt.Errorf("delay %v is negative", j.delay)
	}
	if j.retain < 0 {
		return fmt.Errorf("retention %v is negative", j.retain)
	}
	return errors.Join(checkRetries(j.retries), checkHeaders(j.headers))
}

func (j Job) checkSize() error {
	if j.policy.Encrypt && len(j.payload) > MaxArgsBytes-encryptionOverhead {
		return fmt.Errorf("%w: %d bytes are more than %d once encrypted", ErrInvalidArgs, len(j.payload), MaxArgsBytes)
	}
	return nil
}

// encryptionOverhead is what AES-256-GCM adds to a payload: a nonce of 12 bytes and a tag of 16.
const encryptionOverhead = 28

// reservedHeaders is how the names of sealq's own task headers start.
const reservedHeaders = "sealq-"

// checkHeaders keeps within the limits that a signer has by default, so that nothing is recorded that no relay
// would sign. One header is left for the effect.
func checkHeaders(headers map[string]string) error {
	if most := signing.DefaultMaxHeaders - 1; len(headers) > most {
		return fmt.Errorf("%w: %d headers are more than %d", ErrInvalidName, len(headers), most)
	}
	total := len(signing.EffectHeader) + maxNameBytes
	for name, value := range headers {
		total += len(name) + len(value)
		switch {
		case strings.HasPrefix(name, reservedHeaders):
			return fmt.Errorf("%w: header %q: names starting with %q are reserved", ErrInvalidName, name, reservedHeaders)
		case !utf8.ValidString(name) || !utf8.ValidString(value):
			return fmt.Errorf("%w: header %q is not valid UTF-8", ErrInvalidName, name)
		case len(name) > signing.DefaultMaxHeaderName || len(value) > signing.DefaultMaxHeaderValue || total > signing.DefaultMaxHeaderTotal:
			return fmt.Errorf("%w: header %.64q, or all headers together, are too long", ErrInvalidName, name)
		}
	}
	return nil
}

// due is when the job may first run, zero for at once.
func (j Job) due(now time.Time) time.Time {
	if j.delay > 0 {
		return now.Add(j.delay)
	}
	return j.notBefore
}

// newID is time-ordered, so that rows and keys made together lie together.
func newID() (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("make an ID: %w", err)
	}
	return id.String(), nil
}

// rowTaskID names one attempt to enqueue an outbox row: a restored task never collides with what is left of
// the lost one.
func rowTaskID(rowID string, attempt int) string { return fmt.Sprintf("%s.%d", rowID, attempt) }

// EffectOf is the effect that verified claims name: an outbox row's ID, else the task's own.
func EffectOf(c signing.Claims) string {
	if c.Effect != "" {
		return c.Effect
	}
	return c.ID
}
