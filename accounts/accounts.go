package accounts

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// The causes for which an operation is refused. Each is found with errors.Is; the typed errors below carry the facts.
var (
	// ErrInvalidEmail is the cause of every EmailError.
	ErrInvalidEmail = errors.New("not an e-mail address that can be registered")
	// ErrInvalidPassword is the cause of every PasswordError.
	ErrInvalidPassword = errors.New("not a password that can be used")
	// ErrInvalidLanguage is the cause of every LanguageError.
	ErrInvalidLanguage = errors.New("not a language tag that can be used: write one of BCP 47, such as de or pt-BR")
	// ErrAlreadyActive says that an account with this address exists. Do not show it to whoever asked: tell the owner by mail.
	ErrAlreadyActive = errors.New("an account with this address is active already")
	// ErrPending is the cause of every PendingError.
	ErrPending = errors.New("a registration of this address waits for its confirmation")
	// ErrUnknownKey says that a key activates nothing: malformed, never issued, used, replaced or expired.
	ErrUnknownKey = errors.New("this activation key is not valid (any more): register again for a new one")
	// ErrNotPending says that no registration of this address waits for its confirmation. Do not show it to whoever asked.
	ErrNotPending = errors.New("no registration of this address waits for its confirmation")
	// ErrUnknownToken says that a key from a mailed link does nothing: malformed, never issued, used, replaced, or expired.
	ErrUnknownToken = errors.New("this link is not valid (any more): ask for a new one")
	// ErrThrottled is the cause of every ThrottledError.
	ErrThrottled = errors.New("this was asked for a short while ago")
	// ErrNoSuchRequest says that there is nothing to answer: never asked, answered, or its time is over.
	ErrNoSuchRequest = errors.New("there is no such request (any more)")
	// ErrNoSuchUser says that no user has that ID or address.
	ErrNoSuchUser = errors.New("there is no such user")
	// ErrRefused is the one answer of Authenticate to a wrong password, an unknown, pending, locked or disabled account.
	ErrRefused = errors.New("address or password is wrong, or too many attempts failed: try again later")
)

// EmailError says why an address was refused. It does not repeat the address.
type EmailError struct{ Cause error }

// Error is a sentence for a person.
func (e *EmailError) Error() string { return ErrInvalidEmail.Error() + ": " + e.Cause.Error() }

// Unwrap makes both ErrInvalidEmail and the cause findable.
func (e *EmailError) Unwrap() []error { return []error{ErrInvalidEmail, e.Cause} }

// PasswordError says why a password was refused. It does not repeat the password.
type PasswordError struct{ Cause error }

// Error is a sentence for a person.
func (e *PasswordError) Error() string { return ErrInvalidPassword.Error() + ": " + e.Cause.Error() }

// Unwrap makes both ErrInvalidPassword and the cause findable.
func (e *PasswordError) Unwrap() []error { return []error{ErrInvalidPassword, e.Cause} }

// PendingError is ErrPending with the end of the registration that is in the way.
type PendingError struct{ ExpiresAt time.Time }

// Error is a sentence for a person.
func (e *PendingError) Error() string {
	return fmt.Sprintf("%s until %s", ErrPending, e.ExpiresAt.UTC().Format(time.RFC3339))
}

// Unwrap makes ErrPending findable.
func (*PendingError) Unwrap() error { return ErrPending }

// ThrottledError is ErrThrottled with the time, by the database's clock, from which it can be asked for again.
type ThrottledError struct{ RetryAt time.Time }

// Error is a sentence for a person.
func (e *ThrottledError) Error() string {
	return fmt.Sprintf("%s: try again at %s", ErrThrottled, e.RetryAt.UTC().Format(time.RFC3339))
}

// Unwrap makes ErrThrottled findable.
func (*ThrottledError) Unwrap() error { return ErrThrottled }

// User is an active account.
type User struct {
	ID    string `json:"id"`    // UUIDv7, the ID that its registration had
	Email string `json:"email"` // as given at registration: where mail goes
	// SessionsValidAfter changes with each new password, and with Disable: a session whose login had another one is over. Compare for equality, with
	// what the login returned, and with no clock: a login a moment before the change is not told from one after it by the time on another machine, and
	// transactions commit in another order than that of their times. Zero: there was no such change yet.
	SessionsValidAfter time.Time `json:"sessions_valid_after,omitzero"`
}

// RegisterAgain says what a second registration of an address does while the first one still waits for its confirmation.
type RegisterAgain int

