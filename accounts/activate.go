package accounts

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// keyChars is the length of 32 bytes in base64url without padding.
const keyChars = 43

// ErrNoPassword says that a registration has no password (Registration.PasswordLater): ActivateWithPassword gives its account one.
var ErrNoPassword = errors.New("this registration has no password: its account gets one with its activation")

// KeyHash is what the store keeps of an activation key: the SHA-256 of the key's text, its 43 characters as they stand in the link, not of the 32 bytes
// that they encode. Whoever mails a key must store this.
func KeyHash(key string) [32]byte { return sha256.Sum256([]byte(key)) }

// Activate makes a pending user a user, in tx, which the caller commits. A key works once and only before its registration expires by the
// database's clock.
//
// The account has the password of the registration, whoever registered. Where anybody can register anybody's address that is a stranger's password
// behind the owner's link: use ActivateWithPassword there, or ActivateProving.
//
// Errors: ErrUnknownKey for every key that activates nothing, and the store is not even asked for one that is no 43 characters of base64url; ErrAlreadyActive
// when an account of that address came into being meanwhile; ErrNoPassword, after which the key is good still.
func (a *Accounts[Tx]) Activate(ctx context.Context, tx Tx, key string) (User, error) {
	return a.activateAs(ctx, tx, public, key)
}

// ActivateWithPassword is Activate, and the account has this password instead of the registration's, if that had one: whoever holds the link, and so the
// mailbox, chooses it, and whoever registered the address before its owner did has no password in it. Register with Registration.PasswordLater.
//
// It hashes the password within tx: where that keeps others waiting, use PrepareActivation and ActivatePrepared.
//
// Errors as of Activate; and *PasswordError, after which the key is good still.
func (a *Accounts[Tx]) ActivateWithPassword(ctx context.Context, tx Tx, key, password string) (User, error) {
	p, err := a.prepareActivation(ctx, key, password, func(use Activation) (PendingUser, error) { return a.store.PendingUser(ctx, tx, use) })
	if err != nil {
		return User{}, fmt.Errorf("activate: %w", err)
	}
	return a.activate(ctx, tx, public, p.use)
}

// PreparedActivation is an activation whose password was checked and hashed before the transaction. It is for the request at hand.
type PreparedActivation struct{ use Activation }

// Format redacts under every verb.
func (PreparedActivation) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue redacts.
func (PreparedActivation) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText redacts, in JSON too.
func (PreparedActivation) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// PrepareActivation is the part of ActivateWithPassword that takes time, about 35 ms and longer while others wait for their hashes, and needs no
// transaction; ActivatePrepared is the rest. Use both where a transaction keeps others waiting, as each one does in SQLite. It changes nothing.
//
// Errors: ErrUnknownKey; *PasswordError, after which the key is good still.
func (a *Accounts[Tx]) PrepareActivation(ctx context.Context, key, password string) (PreparedActivation, error) {
	p, err := a.prepareActivation(ctx, key, password, func(use Activation) (PendingUser, error) { return a.store.RegistrationOf(ctx, use) })
	if err != nil {
		return PreparedActivation{}, fmt.Errorf("prepare activation: %w", err)
	}
	return p, nil
}

// ActivatePrepared does what PrepareActivation has prepared, in tx, which the caller commits. Errors as of Activate: ErrUnknownKey also where the
// link was used or replaced meanwhile, and for what nobody prepared.
func (a *Accounts[Tx]) ActivatePrepared(ctx context.Context, tx Tx, p PreparedActivation) (User, error) {
	if p.use.PasswordHash.IsZero() {
		return User{}, fmt.Errorf("activate: %w", ErrUnknownKey)
	}
	return a.activate(ctx, tx, public, p.use)
}

func (a *Accounts[Tx]) prepareActivation(ctx context.Context, key, password string, whose func(Activation) (PendingUser, error)) (PreparedActivation, error) {
	if !wellFormedKey(key) {
		return PreparedActivation{}, ErrUnknownKey
	}
	if err := checkBounds(password); err != nil {
		return PreparedActivation{}, &PasswordError{Cause: err}
	}
	use := a.activation(key)
	// Whose it is: the policy wants to know, and nobody without a key makes us hash.
	p, err := whose(use)
	if err == nil {
		use.PasswordHash, err = a.newHash(ctx, Email{given: p.Email, norm: p.EmailNorm}, password)
	}
	return PreparedActivation{use}, err
}

// ActivateProving is Activate for whoever knows the password of the registration too: for apps that ask for it when somebody registers, and once more
// behind the link. Whoever has the mailbox and did not register does not know it, and must find another way in: the registration in his way is over
// when it expires, or replaced (NewGeneration). Attempts are not counted, because whoever can make one has the mailbox.
//
// Errors as of Activate; and ErrRefused for another password, after which the key is good still.
func (a *Accounts[Tx]) ActivateProving(ctx context.Context, tx Tx, key, password string) (User, error) {
	if !wellFormedKey(key) {
		return User{}, fmt.Errorf("activate: %w", ErrUnknownKey)
	}
	use := a.activation(key)
	p, err := a.store.PendingUser(ctx, tx, use)
	if err == nil && p.PasswordHash.IsZero() {
		err = ErrNoPassword
	}
	if err != nil {
		return User{}, fmt.Errorf("activate: %w", err)
	}
	match := false
	if checkBounds(password) == nil {
		if match, _, err = a.verify(ctx, Credentials{User: User{ID: p.ID}, PasswordHash: p.PasswordHash}, password); err != nil {
			return User{}, fmt.Errorf("activate: %w", err)
		}
	}
	if !match {
		return User{}, fmt.Errorf("activate: %w", ErrRefused)
	}
	return a.activate(ctx, tx, public, use)
}

func (a *Accounts[Tx]) activation(key string) Activation {
	return Activation{KeyHash: KeyHash(key), RequireSent: a.cfg.RequireSent}
}

// activateAs is Activate in the name of whoever does it.
func (a *Accounts[Tx]) activateAs(ctx context.Context, tx Tx, actor, key string) (User, error) {
	if !wellFormedKey(key) {
		return User{}, fmt.Errorf("activate: %w", ErrUnknownKey)
	}
	return a.activate(ctx, tx, actor, a.activation(key))
}

func (a *Accounts[Tx]) activate(ctx context.Context, tx Tx, actor string, use Activation) (User, error) {
	u, err := a.store.ActivatePending(ctx, tx, use)
	if err == nil {
		err = a.record(ctx, tx, Change{Actor: actor, Action: "account.activated", Subject: userSubject(u.ID)})
	}
	if err != nil {
		return User{}, fmt.Errorf("activate: %w", err)
	}
	return u, nil
}

// wellFormedKey accepts the one spelling that 32 bytes have in base64url.
func wellFormedKey(key string) bool {
	if len(key) != keyChars || strings.ContainsAny(key, "\r\n") { // which Strict skips
		return false
	}
	_, err := base64.RawURLEncoding.Strict().DecodeString(key)
	return err == nil
}
