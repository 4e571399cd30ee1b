package requests

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/sealq/sealq/audit"
)

// Kind is what is asked for.
type Kind string

// The kinds, and their arguments.
const (
	Release Kind = "quarantine.release" // ids, separated by spaces; or a query of the quarantine, of which those that can be are released
	Purge   Kind = "quarantine.purge"   // a filter of the quarantine
	Reissue Kind = "outbox.reissue"     // row, kind, attempt: of the outbox, as it was looked at
	Rotate  Kind = "keys.rotate"        // version: of the ring, as it was looked at
	Promote Kind = "keys.promote"       // kid, and version as above
	Revoke  Kind = "keys.revoke"        // kid
)

// State is how far a request is.
type State string

// The states. A request begins waiting; what nobody took in time expires, and of what was taken by a process that did not tell how it ended
// nobody knows: it is lost, unless the process tells after all.
const (
	Waiting State = "waiting"
	Taken   State = "taken"
	Done    State = "done"
	Failed  State = "failed"
	Expired State = "expired"
	Lost    State = "lost"
)

// Open says that there is something to be waited for.
func (s State) Open() bool { return s == Waiting || s == Taken }

// Life is how long a request waits for somebody to take it.
const Life = 10 * time.Minute

// Kept is for how long requests are kept. The audit log keeps what was asked for and how it ended.
const Kept = 30 * 24 * time.Hour

// Request is one of them.
type Request struct {
	ID    string // a UUID of version 7
	Kind  Kind
	Args  map[string]string // no secrets
	Actor string            // who asked, as the audit log has it: "operator:ann"

	State     State
	MadeAt    time.Time
	ExpiresAt time.Time // when nobody may take it any more
	Holder    string    // the process that took it, "" before
	TakenAt   time.Time // zero before
	EndedAt   time.Time // likewise
	Outcome   string    // how it ended: a sentence
}

// New makes a request that was not written yet.
func New(kind Kind, actor string, args map[string]string) (Request, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return Request{}, err //nolint:wrapcheck // the system has no random numbers: it says so
	}
	return Request{ID: id.String(), Kind: kind, Args: args, Actor: actor}, nil
}

// Subject names it in the audit log.
func (r Request) Subject() string { return "request/" + r.ID }

// MadeEntry is what the audit log says when it is written.
func (r Request) MadeEntry() audit.Entry {
	detail := map[string]string{"kind": string(r.Kind)}
	for name, value := range r.Args {
		detail["arg."+name] = value
	}
	return audit.Entry{Actor: r.Actor, Action: "request.made", Subject: r.Subject(), Detail: detail}
}

// EndEntry is what the audit log says when it has ended.
func (r Request) EndEntry(holder string, state State, outcome string) audit.Entry {
	return audit.Entry{
		Actor: "process:" + holder, Action: "request." + string(state), Subject: r.Subject(),
		Detail: map[string]string{"kind": string(r.Kind), "for": r.Actor, "outcome": outcome},
	}
}

// Errors of a store.
var (
	// ErrAsked means that the same is asked for already, and has not ended.
	ErrAsked = errors.New("the same was asked for already, and has not ended")
	// ErrNone means that nothing waits that could be taken.
	ErrNone = errors.New("no request waits")
)

// Desk is where requests are made and looked at. Drivers implement it.
type Desk interface {
	// MakeRequest writes a request, which waits for life from now by the database's clock, with its MadeEntry. Where one of the same kind
	// and arguments is open it is ErrAsked, and nothing is written. It deletes requests that are older than Kept.
	MakeRequest(ctx context.Context, r Request, life time.Duration) error
	// Requests lists up to limit requests, the newest first.
	Requests(ctx context.Context, limit int) ([]Request, error)
}

// Store is where they are taken and ended. Drivers implement it.
type Store interface {
	// ClaimRequest takes the oldest request that waits and is of one of these kinds, for lease from now, or returns ErrNone. What was taken
	// once nobody takes again.
	ClaimRequest(ctx context.Context, kinds []Kind, holder string, lease time.Duration) (Request, error)
	// EndRequest ends a request as done or failed, with its EndEntry, and says whether it was holder's to end. It may be late.
	EndRequest(ctx context.Context, id, holder string, state State, outcome string) (ended bool, err error)
}
