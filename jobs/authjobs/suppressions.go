package authjobs

import (
	"errors"
	"fmt"
	"time"
)

// Hold is why a mail was not tried.
type Hold string

// The holds.
const (
	HeldByDomain     Hold = "domain"     // the recipient's domain gets no more for now
	HeldByHour       Hold = "hour"       // the hourly cap
	HeldByDay        Hold = "day"        // the daily cap
	HeldBySuppressed Hold = "suppressed" // the address is on the list of suppressions
)

// ReasonHardBounce is why an address is suppressed that a mail server refused for good.
const ReasonHardBounce = "hard_bounce"

// Suppression is an address to which nothing is sent.
type Suppression struct {
	Address   string // normalised
	Reason    string
	SMTPCode  int
	SMTPReply string // may repeat the address
	MailID    string // of the mail that was refused
	Since     time.Time
}

// SuppressionFilter chooses suppressions: those for which every field that is given holds. Zero: all.
type SuppressionFilter struct {
	SMTPCode int       // what the mail server answered. Zero: whatever it did
	Since    time.Time // entered then or later. Zero: ever
}

// ErrNotSuppressed means that the address is not on the list.
var ErrNotSuppressed = errors.New("the address is not suppressed")

// SuppressedError means that nothing is sent to a mail's address.
type SuppressedError struct {
	Reason   string
	SMTPCode int
	Since    time.Time
}

// Error leaves the server's words out: they like to repeat the address.
func (e *SuppressedError) Error() string {
	return fmt.Sprintf("nothing is sent to the address: it is suppressed since %s (%s, %d)", e.Since.UTC().Format(time.RFC3339), e.Reason, e.SMTPCode)
}
