package sweep

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Part is one table that a sweep walks.
type Part string

// The parts, in words of people.
const (
	Registrations Part = "registrations" // pending_users whose expires_at has passed
	Requests      Part = "requests"      // owner_requests likewise
	Lockouts      Part = "lockouts"      // login_state whose locked_until has passed
	Attempts      Part = "old attempts"  // login_state without a lock, last attempt Keep ago: LiftLockouts forgets them
	Ledger        Part = "ledger"        // effects whose keep_until has passed
	Tokens        Part = "tokens"        // user_tokens whose expires_at passed Keep ago
	Ticks         Part = "ticks"         // made Keep ago, but for the newest KeptTicks of each schedule
	Jobs          Part = "jobs"          // rows of the outbox that ended Keep ago, cannot run again, and are no tick's
	Mails         Part = "mails"         // with their tries, of jobs that are gone, made Keep ago
	Quarantine    Part = "refused tasks" // received Keep ago
	Audit         Part = "audit log"     // linked entries before the first that is younger than Keep; never the newest
)

// KeptTicks is how many ticks of a schedule stay, whatever their age: what is told of its last runs is told by them.
const KeptTicks = 100

// Walk is a part, and how long after its time a row of it is kept.
type Walk struct {
	Part Part
	Keep time.Duration
}

// Batch is what became of one.
type Batch struct {
	Gone int // rows that were deleted
	// More: there are rows behind those that it looked at.
	More bool
}

// Store deletes. The database's clock decides.
type Store interface {
	// SweepBatch looks at up to limit rows of a part that are due, the oldest first, and deletes those that nobody has locked, in a transaction of
	// its own; the others are left for a later batch.
	SweepBatch(ctx context.Context, w Walk, limit int) (Batch, error)
	Counter
}

// Counter says how much there is to delete.
type Counter interface {
	// CountDue says how many rows of a part are due, and changes nothing; of Jobs and Mails also those that are kept for a row which Ticks and Jobs
	// of that Keep delete before them. Unless exactly, it may be an estimate, at the cost of a few pages.
	CountDue(ctx context.Context, w Walk, exactly bool) (int64, error)
}

// Desk is where it is written who sweeps, and how far he is.
type Desk interface {
	// TellSweep writes p, if the sweep is free, its lease over, or p.Holder's already, and renews the lease for that long from now by the database's
	// clock; 0 gives it back. It says whether Holder has the sweep. A sweep begins anew where its holder is another, unless the one before left it
	// unended with the same tick. p's times are ignored.
	TellSweep(ctx context.Context, p Progress, lease time.Duration) (bool, error)
	// SweepProgress reads what was written last of a sweep; of one that never ran, the zero Progress with its name.
	SweepProgress(ctx context.Context, name string) (Progress, error)
}

// Progress is how far a sweep is.
type Progress struct {
	Sweep  string // the kind of its jobs
	Holder string // who sweeps: another name for each run
	Tick   string // of the job, and of those that go on after it
	Part   Part   // that is being walked
	Done   int64  // rows deleted since BeganAt
	Due    int64  // estimate of all that there was and is to delete; 0: not known, because a batch is enough
	Ended  bool

	BeganAt, ToldAt time.Time // by the database's clock
	LeaseUntil      time.Time // while it is in the future, Holder is at work
}

// Rate is how many rows go in a second, 0 where it is not known yet.
func (p Progress) Rate() float64 {
	took := p.ToldAt.Sub(p.BeganAt).Seconds()
	if took <= 0 {
		return 0
	}
	return float64(p.Done) / took
}

// Left is how long the rest takes at that rate, 0 where it is not known.
func (p Progress) Left() time.Duration {
	rate := p.Rate()
	if rate == 0 || p.Due <= p.Done {
		return 0
	}
	return time.Duration(float64(p.Due-p.Done) / rate * float64(time.Second))
}

// Retention says how long what has ended is kept.
type Retention struct {
	// Done is for jobs that have ended, their mails with each try, and ticks: what is told of them ends with them. Zero: 90 days. At least 48 h.
	Done time.Duration
	// Quarantine is for refused tasks. Zero: 90 days. At least 24 h.
	Quarantine time.Duration
	// Audit is for linked entries of the audit log. Zero: they are kept for ever. At least 24 h.
	Audit time.Duration
}

const (
	day           = 24 * time.Hour
	defaultRetain = 90 * day
	leastDone     = 2 * day // longer than any job of the auth kinds lives
	leastOther    = day
	keptTokens    = day // links that are over: whoever asks why one does not work any more is told
)

// ErrRetention means that something would be deleted too early.
var ErrRetention = errors.New("too short a retention")

// Check says what is wrong with a retention.
func (r Retention) Check() error {
	for _, c := range []struct {
		what         string
		given, least time.Duration
	}{
		{"jobs that have ended", r.Done, leastDone}, {"refused tasks", r.Quarantine, leastOther}, {"the audit log", r.Audit, leastOther},
	} {
		if c.given != 0 && c.given < c.least {
			return fmt.Errorf("%w: %v for %s: give at least %v", ErrRetention, c.given, c.what, c.least)
		}
	}
	return nil
}

// Expiry are the walks of users:expire_pending.
func Expiry() []Walk { return []Walk{{Part: Registrations}, {Part: Requests}} }

// Unlocking are the walks of lockouts:reset.
func Unlocking() []Walk { return []Walk{{Part: Lockouts}} }

// Walks of retention:purge, in their order: what is told by another table goes after it.
func (r Retention) Walks() []Walk {
	done, refused := r.Done, r.Quarantine
	if done == 0 {
		done = defaultRetain
	}
	if refused == 0 {
		refused = defaultRetain
	}
	walks := []Walk{{Ledger, 0}, {Tokens, keptTokens}, {Ticks, done}, {Jobs, done}, {Mails, done}, {Quarantine, refused}}
	if r.Audit > 0 {
		walks = append(walks, Walk{Audit, r.Audit})
	}
	return walks
}
