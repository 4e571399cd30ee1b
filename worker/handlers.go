package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
)

// Job is a verified task as its typed handler gets it.
type Job[A any] struct {
	Args      A
	ID        string // the task's
	Queue     string
	Try       int // from 1, by asynq's count, which is not signed: good for a log, not for a decision
	IssuedAt  time.Time
	ExpiresAt time.Time // of the signature

	effect jobs.Effect
}

// Effect names what the job does once, for a handler that enters it into a ledger itself.
func (j Job[A]) Effect() jobs.Effect { return j.effect }

// ErrNotVerified means that a typed handler was reached past a Verifier.
var ErrNotVerified = errors.New("worker: put the handlers behind Verifier.Handler")

// HandlersConfig of a Handlers.
type HandlersConfig struct {
	// Outbox is told how jobs that came through an outbox ended. Zero: there is no outbox.
	Outbox Outbox
	// Limits of kinds, in this process. Zero: none.
	Limits map[jobs.Kind]Limit
	// Shared are limits that several kinds have together, in this process, such as those that use the same connections. A kind has one limit, here
	// or in Limits. Zero: none.
	Shared []SharedLimit
	// Breakers of outside systems. Zero: none; a job that meets an outage is put off alone.
	Breakers []*Breaker
	// Logger. Zero: nothing is logged.
	Logger *slog.Logger
	// Now is the clock. Zero: time.Now.
	Now func() time.Time
}

// Handlers dispatches verified tasks to typed handlers by their exact kind. Register all handlers with Handle
// and HandleTx before the server starts, and look at Check.
type Handlers struct {
	outbox   Outbox
	logger   *slog.Logger
	now      func() time.Time
	handlers map[string]handler
	running  sync.Map // effects that are in the making
	runs     sync.WaitGroup
	errs     []error

	limits   map[string]*limiter // by kind
	breakers []*Breaker
	gates    map[string][]func() int  // by queue: how many may be in hand
	doors    map[string][]func() bool // by queue: whether one more may be fetched
}

type handler struct {
	policy jobs.Policy
	// run returns what the handler returned, an *undecodable where the arguments do not decode.
	run func(ctx context.Context, d *delivery) error
	// entered says that run completes the outbox row itself, with the effect.
	entered bool
	// asks says that whether the effect is done is to be known before run, though it enters it.
	asks bool
}

// NewHandlers makes an empty set.
func NewHandlers(c HandlersConfig) *Handlers {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	h := &Handlers{
		outbox: c.Outbox, logger: c.Logger, now: c.Now, handlers: make(map[string]handler), breakers: c.Breakers,
		limits: make(map[string]*limiter), gates: make(map[string][]func() int), doors: make(map[string][]func() bool),
	}
	for kind, limit := range c.Limits {
		if err := limit.check(); err != nil {
			h.errs = append(h.errs, fmt.Errorf("kind %s: %w", kind, err))
			continue
		}
		h.limits[string(kind)] = newLimiter(limit, c.Now)
	}
	for _, shared := range c.Shared {
		h.errs = append(h.errs, h.share(shared)...)
	}
	return h
}

// Handle registers fn for a kind whose effect lies outside the database. fn may run more than once for one job (a worker may
// die between the effect and its success): it must be idempotent, or enter Job.Effect into a ledger itself. A job of the
// outbox is done when fn has returned nil, and does not run again when its task is replayed; one that was enqueued directly
// does, until its signature expires.
func Handle[A any](h *Handlers, d jobs.Def[A], fn func(ctx context.Context, j Job[A]) error) {
	h.add(d, handler{run: func(ctx context.Context, t *delivery) error {
		j, err := decode(ctx, d, t)
		if err != nil {
			return err
		}
		return t.ended(fn(ctx, j))
	}})
}

