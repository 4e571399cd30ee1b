package quarantine

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
)

// Releases is what releasing asks of a store. Drivers implement it: store/postgres for pgx.Tx, store/sqlite for *sql.Tx.
type Releases[Tx any] interface {
	jobs.Outbox[Tx]
	audit.Log[Tx]
	// QuarantineShow reads one entry whole, or jobs.ErrNoSuchEntry.
	QuarantineShow(ctx context.Context, id string) (jobs.Refused, error)
	// MarkReleased notes that the entry was released as an outbox row, once: a *ReleasedError where it was before,
	// jobs.ErrNoSuchEntry where it is not there.
	MarkReleased(ctx context.Context, tx Tx, id, as string) error
	// EnterReleased enters the refused task's effect into the ledger, so that its bytes are done wherever they come again:
	// ErrEffectDone where it is there, or its outbox row is done. ErrRowUnfinished where it is that of a row which has not
	// ended. A row that has ended otherwise notes what it was released as.
	EnterReleased(ctx context.Context, tx Tx, e jobs.Effect, as string) error
	// InTx runs fn in a transaction, which an error rolls back.
	InTx(ctx context.Context, fn func(tx Tx) error) error
}

// Reasons not to release an entry. Others are jobs.ErrNoSuchEntry, jobs.ErrUnknownKind, jobs.ErrInvalidArgs and jobs.ErrDuplicate.
var (
	// ErrNotAuthentic means that no key of the ring vouches for the task. The error unwraps to its *signing.Refusal too.
	ErrNotAuthentic = errors.New("only what a key of this ring signed for this audience is released")
	// ErrCut means that the entry is not the whole task.
	ErrCut = errors.New("the task's bytes were cut when it was kept, so it cannot be verified")
	// ErrReleased is the cause of every ReleasedError.
	ErrReleased = errors.New("it was released before")
	// ErrEffectDone means that there is nothing left to do.
	ErrEffectDone = errors.New("its effect is done already")
	// ErrRowUnfinished is the cause of every RowUnfinishedError.
	ErrRowUnfinished = errors.New("its outbox row has not ended")
)

// ReleasedError says as what an entry was released before.
type ReleasedError struct{ As string }

// Error returns one sentence.
func (e *ReleasedError) Error() string { return fmt.Sprintf("%v, as %s", ErrReleased, e.As) }

// Unwrap returns ErrReleased.
func (*ReleasedError) Unwrap() error { return ErrReleased }

// RowUnfinishedError names the task whose outbox row goes on by itself, or can be told to.
type RowUnfinishedError struct{ Queue, TaskID string }

// Error returns one sentence.
func (e *RowUnfinishedError) Error() string {
	return fmt.Sprintf("%v and goes on by itself: run `sealq tasks reissue %s %s` if it must not wait", ErrRowUnfinished, e.Queue, e.TaskID)
}

// Unwrap returns ErrRowUnfinished.
func (*RowUnfinishedError) Unwrap() error { return ErrRowUnfinished }

// Order says what is to be released, and who wants it.
type Order struct {
	ID    string // of the entry
	Actor string // such as "cli:alice", for the audit log
	// Now is the clock. Zero: time.Now.
	Now func() time.Time
}

// Released is what became of an entry.
type Released struct {
	ID         string    `json:"id"`
	ReleasedAs string    `json:"released_as"` // a new outbox row, which names a new effect
	Kind       jobs.Kind `json:"kind"`
	Queue      string    `json:"queue"`
}

// Release gives the job of a refused task another chance: as a new outbox row, under a new ID, with a fresh life, which a relay signs
// and enqueues. It overrules what a worker demands (queue, times, a kind that was not known there, encryption), and nothing that
// makes a task genuine: the stored bytes must verify now, under a key that is valid and may sign the kind, and the arguments must
// decode as the catalog's.
//
// The original effect enters the ledger in the same transaction. So who replays the original bytes finds them done, and neither
// two releases nor a release and the original run twice; a kind with NoLedger is not asked after there, and may. What was
// signed for later stays due then; queue and life are the kind's, retries and headers the task's.
func Release[Tx any](ctx context.Context, s Releases[Tx], k *signing.Keys, c *jobs.Catalog, o Order) (Released, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	entry, err := s.QuarantineShow(ctx, o.ID)
	if err != nil {
		return Released{}, err
	}
	released, err := release(ctx, s, k, c, o, entry)
	if err != nil {
		return Released{}, fmt.Errorf("%s is not released: %w", o.ID, err)
	}
	return released, nil
}