const (
	// RefuseWhilePending answers with a *PendingError and leaves the first registration, its password and its key alone.
	RefuseWhilePending RegisterAgain = iota
	// NewGeneration replaces the registration: a new key is mailed, the old key is dead, and the password is the new one. Within Config.MailEvery
	// of the last mail it answers with a *ThrottledError.
	NewGeneration
)

// Lockout says after how many attempts an identifier is locked, and for how long. It holds for addresses without an account too.
type Lockout struct {
	// Limit is how many attempts in a row are verified before the identifier is locked. Zero: 5.
	Limit int
	// For is how long the lock lasts. Attempts meanwhile do not prolong it. Zero: 15 minutes.
	For time.Duration
	// Window makes only recent failures count: an attempt this long or longer after the last one starts at one again. Zero: all failures
	// since the last success or lock count, until there was no attempt for 30 days.
	Window time.Duration
}

// Config builds Accounts. Its zero value is ready for production.
type Config struct {
	// PendingTTL is how long a registration can be confirmed. Whole milliseconds. Zero: 24 hours.
	PendingTTL time.Duration
	// RegisterAgain is what registering again while pending does. Zero: RefuseWhilePending.
	RegisterAgain RegisterAgain
	// TellOwner makes Register answer for an active address as for a free one, and ask a worker (Answer) to mail its owner instead, once per MailEvery.
	// Zero: ErrAlreadyActive.
	TellOwner bool
	// ResetTTL is how long the link of a password reset works. Whole milliseconds. Zero: 1 hour.
	ResetTTL time.Duration
	// EmailTTL is how long the link works that confirms a new address. Whole milliseconds. Zero: 24 hours.
	EmailTTL time.Duration
	// MailEvery is how often one account can be mailed the same thing because somebody asked for it. Whole milliseconds. Zero: 1 minute.
	// Negative: as often as it is asked for.
	MailEvery time.Duration
	// RequireSent lets a key activate only after the mail server was recorded to have taken its mail. Zero: the key alone suffices, because
	// that record can be lost in a crash and a person who holds the key has the mail.
	RequireSent bool
	// Lockout limits guessing. Zero: 5 attempts, then 15 minutes.
	Lockout Lockout
	// DeviceTTL is how long a browser that has logged in keeps a counter of its own (AuthenticateDevice). Whole milliseconds. Zero: 180 days.
	DeviceTTL time.Duration
	// LockoutNotice makes LiftLockouts mail the owner of an account that was locked after too many failures. Zero: he is not told.
	LockoutNotice bool
	// PasswordPolicy judges new passwords. Nil: DefaultPasswordPolicy.
	PasswordPolicy PasswordPolicy
	// Hash is the cost of new password hashes; older hashes of another cost are upgraded at login. Zero: m=19456 KiB, t=2, p=1 (OWASP).
	Hash HashCost
	// HashParallel is how many passwords are hashed at once; the others wait. Each takes Hash.MemoryKiB. Zero: 4.
	HashParallel int
	// GateSize is how many locked identifiers are remembered in memory, so that a flood on them does not reach the store. Zero: 65,536.
	// Negative: none.
	GateSize int
	// GateFor is how long the memory answers, never longer than the lock, before the store is asked and the attempt recorded again. It bounds how
	// long this process overlooks an unlock made elsewhere. Zero: 5 seconds.
	GateFor time.Duration
	// Now is the clock of the memory gate only: every other time is the database's. Nil: time.Now.
	Now func() time.Time
	// Logger hears of locks and of hashes that cannot be read; addresses are redacted. Nil: nothing is logged.
	Logger *slog.Logger
}

// Accounts registers, activates and authenticates. It is safe for concurrent use.
type Accounts[Tx any] struct {
	store    Store[Tx]
	notifier Notifier[Tx]
	cfg      Config
	hasher   *hasher
	gate     *gate
	log      *slog.Logger
}

// New checks c and builds Accounts over a store and a notifier.
func New[Tx any](s Store[Tx], n Notifier[Tx], c Config) (*Accounts[Tx], error) {
	if s == nil || n == nil {
		return nil, errors.New("accounts: a store and a notifier are needed")
	}
	c, err := c.complete()
	if err != nil {
		return nil, fmt.Errorf("accounts: configuration: %w", err)
	}
	if c.Hash.MemoryKiB*c.Hash.Passes < minimumWork {
		c.Logger.Warn("password hashes are cheaper than recommended: for tests only",
			slog.Any("memory_kib", c.Hash.MemoryKiB), slog.Any("passes", c.Hash.Passes))
	}
	return &Accounts[Tx]{
		store: s, notifier: n, cfg: c, log: c.Logger,
		hasher: newHasher(c.Hash, c.HashParallel),
		gate:   newGate(c.GateSize, c.Now),
	}, nil
}

