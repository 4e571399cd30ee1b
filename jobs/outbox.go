package jobs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sealq/sealq/signing"
)

// Outbox records a job in the caller's transaction. Drivers implement it: store/postgres for pgx.Tx,
// store/sqlite for *sql.Tx.
type Outbox[Tx any] interface {
	// EnqueueTx inserts the row of j.Traced(ctx) and returns its ID, which names the job's effect. The job exists if and
	// only if tx commits. It returns ErrDuplicate, leaving tx usable, where an unfinished row has the same unique key.
	EnqueueTx(ctx context.Context, tx Tx, j Job) (id string, err error)
}

// ErrDuplicate means that an unfinished outbox row has the job's unique key already.
var ErrDuplicate = errors.New("an unfinished job with this unique key exists")

// ErrNoSuchEntry means that the quarantine has no entry of that ID.
var ErrNoSuchEntry = errors.New("no such entry in quarantine")

// RowState is where an outbox row stands.
type RowState string

// The states of an outbox row. A row ends in done, refused, dead or expired.
const (
	RowQueued   RowState = "queued"   // recorded, not yet claimed
	RowClaimed  RowState = "claimed"  // a relay is enqueueing it, under a lease
	RowEnqueued RowState = "enqueued" // asynq has it, as far as is known
	RowDone     RowState = "done"     // its effect is committed
	RowRefused  RowState = "refused"  // authentic, but a worker refused it
	RowDead     RowState = "dead"     // out of retries
	RowExpired  RowState = "expired"  // not done before its end
)

// Row is an outbox row as it is inserted. Times that are zero are filled in by the database's clock.
type Row struct {
	ID        string
	Kind      Kind
	Queue     string
	Payload   []byte // arguments in JSON, never encrypted: the database is trusted
	Retries   int
	Headers   map[string]string
	UniqueKey string        // "" for none
	NotBefore time.Time     // zero: now
	ExpiresAt time.Time     // zero: NotBefore + Life
	Life      time.Duration // used where ExpiresAt is zero
}

// Row is what an outbox inserts for the job. now is the caller's clock and is used for delays alone.
func (j Job) Row(now time.Time) (Row, error) {
	if err := j.Err(); err != nil {
		return Row{}, err
	}
	if j.id != "" {
		return Row{}, fmt.Errorf("record %s: %w: an outbox row's ID is chosen by the outbox; leave out jobs.ID", j.kind, ErrInvalidName)
	}
	id, err := newID()
	if err != nil {
		return Row{}, err
	}
	return Row{
		ID: id, Kind: j.kind, Queue: j.queue, Payload: j.payload, Retries: j.retries, Headers: j.headers,
		UniqueKey: j.uniqueKey, NotBefore: j.due(now), ExpiresAt: j.until, Life: j.policy.MaxAge,
	}, nil
}

// ClaimedRow is an outbox row in a relay's hands. NotBefore and ExpiresAt are set.
type ClaimedRow struct {
	Row
	Attempt    int    // how often the row is being enqueued, from 1
	LeaseToken string // proves the claim when the row is marked
	KID        string // of the key that a relay signed this attempt with; "" before
}

// ReturnedRow is a claimed row that goes back into the outbox.
type ReturnedRow struct {
	ClaimedRow
	Pause time.Duration // until it may be claimed again; zero: it keeps its place
	Cause string        // what went wrong
}

// Claim says which rows a relay takes out of an outbox.
type Claim struct {
	Kinds      []Kind        // those that the relay can sign
	SkipQueues []string      // whose rows stay in the outbox for now
	Limit      int           // how many rows at most
	Lease      time.Duration // for how long they are the relay's
}

// Backlog is what is unfinished of one kind, in one queue and one state.
type Backlog struct {
	Kind  Kind
	Queue string
	State RowState
	Rows  int64
	// Oldest is for how long the row that was to run first has been due, whatever happened to it since; zero where none is
	// due yet.
	Oldest time.Duration
}

// check refuses what no outbox would have recorded for the kind.
func (r ClaimedRow) check(d Definition) error {
	if r.Kind != d.Kind() {
		return fmt.Errorf("%w: the row is of kind %q, not %q", ErrInvalidName, r.Kind, d.Kind())
	}
	if r.Attempt < 1 {
		return fmt.Errorf("attempt %d is less than 1", r.Attempt)
	}
	if strings.Contains(r.ID, ".") { // it parts row and attempt in the task's ID
		return fmt.Errorf("%w: the row's ID %q contains a full stop", ErrInvalidName, r.ID)
	}
	err := errors.Join(checkName("row's ID", r.ID), checkQueue(r.Queue), checkRetries(r.Retries), checkHeaders(r.Headers))
	if err != nil {
		return err
	}
	return d.Check(r.Payload)
}

// TaskID is the asynq ID of this attempt: row ID + "." + attempt.
func (r ClaimedRow) TaskID() string { return rowTaskID(r.ID, r.Attempt) }

// RowRef names an outbox row as a verified task does. The row's kind must be the task's own: the holder of a key for one kind
// may name any row in a header, and must not reach the rows of another.
type RowRef struct {
	ID      string
	Kind    Kind
	Attempt int // which of the row's attempts the task is
}

// Refused is a task in quarantine: kept as it came, never decoded.
type Refused struct {
	ID            string // of the quarantine's entry
	TaskID        string // made printable and cut: an unverified task's names are not to be trusted
	Queue         string // likewise
	Kind          string // likewise
	Headers       map[string]string
	MaxRetry      int
	Payload       []byte // at most MaxArgsBytes of it
	Size          int64  // of the whole payload
	PayloadSHA256 [32]byte
	Reason        signing.Reason
	KID           string // of a key that is in the ring, else ""
	Detail        string // the refusal in a sentence
	Authentic     bool   // the signature held: the refusal ends the outbox row that it names
	RowID         string // only where Authentic: the effect's ID, which may be an outbox row's
	RowKind       Kind   // only where Authentic: the task's kind as it was signed, which the row's must be
	Attempt       int    // only where Authentic and the task is a row's: which attempt was refused
	ReceivedAt    time.Time
	ReleasedAt    time.Time // zero: it was not released
	ReleasedAs    string    // the outbox row that a release made of it
}

// RowAttempt takes a row's task ID apart. ok is false for a task that is no outbox row's.
func RowAttempt(c signing.Claims) (rowID string, attempt int, ok bool) {
	rowID, tail, found := strings.Cut(c.ID, ".")
	if !found || c.Effect == "" || rowID != c.Effect {
		return "", 0, false
	}
	n, err := strconv.Atoi(tail)
	if err != nil || n < 1 || rowTaskID(rowID, n) != c.ID {
		return "", 0, false
	}
	return rowID, n, true
}

// Effect names what a job does once, and for how long the ledger must remember it: longer than any signature
// for it could be accepted.
type Effect struct {
	Kind Kind
	ID   string
	Keep time.Duration
	// Direct says that the job came without an outbox: no row is looked for. Zero: the row of that ID, if there is one, is done
	// with the effect.
	Direct bool
}
