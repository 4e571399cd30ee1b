package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker/calm"
)

// longestObservation bounds Config.UnsignedUntil: observing is a step on the way, not a way to run.
const longestObservation = 30 * 24 * time.Hour

// The pauses before a task is looked at again while the quarantine, or the ledger, cannot be reached, or while the key
// alarm is raised.
const (
	quarantineRetry = 10 * time.Second
	effectsRetry    = 5 * time.Second
	alarmRetry      = 30 * time.Second
)

// ErrUnguarded means that a task reached a Verifier whose Config method was never called: without it asynq
// would hand unverified tasks to the server's other callbacks, and no queue is known to be this worker's.
var ErrUnguarded = errors.New("worker: pass the server's asynq.Config through Verifier.Config")

// Config of a Verifier. The zero value is strict and keeps refused tasks in a folder.
type Config struct {
	// Quarantine keeps refused tasks. Zero: the folder QuarantineDir.
	Quarantine Quarantine
	// QuarantineDir is the folder used where Quarantine is nil. Zero: "sealq-quarantine" in the working folder.
	QuarantineDir string
	// QuarantineBudgets bound what that folder keeps. Zero: quarantine.DefaultBudgets. A Quarantine has budgets of its own.
	QuarantineBudgets quarantine.Budgets
	// Archive moves refused tasks to asynq's archive instead of a quarantine. asynq keeps at most 10,000 of
	// them for 90 days: a flood evicts evidence. Zero: false.
	Archive bool
	// UnsignedUntil lets tasks without any signature pass until then, each counted by OnVerdict and logged. At most 30
	// days ahead. Zero: they are refused. A signature that is there must hold in any case.
	UnsignedUntil time.Time
	// PrefixPatterns lets a task through whose type an asynq.ServeMux matches by prefix. Zero: the mux's
	// pattern must equal the task's type.
	PrefixPatterns bool
	// Effects is asked whether a task's effect is committed already. Zero: nobody is.
	Effects Effects
	// OnVerdict is called for every task, on the worker's goroutine. Zero: nobody is told.
	OnVerdict func(context.Context, Verdict)
	// OnEnd is called when a handler has returned, and when a task is put off, on the worker's goroutine. Zero: nobody is told.
	OnEnd func(context.Context, End)
	// OnMend is called, by a Server or a client with Hook, for every message whose unsigned parts were put right, so that asynq asks
	// about its task. Zero: nobody is told.
	OnMend func(context.Context, calm.Mend)
	// TracerProvider makes a span around each handler, in the trace that a verified task carries in its headers. Zero: none is
	// made, and what handlers make of their contexts' span is a child of the one in which the task was enqueued.
	TracerProvider trace.TracerProvider
	// Logger. Zero: nothing is logged.
	Logger *slog.Logger
	// Now is the clock. Zero: time.Now.
	Now func() time.Time
}

// Verifier checks tasks before anything decodes them. It is safe for concurrent use.
type Verifier struct {
	keys       *signing.Keys
	cfg        Config
	quarantine Quarantine // nil: asynq's archive
	queues     atomic.Pointer[map[string]bool]
	alarm      keyAlarm
	tracer     trace.Tracer // nil: no spans
	waiting    atomic.Int32 // tasks that wait in their slots
	slots      slots
	often      *asynqLogger
	running    sync.Map // jobs of plain handlers that run; Handlers knows its own
}

