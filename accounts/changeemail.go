package accounts

import (
	"context"
	"errors"
	"fmt"
)

// ErrSameEmail is the cause of an EmailError where an account has the address already.
var ErrSameEmail = errors.New("the account has this address already")

// RequestEmailChange mails a link to the new address of the proof's user, and tells the old one, both recorded in tx, which the caller commits. Until
// the link is opened nothing changes. Whether somebody has the new address already is not told to whoever asks: it shows to whoever
// opens the link. A link that was mailed before, to another address, is dead.
//
// Errors: *EmailError; *ThrottledError, because it was asked for less than Config.MailEvery ago; ErrRefused for a proof that is worth nothing (any
// more). With these nothing has been written. After any other error the caller must roll tx back.
func (a *Accounts[Tx]) RequestEmailChange(ctx context.Context, tx Tx, p Proof, newEmail string) error {
	address, err := ParseEmail(newEmail)
	if err == nil && address.given == p.owner.Email {
		err = &EmailError{Cause: ErrSameEmail}
	}
	if err != nil {
		return fmt.Errorf("request change of address: %w", err)
	}
	if p.owner.ID == "" {
		return fmt.Errorf("request change of address: %w", ErrRefused)
	}
	saved, err := a.store.SaveToken(ctx, tx, NewToken{
		UserID: p.owner.ID, EmailNorm: p.owner.EmailNorm, Purpose: MailEmailChange, NewEmail: address.given, NewEmailNorm: address.norm,
		Verified: p.verified, Nonce: newNonce(), TTL: a.cfg.EmailTTL, NotWithin: a.cfg.mailEvery(),
	})
	if errors.Is(err, ErrNoSuchUser) {
		err = ErrRefused
	}
	if err == nil {
		err = a.emailChanges(ctx, tx, p.owner.ID, "account.email_change_asked", NewNotice{
			Email: p.owner.Email, Stage: StageAsked, Detail: address.redacted(),
		})
	}
	if err == nil {
		err = a.mail(ctx, tx, saved)
	}
	if err != nil {
		return fmt.Errorf("request change of address: %w", err)
	}
	return nil
}

// ConfirmEmailChange gives the owner of a mailed link the address that it was mailed to, in tx, which the caller commits, and tells the old one. A key
// works once, until it expires by the database's clock, and only while nothing has come in between: another change of the address or password, or
// an account that has the new address by now. Sessions stay.
//
// Errors: ErrUnknownToken for every key that changes nothing; ErrAlreadyActive where somebody else has the address. With these nothing has been
// written. After any other error the caller must roll tx back.
func (a *Accounts[Tx]) ConfirmEmailChange(ctx context.Context, tx Tx, key string) (User, error) {
	if !wellFormedKey(key) {
		return User{}, fmt.Errorf("confirm change of address: %w", ErrUnknownToken)
	}
	changed, err := a.store.ChangeEmail(ctx, tx, KeyHash(key))
	if err == nil {
		err = a.emailChanges(ctx, tx, changed.ID, "account.email_changed", NewNotice{
			Email: changed.OldEmail, Stage: StageChanged, Detail: Email{norm: changed.EmailNorm}.redacted(),
		})
	}
	if err != nil {
		return User{}, fmt.Errorf("confirm change of address: %w", err)
	}
	return changed.User, nil
}

// emailChanges records a step, and tells the old address of it.
func (a *Accounts[Tx]) emailChanges(ctx context.Context, tx Tx, userID, action string, n NewNotice) error {
	if err := a.record(ctx, tx, Change{
		Actor: userSubject(userID), Action: action, Subject: userSubject(userID), Detail: map[string]string{"to": n.Detail},
	}); err != nil {
		return err
	}
	n.UserID, n.Mail = userID, MailEmailChange
	return a.tell(ctx, tx, n)
}