// Stats are counts since New, for metrics.
type Stats struct {
	Hashes             uint64 // password hashes computed, for known and unknown accounts
	AnsweredFromMemory uint64 // attempts refused because the identifier was known to be locked, without asking the store
	Remembered         int    // locked identifiers in memory now
}

// Stats returns the counts.
func (a *Accounts[Tx]) Stats() Stats {
	answered, remembered := a.gate.counts()
	return Stats{Hashes: a.hasher.computed.Load(), AnsweredFromMemory: answered, Remembered: remembered}
}

// complete fills in what zero means and refuses what cannot be meant.
func (c Config) complete() (Config, error) {
	c.PendingTTL = cmp.Or(c.PendingTTL, 24*time.Hour)
	c.ResetTTL = cmp.Or(c.ResetTTL, time.Hour)
	c.EmailTTL = cmp.Or(c.EmailTTL, 24*time.Hour)
	c.MailEvery = cmp.Or(c.MailEvery, time.Minute)
	c.Lockout.Limit = cmp.Or(c.Lockout.Limit, 5)
	c.Lockout.For = cmp.Or(c.Lockout.For, 15*time.Minute)
	c.DeviceTTL = cmp.Or(c.DeviceTTL, 180*24*time.Hour)
	c.Hash = cmp.Or(c.Hash, DefaultHashCost())
	c.HashParallel = cmp.Or(c.HashParallel, 4)
	c.GateSize = cmp.Or(c.GateSize, 1<<16)
	c.GateFor = cmp.Or(c.GateFor, 5*time.Second)
	if c.PasswordPolicy == nil {
		c.PasswordPolicy = DefaultPasswordPolicy()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.PendingTTL < time.Millisecond || c.PendingTTL%time.Millisecond != 0:
		return c, fmt.Errorf("PendingTTL %s: whole milliseconds are needed", c.PendingTTL)
	case c.ResetTTL < time.Millisecond || c.ResetTTL%time.Millisecond != 0:
		return c, fmt.Errorf("ResetTTL %s: whole milliseconds are needed", c.ResetTTL)
	case c.EmailTTL < time.Millisecond || c.EmailTTL%time.Millisecond != 0:
		return c, fmt.Errorf("EmailTTL %s: whole milliseconds are needed", c.EmailTTL)
	case c.MailEvery > 0 && c.MailEvery%time.Millisecond != 0:
		return c, fmt.Errorf("MailEvery %s: whole milliseconds are needed", c.MailEvery)
	case c.RegisterAgain != RefuseWhilePending && c.RegisterAgain != NewGeneration:
		return c, fmt.Errorf("RegisterAgain %d is unknown", c.RegisterAgain)
	case c.Lockout.Limit < 1 || c.Lockout.Limit > 1_000_000:
		return c, fmt.Errorf("Lockout.Limit %d is not between 1 and 1,000,000", c.Lockout.Limit)
	case c.Lockout.For < time.Millisecond || c.Lockout.For%time.Millisecond != 0:
		return c, fmt.Errorf("Lockout.For %s: whole milliseconds are needed", c.Lockout.For)
	case c.Lockout.Window < 0 || c.Lockout.Window%time.Millisecond != 0:
		return c, fmt.Errorf("Lockout.Window %s: whole milliseconds are needed", c.Lockout.Window)
	case c.DeviceTTL < time.Millisecond || c.DeviceTTL%time.Millisecond != 0:
		return c, fmt.Errorf("DeviceTTL %s: whole milliseconds are needed", c.DeviceTTL)
	case c.HashParallel < 1:
		return c, fmt.Errorf("HashParallel %d: at least one is needed", c.HashParallel)
	case c.GateFor < 0:
		return c, fmt.Errorf("GateFor %s is negative", c.GateFor)
	}
	if err := c.Hash.check(); err != nil {
		return c, fmt.Errorf("cost of Hash: %w", err)
	}
	return c, nil
}

// mailEvery is 0 for no throttle.
func (c Config) mailEvery() time.Duration { return max(c.MailEvery, 0) }
