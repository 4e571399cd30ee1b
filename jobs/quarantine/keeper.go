package quarantine

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
)

// Config of a Keeper.
type Config struct {
	// Budgets. Zero: DefaultBudgets.
	Budgets Budgets
	// Recheck is for how long a full quarantine is not asked again for what found no room, with a quarter of jitter, and how
	// often counters are written. Zero: 1 s.
	Recheck time.Duration
	// Logger. Zero: nothing is logged.
	Logger *slog.Logger
	// Now is the clock. Zero: time.Now.
	Now func() time.Time
}

// Keeper keeps refused tasks within budgets, for one worker process; it is a worker.Quarantine. While the quarantine is full, and in a flood
// (Pace), a forgery costs the database nothing: it is counted in memory, and Run writes the counters. A process that is killed loses those
// of the last Recheck.
type Keeper struct {
	store Store
	cfg   Config
	pace  Pace

	mu        sync.Mutex
	full      map[Class]fullness          // of classes whose overflow is counted
	unwritten map[signing.Reason]Overflow // counted, not yet in the database
	counted   map[signing.Reason]Overflow // since the process began
}

// fullness is of a class that had no room.
type fullness struct {
	until  time.Time // until then no entry that is charged so much or more is tried
	charge int64
}

// NewKeeper needs a store.
func NewKeeper(s Store, c Config) (*Keeper, error) {
	if s == nil {
		return nil, errors.New("new keeper of the quarantine: it needs a store")
	}
	if c.Recheck <= 0 {
		c.Recheck = time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Keeper{
		store: s, cfg: c, full: make(map[Class]fullness), unwritten: make(map[signing.Reason]Overflow), counted: make(map[signing.Reason]Overflow),
	}, nil
}

// Keep keeps the entry and ends the outbox row that an authentic one names, in one transaction. What finds no room is counted and
// ErrCounted; a copy of an entry that is there may be counted too. What is reserved and finds no room is ErrFull.
func (k *Keeper) Keep(ctx context.Context, r jobs.Refused) error {
	charge, class := Charge(r), ClassOf(r)
	if class.Counted() && k.knownFull(class, charge) || class == Unverified && !k.pace.Keeps(k.cfg.Now()) {
		k.count(ctx, r.Reason, charge)
		return ErrCounted
	}
	err := k.store.KeepWithin(ctx, r, k.cfg.Budgets)
	switch {
	case !errors.Is(err, ErrFull):
		return err
	case !class.Counted():
		return reserveFull(err)
	}
	k.foundFull(class, charge)
	k.count(ctx, r.Reason, charge)
	return ErrCounted
}

func (k *Keeper) knownFull(c Class, charge int64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	full := k.full[c]
	return charge >= full.charge && k.cfg.Now().Before(full.until)
}

// foundFull notes that an entry of that charge found no room. A smaller one might.
func (k *Keeper) foundFull(c Class, charge int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	full := k.full[c]
	if now := k.cfg.Now(); !now.Before(full.until) {
		full = fullness{until: now.Add(jobs.WithJitter(k.cfg.Recheck)), charge: charge}
	} else {
		full.charge = min(full.charge, charge)
	}
	k.full[c] = full
}

func (k *Keeper) count(ctx context.Context, reason signing.Reason, charge int64) {
	now := k.cfg.Now()
	one := Overflow{Entries: 1, Bytes: charge, FirstAt: now, LastAt: now}
	k.mu.Lock()
	first := len(k.counted) == 0
	add(k.unwritten, reason, one)
	add(k.counted, reason, one)
	k.mu.Unlock()
	if first {
		k.cfg.Logger.WarnContext(ctx, "quarantine has no room, or forgeries come too fast: they are refused and counted, and not all kept")
	}
}

func add(counters map[signing.Reason]Overflow, reason signing.Reason, n Overflow) {
	sum := counters[reason]
	if sum.Entries == 0 {
		sum.FirstAt = n.FirstAt
	}
	sum.Entries, sum.Bytes, sum.LastAt = sum.Entries+n.Entries, sum.Bytes+n.Bytes, n.LastAt
	counters[reason] = sum
}

// Overflow is what this process has counted since it began, for its metrics.
func (k *Keeper) Overflow() map[signing.Reason]Overflow {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.counted)
}

// lastWrite is how long writing the counters may take at the end.
const lastWrite = 2 * time.Second

// Run writes the counters until ctx ends, then once more, and returns nil. What cannot be written is tried again.
func (k *Keeper) Run(ctx context.Context) error {
	ticker := time.NewTicker(k.cfg.Recheck)
	defer ticker.Stop()
	for failed := false; ; {
		select {
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWrite)
			defer cancel()
			if err := k.write(ctx); err != nil {
				k.cfg.Logger.ErrorContext(ctx, "counters of the quarantine's overflow are lost", slog.Any("error", err))
			}
			return nil
		case <-ticker.C:
		}
		err := k.write(ctx)
		if err != nil && !failed {
			k.cfg.Logger.ErrorContext(ctx, "quarantine's overflow not written, trying again", slog.Any("error", err))
		}
		failed = err != nil
	}
}

func (k *Keeper) write(ctx context.Context) error {
	k.mu.Lock()
	batch := k.unwritten
	k.unwritten = make(map[signing.Reason]Overflow)
	k.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	err := k.store.CountOverflow(ctx, batch)
	if err != nil {
		k.mu.Lock()
		for reason, n := range batch {
			add(k.unwritten, reason, n)
		}
		k.mu.Unlock()
	}
	return err
}
