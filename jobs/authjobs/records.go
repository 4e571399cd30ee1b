package authjobs

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// ErrNotWanted means that a mail has lost its reason: the user is no longer pending, has registered anew, the
// link was used or replaced, or its time is over.
var ErrNotWanted = errors.New("the mail is no longer wanted")

// ErrSent means that the mail server has accepted the mail already.
var ErrSent = errors.New("the mail has been sent")

// ErrLeaseLost means that the mail is wanted, and not this run's to send: another run has taken it over or has bound another key, or this
// run's lease ends before the delivery may. It says nothing of the mail, which is to be claimed again.
var ErrLeaseLost = errors.New("another run may be sending the mail")

// LeasedError means that another run is sending the mail.
type LeasedError struct {
	Until time.Time // the other run's lease ends by itself then
}

func (e *LeasedError) Error() string {
	return fmt.Sprintf("another run is sending the mail, its lease ends at %s", e.Until.Format(time.RFC3339))
}

// MailClaim asks for the right to send one mail.
type MailClaim struct {
	MailID     string // the effect's ID: one mail for each effect
	PendingID  string // of a confirmation
	UserID     string // of a mail to an owner
	Mail       string // its name, such as "password_reset"
	Generation uint64
	MessageID  string        // for the mail's first claim; later ones get that of the first
	Lease      time.Duration // longer than any delivery can take
	Limits     MailLimits    // of the deployment
}

// MailDraft is a claimed mail.
type MailDraft struct {
	MailID     string
	LeaseToken string
	PendingID  string // of a confirmation
	UserID     string // of a mail to an owner
	Mail       string // its name, such as "password_reset"
	Generation uint64
	To         string
	Language   string    // of the reader, a BCP 47 tag; "": the deployment's
	Nonce      []byte    // nil: the mail has no link to derive
	KID        string    // of the key that the link's token was first derived with, "" before
	Stage      string    // of a notice: how far it has come
	Detail     string    // of a notice: for its reader
	At         time.Time // of a notice: when it happened
	ExpiresAt  time.Time // of the registration, link or notice
	MessageID  string    // without angle brackets; the same for every try
	Date       time.Time // of the first claim; the same for every try
	Try        int       // which one this is, from 1
	StartedAt  time.Time // of this claim
	Share      MailShare // what it took of the limits
}

// MailAnswer is what the mail server said.
type MailAnswer struct {
	Code    int // SMTP reply code, 0 where there was none
	Reply   string
	Server  string      // its host, "" where it is not known
	Stage   string      // of SMTP at which the try failed, "" where it did not, or not there
	Outcome MailOutcome // "": MailError of a try that failed
	// Bounced says that the server refused the address itself for good: it enters the list of suppressions.
	Bounced bool
}

// AccountID is the ID of the registration or user: a user has that of his registration.
func (d MailDraft) AccountID() string { return cmp.Or(d.PendingID, d.UserID) }
