package accounts

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrNoActor says that a change by an operator does not say by whom.
var ErrNoActor = errors.New("an operator's change needs the operator's name")

// Operator changes other people's accounts, and signs for it in the audit log. Each of its methods works in tx, which the caller commits.
// What already is as it should be, is no error and no entry.
type Operator[Tx any] struct {
	accounts *Accounts[Tx]
	name     string
}

// Operator is who changes accounts that are not his: "cli:alice", "operator:7". Without a name it can do nothing.
func (a *Accounts[Tx]) Operator(name string) Operator[Tx] {
	return Operator[Tx]{accounts: a, name: name}
}

// Register is Accounts.Register in the operator's name. Errors: ErrNoActor, and as there.
func (o Operator[Tx]) Register(ctx context.Context, tx Tx, r Registration) (Pending, error) {
	if o.name == "" {
		return Pending{}, fmt.Errorf("register: %w", ErrNoActor)
	}
	return o.accounts.register(ctx, tx, o.name, r)
}

// Activate is Accounts.Activate in the operator's name. Errors: ErrNoActor, and as there.
func (o Operator[Tx]) Activate(ctx context.Context, tx Tx, key string) (User, error) {
	if o.name == "" {
		return User{}, fmt.Errorf("activate: %w", ErrNoActor)
	}
	return o.accounts.activateAs(ctx, tx, o.name, key)
}

// Disable shuts an account until it is enabled: nobody can log in, its sessions are over (SessionsValidAfter), links and known devices with them. Errors: ErrNoActor,
// ErrNoSuchUser; with these nothing has been written.
func (o Operator[Tx]) Disable(ctx context.Context, tx Tx, userID string) error {
	return o.do(ctx, tx, Change{Action: "account.disabled", Subject: userSubject(userID)}, func() (bool, error) {
		return o.accounts.store.SetDisabled(ctx, tx, userID, true)
	})
}

// Enable opens an account that was disabled. Errors as of Disable.
func (o Operator[Tx]) Enable(ctx context.Context, tx Tx, userID string) error {
	return o.do(ctx, tx, Change{Action: "account.enabled", Subject: userSubject(userID)}, func() (bool, error) {
		return o.accounts.store.SetDisabled(ctx, tx, userID, false)
	})
}

// Lock locks an address for that long, whether or not it has an account: every attempt to log in fails as with a wrong password. Unlike a lock after too
// many failures it is lifted by Unlock alone, and not by a reset of the password. Of two locks the one that lasts longer stands: a shorter one than an
// operator's that is there is no change, and no entry (Show tells until when it lasts). Sessions go on: to end them, Disable. Errors: ErrNoActor,
// *EmailError, or a duration that is not positive and of whole milliseconds; with these nothing has been written.
func (o Operator[Tx]) Lock(ctx context.Context, tx Tx, email string, d time.Duration) error {
	if d < time.Millisecond || d%time.Millisecond != 0 {
		return fmt.Errorf("lock: for %s: whole milliseconds are needed", d)
	}
	return o.setLock(ctx, tx, email, "account.locked", d)
}

// Unlock lifts whatever lock an address has, and forgets its failures, and either is entered. Other processes hear of it within Config.GateFor. Errors: ErrNoActor, *EmailError; with
// these nothing has been written.
func (o Operator[Tx]) Unlock(ctx context.Context, tx Tx, email string) error {
	return o.setLock(ctx, tx, email, "account.unlocked", 0)
}

func (o Operator[Tx]) setLock(ctx context.Context, tx Tx, email, action string, d time.Duration) error {
	address, err := ParseEmail(email)
	if err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	c := Change{Action: action}
	if d > 0 {
		c.Detail = map[string]string{"for": d.String()}
	}
	err = o.doAbout(ctx, tx, &c, func() (bool, error) {
		changed, err := o.accounts.store.SetLock(ctx, tx, address.norm, d)
		if err == nil && changed {
			err = o.about(ctx, tx, &c, address)
		}
		return changed, err
	})
	if err == nil {
		o.accounts.gate.forget(address.norm)
	}
	return err
}

// Grant gives a user a role. Errors: ErrNoActor, ErrInvalidRole, ErrNoSuchUser; with these nothing has been written.
func (o Operator[Tx]) Grant(ctx context.Context, tx Tx, userID, role string) error {
	return o.setRole(ctx, tx, "account.role_granted", userID, role, true)
}

// Revoke takes a role from a user. Errors as of Grant.
func (o Operator[Tx]) Revoke(ctx context.Context, tx Tx, userID, role string) error {
	return o.setRole(ctx, tx, "account.role_revoked", userID, role, false)
}

func (o Operator[Tx]) setRole(ctx context.Context, tx Tx, action, userID, role string, has bool) error {
	if err := checkRole(role); err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	c := Change{Action: action, Subject: userSubject(userID), Detail: map[string]string{"role": role}}
	return o.do(ctx, tx, c, func() (bool, error) { return o.accounts.store.SetRole(ctx, tx, userID, role, has) })
}

// about says whom a lock is about: the user who has the address, so that it is found with what else was done to his account, or the address alone.
func (o Operator[Tx]) about(ctx context.Context, tx Tx, c *Change, address Email) error {
	id, err := o.accounts.store.UserOf(ctx, tx, address.norm)
	switch {
	case err != nil:
		return fmt.Errorf("look up whose it is: %w", err)
	case id != "":
		c.Subject = userSubject(id)
		return nil
	}
	c.Subject = address.Subject()
	if c.Detail == nil {
		c.Detail = map[string]string{}
	}
	c.Detail["email"] = address.redacted()
	return nil
}

// do makes a change, and enters it if it was one.
func (o Operator[Tx]) do(ctx context.Context, tx Tx, c Change, change func() (bool, error)) error {
	return o.doAbout(ctx, tx, &c, change)
}

// doAbout is do for a change that says itself whom it is about.
func (o Operator[Tx]) doAbout(ctx context.Context, tx Tx, c *Change, change func() (bool, error)) error {
	if o.name == "" {
		return fmt.Errorf("%s: %w", c.Action, ErrNoActor)
	}
	changed, err := change()
	if err == nil && changed {
		c.Actor = o.name
		err = o.accounts.record(ctx, tx, *c)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.Action, err)
	}
	return nil
}
