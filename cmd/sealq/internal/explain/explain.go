// Package explain tells what happened to one person's registration and mails, as one timeline: registered, recorded in the outbox,
// signed and enqueued, tried, answered by the mail server, activated; and of that the first step that is missing, and what to do.
//
// It looks and changes nothing. It holds no key and judges no signature: whether what lies in Redis verifies, `sealq tasks show`
// says. It never reads a token, a password hash or a payload.
package explain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/rawtask"
)

// Accounts tells where accounts stand. The drivers implement it.
type Accounts interface {
	AccountState(ctx context.Context, emailNorm string) (accounts.State, error)
	// AccountAddress returns the normalised address of a registration or user, or accounts.ErrNoSuchUser.
	AccountAddress(ctx context.Context, id string) (emailNorm string, err error)
}

// Mails tells of mails. The drivers implement it.
type Mails interface {
	// MailsOf lists up to limit mails of a registration or user, the newest first.
	MailsOf(ctx context.Context, accountID string, limit int) ([]authjobs.MailHistory, error)
	// RequestsOf lists up to limit jobs that answer what was asked for by an address, the newest first.
	RequestsOf(ctx context.Context, emailNorm string, limit int) ([]authjobs.MailHistory, error)
	// MailOf tells of the mail of an outbox row, or of a Message-ID, or jobs.ErrNoSuchRow.
	MailOf(ctx context.Context, rowOrMessageID string) (authjobs.MailHistory, error)
	// RefusedOf lists up to limit entries of the quarantine whose task was, or called itself, one of the row's.
	RefusedOf(ctx context.Context, rowID string, limit int) ([]jobs.Refused, error)
}

// Attempts tells of the tries of mails. The drivers implement it.
type Attempts interface {
	// AttemptsOf lists the tries of a mail that are kept, the first of them first.
	AttemptsOf(ctx context.Context, mailID string) ([]authjobs.MailAttempt, error)
	// SuppressionOf returns the suppression of a normalised address, or authjobs.ErrNotSuppressed.
	SuppressionOf(ctx context.Context, emailNorm string) (authjobs.Suppression, error)
}

// Trail is the record of who changed what. The drivers implement it.
type Trail interface {
	// AuditOf lists the newest limit entries about a subject, the oldest of them first.
	AuditOf(ctx context.Context, subject string, limit int) ([]audit.Entry, error)
}

// Records is the database.
type Records interface {
	Accounts
	Mails
	Attempts
	Trail
}

// Queue is Redis: a *rawtask.Lister.
type Queue interface {
	Look(ctx context.Context, queue, id string) (rawtask.Found, error)
}

// Config of one explanation.
type Config struct {
	Records Records
	// Queue is asked for the tasks of rows that have not ended. Nil: nobody is, and Away says why.
	Queue Queue
	// Away is why there is no Queue, in a sentence.
	Away string
	// Now is the clock of ages. Nil: time.Now.
	Now func() time.Time
}

// ErrUnknown means that nothing is known of what was asked for.
var ErrUnknown = errors.New("nothing is known of it")

// The steps of a story, in their order. StepChanged is what else was done to the account.
const (
	StepRegistered = "registered" // the account's registration
	StepRecorded   = "recorded"   // a job stands in the outbox
	StepSigned     = "signed"     // a relay has signed its task, and Redis has it
	StepTried      = "tried"      // a worker has tried to send the mail
	StepAnswered   = "answered"   // how one try ended that sent nothing, or a second copy
	StepSent       = "sent"       // a mail server took it
	StepEnded      = "ended"      // the job ended without that
	StepRefused    = "refused"    // a task was refused
	StepActivated  = "activated"
	StepChanged    = "changed"
)

// Step is something that happened.
type Step struct {
	At        *time.Time `json:"at"`  // null: it is not recorded when
	Age       string     `json:"age"` // how long that is ago, such as 3m12s
	Step      string     `json:"step"`
	Text      string     `json:"text"` // for people; it changes
	Row       string     `json:"row,omitempty"`
	Kind      jobs.Kind  `json:"kind,omitempty"`
	KID       string     `json:"kid,omitempty"`
	MessageID string     `json:"message_id,omitempty"`
	SMTPCode  int        `json:"smtp_code,omitempty"`
	SMTPReply string     `json:"smtp_reply,omitempty"`
	// Of StepAnswered:
	Try     int                  `json:"try,omitempty"` // from 1
	Server  string               `json:"server,omitempty"`
	Stage   string               `json:"stage,omitempty"` // of SMTP
	Outcome authjobs.MailOutcome `json:"outcome,omitempty"`
}

// Story is what happened.
type Story struct {
	Asked     string            `json:"asked"`
	Email     string            `json:"email"`
	Status    accounts.Standing `json:"status"`
	AccountID string            `json:"account_id"`
	Redis     string            `json:"redis"` // answered, not needed, or why it did not answer
	Steps     []Step            `json:"steps"`
	Missing   string            `json:"missing"` // the first step that is missing, "" for none
	Advice    string            `json:"advice"`
}

