package quarantine

import (
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

// Budgets of a quarantine. A store that is shared may exceed one by what is being kept at the same moment: an entry for each
// connection to it.
type Budgets struct {
	// Unverified is for tasks whose signature did not hold. What finds no room is counted by its reason, and not kept. Zero
	// fields: 100,000 entries, 64 MiB.
	Unverified Budget
	// Authentic is for tasks whose signature held. What finds no room stays in the queue. Zero fields: 10,000 entries, 16 MiB.
	Authentic Budget
}

// DefaultBudgets are what zero fields of Budgets mean.
func DefaultBudgets() Budgets {
	return Budgets{Unverified: Budget{Entries: 100_000, Bytes: 64 << 20}, Authentic: Budget{Entries: 10_000, Bytes: 16 << 20}}
}

// Of is the budget of the entry's class, with defaults filled in.
func (b Budgets) Of(r jobs.Refused) Budget {
	given, zero := b.Unverified, DefaultBudgets().Unverified
	if r.Authentic {
		given, zero = b.Authentic, DefaultBudgets().Authentic
	}
	if given.Entries <= 0 {
		given.Entries = zero.Entries
	}
	if given.Bytes <= 0 {
		given.Bytes = zero.Bytes
	}
	return given
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
	Authentic  Used
	// Overflow is what was counted only, since the counters were last purged.
	Overflow map[signing.Reason]Overflow
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

// KeepOrCount keeps an entry, or counts it and returns ErrCounted. One that is authentic and finds no room is not counted but
// ErrFull: its task has to stay in the queue.
func KeepOrCount(ctx context.Context, s Store, r jobs.Refused, b Budgets) error {
	err := s.KeepWithin(ctx, r, b)
	switch {
	case !errors.Is(err, ErrFull):
		return err
	case r.Authentic:
		return reserveFull(err)
	}
	if err := s.CountOverflow(ctx, map[signing.Reason]Overflow{r.Reason: {Entries: 1, Bytes: Charge(r)}}); err != nil {
		return err
	}
	return ErrCounted
}

func reserveFull(err error) error {
	return fmt.Errorf("%w of tasks whose signature held: release or purge some (sealq quarantine purge --authentic)", err)
}
