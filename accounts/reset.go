package accounts

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// RequestReset asks for a link under which the owner of an address sets a new password, recorded in tx, which the caller commits. It does not look
// whether the address has an account: a worker does, with Answer, so that neither the answer nor its time tells, whatever the address is. Where the
// same was asked for less than Config.MailEvery ago it records nothing, and returns the same nil.
//
// Errors: *EmailError. After any other error the caller must roll tx back.
func (a *Accounts[Tx]) RequestReset(ctx context.Context, tx Tx, email string) error {
	address, err := ParseEmail(email)
	if err == nil {
		err = a.ask(ctx, tx, address, MailPasswordReset, a.cfg.ResetTTL)
	}
	if err != nil {
		return fmt.Errorf("request reset: %w", err)
	}
	return nil
}

// ask records a request by address.
func (a *Accounts[Tx]) ask(ctx context.Context, tx Tx, address Email, mail Mail, ttl time.Duration) error {
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("new ID: %w", err)
	}
	saved, err := a.store.SaveRequest(ctx, tx, NewRequest{
		ID: id.String(), EmailNorm: address.norm, Mail: mail, TTL: max(ttl, a.cfg.mailEvery()), NotWithin: a.cfg.mailEvery(),
	})
	if errors.Is(err, ErrThrottled) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := a.notifier.RequestWanted(ctx, tx, saved.ID, saved.ExpiresAt); err != nil {
		return fmt.Errorf("ask for an answer: %w", err)
	}
	return nil
}

// Answer does what was asked for by an address, if it has an account that is not disabled: RequestReset asks for a link, and Register, with
// Config.TellOwner, that its owner hears of it. It records what is due and its mail in tx, which the caller commits. A link that lives for half of its
// time still is mailed once more, and a fresh one otherwise; of a registration an owner is told once per Config.MailEvery. It is the worker's, and does
// nothing for a request that was answered already or is over. After an error the caller must roll tx back.
func (a *Accounts[Tx]) Answer(ctx context.Context, tx Tx, requestID string) error {
	asked, err := a.store.TakeRequest(ctx, tx, requestID)
	if err == nil {
		switch asked.Mail {
		case MailPasswordReset:
			err = a.answerReset(ctx, tx, asked)
		case MailAccountExists:
			err = a.answerRegistration(ctx, tx, asked)
		default:
			err = fmt.Errorf("asked for %q, to which there is no answer", asked.Mail)
		}
	}
	if errors.Is(err, ErrNoSuchRequest) || errors.Is(err, ErrNoSuchUser) || errors.Is(err, ErrThrottled) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}

func (a *Accounts[Tx]) answerReset(ctx context.Context, tx Tx, asked Request) error {
	saved, err := a.store.SaveToken(ctx, tx, NewToken{
		EmailNorm: asked.EmailNorm, Purpose: MailPasswordReset, Nonce: newNonce(), TTL: a.cfg.ResetTTL,
	})
	if err == nil {
		err = a.record(ctx, tx, Change{Actor: public, Action: "account.reset_asked", Subject: userSubject(saved.UserID)})
	}
	if err == nil {
		err = a.mail(ctx, tx, saved)
	}
	return err
}

// answerRegistration tells the owner of an address that somebody registered it again.
func (a *Accounts[Tx]) answerRegistration(ctx context.Context, tx Tx, asked Request) error {
	saved, err := a.store.SaveNotice(ctx, tx, NewNotice{EmailNorm: asked.EmailNorm, Mail: MailAccountExists, TTL: noticeTTL, NotWithin: a.cfg.mailEvery()})
	if err == nil {
		err = a.record(ctx, tx, Change{Actor: public, Action: "account.registered_again", Subject: userSubject(saved.UserID)})
	}
	if err == nil {
		err = a.mail(ctx, tx, saved)
	}
	return err
}

// ResetPassword gives the owner of a mailed link a new password, in tx, which the caller commits. A key works once and until it expires by the
// database's clock. Sessions begun before are over, other links and known devices with them, and the owner is told by mail. Whoever has the mailbox has
// proved as much as a login does, so failed attempts are forgotten and a lock is lifted, but for one that an operator set. It is no login: the app
// asks for the new password next. It hashes the password within tx: where that keeps others waiting, use PrepareReset and SetPassword.
//
// Errors: ErrUnknownToken for every key that resets nothing; *PasswordError, after which the key is good still. With these nothing has been written. After
// any other error the caller must roll tx back.
func (a *Accounts[Tx]) ResetPassword(ctx context.Context, tx Tx, key, newPassword string) (User, error) {
	n, err := a.prepareReset(ctx, key, newPassword, func(hash [32]byte) (Owner, error) {
		return a.store.TokenUser(ctx, tx, MailPasswordReset, hash)
	})
	var u User
	if err == nil {
		u, err = a.setPassword(ctx, tx, n)
	}
	if err != nil {
		return User{}, fmt.Errorf("reset password: %w", err)
	}
	return u, nil
}