// HandleEntering registers fn for a kind whose effect lies outside the database, as Handle does, where fn itself enters Job.Effect into a
// ledger, by Ledger.Once, before it returns nil. That completes the outbox row too, so that nobody does it once more; and whether the effect is
// done is asked once, before fn, and not a second time for a task that verified.
func HandleEntering[A any](h *Handlers, d jobs.Def[A], fn func(ctx context.Context, j Job[A]) error) {
	h.add(d, handler{entered: true, asks: true, run: func(ctx context.Context, t *delivery) error {
		j, err := decode(ctx, d, t)
		if err != nil {
			return err
		}
		t.tell(Passed)
		return t.ended(fn(ctx, j))
	}})
}

// HandleTx registers fn for a kind whose effect lies in the database of l: effect, ledger entry and outbox
// completion commit together, and a second run finds the entry and ends as a success.
func HandleTx[Tx, A any](h *Handlers, l Ledger[Tx], d jobs.Def[A], fn func(ctx context.Context, tx Tx, j Job[A]) error) {
	h.add(d, handler{entered: true, run: func(ctx context.Context, t *delivery) error {
		j, err := decode(ctx, d, t)
		if err != nil {
			return err
		}
		ran := false
		done, err := l.Once(ctx, j.effect, func(ctx context.Context, tx Tx) error {
			ran = true
			t.tell(Passed)
			return t.ended(fn(ctx, tx, j))
		})
		switch {
		case err != nil && !ran: // the ledger could not be asked: no try of the job's
			return &unasked{err}
		case err == nil && done:
			t.notNeeded = !ran
			t.tell(Duplicate)
		}
		return err
	}})
}

func decode[A any](ctx context.Context, d jobs.Def[A], t *delivery) (Job[A], error) {
	claims := t.Claims()
	args, err := d.Decode(t.Verified)
	if err != nil {
		// The decoder's own words would quote the payload: the refusal stands without them.
		return Job[A]{}, &undecodable{t.Refuse(signing.ReasonBadPayload, "its arguments are not those of its kind")}
	}
	retried, _ := asynq.GetRetryCount(ctx)
	return Job[A]{
		Args: args, ID: claims.ID, Queue: claims.Queue, Try: max(retried, 0) + 1, IssuedAt: claims.IssuedAt, ExpiresAt: claims.Expires,
		// An outbox row's task is named after the row and the attempt, never as the row alone.
		effect: jobs.Effect{Kind: d.Kind(), ID: jobs.EffectOf(claims), Keep: t.keep, Direct: jobs.EffectOf(claims) == claims.ID},
	}, nil
}

func (h *Handlers) add(d jobs.Definition, r handler) {
	kind := string(d.Kind())
	if err := d.Err(); err != nil {
		h.errs = append(h.errs, err)
		return
	}
	if _, twice := h.handlers[kind]; twice {
		h.errs = append(h.errs, fmt.Errorf("handle %s: %w", kind, jobs.ErrDuplicateKind))
		return
	}
	r.policy = d.Policy()
	h.handlers[kind] = r
	h.restrict(kind, r.policy)
}

// ErrNoHandler means that a kind of the catalog has no handler.
var ErrNoHandler = errors.New("kind without a handler")

// Check reports every mistake of registration, each by the kind's name: a faulty definition, a kind handled
// twice, a kind of the catalog without a handler, a handler whose kind the catalog does not have.
func (h *Handlers) Check(catalog *jobs.Catalog) error {
	errs := slices.Clone(h.errs)
	for _, kind := range catalog.Kinds() {
		if _, ok := h.handlers[string(kind)]; !ok {
			errs = append(errs, fmt.Errorf("%w: %s", ErrNoHandler, kind))
		}
	}
	for kind := range h.handlers {
		if _, err := catalog.Lookup(jobs.Kind(kind)); err != nil {
			errs = append(errs, fmt.Errorf("handler without a definition: %w", err))
		}
	}
	for _, kind := range h.restricted() {
		if _, ok := h.handlers[kind]; !ok {
			errs = append(errs, fmt.Errorf("%w, but a limit or a breaker: %s", ErrNoHandler, kind))
		}
	}
	return errors.Join(errs...)
}

