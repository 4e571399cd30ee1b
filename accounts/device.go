package accounts

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"time"
)

// ForgetAfter is how long LiftLockouts keeps attempts where they count for ever.
const ForgetAfter = 30 * 24 * time.Hour

// keepDevices is how many devices of one user have a counter of their own.
const keepDevices = 20

// Device is a token that a browser got after a success, for a cookie of its own: HttpOnly, Secure, kept for Config.DeviceTTL. It opens nothing without the
// password. Only RevealText gives it out.
type Device struct{ text string }

// ParseDevice takes a cookie's value as it comes. What is none is no device.
func ParseDevice(text string) Device {
	if !wellFormedKey(text) {
		return Device{}
	}
	return Device{text: text}
}

// RevealText is the token for the cookie, "" of no device.
func (d Device) RevealText() string { return d.text }

// IsZero says whether there is none.
func (d Device) IsZero() bool { return d.text == "" }

// Format redacts under every verb.
func (Device) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue redacts.
func (Device) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText redacts, in JSON too.
func (Device) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// AuthenticateDevice is Authenticate for apps that give browsers a token after a success, as OWASP's device cookies do: attempts with it are counted and
// locked by themselves, so that a stranger who keeps the address locked does not keep its owner out of his own browsers. With no token, one that is over,
// unknown, or of another account, the attempt is one like any other. An operator's lock holds for all.
//
// After a success it returns the token to set: the one that came, or a new one. A new password, a reset and Disable end all tokens of the account.
func (a *Accounts[Tx]) AuthenticateDevice(ctx context.Context, email, password string, device Device) (User, Device, error) {
	address, err := ParseEmail(email)
	if err != nil || checkBounds(password) != nil {
		return User{}, Device{}, ErrRefused
	}
	if !device.IsZero() {
		user, known, err := a.fromDevice(ctx, address, password, KeyHash(device.text))
		if err != nil {
			return User{}, Device{}, err
		}
		if known {
			return user.User, device, nil
		}
	}
	user, err := a.login(ctx, address, password)
	if err != nil {
		return User{}, Device{}, err
	}
	device = newDevice()
	current, err := a.store.SaveDevice(ctx, NewDevice{
		UserID: user.ID, Verified: user.PasswordHash, TokenHash: KeyHash(device.text), TTL: a.cfg.DeviceTTL, Keep: keepDevices,
	})
	switch {
	case err != nil:
		return User{}, Device{}, fmt.Errorf("authenticate: save the device: %w", err)
	case !current: // a new password, or Disable, has ended all sessions and devices since
		return User{}, Device{}, ErrRefused
	}
	return user.User, device, nil
}

// fromDevice charges the device instead of the address, if it is one of the account's.
func (a *Accounts[Tx]) fromDevice(ctx context.Context, address Email, password string, token [32]byte) (user Credentials, known bool, err error) {
	charge, known, err := a.store.ChargeDevice(ctx, address.norm, token, a.cfg.Lockout)
	switch {
	case err != nil:
		return Credentials{}, false, fmt.Errorf("authenticate: charge the device: %w", err)
	case !known:
		return Credentials{}, false, nil
	case !charge.Allowed:
		return Credentials{}, true, ErrRefused
	}
	user, err = a.attempt(ctx, address, password, charge, func(l Login) (bool, error) {
		return a.store.RecordDevice(ctx, l, token, a.cfg.DeviceTTL)
	})
	return user, true, err
}

func newDevice() Device {
	token := make([]byte, 32)
	_, _ = rand.Read(token) // never fails (crypto/rand)
	return Device{text: base64.RawURLEncoding.EncodeToString(token)}
}

// LiftLockouts clears up to limit lockouts whose time is over, and then counters that count no more (Lockout.Window), which guesses at addresses that
// nobody has leave as well, in tx, which the caller commits: the sweep of the kind lockouts:reset, and hygiene alone, because logins compare times
// themselves. It enters how many lockouts there were, and with Config.LockoutNotice tells the owners of accounts that were
// locked after too many failures, once per Config.MailEvery. It does so here and not when an attempt locks, where the time that it takes would tell that there
// is such an account. A lock whose time is over when the next attempt comes, or that is lifted by a reset, is not told of.
//
// It returns how many it cleared; fewer than limit may mean that others have locked the rest. After an error the caller must roll tx back.
func (a *Accounts[Tx]) LiftLockouts(ctx context.Context, tx Tx, limit int) (int, error) {
	if limit < 1 {
		return 0, fmt.Errorf("lift lockouts: a limit of %d: at least one is needed", limit)
	}
	lifted, err := a.store.LiftLockouts(ctx, tx, limit, a.cfg.LockoutNotice)
	if err != nil {
		return 0, fmt.Errorf("lift lockouts: %w", err)
	}
	if err := a.lifted(ctx, tx, lifted); err != nil {
		return 0, fmt.Errorf("lift lockouts: %w", err)
	}
	if len(lifted) == limit {
		return limit, nil
	}
	forgotten, err := a.store.ForgetAttempts(ctx, tx, cmp.Or(a.cfg.Lockout.Window, ForgetAfter), limit-len(lifted))
	if err != nil {
		return 0, fmt.Errorf("forget attempts: %w", err)
	}
	return len(lifted) + forgotten, nil
}

// lifted enters what was lifted, and tells its owners.
func (a *Accounts[Tx]) lifted(ctx context.Context, tx Tx, lifted []Lifted) error {
	if len(lifted) == 0 {
		return nil
	}
	if err := a.record(ctx, tx, Change{
		Actor: "sweep", Action: "account.lockouts_lifted", Subject: "identifiers", Detail: map[string]string{"lockouts": strconv.Itoa(len(lifted))},
	}); err != nil {
		return err
	}
	for _, l := range lifted {
		if err := a.lockoutNotice(ctx, tx, l); err != nil {
			return err
		}
	}
	return nil
}

func (a *Accounts[Tx]) lockoutNotice(ctx context.Context, tx Tx, l Lifted) error {
	if l.UserID == "" || l.ByOperator {
		return nil
	}
	saved, err := a.store.SaveNotice(ctx, tx, NewNotice{EmailNorm: l.EmailNorm, Mail: MailLockoutNotice, TTL: noticeTTL, NotWithin: a.cfg.mailEvery()})
	if errors.Is(err, ErrThrottled) || errors.Is(err, ErrNoSuchUser) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("tell the owner: %w", err)
	}
	return a.mail(ctx, tx, saved)
}