// New makes a Verifier. It creates the quarantine's folder where one is used.
func New(k *signing.Keys, c Config) (*Verifier, error) {
	if k == nil {
		return nil, errors.New("new verifier: it needs keys")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if last := c.Now().Add(longestObservation); c.UnsignedUntil.After(last) {
		return nil, fmt.Errorf("new verifier: UnsignedUntil %s is more than 30 days ahead; choose a date up to %s",
			c.UnsignedUntil.Format(time.DateOnly), last.Format(time.DateOnly))
	}
	v := &Verifier{keys: k, cfg: c, quarantine: c.Quarantine, alarm: keyAlarm{now: c.Now}, often: newAsynqLogger(c.Logger, c.Now)}
	if c.TracerProvider != nil {
		v.tracer = c.TracerProvider.Tracer(scope)
	}
	if v.quarantine == nil && !c.Archive {
		dir, err := OpenDirWith(c.QuarantineDir, DirConfig{Budgets: c.QuarantineBudgets, Now: c.Now})
		if err != nil {
			return nil, fmt.Errorf("new verifier: %w", err)
		}
		v.quarantine = dir
	}
	return v, nil
}

// Handler stands around the whole of an app's handler: a mux, its middleware, or Handlers. What is inside sees
// only what verified. The server's asynq.Config must pass through Config.
func (v *Verifier) Handler(next asynq.Handler) asynq.Handler {
	h := &verifying{Verifier: v, next: next, rules: v.rules(next)}
	_, h.typed = next.(*Handlers)
	return h
}

// rules are what only a worker knows: its queues, its kinds, and which effects are done.
func (v *Verifier) rules(next asynq.Handler) signing.Rules {
	rules := signing.Rules{ServesQueue: func(queue string) bool { return (*v.queues.Load())[queue] }}
	needsLedger := func(string) bool { return true }
	switch next := next.(type) {
	case *Handlers:
		rules.Kind = next.rule
		needsLedger = next.needsLedger
	case *asynq.ServeMux:
		rules.Kind = func(kind string) (signing.KindRule, bool) {
			_, pattern := next.Handler(asynq.NewTask(kind, nil))
			return signing.KindRule{}, pattern == kind || v.cfg.PrefixPatterns && pattern != ""
		}
	}
	if v.cfg.Effects != nil {
		rules.Done = func(ctx context.Context, c signing.Claims) (bool, error) {
			if !needsLedger(c.Kind) {
				return false, nil
			}
			return v.cfg.Effects.EffectDone(ctx, jobs.Kind(c.Kind), jobs.EffectOf(c))
		}
	}
	return rules
}

// verifying is the handler that asynq calls.
type verifying struct {
	*Verifier
	next  asynq.Handler
	typed bool // next takes its task from the context and never touches asynq's
	rules signing.Rules
}

// ProcessTask verifies, then dispatches. Its error is an *ending, which tells asynq what to do with the task.
func (h *verifying) ProcessTask(ctx context.Context, task *asynq.Task) error {
	if h.queues.Load() != nil {
		if !h.slots.acquire(ctx) {
			return h.over(ctx, nil, h.putOff(effectsRetry, ctx.Err()))
		}
		defer h.slots.release()
	}
	for waited := time.Duration(0); ; {
		end := h.process(ctx, task)
		if end == nil {
			return nil
		}
		// asynq archives on the last try whatever its error says. A task that is only put off waits here instead.
		pause := min(end.until.Sub(h.cfg.Now()), longestWait-waited)
		if end.action != later || !lastTry(ctx) || pause <= 0 || !h.waitHere(ctx, pause) {
			return end
		}
		waited += pause
	}
}

func (h *verifying) process(ctx context.Context, task *asynq.Task) *ending {
	if h.queues.Load() == nil {
		h.cfg.Logger.ErrorContext(ctx, "task put off", slog.Any("error", ErrUnguarded))
		return h.over(ctx, nil, h.putOff(quarantineRetry, ErrUnguarded))
	}
	t := received(ctx, task)
	verified, err := h.keys.VerifyWith(ctx, t, t.Headers[signing.SignatureHeader], h.rules)
	if refusal, ok := errors.AsType[*signing.Refusal](err); ok {
		return h.over(ctx, nil, h.judge(ctx, task, t, refusal))
	}
	if done, ok := errors.AsType[*signing.Done](err); ok {
		h.verified(ctx, done.Claims)
		h.tell(ctx, Verdict{Outcome: Duplicate, Kind: jobs.Kind(t.Kind)})
		return nil
	}
	if err != nil { // Effects could not be asked
		return h.over(ctx, nil, h.unread(ctx, err))
	}
	claims := verified.Claims()
	h.verified(ctx, claims)
	d := &delivery{Verified: verified, keep: h.keys.MaxLifetime() + ledgerSlack, done: h.rules.Done, say: func(o Outcome) {
		h.tell(ctx, Verdict{Outcome: o, Kind: jobs.Kind(t.Kind), KID: claims.KID.String()})
	}}
	ctx, span := h.startSpan(ctx, t)
	end := h.deliver(ctx, task, t, d)
	endSpan(span, d, end)
	return h.over(ctx, d, end)
}

// deliver hands a verified task on.
func (h *verifying) deliver(ctx context.Context, task *asynq.Task, t signing.Task, d *delivery) *ending {
	if h.entersEffect(t.Kind) {
		return h.entering(ctx, task, t, d)
	}
	d.tell(Passed)
	end := h.dispatch(ctx, task, d)
	if refusal := undecodableOf(end); refusal != nil {
		return h.refuse(ctx, t, refusal)
	}
	return end
}

func (h *verifying) unread(ctx context.Context, err error) *ending {
	if attrs, say := h.often.attrs("ledger cannot be read", slog.Any("error", err)); say {
		h.cfg.Logger.ErrorContext(ctx, "ledger cannot be read, tasks are put off", attrs...)
	}
	return h.putOff(effectsRetry, err)
}

// judge decides what becomes of a task that did not verify.
func (h *verifying) judge(ctx context.Context, task *asynq.Task, t signing.Task, refusal *signing.Refusal) *ending {
	alarmed := h.alarmed(ctx, t, refusal)
	switch {
	case alarmed:
		h.tell(ctx, Verdict{Outcome: Deferred, Reason: refusal.Reason})
		return h.putOff(alarmRetry, ErrKeyAlarm)
	case refusal.Deferred():
		h.tell(ctx, Verdict{Outcome: Deferred, Reason: refusal.Reason})
		return &ending{action: later, until: refusal.RetryAt, cause: refusal}
	case refusal.Reason == signing.ReasonMissingSignature && h.cfg.Now().Before(h.cfg.UnsignedUntil):
		return h.observe(ctx, task)
	}
	return h.refuse(ctx, t, refusal)
}

func (h *verifying) putOff(d time.Duration, cause error) *ending {
	return &ending{action: later, until: h.cfg.Now().Add(d), cause: cause}
}

// received is the task as asynq gives it: ID, queue and max retry come from the stored message.
func received(ctx context.Context, task *asynq.Task) signing.Task {
	id, _ := asynq.GetTaskID(ctx)
	queue, _ := asynq.GetQueueName(ctx)
	maxRetry, _ := asynq.GetMaxRetry(ctx)
	return signing.Task{
		Kind: task.Type(), ID: id, Queue: queue, MaxRetry: maxRetry, Headers: task.Headers(), Payload: task.Payload(),
	}
}

// observe lets an unsigned task pass while an app is being moved over. Typed handlers never see one: they
// decode only what verified.
func (h *verifying) observe(ctx context.Context, task *asynq.Task) *ending {
	h.tell(ctx, Verdict{Outcome: Unsigned, Reason: signing.ReasonMissingSignature})
	h.cfg.Logger.WarnContext(ctx, "unsigned task passed, as observing allows",
		slog.Time("unsigned_until", h.cfg.UnsignedUntil))
	return h.run(ctx, task)
}

// dispatch gives a verified task to the handler.
func (h *verifying) dispatch(ctx context.Context, task *asynq.Task, d *delivery) *ending {
	ctx = context.WithValue(ctx, verifiedKey{}, d)
	if h.typed {
		return h.run(ctx, task)
	}
	// asynq retries a task whose context has ended though its handler goes on: two runs would be under way at once.
	claims := d.Claims()
	job := claims.Kind + " " + jobs.EffectOf(claims)
	if _, running := h.running.LoadOrStore(job, true); running {
		return h.putOff(runningRetry, ErrRunning)
	}
	defer h.running.Delete(job)
	defer d.took(h.cfg.Now)()
	if claims.Encrypted {
		return h.run(ctx, asynq.NewTaskWithHeaders(task.Type(), d.Payload(), task.Headers()))
	}
	// asynq retries and archives from the memory that the handler is given: what a handler writes there would
	// break the signature. It gets asynq's own task all the same, for its ResultWriter.
	payload, headers := slices.Clone(task.Payload()), maps.Clone(task.Headers())
	defer func() {
		copy(task.Payload(), payload)
		if got := task.Headers(); !maps.Equal(got, headers) {
			clear(got)
			maps.Copy(got, headers)
		}
	}()
	return h.run(ctx, task)
}

// run calls the handler and turns what it returns, a panic too, into what asynq is to do.
func (h *verifying) run(ctx context.Context, task *asynq.Task) (end *ending) {
	defer func() {
		if x := recover(); x != nil {
			h.cfg.Logger.ErrorContext(ctx, "handler panicked", slog.Any("panic", x), slog.String("stack", string(debug.Stack())))
			end = &ending{cause: fmt.Errorf("handler panicked: %v", x), app: true}
		}
	}()
	err := h.next.ProcessTask(ctx, task)
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*ending](err); ok {
		return e // of typed handlers
	}
	end = &ending{cause: err, app: true}
	switch {
	case errors.Is(err, asynq.RevokeTask):
		end.action = revoke
	case errors.Is(err, asynq.SkipRetry):
		end.action = archive
	}
	return end
}

