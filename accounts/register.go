package accounts

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// nonceBytes is the least that a token in a link may be derived from.
const nonceBytes = 16

// Registration is a wish for an account. It prints without its password.
type Registration struct {
	Email    string
	Password string // "" with PasswordLater
	// PasswordLater registers without a password: whoever holds the link chooses it (ActivateWithPassword), so that nobody has one in the account of an
	// address that is not his. Registering again while it waits then mails the same link once more, whatever Config.RegisterAgain says, so that a
	// stranger does not void the owner's. No hash is computed: what answers to the public must not wait for Register, whose time would tell where an
	// address stands. Zero: Password is needed.
	PasswordLater bool
	// Language of the mails, a BCP 47 tag such as "de-AT" of at most 35 bytes. Zero: the deployment's.
	Language string

	prepared prepared
}

// Format redacts under every verb.
func (Registration) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue redacts.
func (Registration) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText redacts, in JSON too.
func (Registration) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Pending is a registration that waits for its confirmation.
type Pending struct {
	ID         string    `json:"pending_id"` // "" where the address has an account, whose owner is told (Config.TellOwner)
	Email      string    `json:"email"`      // as given
	Generation uint64    `json:"generation"` // grows each time the address is registered again before it is confirmed
	ExpiresAt  time.Time `json:"expires_at"` // by the database's clock
}

// Register writes a pending user and asks for its confirmation mail, both in tx, which the caller commits. It hashes the password unless
// PrepareRegistration has done so, which is to be called before the transaction begins wherever that keeps others waiting. An expired registration of the address is
// replaced, swept or not: its key is dead and its password gone.
//
// Errors: *EmailError, *PasswordError, *LanguageError, ErrAlreadyActive (unless Config.TellOwner is set), *PendingError or *ThrottledError (as Config.RegisterAgain
// says); with these nothing has been written. After any other error the caller must roll tx back.
func (a *Accounts[Tx]) Register(ctx context.Context, tx Tx, r Registration) (Pending, error) {
	return a.register(ctx, tx, public, r)
}

// register is in the name of whoever did it.
func (a *Accounts[Tx]) register(ctx context.Context, tx Tx, actor string, r Registration) (Pending, error) {
	email, language, err := parseRegistration(r)
	if err != nil {
		return Pending{}, fmt.Errorf("register: %w", err)
	}
	// Before the store is touched: no row may be locked while a hash is computed, and a taken address must cost what a free one costs.
	if r.prepared, err = a.prepare(ctx, email, r); err != nil {
		return Pending{}, fmt.Errorf("register: %w", err)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Pending{}, fmt.Errorf("register: new ID: %w", err)
	}
	saved, err := a.store.SavePending(ctx, tx, NewPending{
		ID: id.String(), Email: email.given, EmailNorm: email.norm, PasswordHash: r.prepared.hash, Nonce: newNonce(),
		TTL: a.cfg.PendingTTL, ReplaceLive: a.cfg.RegisterAgain == NewGeneration && !r.PasswordLater, NotWithin: a.cfg.mailEvery(),
		Language: language,
	})
	if r.PasswordLater && errors.Is(err, ErrPending) {
		pending, err := a.resend(ctx, tx, actor, email)
		if err != nil {
			return Pending{}, fmt.Errorf("register: %w", err)
		}
		return pending, nil
	}
	if a.cfg.TellOwner && errors.Is(err, ErrAlreadyActive) {
		err = a.ask(ctx, tx, email, MailAccountExists, noticeTTL) // as many statements as a free address takes
		if err == nil {
			return Pending{Email: email.given}, nil
		}
	}
	if err != nil {
		return Pending{}, fmt.Errorf("register: %w", err)
	}
	if err := a.record(ctx, tx, Change{
		Actor: actor, Action: "account.registered", Subject: "pending/" + saved.ID,
		Detail: map[string]string{"generation": strconv.FormatUint(saved.Generation, 10)},
	}); err != nil {
		return Pending{}, fmt.Errorf("register: %w", err)
	}
	if err := a.notifier.ConfirmationWanted(ctx, tx, saved.ID, saved.Generation, saved.ExpiresAt); err != nil {
		return Pending{}, fmt.Errorf("register: ask for the confirmation mail: %w", err)
	}
	return Pending{ID: saved.ID, Email: email.given, Generation: saved.Generation, ExpiresAt: saved.ExpiresAt}, nil
}

// parseRegistration takes the parts that say who it is.
func parseRegistration(r Registration) (email Email, language string, err error) {
	if email, err = ParseEmail(r.Email); err == nil {
		language, err = ParseLanguage(r.Language)
	}
	return email, language, err
}

// Resend mails the confirmation of a registration once more, with the same key, recorded in tx, which the caller commits.
//
// Errors: *EmailError; ErrNotPending; *ThrottledError, because it was mailed less than Config.MailEvery ago. They tell where an address stands: what answers
// to the public must give one reply for all of them. With these nothing has been written. After any other error the caller must roll tx back.
func (a *Accounts[Tx]) Resend(ctx context.Context, tx Tx, email string) (Pending, error) {
	address, err := ParseEmail(email)
	if err != nil {
		return Pending{}, fmt.Errorf("resend: %w", err)
	}
	pending, err := a.resend(ctx, tx, public, address)
	if err != nil {
		return Pending{}, fmt.Errorf("resend: %w", err)
	}
	return pending, nil
}

func (a *Accounts[Tx]) resend(ctx context.Context, tx Tx, actor string, address Email) (Pending, error) {
	saved, err := a.store.ResendPending(ctx, tx, address.norm, a.cfg.mailEvery())
	if err == nil {
		err = a.record(ctx, tx, Change{Actor: actor, Action: "account.confirmation_resent", Subject: "pending/" + saved.ID})
	}
	if err == nil {
		err = a.notifier.ConfirmationWanted(ctx, tx, saved.ID, saved.Generation, saved.ExpiresAt)
	}
	if err != nil {
		return Pending{}, err
	}
	return Pending{ID: saved.ID, Email: address.given, Generation: saved.Generation, ExpiresAt: saved.ExpiresAt}, nil
}

func newNonce() []byte {
	nonce := make([]byte, nonceBytes)
	_, _ = rand.Read(nonce) // never fails (crypto/rand)
	return nonce
}