func (h *Handlers) rule(kind string) (signing.KindRule, bool) {
	r, ok := h.handlers[kind]
	return signing.KindRule{MaxAge: r.policy.MaxAge, MustEncrypt: r.policy.Encrypt, EntersEffect: r.entered}, ok
}

func (h *Handlers) needsLedger(kind string) bool { return !h.handlers[kind].policy.NoLedger }

// ProcessTask runs the typed handler of a verified task. It takes the task from the context, where only a
// Verifier puts it.
func (h *Handlers) ProcessTask(ctx context.Context, _ *asynq.Task) error {
	t, ok := ctx.Value(verifiedKey{}).(*delivery)
	if !ok {
		return ErrNotVerified
	}
	claims := t.Claims()
	r, ok := h.handlers[claims.Kind]
	if !ok {
		return fmt.Errorf("%w: %s", ErrNoHandler, claims.Kind)
	}
	// asynq's context is not the handler's: whoever writes to Redis can end it, by a cancel or a timeout that nobody has
	// signed, and so does a lost lease; the run goes on either way. It must not meet a second one beside it.
	effect := claims.Kind + " " + jobs.EffectOf(claims)
	if _, running := h.running.LoadOrStore(effect, true); running {
		return &ending{action: later, until: h.now().Add(runningRetry), cause: ErrRunning}
	}
	defer h.running.Delete(effect)
	h.runs.Add(1)
	defer h.runs.Done()
	ctx = context.WithoutCancel(ctx)
	// Where the verifier asked, it was before this run was entered as under way: another may have ended in between.
	if (!r.entered || r.asks) && t.done != nil {
		done, err := t.done(ctx, claims)
		if err != nil {
			return &ending{action: later, until: h.now().Add(effectsRetry), cause: &unasked{err}}
		}
		if done {
			t.tell(Duplicate)
			return nil
		}
	}
	left, wait := h.admit(claims.Kind)
	if wait != nil {
		return wait
	}
	err := h.runFor(ctx, r, t)
	if retry := left(t.learnt(err)); err != nil {
		return h.settle(ctx, r, claims, err, retry)
	}
	return h.complete(ctx, r, claims)
}

// Wait waits until no handler runs, or says why not. asynq's Shutdown does not wait for all: a run whose context somebody has
// ended goes on, and what it has done is still to be recorded. Call it between Shutdown and closing the database.
func (h *Handlers) Wait(ctx context.Context) error {
	idle := make(chan struct{})
	go func() {
		h.runs.Wait()
		close(idle)
	}()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for running jobs: %w", ctx.Err())
	}
}

// runFor applies the kind's own timeout and waits for the handler, however long it ignores its context: asynq's
// timeout would start a second run beside it.
func (h *Handlers) runFor(ctx context.Context, r handler, t *delivery) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.policy.Timeout, fmt.Errorf("the kind's timeout of %v is over", r.policy.Timeout))
	defer cancel()
	defer t.took(h.now)()
	defer func() {
		if x := recover(); x != nil {
			h.logger.ErrorContext(ctx, "handler panicked", slog.String("kind", t.Claims().Kind), slog.Any("panic", x), slog.String("stack", string(debug.Stack())))
			err = fmt.Errorf("handler panicked: %v", x)
		}
	}()
	return r.run(ctx, t)
}

// complete ends the outbox row of a job whose effect entered no ledger. The effect has happened: while the database is
// away the row's end is tried again, and not the handler.
func (h *Handlers) complete(ctx context.Context, r handler, c signing.Claims) error {
	if h.outbox == nil || c.Effect == "" || r.entered {
		return nil
	}
	var err error
	for try := range completeTries {
		if err = h.outbox.RowDone(ctx, jobs.RowRef{ID: c.Effect, Kind: jobs.Kind(c.Kind)}); err == nil {
			return nil
		}
		h.logger.ErrorContext(ctx, "job is done but its outbox row cannot be completed, trying again",
			slog.String("row", c.Effect), slog.Int("try", try+1), slog.Any("error", err))
		rest(ctx, jobs.WithJitter(min(100*time.Millisecond<<try, longestCompletePause)))
	}
	return &ending{action: later, until: h.now().Add(effectsRetry), cause: fmt.Errorf("complete outbox row: %w", err)}
}

