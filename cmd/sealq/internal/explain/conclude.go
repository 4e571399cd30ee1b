package explain

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/rawtask"
)

// The runbooks that advice leads to.
const (
	stuckTask         = "docs/runbooks/stuck-task.md"
	quarantineRunbook = "docs/runbooks/quarantine.md"
)

// conclude says which step is missing first, and what to do.
func (t *teller) conclude(ctx context.Context) error {
	h := t.decisive()
	if h != nil {
		if err := t.concludeMail(ctx, h); err != nil {
			return err
		}
	}
	if p := t.state.Pending; t.Missing == "" && p != nil && t.state.User == nil {
		t.concludePending(*p, h)
	}
	t.concludeAccount()
	return nil
}

// lacks says which step is missing, and what to do.
func (t *teller) lacks(step, advice string, args ...any) {
	t.Missing = step
	t.advise(advice, args...)
}

// advise adds a sentence to what is to be done. What stands in backticks there is a command of ours, and nobody else's.
func (t *teller) advise(advice string, args ...any) {
	t.Advice = strings.TrimPrefix(t.Advice+"; "+fmt.Sprintf(advice, tamed(args)...), "; ")
}

// decisive is the mail that was asked for, the one with the link that is waited for, or the newest. nil: there is none, or none that matters still.
func (t *teller) decisive() *authjobs.MailHistory {
	if t.focus != nil {
		return t.focus
	}
	for i := range t.mails {
		h := &t.mails[i]
		confirms := h.Row.Kind == authjobs.KindMailConfirmation
		switch {
		case t.state.User != nil:
			if !confirms { // the account is active: whatever became of its link's mails does not matter
				return h
			}
		case t.state.Pending == nil, confirms && h.Generation == t.state.Pending.Generation:
			return h
		}
	}
	return nil
}

// concludePending says what a registration waits for whose mail lacks nothing.
func (t *teller) concludePending(p accounts.PendingState, h *authjobs.MailHistory) {
	switch {
	case p.Expired:
		t.lacks(StepActivated, "nobody used the link before %s: register the address again", stamp(p.ExpiresAt))
	case h == nil:
		t.lacks(StepRecorded, "no job of the outbox mails its link: `sealq enqueue mail:confirmation --args '{\"pending_id\":\"%s\",\"generation\":%d}' --outbox`", p.ID, p.Generation)
	case h.Row.Kind == authjobs.KindMailConfirmation && h.Generation != p.Generation:
		t.lacks(StepActivated, "the address was registered again, so that this mail's link is dead: `sealq explain %s` tells of the newest", word(t.Email))
	default:
		t.lacks(StepActivated, "the link waits to be used until %s: have the mail looked for, among spam too, and by its Message-ID in the mail server's log",
			stamp(p.ExpiresAt))
	}
}

// concludeAccount adds what keeps a user out, and that a registration is there no more.
func (t *teller) concludeAccount() {
	p := t.state.Pending
	if t.Status == accounts.StandingDisabled {
		t.advise("the account is disabled: `sealq accounts enable --email %s` opens it", word(t.Email))
	}
	t.concludeLock()
	switch {
	case t.AccountID == "" && len(t.mails) > 0 && t.Missing == "":
		t.advise("nobody has an account with this address, so that the answer to what was asked for by it was none: is it the address that was registered?")
	case t.AccountID != "" && t.state.User == nil && (p == nil || p.Expired && t.Missing != StepActivated):
		t.advise("the registration is over, or was deleted: register the address again")
	}
}

// concludeLock adds what keeps out whoever has the address, with an account or without.
func (t *teller) concludeLock() {
	if !t.state.Locked {
		return
	}
	whose := "it"
	if t.state.User == nil {
		whose = "the address, which has no account,"
	}
	until := stamp(*t.state.LockedUntil)
	if t.state.ByOperator {
		t.advise("an operator locked %s until %s: `sealq accounts unlock --email %s` lifts that", whose, until, word(t.Email))
		return
	}
	t.advise("%s is locked until %s after %d failed logins: `sealq accounts unlock --email %s` lifts that", whose, until, t.state.FailedAttempts, word(t.Email))
}

