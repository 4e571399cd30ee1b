package accounts

import (
	"context"
	"errors"
	"fmt"
)

// RequestReset mails the owner of an address a link under which he sets a new password, recorded in tx, which the caller commits. For an address that has no
// account, has a disabled one, or was asked for less than Config.MailEvery ago, it records nothing, and returns the same nil. Asked for again, a link
// that lives for half of its time still is mailed once more, and a fresh one otherwise.
//
// It answers alike, but not in the same time: a known address writes rows. Answer the request before, or without waiting for, the commit where that matters.
//
// Errors: *EmailError. After any other error the caller must roll tx back.
func (a *Accounts[Tx]) RequestReset(ctx context.Context, tx Tx, email string) error {
	address, err := ParseEmail(email)
	if err != nil {
		return fmt.Errorf("request reset: %w", err)
	}
	saved, err := a.store.SaveToken(ctx, tx, NewToken{
		EmailNorm: address.norm, Purpose: MailPasswordReset, Nonce: newNonce(), TTL: a.cfg.ResetTTL, NotWithin: a.cfg.mailEvery(),
	})
	if errors.Is(err, ErrNoSuchUser) || errors.Is(err, ErrThrottled) {
		return nil
	}
	if err == nil {
		err = a.record(ctx, tx, Change{Actor: public, Action: "account.reset_asked", Subject: userSubject(saved.UserID)})
	}
	if err == nil {
		err = a.mail(ctx, tx, saved)
	}
	if err != nil {
		return fmt.Errorf("request reset: %w", err)
	}
	return nil
}

// ResetPassword gives the owner of a mailed link a new password, in tx, which the caller commits. A key works once and until it expires by the
// database's clock. Sessions begun before are over, other links and known devices with them, and the owner is told by mail. Whoever has the mailbox has
// proved as much as a login does, so failed attempts are forgotten and a lock is lifted, but for one that an operator set. It is no login: the app
// asks for the new password next.
//
// Errors: ErrUnknownToken for every key that resets nothing; *PasswordError, after which the key is good still. With these nothing has been written. After
// any other error the caller must roll tx back.
func (a *Accounts[Tx]) ResetPassword(ctx context.Context, tx Tx, key, newPassword string) (User, error) {
	if !wellFormedKey(key) {
		return User{}, fmt.Errorf("reset password: %w", ErrUnknownToken)
	}
	if err := checkBounds(newPassword); err != nil {
		return User{}, fmt.Errorf("reset password: %w", &PasswordError{Cause: err})
	}
	// Whose it is: the policy wants to know, and nobody without a key makes us hash.
	owner, err := a.store.TokenUser(ctx, tx, MailPasswordReset, KeyHash(key))
	if err != nil {
		return User{}, fmt.Errorf("reset password: %w", err)
	}
	if err := a.checkNewPassword(ctx, Email{given: owner.Email, norm: owner.EmailNorm}, newPassword); err != nil {
		return User{}, fmt.Errorf("reset password: %w", err)
	}
	hash, err := a.hasher.hash(ctx, newPassword)
	if err != nil {
		return User{}, fmt.Errorf("reset password: %w", err)
	}
	owner, err = a.store.ResetPassword(ctx, tx, PasswordReset{KeyHash: KeyHash(key), PasswordHash: hash})
	if err == nil {
		err = a.passwordChanged(ctx, tx, owner, Change{Actor: public, Action: "account.password_reset"})
	}
	if err != nil {
		return User{}, fmt.Errorf("reset password: %w", err)
	}
	return owner.User, nil
}