// settle decides what a failed run means: later, again, or never. One that met an outage waits for as long as its breaker says.
func (h *Handlers) settle(ctx context.Context, r handler, c signing.Claims, err error, outageEnds time.Time) *ending {
	if _, ok := errors.AsType[*undecodable](err); ok {
		return &ending{cause: err}
	}
	if d, ok := errors.AsType[*deferredError](err); ok {
		return &ending{action: later, until: d.until, cause: err}
	}
	if _, ok := errors.AsType[*outageError](err); ok {
		until := h.now().Add(jobs.WithJitter(outageRetry))
		if outageEnds.After(until) {
			until = outageEnds
		}
		return &ending{action: later, until: until, cause: err}
	}
	if isUnasked(err) {
		h.logger.ErrorContext(ctx, "effect cannot be entered into the ledger, task put off", slog.String("kind", c.Kind), slog.Any("error", err))
		return &ending{action: later, until: h.now().Add(effectsRetry), cause: err}
	}
	_, permanent := errors.AsType[*permanentError](err)
	permanent = permanent || errors.Is(err, asynq.SkipRetry) || errors.Is(err, asynq.RevokeTask)
	failures, gone, countErr := h.count(ctx, r, c, err)
	if countErr != nil {
		return &ending{action: later, until: h.now().Add(effectsRetry), cause: errors.Join(err, countErr)}
	}
	attrs := []any{slog.String("kind", c.Kind), slog.String("task", c.ID), slog.Int("failures", failures), slog.Any("error", err)}
	switch {
	case gone:
		h.logger.InfoContext(ctx, "failed task dropped: its outbox row has ended or goes on as another attempt", attrs...)
		return &ending{action: revoke, cause: err}
	case !permanent && failures <= jobs.RetriesSigned(c.MaxRetry):
		h.logger.WarnContext(ctx, "job failed, will be tried again", attrs...)
		return &ending{action: again, after: max(r.policy.Backoff(failures), 1), cause: err}
	}
	if row, isRow := rowOf(c); isRow && h.outbox != nil {
		if markErr := h.outbox.RowDead(ctx, row, err.Error()); markErr != nil {
			return &ending{action: later, until: h.now().Add(effectsRetry), cause: errors.Join(err, fmt.Errorf("end outbox row: %w", markErr))}
		}
	}
	h.logger.ErrorContext(ctx, "job is dead", attrs...)
	return &ending{action: archive, cause: err}
}

// count counts a failed run: in the outbox row, where there is one. asynq's own count is not signed, so that whoever writes
// to Redis could end a job by it; it serves those jobs that he could as well delete.
func (h *Handlers) count(ctx context.Context, r handler, c signing.Claims, cause error) (failures int, gone bool, err error) {
	row, isRow := rowOf(c)
	if !isRow || h.outbox == nil {
		retried, _ := asynq.GetRetryCount(ctx)
		return max(retried, 0) + 1, false, nil
	}
	failures, err = h.outbox.RowFailed(ctx, row, cause.Error(), r.policy.Backoff)
	if err != nil {
		return 0, false, fmt.Errorf("count failure of outbox row: %w", err)
	}
	return failures, failures == 0, nil
}

// rowOf is the outbox row that a verified task is of.
func rowOf(c signing.Claims) (jobs.RowRef, bool) {
	id, attempt, isRow := jobs.RowAttempt(c)
	return jobs.RowRef{ID: id, Kind: jobs.Kind(c.Kind), Attempt: attempt}, isRow
}

const (
	completeTries        = 8
	longestCompletePause = 5 * time.Second
	// runningRetry is the pause before a task is looked at again whose effect is in the making in this process.
	runningRetry = 5 * time.Second
	// outageRetry is the least pause of a job that met an outage.
	outageRetry = 10 * time.Second
)

// ErrRunning means that a run of the same effect is under way in this process.
var ErrRunning = errors.New("a run of this job is under way")
