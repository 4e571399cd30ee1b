package jobs

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Kind is a task's type, such as "mail:confirmation". It is what asynq calls the task's type name, and it is
// matched exactly: sealq never routes by prefix.
type Kind string

// maxNameBytes bounds kinds, queues and IDs: what asynq puts into Redis keys and sealq into tables.
const maxNameBytes = 256

// Queue names of the auth jobs. A worker serves these four unless told otherwise.
const (
	QueueCritical    = "critical"
	QueueMail        = "mail"
	QueueMaintenance = "maintenance"
	QueueDefault     = "default"
)

// Defaults of a Policy's zero values.
const (
	DefaultMaxAge  = 24 * time.Hour
	DefaultRetries = 10
	DefaultTimeout = time.Minute
	// NoRetries, as Policy.Retries or MaxRetry option, means that a job is tried once.
	NoRetries = -1
)

// Headroom is added to a job's retries in the number that asynq is given and that is signed. asynq archives a
// task on its last attempt whatever IsFailure says, so a task deferred there would be lost; the worker ends a
// job itself when its own retries are used up, and the headroom is never reached.
const Headroom = 100

// Policy says how jobs of a kind are run. Every zero value is safe.
type Policy struct {
	// Queue is where the kind's jobs go. Zero: "default".
	Queue string
	// MaxAge is how long a signature of this kind is accepted after the job is due. Zero: 24 h. Never more
	// than the key ring's max_lifetime.
	MaxAge time.Duration
	// Retries is how often a failed job is tried again. Zero: 10. NoRetries (-1): never.
	Retries int
	// Timeout is how long one run may take before its context ends. Zero: 1 min.
	Timeout time.Duration
	// Backoff gives the pause before try n+1 after n failures, n ≥ 1. Zero: 5 s doubled each time up to
	// 15 min, with a quarter of jitter.
	Backoff func(failures int) time.Duration
	// Encrypt keeps the arguments secret in Redis (AES-256-GCM). Zero: signed, but readable.
	Encrypt bool
	// NoLedger says that a run may be repeated without harm: a verified task is not asked after in the ledger, and a genuine
	// one that is replayed before it expires runs again. worker.HandleTx enters its effect all the same, in its own
	// transaction. Zero: the ledger is asked.
	NoLedger bool
	// Unique refuses a second unfinished outbox row of this kind with the same arguments. Zero: any number.
	// It holds for the outbox only: a direct Enqueue of such a kind is refused.
	Unique bool
}

func (p Policy) withDefaults() Policy {
	if p.Queue == "" {
		p.Queue = QueueDefault
	}
	if p.MaxAge == 0 {
		p.MaxAge = DefaultMaxAge
	}
	if p.Timeout == 0 {
		p.Timeout = DefaultTimeout
	}
	p.Retries = retriesOrDefault(p.Retries)
	if p.Backoff == nil {
		p.Backoff = exponentialBackoff
	}
	return p
}

func (p Policy) check() error {
	switch {
	case p.MaxAge < 0:
		return fmt.Errorf("max age %v is negative", p.MaxAge)
	case p.Timeout < 0:
		return fmt.Errorf("timeout %v is negative", p.Timeout)
	case p.Retries < 0:
		return fmt.Errorf("retries %d are negative; for none use NoRetries", p.Retries)
	}
	return errors.Join(checkRetries(p.Retries), checkQueue(p.Queue))
}

func checkRetries(n int) error {
	if n < 0 || n > maxRetries {
		return fmt.Errorf("%d retries are not between 0 and %d", n, maxRetries)
	}
	return nil
}

// maxRetries keeps retries + Headroom far inside the int32 that asynq stores.
const maxRetries = 1_000_000

func retriesOrDefault(n int) int {
	switch n {
	case 0:
		return DefaultRetries
	case NoRetries:
		return 0
	default:
		return n
	}
}

// RetriesSigned gives back the retries of a job from the number its task was signed with. Tasks that were
// enqueued past the Enqueuer (see Wrap) carry no headroom; theirs is taken as it is, but for 100 and more,
// which cannot be told from a number with headroom.
func RetriesSigned(maxRetry int) int {
	if maxRetry >= Headroom {
		return maxRetry - Headroom
	}
	return maxRetry
}

// ErrInvalidName is the cause of every refused kind, queue or ID.
var ErrInvalidName = errors.New("invalid name")

func checkKind(k Kind) error { return checkName("kind", string(k)) }

func checkQueue(q string) error {
	if err := checkBraces(q); err != nil {
		return err
	}
	return checkName("queue", q)
}

// checkBraces refuses them in a queue's name: asynq puts it between braces as Redis Cluster's hash tag, and the keys of a queue
// whose name ends the tag early would stand on several servers.
func checkBraces(queue string) error {
	if strings.ContainsAny(queue, "{}") {
		return fmt.Errorf("%w: queue %q must not contain braces", ErrInvalidName, queue)
	}
	return nil
}

func checkName(what, name string) error {
	switch {
	case strings.TrimSpace(name) == "":
		return fmt.Errorf("%w: the %s is blank", ErrInvalidName, what)
	case len(name) > maxNameBytes:
		return fmt.Errorf("%w: the %s is longer than %d bytes", ErrInvalidName, what, maxNameBytes)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: the %s %q is not valid UTF-8", ErrInvalidName, what, name)
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("%w: the %s %q contains a control character", ErrInvalidName, what, name)
	}
	return nil
}