// concludeMail says what is missing of one mail, or of another job.
func (t *teller) concludeMail(ctx context.Context, h *authjobs.MailHistory) error {
	r := h.Row
	switch r.State {
	case jobs.RowQueued, jobs.RowClaimed:
		return t.concludeQueued(ctx, h)
	case jobs.RowEnqueued:
		return t.concludeEnqueued(ctx, h)
	case jobs.RowRefused:
		return t.concludeRefused(ctx, h)
	case jobs.RowDead:
		if s, ok, err := t.suppression(ctx); err != nil {
			return err
		} else if ok && s.MailID == r.ID {
			return t.concludeSuppressed(ctx)
		}
		if h.SMTPCode >= 500 {
			t.lacks(StepSent, "the mail server refused it for good%s: mend the address, or what the server has against the sender, then %s; %s", answer(h), reissue(r), stuckTask)
			break
		}
		if r.Failures <= r.Retries { // its handler said that another try would be for nothing
			t.lacks(StepSent, "it was given up, since another try could not help: mend what went wrong (%s), then %s; %s", r.Cause, reissue(r), stuckTask)
			break
		}
		t.lacks(StepSent, "it is out of tries: mend what went wrong last (%s), then %s; %s", r.Cause, reissue(r), stuckTask)
	case jobs.RowExpired:
		t.lacks(StepSent, "it was not done before %s: it must be asked for anew", stamp(r.ExpiresAt))
	case jobs.RowDone:
		switch {
		case h.HeldBy == authjobs.HeldBySuppressed:
			return t.concludeSuppressed(ctx)
		case h.AccountID != "" && h.SentAt.IsZero():
			t.lacks(StepSent, "a worker found that it was not wanted any more, and sent nothing: the link was used or replaced, its time was over, or the account disabled")
		}
	}
	return nil
}

// suppression is that of the address, if it has one.
func (t *teller) suppression(ctx context.Context) (authjobs.Suppression, bool, error) {
	email, err := accounts.ParseEmail(t.Email)
	if err != nil {
		return authjobs.Suppression{}, false, nil //nolint:nilerr // nobody knows it any more
	}
	s, err := t.Records.SuppressionOf(ctx, email.Norm())
	if errors.Is(err, authjobs.ErrNotSuppressed) {
		return s, false, nil
	}
	return s, err == nil, err
}

// concludeSuppressed tells of a mail that was refused by its address, or not sent because of that.
func (t *teller) concludeSuppressed(ctx context.Context) error {
	s, ok, err := t.suppression(ctx)
	switch {
	case err != nil:
		return err
	case !ok:
		t.lacks(StepSent, "it was not sent while the address was suppressed: mails go there again, have it asked for anew")
	default:
		t.lacks(StepSent, "nothing is sent to %s since %s, because a mail server refused the address for good: %s. If it is right after all: "+
			"`sealq mail suppressions remove %s`, then have the mail asked for anew", word(s.Address), stamp(s.Since),
			reply(s.SMTPCode, s.SMTPReply), word(s.Address))
	}
	return nil
}

func (t *teller) concludeQueued(ctx context.Context, h *authjobs.MailHistory) error {
	found, err := t.look(ctx, h) // so that it is told whether Redis answers
	if err != nil {
		return err
	}
	r := h.Row
	switch {
	case r.NotBefore.After(t.now):
		t.lacks(StepSigned, "it is not due before %s", stamp(r.NotBefore))
	case found == away:
		t.lacks(StepSigned, "Redis does not answer: %s. Nothing is lost: it waits in the outbox until %s", t.Redis, stamp(r.ExpiresAt))
	default:
		t.lacks(StepSigned, "no relay has put it into Redis since %s (%s): see that a worker runs, `sealq doctor`", stamp(r.NextAt), t.age(r.NextAt))
		if r.Cause != "" {
			t.advise("what went wrong last: %s", r.Cause)
		}
	}
	return nil
}

