package accounts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
)

// Authenticate returns the active user with that address and password. It takes no transaction, so that the charge for the attempt outlives
// whatever the caller rolls back.
//
// Every refusal is ErrRefused itself: unknown or pending account, wrong password, locked, disabled, malformed address or password. Any other error
// means that nothing was decided (the store or ctx failed); the attempt may have been charged.
func (a *Accounts[Tx]) Authenticate(ctx context.Context, email, password string) (User, error) {
	address, err := ParseEmail(email)
	if err != nil || checkBounds(password) != nil {
		return User{}, ErrRefused // no account can have these, so neither charge nor hash is due
	}
	known, err := a.login(ctx, address, password)
	if err != nil {
		return User{}, err
	}
	return known.User, nil
}

// login is Authenticate for an address and a password that an account can have.
func (a *Accounts[Tx]) login(ctx context.Context, address Email, password string) (Credentials, error) {
	id := address.norm
	visit, locked := a.gate.locked(id)
	if locked {
		return Credentials{}, ErrRefused
	}
	charge, err := a.store.ChargeAttempt(ctx, id, a.cfg.Lockout)
	if err != nil {
		return Credentials{}, fmt.Errorf("authenticate: charge the attempt: %w", err)
	}
	if !charge.Allowed {
		a.gate.remember(id, visit, min(charge.LockedFor, a.cfg.GateFor))
		return Credentials{}, ErrRefused
	}
	known, err := a.attempt(ctx, address, password, charge, func(l Login) (bool, error) { return a.store.RecordLogin(ctx, l) })
	if err == nil {
		a.gate.forget(id)
	}
	return known, err
}

// attempt verifies the password of an attempt that was charged and allowed, and records a success.
func (a *Accounts[Tx]) attempt(
	ctx context.Context, address Email, password string, charge Charge, record func(Login) (bool, error),
) (Credentials, error) {
	known := Credentials{}
	if charge.User != nil {
		known = *charge.User
	}
	match, outdated, err := a.verify(ctx, known, password)
	if err != nil {
		return Credentials{}, err
	}
	if !match || known.Disabled {
		if charge.LockedFor > 0 {
			a.log.WarnContext(ctx, "locked after too many failed attempts",
				slog.Any("email", address), slog.Duration("locked_for", charge.LockedFor))
		}
		return Credentials{}, ErrRefused
	}
	login := Login{UserID: known.ID, EmailNorm: address.norm, Verified: known.PasswordHash}
	if outdated {
		if login.Upgraded, err = a.hasher.hash(ctx, password); err != nil {
			return Credentials{}, fmt.Errorf("authenticate: upgrade the hash: %w", err)
		}
		known.PasswordHash = login.Upgraded
	}
	current, err := record(login)
	if err != nil {
		return Credentials{}, fmt.Errorf("authenticate: record the login: %w", err)
	}
	if !current {
		return Credentials{}, ErrRefused
	}
	return known, nil
}

// verify compares password with what is known. A stored hash that cannot be read is the operator's affair: it goes to the log and looks like a wrong
// password, because an error of its own would tell that the account exists.
func (a *Accounts[Tx]) verify(ctx context.Context, known Credentials, password string) (match, outdated bool, err error) {
	match, outdated, err = a.hasher.verify(ctx, known.PasswordHash, password)
	if errors.Is(err, errUnreadableHash) {
		a.log.ErrorContext(ctx, "a stored password hash cannot be read, its owner cannot log in",
			slog.String("user_id", known.ID), slog.Any("error", err))
		return false, false, nil
	}
	if err != nil {
		return false, false, fmt.Errorf("authenticate: %w", err)
	}
	return match, outdated, nil
}