// refuse takes a task out of the queue: into quarantine, or into asynq's archive.
func (h *verifying) refuse(ctx context.Context, t signing.Task, refusal *signing.Refusal) *ending {
	entry := refused(t, refusal, h.cfg.Now())
	if h.quarantine == nil {
		h.tellRefused(ctx, entry, false)
		return &ending{action: archive, cause: refusal}
	}
	if err := h.keep(ctx, entry); err != nil {
		if attrs, say := h.often.attrs("quarantine not writable", slog.String("reason", string(refusal.Reason)), slog.Any("error", err)); say {
			h.cfg.Logger.ErrorContext(ctx, "quarantine not writable, refused tasks stay in the queue", attrs...)
		}
		return h.putOff(quarantineRetry, fmt.Errorf("quarantine: %w", err))
	}
	return &ending{action: revoke, cause: refusal}
}

// keep puts an entry into quarantine, or counts it where there is no room, and tells of it. With an error the task must stay where it is.
func (v *Verifier) keep(ctx context.Context, entry jobs.Refused) error {
	err := v.quarantine.Keep(ctx, entry)
	counted := errors.Is(err, quarantine.ErrCounted) && quarantine.ClassOf(entry).Counted()
	if err != nil && !counted {
		return err
	}
	v.tellRefused(ctx, entry, counted)
	return nil
}

func (v *Verifier) tellRefused(ctx context.Context, entry jobs.Refused, counted bool) {
	v.tell(ctx, Verdict{Outcome: Refused, Reason: entry.Reason, KID: entry.KID, Counted: counted})
	level := slog.LevelWarn
	if counted {
		level = slog.LevelDebug // a flood; the quarantine has said that it is full
	}
	v.cfg.Logger.Log(ctx, level, "task refused", slog.String("reason", string(entry.Reason)),
		slog.String("quarantine_id", entry.ID), slog.String("kid", entry.KID), slog.Int64("size", entry.Size), slog.Bool("kept", !counted))
}

func (v *Verifier) tell(ctx context.Context, verdict Verdict) {
	if v.cfg.OnVerdict != nil {
		v.cfg.OnVerdict(ctx, verdict)
	}
}

// ledgerSlack is added to the ring's max_lifetime in how long the ledger remembers an effect: twice the
// verifier's default clock skew, and an hour for clocks that are worse.
const ledgerSlack = time.Hour
