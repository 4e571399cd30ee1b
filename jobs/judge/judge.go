// Package judge says what a worker would say of a task that lies in Redis, for people who look at it: operators' commands and
// pages. It looks and changes nothing: no task moves, no row is completed, no alarm is raised, nothing is entered anywhere.
//
// A Judge holds the keys, so that who shows tasks need not: they declare the one method that they call. It gives arguments
// out only of a task that verified, and never decodes another one's bytes.
package judge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/rawtask"
	"github.com/sealq/sealq/signing"
)

// Outcome is what would become of a task.
type Outcome string

// The outcomes.
const (
	Passed   Outcome = "passed"   // it verifies: its handler would run
	Refused  Outcome = "refused"  // it would go into quarantine; Reason says why
	Deferred Outcome = "deferred" // it would be looked at again later; Reason says why
	Done     Outcome = "done"     // it verifies, and its effect was committed before: it would end as a success
	// MalformedMessage means that no worker would be asked: asynq itself cannot read what lies there.
	MalformedMessage Outcome = "malformed_message"
	// NotJudged means that what is needed to say more is not here: the keys, the kind's rules, or bytes that were not read.
	NotJudged Outcome = "not_judged"
)

// Ledger says whether the outcome takes account of what has been done before.
type Ledger string

// What was asked of the ledger.
const (
	LedgerAsked     Ledger = "asked"
	LedgerNotAsked  Ledger = "not asked"  // there is none here: what passed may be a duplicate
	LedgerNotNeeded Ledger = "not needed" // the signature decided, or the kind has no ledger
)

// Verdict is the judgement of one task. But for the arguments it holds nothing that an unverified task says of itself.
type Verdict struct {
	Outcome Outcome
	Reason  signing.Reason // where Refused or Deferred
	KID     string         // of a key of the ring, where known
	Detail  string         // a sentence for people
	RetryAt time.Time      // where Deferred
	Ledger  Ledger
	// Authentic says that the signature held. The times and Effect are set only then.
	Authentic                    bool
	IssuedAt, NotBefore, Expires time.Time
	Effect                       string // what the job does once: an outbox row's ID, or the task's
	Encrypted                    bool   // it travels encrypted: who prints the arguments shows what Redis was not to show

	args []byte
}

// Args gives out the arguments of a task that verified, in JSON that decodes as its kind's. ok is false for any other task.
func (v Verdict) Args() (args []byte, ok bool) { return v.args, v.args != nil }

// Effects tells what the ledger holds. Drivers implement it.
type Effects interface {
	// EffectCommitted says whether the effect is in the ledger, or is that of an outbox row of that kind which is done. It
	// changes nothing.
	EffectCommitted(ctx context.Context, kind jobs.Kind, effect string) (bool, error)
}

// Config of a Judge.
type Config struct {
	// Keys verify. Zero: what needs them is NotJudged.
	Keys *signing.Keys
	// Catalog holds the kinds that the workers run. It is required.
	Catalog *jobs.Catalog
	// Queues are those that the workers of the catalog serve. In another queue a kind that the catalog does not have is
	// NotJudged, as its own workers may know it. Zero: they serve every queue.
	Queues []string
	// Effects is asked whether a task's effect is committed. Zero: nobody is.
	Effects Effects
}

// Judge judges tasks. It is safe for concurrent use.
type Judge struct {
	keys    *signing.Keys
	catalog *jobs.Catalog
	queues  map[string]bool // nil: every
	effects Effects
}

// New makes a Judge. The keys stay the caller's to close.
func New(c Config) (*Judge, error) {
	if c.Catalog == nil {
		return nil, errors.New("new judge: it needs the catalog of kinds")
	}
	j := &Judge{keys: c.Keys, catalog: c.Catalog, effects: c.Effects}
	if len(c.Queues) > 0 {
		j.queues = make(map[string]bool, len(c.Queues))
		for _, queue := range c.Queues {
			j.queues[queue] = true
		}
	}
	return j, nil
}

// Judge says what a worker that serves the queue in which the task lies would say of it now. It looks at the signature; what
// is wrong with where the task lies, rawtask tells. Its error means that the ledger could not be asked.
func (j *Judge) Judge(ctx context.Context, f rawtask.Found) (Verdict, error) {
	if v, isUnread := unread(f); isUnread {
		return v, nil
	}
	if j.keys == nil {
		return Verdict{Outcome: NotJudged, Ledger: LedgerNotAsked, Detail: "there are no keys here"}, nil
	}
	c := &hearing{Judge: j, place: f.Queue, task: signing.Task{
		Kind: f.Message.Kind, ID: f.Message.ID, Queue: f.Message.Queue, MaxRetry: f.Message.MaxRetry,
		Headers: f.Message.Headers, Payload: f.Message.Payload,
	}}
	return c.judge(ctx)
}