func (t *teller) concludeEnqueued(ctx context.Context, h *authjobs.MailHistory) error {
	found, err := t.look(ctx, h)
	if err != nil {
		return err
	}
	r := h.Row
	switch {
	case h.LeaseUntil.After(t.now):
		t.lacks(StepSent, "a worker is sending it")
	case h.HeldUntil.After(t.now) && found != gone:
		t.lacks(StepSent, "%s, and it is sent by itself then; other mails of the deployment have used it up", h.Cause)
	case found == gone:
		t.lacks(StepSent, "Redis does not have its task %s: a worker restores it within --overdue by itself, %s at once; %s", r.TaskID(), reissue(r), stuckTask)
	case found == rawtask.Archived || found == rawtask.Completed || found == rawtask.Unlisted:
		t.lacks(StepSent, "its task is %s, so that no worker takes it: a worker restores it within --overdue by itself, %s at once; %s", found, reissue(r), stuckTask)
	case h.Cause != "":
		t.lacks(StepSent, "no mail server has taken it since %s (%s): %s%s. It is tried again by itself until %s; `sealq doctor` looks at the mail server",
			stamp(h.FirstTry), t.age(h.FirstTry), h.Cause, answer(h), stamp(r.ExpiresAt))
	case found == away:
		t.lacks(StepSent, "Redis does not answer: %s. The database knows that the task was put there at %s, and of no try since", t.Redis, stamp(r.SignedAt))
	default:
		t.lacks(StepSent, "its task is %s in queue %s: see that a worker serves the queue, `sealq doctor`; `sealq tasks show %s %s` says whether it verifies; %s",
			found, r.Queue, word(r.Queue), r.TaskID(), stuckTask)
	}
	return nil
}

func (t *teller) concludeRefused(ctx context.Context, h *authjobs.MailHistory) error {
	refused, err := t.Records.RefusedOf(ctx, h.Row.ID, mostRefused)
	if err != nil {
		return err
	}
	for _, q := range refused {
		if q.Authentic {
			t.lacks(StepSent, "its task was refused (%s): `sealq quarantine show %s`, and once the cause is mended `sealq quarantine release %s`; %s", q.Reason, q.ID, q.ID, quarantineRunbook)
			return nil
		}
	}
	t.lacks(StepSent, "see why it could not be signed (%s), then %s; %s", h.Row.Cause, reissue(h.Row), stuckTask)
	return nil
}

// reissue is the command that has a row done anew.
func reissue(r jobs.RowInfo) code {
	return code(fmt.Sprintf("`sealq tasks reissue %s %s`", word(r.Queue), tame(r.ID)))
}

// What look says beside a task's state.
const (
	gone rawtask.State = "gone"
	away rawtask.State = "away" // t.Redis says why
)

// look says where the row's task stands in Redis.
func (t *teller) look(ctx context.Context, h *authjobs.MailHistory) (rawtask.State, error) {
	if t.Queue == nil {
		t.Redis = t.Away
		return away, nil
	}
	var state rawtask.State
	state, t.Redis = whereabouts(t.Queue.Look(ctx, h.Row.Queue, h.Row.TaskID()))
	return state, ctx.Err() //nolint:wrapcheck // nobody asks any more
}

// whereabouts says where a task that was looked for stands, and whether Redis answered.
func whereabouts(found rawtask.Found, err error) (state rawtask.State, answered string) {
	switch {
	case errors.Is(err, rawtask.ErrNoTask):
		return gone, "answered"
	case err != nil:
		return away, err.Error()
	}
	return found.State(), "answered"
}
