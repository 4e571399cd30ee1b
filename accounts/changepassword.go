package accounts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Proof says that whoever is logged in as a user has just given his password. Only Prove makes one that is worth something. It is for the request
// at hand: it ends with the next change of the password, and it does not leave the process.
type Proof struct {
	owner    Owner
	verified PasswordHash
}

// UserID is whose proof it is.
func (p Proof) UserID() string { return p.owner.ID }

// Format shows whose it is under every verb.
func (p Proof) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "proof of "+userSubject(p.owner.ID))
}

// LogValue shows whose it is.
func (p Proof) LogValue() slog.Value { return slog.StringValue(userSubject(p.owner.ID)) }

// Prove asks a user who is logged in for his password again, before something that a stolen session must not do. It is charged like a login, against the
// same counter, and takes no transaction for the same reason; a success resets the counter. So a stranger who keeps the address locked keeps its owner from
// it: apps that give browsers a token call ProveDevice.
//
// Every refusal is ErrRefused itself, as in Authenticate.
func (a *Accounts[Tx]) Prove(ctx context.Context, userID, password string) (Proof, error) {
	return a.ProveDevice(ctx, userID, password, Device{})
}

// ProveDevice is Prove for apps that give browsers a token after a success (AuthenticateDevice): it is charged against the counter of the token's device,
// so that a stranger who keeps the address locked keeps nobody from changing his password in his own browser. With no token, one that is over, unknown, or
// of another account, it is Prove. A session alone opens no counter of its own: whoever stole it would guess beside the lock. An operator's lock holds for
// all.
func (a *Accounts[Tx]) ProveDevice(ctx context.Context, userID, password string, device Device) (Proof, error) {
	owner, err := a.store.UserByID(ctx, userID)
	if errors.Is(err, ErrNoSuchUser) {
		return Proof{}, ErrRefused
	}
	if err != nil {
		return Proof{}, fmt.Errorf("prove: %w", err)
	}
	if checkBounds(password) != nil {
		return Proof{}, ErrRefused
	}
	address, charged := Email{given: owner.Email, norm: owner.EmailNorm}, false
	var known Credentials
	if !device.IsZero() {
		known, charged, err = a.fromDevice(ctx, address, password, KeyHash(device.text))
	}
	if err == nil && !charged {
		known, err = a.login(ctx, address, password)
	}
	if err != nil {
		return Proof{}, err
	}
	if known.ID != owner.ID { // the address has moved to another account meanwhile
		return Proof{}, ErrRefused
	}
	return Proof{owner: Owner{User: known.User, EmailNorm: owner.EmailNorm}, verified: known.PasswordHash}, nil
}

// ChangePassword gives the proof's user a new password, in tx, which the caller commits. Sessions begun before are over (SessionsValidAfter of the
// user it returns), links that were mailed and known devices with them, and the owner is told by mail. Begin the caller's own session anew after it. It hashes the password within tx: where that keeps
// others waiting, use PrepareChange and SetPassword.
//
// Errors: *PasswordError; ErrRefused for a proof that is worth nothing (any more), because the password was changed since, or the user disabled. With
// these nothing has been written. After any other error the caller must roll tx back.
func (a *Accounts[Tx]) ChangePassword(ctx context.Context, tx Tx, p Proof, newPassword string) (User, error) {
	n, err := a.prepareChange(ctx, p, newPassword)
	var u User
	if err == nil {
		u, err = a.setPassword(ctx, tx, n)
	}
	if err != nil {
		return User{}, fmt.Errorf("change password: %w", err)
	}
	return u, nil
}

// passwordChanged is what follows every new password.
func (a *Accounts[Tx]) passwordChanged(ctx context.Context, tx Tx, owner Owner, c Change) error {
	c.Subject = userSubject(owner.ID)
	if err := a.record(ctx, tx, c); err != nil {
		return err
	}
	if err := a.tell(ctx, tx, NewNotice{UserID: owner.ID, Mail: MailPasswordChanged, Email: owner.Email}); err != nil {
		return err
	}
	// Before the caller commits: what is remembered until then is forgotten after GateFor.
	a.gate.forget(owner.EmailNorm)
	return nil
}