// How much of a long story is told.
const (
	mostMails   = 20
	mostEntries = 50
	mostRefused = 5
)

// teller tells one story.
type teller struct {
	Config
	Story
	now   time.Time
	norm  string // the address, normalised; "" for none
	state accounts.State
	mails []authjobs.MailHistory // and answers to what was asked for by the address, the newest first
	focus *authjobs.MailHistory  // the one that was asked for
}

// Explain tells what is known of an address, the ID of a registration, user, outbox row or task, or a Message-ID. Where nothing is, the
// error is ErrUnknown and the Story's status none.
func Explain(ctx context.Context, c Config, asked string) (Story, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	t := &teller{Config: c, now: c.Now(), Story: Story{Asked: asked, Status: accounts.StandingNone, Redis: "not needed", Steps: []Step{}}}
	err := t.tell(ctx, asked)
	t.plain()
	return t.Story, err
}

func (t *teller) tell(ctx context.Context, asked string) error {
	if err := t.find(ctx, asked); err != nil {
		return err
	}
	if err := t.entries(ctx); err != nil {
		return err
	}
	for i := range t.mails {
		if err := t.mail(ctx, &t.mails[i]); err != nil {
			return err
		}
	}
	if len(t.Steps) == 0 && t.state.User == nil && t.state.Pending == nil && !t.state.Locked {
		return ErrUnknown
	}
	slices.SortStableFunc(t.Steps, func(a, b Step) int {
		if a.At != nil && b.At != nil {
			return a.At.Compare(*b.At)
		}
		return cmp.Compare(a.place(), b.place())
	})
	return t.conclude(ctx)
}

// place is where a step stands of which it is not recorded when it was: a registration before all others, what came of it after them.
func (s Step) place() int {
	switch {
	case s.At != nil:
		return 1
	case s.Step == StepRegistered:
		return 0
	}
	return 2
}

// find finds whom it is about, and his mails.
func (t *teller) find(ctx context.Context, asked string) error {
	if email, err := accounts.ParseEmail(asked); err == nil {
		if err := t.account(ctx, email.Norm()); err != nil {
			return err
		}
		if err := t.mailsOf(ctx); err != nil || len(t.mails) > 0 || t.AccountID != "" {
			return err
		}
		t.Email = email.Given()
	}
	id := strings.TrimSuffix(strings.TrimPrefix(asked, "<"), ">")
	if row, _, isTask := jobs.SplitTaskID(id); isTask {
		id = row
	}
	if parsed, err := uuid.Parse(id); err == nil {
		id = parsed.String()
	}
	h, err := t.Records.MailOf(ctx, id)
	switch {
	case err == nil:
		t.focus, id = &h, h.AccountID
	case !errors.Is(err, jobs.ErrNoSuchRow):
		return err
	}
	norm, err := t.Records.AccountAddress(ctx, id)
	switch {
	case err == nil:
		if err := t.account(ctx, norm); err != nil {
			return err
		}
	case !errors.Is(err, accounts.ErrNoSuchUser):
		return err
	}
	t.AccountID = id
	if err := t.mailsOf(ctx); err != nil {
		return err
	}
	if t.focus == nil && len(t.mails) == 0 && t.state.User == nil && t.state.Pending == nil && t.Email != "" {
		t.AccountID = ""
	}
	if t.focus != nil && !slices.ContainsFunc(t.mails, func(h authjobs.MailHistory) bool { return h.Row.ID == t.focus.Row.ID }) {
		t.mails = append(t.mails, *t.focus)
	}
	return nil
}

// account reads where an address stands.
func (t *teller) account(ctx context.Context, norm string) error {
	state, err := t.Records.AccountState(ctx, norm)
	if err != nil {
		return err
	}
	t.state, t.norm = state, norm
	if p := state.Pending; p != nil {
		t.Email, t.AccountID = p.Email, p.ID
		if !p.Expired {
			t.Status = accounts.StandingPending
		}
	}
	if u := state.User; u != nil {
		t.Email, t.AccountID, t.Status = u.Email, u.ID, accounts.StandingActive
		switch {
		case u.Disabled:
			t.Status = accounts.StandingDisabled
		case state.Locked:
			t.Status = accounts.StandingLocked
		}
	}
	return nil
}

func (t *teller) mailsOf(ctx context.Context) (err error) {
	if t.AccountID != "" {
		if t.mails, err = t.Records.MailsOf(ctx, t.AccountID, mostMails); err != nil {
			return err
		}
	}
	if t.norm == "" {
		return nil
	}
	requests, err := t.Records.RequestsOf(ctx, t.norm, mostMails)
	t.mails = append(t.mails, requests...)
	slices.SortFunc(t.mails, func(a, b authjobs.MailHistory) int { return cmp.Compare(b.Row.ID, a.Row.ID) })
	return err
}