// unread is the verdict on a task without a message. It says false for one that has it.
func unread(f rawtask.Found) (Verdict, bool) {
	v := Verdict{Outcome: MalformedMessage, Ledger: LedgerNotNeeded, Detail: "asynq cannot read what stands under its key"}
	switch {
	case errors.Is(f.Err, rawtask.ErrNoTask):
		v.Detail = "there is no message under its key"
	case errors.Is(f.Err, rawtask.ErrTooLarge):
		v.Outcome, v.Detail = NotJudged, "its message was not read: it is too large"
	}
	return v, f.Err != nil
}

// hearing is the judging of one task.
type hearing struct {
	*Judge
	place   string // the queue that it lies in
	task    signing.Task
	def     jobs.Definition // nil: no kind of the catalog
	foreign bool            // nor one that workers of the catalog would be asked about
	ledger  Ledger
}

func (h *hearing) serves(queue string) bool {
	return queue == h.place || h.queues == nil || h.queues[queue]
}

// kind is the kind's rule. A foreign kind has none here, but its signature can be looked at.
func (h *hearing) kind(name string) (signing.KindRule, bool) {
	def, err := h.catalog.Lookup(jobs.Kind(name))
	if err != nil {
		h.foreign = h.queues != nil && !h.queues[h.place]
		return signing.KindRule{}, h.foreign
	}
	h.def = def
	p := def.Policy()
	return signing.KindRule{MaxAge: p.MaxAge, MustEncrypt: p.Encrypt}, true
}

func (h *hearing) done(ctx context.Context, c signing.Claims) (bool, error) {
	switch {
	case h.def == nil || h.def.Policy().NoLedger:
		return false, nil
	case h.effects == nil:
		h.ledger = LedgerNotAsked
		return false, nil
	}
	h.ledger = LedgerAsked
	return h.effects.EffectCommitted(ctx, jobs.Kind(c.Kind), jobs.EffectOf(c))
}

func (h *hearing) judge(ctx context.Context) (Verdict, error) {
	h.ledger = LedgerNotNeeded
	rules := signing.Rules{ServesQueue: h.serves, Kind: h.kind, Done: h.done}
	sig := h.task.Headers[signing.SignatureHeader]
	verified, err := h.keys.VerifyWith(ctx, h.task, sig, rules)
	if refusal, ok := errors.AsType[*signing.Refusal](err); ok {
		return h.refused(refusal), nil
	}
	if done, ok := errors.AsType[*signing.Done](err); ok {
		v := h.authentic(Done, done.Claims, "its effect is committed: it ends as a success and does nothing")
		rules.Done = nil // whether it would be good else decides whether its arguments are shown
		if verified, err := h.keys.VerifyWith(ctx, h.task, sig, rules); err == nil && h.decodes(verified) {
			v.args = verified.Payload()
		}
		return v, nil
	}
	if err != nil {
		return Verdict{}, fmt.Errorf("judge a task: %w", err)
	}
	claims := verified.Claims()
	if h.foreign {
		return h.authentic(NotJudged, claims, "its signature holds; its kind is none of this program's, so what its worker says is not known here"), nil
	}
	if !h.decodes(verified) { // the decoder's own words would quote the payload
		return h.refused(verified.Refuse(signing.ReasonBadPayload, "its arguments are not those of its kind")), nil
	}
	v := h.authentic(Passed, claims, "it verifies")
	v.args = verified.Payload()
	return v, nil
}

// decodes says whether the arguments of a verified task are those of its kind.
func (h *hearing) decodes(v signing.Verified) bool { return h.def.Check(v.Payload()) == nil }

func (h *hearing) refused(r *signing.Refusal) Verdict {
	v := Verdict{Outcome: Refused, Ledger: h.ledger}
	if r.Authentic() {
		v = h.authentic(Refused, r.Claims, "")
	}
	if r.Deferred() {
		v.Outcome, v.RetryAt = Deferred, r.RetryAt
	}
	if r.KID != nil {
		v.KID = r.KID.String()
	}
	v.Reason, v.Detail = r.Reason, r.Error()
	return v
}

func (h *hearing) authentic(o Outcome, c signing.Claims, detail string) Verdict {
	return Verdict{
		Outcome: o, KID: c.KID.String(), Detail: detail, Ledger: h.ledger, Authentic: true,
		IssuedAt: c.IssuedAt, NotBefore: c.NotBefore, Expires: c.Expires, Effect: jobs.EffectOf(c), Encrypted: c.Encrypted,
	}
}
