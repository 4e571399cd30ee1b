package quarantine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
)

// Budget bounds the entries of one class.
type Budget struct {
	Entries int64
	Bytes   int64 // as Charge counts them
}

// Class says which budget an entry counts in. The text is the databases'.
type Class string

const (
	// Unverified is what nobody is known to have signed.
	Unverified Class = "unverified"
	// Moved is what was signed, and refused for a reason that somebody without a key can bring about: who writes to the queue can
	// copy or move a genuine task to where it is refused, or hold it back until it has expired.
	Moved Class = "moved"
	// Reserved is what was signed, and refused for what its signer wrote.
	Reserved Class = "reserved"
)

// ClassOf is the class of an entry.
func ClassOf(r jobs.Refused) Class {
	if !r.Authentic {
		return Unverified
	}
	switch r.Reason {
	case signing.ReasonMustBeEncrypted, signing.ReasonIssuedInFuture, signing.ReasonLifetimeExceeded, signing.ReasonBadPayload:
		return Reserved
	case signing.ReasonWrongQueue, signing.ReasonKindNotAllowed, signing.ReasonExpired, signing.ReasonNotYetDue,
		signing.ReasonMissingSignature, signing.ReasonMalformed, signing.ReasonUnsupportedVersion, signing.ReasonUnknownKey,
		signing.ReasonKeyNotValid, signing.ReasonBadSignature:
		return Moved
	}
	return Moved
}

// Counted says whether entries of the class that find no room are counted, and their tasks leave the queue. Reserved ones wait.
func (c Class) Counted() bool { return c != Reserved }

// Budgets of a quarantine. A store that is shared may exceed one by what is being kept at the same moment: an entry for each
// connection to it.
type Budgets struct {
	// Unverified is for tasks whose signature did not hold. What finds no room is counted by its reason, and not kept. Zero
	// fields: 100,000 entries, 64 MiB.
	Unverified Budget
	// Moved is for tasks whose signature held and whom somebody without a key may have brought to be refused. What finds no room
	// is counted too: it takes genuine tasks to fill, and forgeries take none of this room. Zero fields: as much as Authentic.
	Moved Budget
	// Authentic is for the other tasks whose signature held. What finds no room stays in the queue. Zero fields: 10,000 entries,
	// 16 MiB.
	Authentic Budget
}

// DefaultBudgets are what zero fields of Budgets mean.
func DefaultBudgets() Budgets {
	signed := Budget{Entries: 10_000, Bytes: 16 << 20}
	return Budgets{Unverified: Budget{Entries: 100_000, Bytes: 64 << 20}, Moved: signed, Authentic: signed}
}

// Of is the budget of the entry's class, with defaults filled in.
func (b Budgets) Of(r jobs.Refused) Budget {
	class := ClassOf(r)
	given, zero := b.of(class), DefaultBudgets().of(class)
	if given.Entries <= 0 {
		given.Entries = zero.Entries
	}
	if given.Bytes <= 0 {
		given.Bytes = zero.Bytes
	}
	return given
}

func (b Budgets) of(c Class) Budget {
	switch c {
	case Unverified:
		return b.Unverified
	case Moved:
		return Budget{Entries: cmp.Or(max(b.Moved.Entries, 0), b.Authentic.Entries), Bytes: cmp.Or(max(b.Moved.Bytes, 0), b.Authentic.Bytes)}
	case Reserved:
	}
	return b.Authentic
}

// Holds says whether there is room for one entry more of that charge.
func (b Budget) Holds(u Used, charge int64) bool {
	return u.Entries < b.Entries && u.Bytes+charge <= b.Bytes
}

// entryCharge is what an entry costs beside its texts: keys, times, hash, and what a database keeps of a row.
const entryCharge = 512

// Charge is what an entry counts in a budget, in bytes.
func Charge(r jobs.Refused) int64 {
	n := entryCharge + len(r.Payload) + len(r.TaskID) + len(r.Queue) + len(r.Kind) + len(r.Detail)
	for name, value := range r.Headers {
		n += len(name) + len(value)
	}
	return int64(n)
}

// Used is how much there is of a class.
type Used struct {
	Entries int64 `json:"entries"`
	Bytes   int64 `json:"bytes"`
}

// Overflow counts refused tasks of one reason that found no room.
type Overflow struct {
	Entries int64     `json:"entries"`
	Bytes   int64     `json:"bytes"`
	FirstAt time.Time `json:"first_at"`
	LastAt  time.Time `json:"last_at"`
}

// Usage is how full a quarantine is.
type Usage struct {
	Unverified Used
	Moved      Used
	Authentic  Used // the others whose signature held
	// Overflow is what was counted only, since the counters were last purged.
	Overflow map[signing.Reason]Overflow
}

// Set notes how much there is of a class. A class that this version does not know is left out.
func (u *Usage) Set(c Class, used Used) {
	switch c {
	case Unverified:
		u.Unverified = used
	case Moved:
		u.Moved = used
	case Reserved:
		u.Authentic = used
	}
}

var (
	// ErrFull means that an entry was not kept, because its class fills its budget.
	ErrFull = errors.New("the quarantine is full")
	// ErrCounted means that an entry was not kept, and that it was counted. The refusal stands: the task leaves the queue.
	ErrCounted = errors.New("the quarantine is full: the refused task was counted, and not kept")
)

// Store keeps entries and counters.
type Store interface {
	// KeepWithin stores the refused task, and ends the outbox row that an authentic one names, in one transaction. Where its
	// class fills its budget it changes nothing and returns ErrFull, unless an entry of that ID is there already.
	KeepWithin(ctx context.Context, r jobs.Refused, b Budgets) error
	// CountOverflow adds to the counters, at the database's time: FirstAt and LastAt of what is added do not matter.
	CountOverflow(ctx context.Context, counted map[signing.Reason]Overflow) error
}

// KeepOrCount keeps an entry, or counts it and returns ErrCounted. A reserved one that finds no room is not counted but ErrFull:
// its task has to stay in the queue.
func KeepOrCount(ctx context.Context, s Store, r jobs.Refused, b Budgets) error {
	err := s.KeepWithin(ctx, r, b)
	switch {
	case !errors.Is(err, ErrFull):
		return err
	case !ClassOf(r).Counted():
		return reserveFull(err)
	}
	if err := s.CountOverflow(ctx, map[signing.Reason]Overflow{r.Reason: {Entries: 1, Bytes: Charge(r)}}); err != nil {
		return err
	}
	return ErrCounted
}

func reserveFull(err error) error {
	return fmt.Errorf("%w of tasks that were signed and refused for what they say: release or purge some (sealq quarantine purge --authentic)", err)
}
