package authjobs

import "time"

// MailOutcome is what became of one try of a mail. The values may be a metric's label.
type MailOutcome string

// The outcomes. The first five are those of package mail.
const (
	MailDelivered     MailOutcome = "delivered"     // the mail server took it
	MailPermanent     MailOutcome = "permanent"     // refused for good
	MailTemporary     MailOutcome = "temporary"     // to be tried again
	MailAmbiguous     MailOutcome = "ambiguous"     // sent whole, without an answer
	MailConfiguration MailOutcome = "configuration" // the mail server cannot be used, whoever the recipient is
	MailWithdrawn     MailOutcome = "withdrawn"     // it lost its reason before DATA
	MailError         MailOutcome = "error"         // it did not come to the mail server, by our own fault
	MailSuppressed    MailOutcome = "suppressed"    // not tried: the address is on the list of suppressions
	MailLimited       MailOutcome = "limited"       // not tried: a limit has no room; it comes back by itself
)

// MailOutcomes are all of them.
func MailOutcomes() []MailOutcome {
	return []MailOutcome{
		MailDelivered, MailPermanent, MailTemporary, MailAmbiguous, MailConfiguration, MailWithdrawn, MailError, MailSuppressed, MailLimited,
	}
}

// MailAttempt is one try of a mail, for people. A server's reply may repeat the address.
type MailAttempt struct {
	Try       int       // from 1, by the mail's claims
	StartedAt time.Time // when it was claimed
	EndedAt   time.Time
	Server    string // the mail server's host, "" where it is not known
	Stage     string // of SMTP at which it failed, "" where it did not, or not there
	Outcome   MailOutcome
	SMTPCode  int // 0 where the server did not answer
	SMTPReply string
	Cause     string // "" where it was delivered
}

// MaxAttempts is how many tries of one mail are kept, the newest.
const MaxAttempts = 50
