package dashboard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/operators"
)

// mailView is one mail with its tries.
type mailView struct {
	ID, Form, Kind, State, Attempt, Queue, Cause, MessageID, Account, Tries string
	First, Sent, Held, Lease, Created, Expires, Ended                       moment
	HeldBy, Outcome                                                         string
	Bad, Again, Hidden                                                      bool
	Why                                                                     string // it cannot be sent again
	Answers                                                                 []answerRow
	Said                                                                    string
}

type answerRow struct {
	Try                                        int
	Ended                                      moment
	Took, Server, Stage, Outcome, Reply, Cause string
	Bad                                        bool
}

func (d *Dashboard) mail(v *visit) error {
	if d.cfg.Mails == nil {
		return sorry("mails")
	}
	ctx, cancel := context.WithTimeout(v.r.Context(), patience)
	defer cancel()
	d.watch.attend()
	query := v.r.URL.Query()
	h, err := d.mailOf(ctx, query.Get("id"))
	if err != nil {
		return err
	}
	tries, err := d.cfg.Mails.AttemptsOf(ctx, h.Row.ID)
	if err != nil {
		return err
	}
	view := d.mailView(h, tries, v.who.role.May(operators.RoleOperator))
	if query.Get("did") == "again" {
		view.Said = "It is queued anew: a relay signs it, and a worker sends it if it is still wanted."
	}
	return v.page(http.StatusOK, "mail", "Mail "+view.ID, view)
}

// mailOf is the mail of an outbox row.
func (d *Dashboard) mailOf(ctx context.Context, id string) (authjobs.MailHistory, error) {
	err := jobs.ErrNoSuchRow
	var h authjobs.MailHistory
	if id != "" && len(id) <= maxLinked {
		h, err = d.cfg.Mails.MailOf(ctx, id)
	}
	if errors.Is(err, jobs.ErrNoSuchRow) {
		return h, refuse(http.StatusNotFound, "No such mail", "The outbox has no row of that ID, or no more.")
	}
	return h, err
}

func (d *Dashboard) mailView(h authjobs.MailHistory, tries []authjobs.MailAttempt, whole bool) mailView {
	r := h.Row
	view := mailView{
		ID: label(r.ID), Form: formed(r.ID), Kind: label(string(r.Kind)), State: label(string(r.State)), Attempt: fmt.Sprint(r.Attempt), Queue: label(r.Queue),
		Cause: d.redact.cause(r.Cause, whole), MessageID: label(h.MessageID), Account: linked(h.AccountID), Tries: fmt.Sprint(h.Tries), First: d.at(h.FirstTry), Sent: d.at(h.SentAt),
		Created: d.at(r.CreatedAt), Expires: d.at(r.ExpiresAt), Ended: d.at(r.EndedAt), HeldBy: label(string(h.HeldBy)), Held: d.at(h.HeldUntil), Hidden: !whole,
	}
	if h.LeaseUntil.After(d.cfg.Now()) {
		view.Lease = d.at(h.LeaseUntil)
	}
	view.Bad = slices.Contains([]jobs.RowState{jobs.RowDead, jobs.RowRefused, jobs.RowExpired}, r.State)
	view.Again, view.Why = d.mayAgain(r)
	view.Answers = d.answers(tries, whole)
	return view
}

// answers are a mail's tries, the newest first.
func (d *Dashboard) answers(tries []authjobs.MailAttempt, whole bool) []answerRow {
	var rows []answerRow
	for _, a := range slices.Backward(tries) {
		row := answerRow{
			Try: a.Try, Ended: d.at(a.EndedAt), Took: max(0, a.EndedAt.Sub(a.StartedAt)).Round(time.Millisecond).String(), Server: label(a.Server), Stage: label(a.Stage),
			Outcome: label(string(a.Outcome)), Bad: badOutcome(a.Outcome), Cause: d.redact.cause(a.Cause, whole),
		}
		if a.SMTPCode != 0 {
			row.Reply = strings.TrimSpace(fmt.Sprint(a.SMTPCode, " ", d.redact.reply(a.SMTPReply, whole)))
		}
		rows = append(rows, row)
	}
	return rows
}

// mayAgain says whether the row may be sent again as far as the page knows, or why not. The database decides.
func (d *Dashboard) mayAgain(r jobs.RowInfo) (ok bool, why string) {
	switch {
	case !strings.HasPrefix(string(r.Kind), "mail:"):
		return false, "It is no mail: sealq tasks reissue."
	case r.State == jobs.RowDone:
		return false, "It is done: whatever its reader lacks, he must ask for anew."
	case !r.ExpiresAt.After(d.cfg.Now()):
		return false, "It has expired: it must be asked for anew."
	case r.State == jobs.RowQueued || r.State == jobs.RowClaimed:
		return false, "It waits for a relay."
	}
	return true, ""
}

// sendAgain queues a mail's row anew. Change and entry commit together.
func (d *Dashboard) sendAgain(v *visit) error {
	if d.cfg.Mails == nil {
		return sorry("mails")
	}
	ctx, cancel := context.WithTimeout(v.r.Context(), patience)
	defer cancel()
	h, err := d.mailOf(ctx, named(v.r.PostFormValue("id")))
	if err != nil {
		return err
	}
	here := url.Values{"id": {h.Row.ID}}
	if ok, why := d.mayAgain(h.Row); !ok {
		return refuse(http.StatusConflict, "Not sent again", "%s", why)
	}
	yes, err := v.sure(confirmView{
		Ask: "Send this mail again?",
		Radius: []string{
			"It is queued anew, with all of its tries if it was given up. Mend first what went wrong.",
			"A worker looks once more whether it is wanted, and if the attempt before it comes through too, the mail is sent once.",
		},
		Button: "Send it again", Back: "/mail?" + here.Encode(),
	})
	if !yes {
		return err
	}
	switch err := d.cfg.Mails.Reissue(ctx, v.who.name, h.Row); {
	case errors.Is(err, jobs.ErrRowDone):
		return refuse(http.StatusConflict, "Not sent again", "It was sent in the meantime: nothing is left to do.")
	case errors.Is(err, jobs.ErrRowExpired):
		return refuse(http.StatusConflict, "Not sent again", "It has expired: it must be asked for anew.")
	case errors.Is(err, jobs.ErrDuplicate):
		return refuse(http.StatusConflict, "Not sent again", "Another job does the same work: wait for it.")
	case errors.Is(err, jobs.ErrOtherAttempt), errors.Is(err, jobs.ErrNoSuchRow):
		return refuse(http.StatusConflict, "Not sent again", "Somebody else was quicker, or a worker restored it: look at it again.")
	case err != nil:
		return err
	}
	return v.back("/mail", here, "again")
}
