package accounts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// NewPassword is a password that was checked and hashed before the transaction in which SetPassword sets it. It is for the request at hand.
type NewPassword struct {
	proof Proof    // of PrepareChange
	key   [32]byte // of PrepareReset: the link's
	hash  PasswordHash
}

// Format redacts under every verb.
func (NewPassword) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue redacts.
func (NewPassword) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText redacts, in JSON too.
func (NewPassword) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// prepared is a hash of a registration's password, for as long as these two are what they were.
type prepared struct {
	email, password string
	hash            PasswordHash
}

// PrepareRegistration checks a registration and hashes its password, for Register to write it. Register alone does the same within the transaction, which
// lasts for as long as that takes then: about 35 ms, and longer while others wait for their hashes. Prepare where a transaction keeps others waiting, as
// each one does in SQLite.
//
// Errors: *EmailError, *PasswordError, *LanguageError.
func (a *Accounts[Tx]) PrepareRegistration(ctx context.Context, r Registration) (Registration, error) {
	email, _, err := parseRegistration(r)
	if err == nil {
		r.prepared, err = a.prepare(ctx, email, r)
	}
	if err != nil {
		return Registration{}, fmt.Errorf("prepare registration: %w", err)
	}
	return r, nil
}

// prepare is r.prepared, or does what is missing: nothing where the password comes later.
func (a *Accounts[Tx]) prepare(ctx context.Context, email Email, r Registration) (prepared, error) {
	if p := r.prepared; !p.hash.IsZero() && p.email == r.Email && p.password == r.Password {
		return p, nil
	}
	if r.PasswordLater && r.Password != "" {
		return prepared{}, &PasswordError{Cause: errors.New("it is to be chosen when the address is confirmed")}
	}
	if r.PasswordLater {
		return prepared{}, nil
	}
	hash, err := a.newHash(ctx, email, r.Password)
	return prepared{email: r.Email, password: r.Password, hash: hash}, err
}

// newHash checks a new password and hashes it.
func (a *Accounts[Tx]) newHash(ctx context.Context, email Email, password string) (PasswordHash, error) {
	if err := a.checkNewPassword(ctx, email, password); err != nil {
		return PasswordHash{}, err
	}
	return a.hasher.hash(ctx, password)
}

// PrepareReset checks the new password of whoever opened a mailed link and hashes it, for SetPassword to set it: ResetPassword in two steps, of which the
// one that takes time needs no transaction, as PrepareRegistration says. It reads whose link it is, and changes nothing.
//
// Errors: ErrUnknownToken for every key that resets nothing; *PasswordError, after which the key is good still.
func (a *Accounts[Tx]) PrepareReset(ctx context.Context, key, newPassword string) (NewPassword, error) {
	n, err := a.prepareReset(ctx, key, newPassword, func(hash [32]byte) (Owner, error) {
		return a.store.LinkUser(ctx, MailPasswordReset, hash)
	})
	if err != nil {
		return NewPassword{}, fmt.Errorf("prepare reset: %w", err)
	}
	return n, nil
}

func (a *Accounts[Tx]) prepareReset(ctx context.Context, key, newPassword string, whose func([32]byte) (Owner, error)) (NewPassword, error) {
	if !wellFormedKey(key) {
		return NewPassword{}, ErrUnknownToken
	}
	if err := checkBounds(newPassword); err != nil {
		return NewPassword{}, &PasswordError{Cause: err}
	}
	// The policy wants to know whose it is, and nobody without a key makes us hash.
	n := NewPassword{key: KeyHash(key)}
	owner, err := whose(n.key)
	if err == nil {
		n.hash, err = a.newHash(ctx, Email{given: owner.Email, norm: owner.EmailNorm}, newPassword)
	}
	return n, err
}

// PrepareChange checks the new password of the proof's user and hashes it, for SetPassword to set it: ChangePassword in two steps, of which the one that
// takes time needs no transaction, as PrepareRegistration says.
//
// Errors: *PasswordError; ErrRefused for a proof that Prove did not make.
func (a *Accounts[Tx]) PrepareChange(ctx context.Context, p Proof, newPassword string) (NewPassword, error) {
	n, err := a.prepareChange(ctx, p, newPassword)
	if err != nil {
		return NewPassword{}, fmt.Errorf("prepare change of password: %w", err)
	}
	return n, nil
}

func (a *Accounts[Tx]) prepareChange(ctx context.Context, p Proof, newPassword string) (NewPassword, error) {
	if p.owner.ID == "" {
		return NewPassword{}, ErrRefused
	}
	hash, err := a.newHash(ctx, Email{given: p.owner.Email, norm: p.owner.EmailNorm}, newPassword)
	return NewPassword{proof: p, hash: hash}, err
}

// SetPassword sets what PrepareReset or PrepareChange has prepared, in tx, which the caller commits, and does all that ResetPassword or ChangePassword does.
//
// Errors: ErrUnknownToken, where the link was used or is over meanwhile; ErrRefused, where the proof is worth nothing any more, and for a NewPassword that
// nobody prepared. With these nothing has been written. After any other error the caller must roll tx back.
func (a *Accounts[Tx]) SetPassword(ctx context.Context, tx Tx, n NewPassword) (User, error) {
	u, err := a.setPassword(ctx, tx, n)
	if err != nil {
		return User{}, fmt.Errorf("set password: %w", err)
	}
	return u, nil
}

func (a *Accounts[Tx]) setPassword(ctx context.Context, tx Tx, n NewPassword) (User, error) {
	var owner Owner
	var err error
	c := Change{Actor: public, Action: "account.password_reset"}
	switch {
	case n.hash.IsZero():
		return User{}, ErrRefused
	case n.proof.owner.ID != "":
		owner, err = a.store.ChangePassword(ctx, tx, PasswordChange{UserID: n.proof.owner.ID, Verified: n.proof.verified, PasswordHash: n.hash})
		c = Change{Actor: userSubject(n.proof.owner.ID), Action: "account.password_changed"}
	default:
		owner, err = a.store.ResetPassword(ctx, tx, PasswordReset{KeyHash: n.key, PasswordHash: n.hash})
	}
	if err == nil {
		err = a.passwordChanged(ctx, tx, owner, c)
	}
	return owner.User, err
}