func release[Tx any](ctx context.Context, s Releases[Tx], k *signing.Keys, c *jobs.Catalog, o Order, entry jobs.Refused) (Released, error) {
	if entry.ReleasedAs != "" {
		return Released{}, &ReleasedError{As: entry.ReleasedAs}
	}
	authentic, err := authenticate(ctx, k, entry)
	if err != nil {
		return Released{}, err
	}
	claims := authentic.Claims()
	d, err := c.Lookup(jobs.Kind(claims.Kind))
	if err != nil {
		return Released{}, err
	}
	job, err := d.Parse(authentic.Plaintext(), options(entry, claims, o.Now())...)
	if err != nil {
		return Released{}, err
	}
	released := Released{ID: entry.ID, Kind: d.Kind(), Queue: d.Policy().Queue}
	effect := jobs.Effect{Kind: d.Kind(), ID: jobs.EffectOf(claims), Keep: keepFor(k, claims, o.Now())}
	err = s.InTx(ctx, func(tx Tx) error {
		if released.ReleasedAs, err = s.EnqueueTx(ctx, tx, job); err != nil {
			return err
		}
		if err := s.MarkReleased(ctx, tx, entry.ID, released.ReleasedAs); err != nil {
			return err
		}
		if err := s.EnterReleased(ctx, tx, effect, released.ReleasedAs); err != nil {
			return err
		}
		return s.AppendAudit(ctx, tx, audit.Entry{
			Actor: o.Actor, Action: "quarantine.release", Subject: "quarantine/" + entry.ID,
			Detail: map[string]string{
				"released_as": released.ReleasedAs, "kind": claims.Kind, "queue": released.Queue, "task_id": claims.ID, "effect": effect.ID,
				"kid": claims.KID.String(), "reason": string(entry.Reason),
			},
		})
	})
	if errors.Is(err, ErrRowUnfinished) {
		err = &RowUnfinishedError{Queue: claims.Queue, TaskID: claims.ID}
	}
	if err != nil {
		return Released{}, err
	}
	return released, nil
}

// authenticate verifies the task as it was received.
func authenticate(ctx context.Context, k *signing.Keys, r jobs.Refused) (signing.Authentic, error) {
	if int64(len(r.Payload)) != r.Size || sha256.Sum256(r.Payload) != r.PayloadSHA256 {
		return signing.Authentic{}, ErrCut
	}
	task := signing.Task{Kind: r.Kind, ID: r.TaskID, Queue: r.Queue, MaxRetry: r.MaxRetry, Headers: r.Headers, Payload: r.Payload}
	a, err := k.VerifyAuthentic(ctx, task, r.Headers[signing.SignatureHeader])
	switch {
	case err == nil:
		return a, nil
	case r.Authentic && errors.Is(err, signing.ErrBadSignature):
		return a, fmt.Errorf("%w: %w; it verified when it was refused: compare ring and audience with the worker's, and a name that is not plain text was kept changed", ErrNotAuthentic, err)
	default:
		return a, fmt.Errorf("%w: %w", ErrNotAuthentic, err)
	}
}

// options carry over what was signed and is not the kind's.
func options(r jobs.Refused, c signing.Claims, now time.Time) []jobs.Option {
	opts := []jobs.Option{jobs.MaxRetry(jobs.RetriesSigned(c.MaxRetry))}
	if c.NotBefore.After(c.IssuedAt) && c.NotBefore.After(now) { // else it was due when it was issued, whatever clock said so
		opts = append(opts, jobs.At(c.NotBefore))
	}
	for name, value := range r.Headers {
		if !strings.HasPrefix(name, "sealq-") {
			opts = append(opts, jobs.Header(name, value))
		}
	}
	return opts
}

// ledgerSlack is what the ledger remembers an effect longer than its signature could be accepted, for clocks that are off.
const ledgerSlack = time.Hour

// keepFor is how long the ledger must remember the effect: the task may end later than one that is signed now.
func keepFor(k *signing.Keys, c signing.Claims, now time.Time) time.Duration {
	return max(k.MaxLifetime(), c.Expires.Sub(now)) + ledgerSlack
}
