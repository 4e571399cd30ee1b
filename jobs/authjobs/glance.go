package authjobs

import (
	"slices"
	"strings"
	"time"

	"github.com/sealq/sealq/jobs"
)

// MailGlance is a mail in a list of many: where it stands, and how its last try ended.
type MailGlance struct {
	ID         string        // its effect's, which is its outbox row's where it has one
	Kind       jobs.Kind     // "" where the outbox has no row of it, or none any more
	State      jobs.RowState // of the row; likewise
	MessageID  string        // without angle brackets
	FirstTry   time.Time     // when a worker had it first
	Tries      int           // how often it was claimed to be sent
	Last       MailAttempt   // the newest try that is kept; zero where none is
	LeaseUntil time.Time     // a run is sending it until then; zero: none is
	SentAt     time.Time     // when a mail server took it; zero: none has
	HeldBy     Hold          // why it is not tried now; "": nothing holds it
	HeldUntil  time.Time     // when it is looked at again; zero: not by itself
}

// MailUse is what the deployment has used of its caps.
type MailUse struct {
	Hour, Day int64 // mails that still count; 0 also where no such cap was ever set
}

// UsedSince is from when on slices of the hour and the day still count at that time.
func UsedSince(now time.Time) (hour, day time.Time) {
	since := func(w window) time.Time { return now.Add(-w.span - w.slice) }
	return since(hourWindow()), since(dayWindow())
}

// MailBacklog leaves the mails of what was counted, and says whether the count may have stopped: of the rows that wait for a relay, or of
// those that are enqueued, there are as many as were looked at.
func MailBacklog(counted []jobs.Backlog, limit int) (mails []jobs.Backlog, more bool) {
	var waiting, enqueued int64
	for _, b := range counted {
		if b.State == jobs.RowEnqueued {
			enqueued += b.Rows
		} else {
			waiting += b.Rows
		}
	}
	mails = slices.DeleteFunc(counted, func(b jobs.Backlog) bool { return !strings.HasPrefix(string(b.Kind), "mail:") })
	return mails, max(waiting, enqueued) >= int64(limit)
}
