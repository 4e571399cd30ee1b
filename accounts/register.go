package accounts

import (
	"context"
	"crypto/rand"
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
	Password string
}

// Format redacts under every verb.
func (Registration) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue redacts.
func (Registration) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText redacts, in JSON too.
func (Registration) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Pending is a registration that waits for its confirmation.
type Pending struct {
	ID         string    `json:"pending_id"`
	Email      string    `json:"email"`      // as given
	Generation uint64    `json:"generation"` // grows each time the address is registered again before it is confirmed
	ExpiresAt  time.Time `json:"expires_at"` // by the database's clock
}

// Register writes a pending user and asks for its confirmation mail, both in tx, which the caller commits. An expired registration of the address is
// replaced, swept or not: its key is dead and its password gone.
//
// Errors: *EmailError, *PasswordError, ErrAlreadyActive, *PendingError (unless Config.RegisterAgain says otherwise); with these nothing has been
// written. After any other error the caller must roll tx back.
func (a *Accounts[Tx]) Register(ctx context.Context, tx Tx, r Registration) (Pending, error) {
	email, err := ParseEmail(r.Email)
	if err != nil {
		return Pending{}, fmt.Errorf("register: %w", err)
	}
	if err := a.checkNewPassword(ctx, email, r.Password); err != nil {
		return Pending{}, fmt.Errorf("register: %w", err)
	}
	// Before the store is touched: no row may be locked while a hash is computed, and a taken address must cost what a free one costs.
	hash, err := a.hasher.hash(ctx, r.Password)
	if err != nil {
		return Pending{}, fmt.Errorf("register: %w", err)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Pending{}, fmt.Errorf("register: new ID: %w", err)
	}
	saved, err := a.store.SavePending(ctx, tx, NewPending{
		ID: id.String(), Email: email.given, EmailNorm: email.norm, PasswordHash: hash, Nonce: newNonce(),
		TTL: a.cfg.PendingTTL, ReplaceLive: a.cfg.RegisterAgain == NewGeneration,
	})
	if err != nil {
		return Pending{}, fmt.Errorf("register: %w", err)
	}
	if err := a.record(ctx, tx, Change{
		Actor: public, Action: "account.registered", Subject: "pending/" + saved.ID,
		Detail: map[string]string{"generation": strconv.FormatUint(saved.Generation, 10)},
	}); err != nil {
		return Pending{}, fmt.Errorf("register: %w", err)
	}
	if err := a.notifier.ConfirmationWanted(ctx, tx, saved.ID, saved.Generation, saved.ExpiresAt); err != nil {
		return Pending{}, fmt.Errorf("register: ask for the confirmation mail: %w", err)
	}
	return Pending{ID: saved.ID, Email: email.given, Generation: saved.Generation, ExpiresAt: saved.ExpiresAt}, nil
}

func newNonce() []byte {
	nonce := make([]byte, nonceBytes)
	_, _ = rand.Read(nonce) // never fails (crypto/rand)
	return nonce
}