// entries tells what the audit log has.
func (t *teller) entries(ctx context.Context) error {
	known := make(map[string]bool)
	for _, subject := range t.subjects() {
		entries, err := t.Records.AuditOf(ctx, subject, mostEntries)
		if err != nil {
			return err
		}
		for _, e := range entries {
			step := Step{Step: StepChanged, Text: strings.ReplaceAll(strings.TrimPrefix(strings.TrimPrefix(e.Action, "account."), "mail."), "_", " ") + " by " + e.Actor}
			switch e.Action {
			case "account.registered":
				step.Step, step.Text = StepRegistered, "registered"
				if e.Detail["generation"] != "" && e.Detail["generation"] != "1" {
					step.Text = "registered again, generation " + e.Detail["generation"] + ": an older link is dead"
				}
			case "account.activated":
				step.Step, step.Text = StepActivated, "the link was used: the account is active"
			}
			if role := e.Detail["role"]; role != "" {
				step.Text += ": " + role
			}
			if length := e.Detail["for"]; length != "" {
				step.Text += ", for " + length
			}
			if e.Action == "account.registered" || e.Action == "account.activated" {
				step.Text += by(e.Actor)
			}
			known[step.Step] = true
			t.add(e.At, step)
		}
	}
	if t.state.User != nil && !known[StepActivated] {
		t.add(time.Time{}, Step{Step: StepActivated, Text: "the account is active; when it became so is not recorded"})
	}
	if t.state.Pending != nil && !known[StepRegistered] {
		t.add(time.Time{}, Step{Step: StepRegistered, Text: "registered; when is not recorded"})
	}
	return nil
}

// subjects are whom the entries are about that tell of the account, and of its address.
func (t *teller) subjects() (all []string) {
	if t.AccountID != "" {
		all = append(all, "pending/"+t.AccountID, "user/"+t.AccountID)
	}
	if email, err := accounts.ParseEmail(t.Email); err == nil {
		all = append(all, email.Subject())
	}
	return all
}

// by names who did for somebody what people do themselves.
func by(actor string) string {
	if actor == "public" {
		return ""
	}
	return ", by " + actor
}

// mail tells the steps of one mail, or of another job.
func (t *teller) mail(ctx context.Context, h *authjobs.MailHistory) error {
	r := h.Row
	t.add(r.CreatedAt, Step{Step: StepRecorded, Row: r.ID, Kind: r.Kind, Text: fmt.Sprintf("%s recorded in the outbox as row %s: %s, attempt %d, %d failed; until %s",
		r.Kind, r.ID, r.State, r.Attempt, r.Failures, stamp(r.ExpiresAt))})
	if !r.SignedAt.IsZero() {
		by := "signed by key " + r.KID
		if r.KID == "" {
			by = "signed"
		}
		at := r.SignedAt
		if r.Attempt == 1 && !h.FirstTry.IsZero() && h.FirstTry.Before(at) {
			at = h.FirstTry // a worker was quicker than the relay's mark
		}
		t.add(at, Step{Step: StepSigned, Row: r.ID, Kind: r.Kind, KID: r.KID, Text: by + ", and put into Redis"})
	}
	if err := t.tries(ctx, h); err != nil {
		return err
	}
	if !h.SentAt.IsZero() {
		t.add(h.SentAt, Step{
			Step: StepSent, Row: r.ID, Kind: r.Kind, MessageID: h.MessageID, SMTPCode: h.SMTPCode, SMTPReply: h.SMTPReply,
			Text: "the mail server took it" + answer(h),
		})
	}
	refused, err := t.Records.RefusedOf(ctx, r.ID, mostRefused)
	if err != nil {
		return err
	}
	for _, q := range refused {
		text := "its task was refused"
		if !q.Authentic {
			text = "a task that nobody signed so, under its name, was refused"
		}
		t.add(q.ReceivedAt, Step{Step: StepRefused, Row: r.ID, Kind: r.Kind, KID: q.KID, Text: fmt.Sprintf("%s: %s, entry %s of the quarantine", text, q.Reason, q.ID)})
	}
	if !r.EndedAt.IsZero() && h.SentAt.IsZero() {
		text := fmt.Sprintf("row %s ended: %s", r.ID, r.State)
		switch {
		case h.HeldBy != "":
			text += ": " + h.Cause
		case r.Cause != "":
			text += ": " + r.Cause
		}
		t.add(r.EndedAt, Step{Step: StepEnded, Row: r.ID, Kind: r.Kind, Text: text})
	}
	return nil
}

func (t *teller) add(at time.Time, s Step) {
	s.Text = tame(s.Text)
	if !at.IsZero() {
		at = at.UTC()
		s.At, s.Age = &at, t.age(at)
	}
	t.Steps = append(t.Steps, s)
}
