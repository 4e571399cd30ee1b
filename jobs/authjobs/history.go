package authjobs

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/sealq/sealq/jobs"
)

// MailHistory is what the database knows of one mail, for people: its outbox row, and what the mail server said. It holds no
// token, no address and no payload; a server's reply may repeat an address.
type MailHistory struct {
	Row        jobs.RowInfo
	AccountID  string // of the registration or user; "" where the row's kind is no mail
	Generation uint64
	MessageID  string    // without angle brackets; "" before a worker has claimed the mail, like all that follows
	Tries      int       // how often it was claimed to be sent
	FirstTry   time.Time // zero before
	SMTPCode   int       // of the last try, 0 where the server did not answer
	SMTPReply  string
	Cause      string    // why the last try failed; "" otherwise
	LeaseUntil time.Time // a run is sending it until then; zero: none is
	SentAt     time.Time // when a mail server took it; zero: none has
	HeldBy     Hold      // why it is not tried now; "": nothing holds it
	HeldUntil  time.Time // when it is looked at again; zero: not by itself
}

// AccountOf says whose mail a row's payload asks for, "" where its kind is no mail or it is not understood.
func AccountOf(kind jobs.Kind, payload []byte) (accountID string, generation uint64) {
	var args struct {
		Confirmation
		UserID string `json:"user_id"`
	}
	if !strings.HasPrefix(string(kind), mailPrefix) || json.Unmarshal(payload, &args) != nil {
		return "", 0
	}
	if args.UserID != "" {
		return args.UserID, args.Generation
	}
	return args.PendingID, args.Generation
}
