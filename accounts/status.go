package accounts

import (
	"context"
	"fmt"
	"time"
)

// Standing is where an address stands.
type Standing string

// The standings. The first that applies counts: disabled, locked, active, pending, none.
const (
	StandingPending  Standing = "pending"  // registered, not confirmed, not expired
	StandingActive   Standing = "active"   // may log in
	StandingLocked   Standing = "locked"   // has an account, which is locked: after too many failures, or by an operator
	StandingDisabled Standing = "disabled" // has an account, which an admin disabled
	StandingNone     Standing = "none"     // neither an account nor a registration that can be confirmed
)

// LockedBy says what locked an address.
type LockedBy string

// What locks an address. A lock by an operator is lifted by Operator.Unlock alone, or when its time is over.
const (
	LockedByFailures LockedBy = "failures"
	LockedByOperator LockedBy = "operator"
)

// Status is what an operator sees of one address. Times are the database's.
type Status struct {
	Email          string     `json:"email"` // as the account or registration has it, else as asked
	Status         Standing   `json:"status"`
	UserID         string     `json:"user_id,omitempty"`
	PendingID      string     `json:"pending_id,omitempty"` // only of a registration that can be confirmed
	Generation     uint64     `json:"generation,omitempty"`
	ExpiresAt      *time.Time `json:"expires_at,omitempty"` // of the registration
	SentAt         *time.Time `json:"sent_at,omitempty"`    // when a mail server took its mail
	FailedAttempts int        `json:"failed_attempts"`      // in a row, those while locked included; a lock that is over still shows its own
	LastFailedAt   *time.Time `json:"last_failed_at,omitempty"`
	LockedUntil    *time.Time `json:"locked_until,omitempty"` // set while locked, with or without an account
	LockedBy       LockedBy   `json:"locked_by,omitempty"`    // likewise
	Language       string     `json:"language,omitempty"`     // of the mails; "": the deployment's
}

// Show tells where an address stands. It is for operators: it answers what Authenticate and the public must not. Errors: *EmailError.
func (a *Accounts[Tx]) Show(ctx context.Context, email string) (Status, error) {
	address, err := ParseEmail(email)
	if err != nil {
		return Status{}, fmt.Errorf("show: %w", err)
	}
	s, err := a.store.AccountState(ctx, address.norm)
	if err != nil {
		return Status{}, fmt.Errorf("show: %w", err)
	}
	out := Status{Email: address.given, Status: StandingNone, FailedAttempts: s.FailedAttempts, LastFailedAt: s.LastFailedAt}
	if s.Locked {
		out.LockedUntil, out.LockedBy = s.LockedUntil, LockedByFailures
		if s.ByOperator {
			out.LockedBy = LockedByOperator
		}
	}
	if p := s.Pending; p != nil && !p.Expired {
		out.Status, out.Email, out.PendingID = StandingPending, p.Email, p.ID
		out.Generation, out.ExpiresAt, out.SentAt, out.Language = p.Generation, &p.ExpiresAt, p.SentAt, s.Language
	}
	if u := s.User; u != nil {
		out.Email, out.UserID, out.Language = u.Email, u.ID, s.Language
		switch {
		case u.Disabled:
			out.Status = StandingDisabled
		case s.Locked:
			out.Status = StandingLocked
		default:
			out.Status = StandingActive
		}
	}
	return out, nil
}
