package worker

import (
	"context"
	"errors"
	"time"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/signing"
)

// Result is how one look at a task ended. The values may be a metric's label.
type Result string

// The results.
const (
	ResultDone     Result = "done"     // its handler succeeded
	ResultFailed   Result = "failed"   // its handler failed, or panicked: the task is tried again
	ResultDead     Result = "dead"     // its handler failed for the last time
	ResultDropped  Result = "dropped"  // it is out of the queue without success: its handler revoked it, or its outbox row has ended
	ResultDeferred Result = "deferred" // it is looked at again later, and no try is used up: see Cause
)

// Results are all of them.
func Results() []Result {
	return []Result{ResultDone, ResultFailed, ResultDead, ResultDropped, ResultDeferred}
}

// Cause is why a task was put off. The values may be a metric's label.
type Cause string

// The causes.
const (
	CauseUnknownKey     Cause = "unknown_key"     // its key may be on its way
	CauseNotYetDue      Cause = "not_yet_due"     // it came before its time
	CauseKeyAlarm       Cause = "key_alarm"       // this process seems to have the wrong ring or audience
	CauseRunning        Cause = "running"         // a run of the same effect is under way here
	CauseLimit          Cause = "limit"           // its kind is at its limit here
	CauseOutage         Cause = "outage"          // an outside system that it needs is down
	CauseHandler        Cause = "handler"         // its handler wants to be asked again later
	CauseQuarantineFull Cause = "quarantine_full" // it is refused, and what is reserved for such tasks is full
	CauseStore          Cause = "store"           // ledger, outbox or quarantine cannot be reached
	CauseStopping       Cause = "stopping"        // the worker stops, or the task's lease has ended
	CauseUnguarded      Cause = "unguarded"       // see ErrUnguarded
)

// Causes are all of them.
func Causes() []Cause {
	return []Cause{
		CauseUnknownKey, CauseNotYetDue, CauseKeyAlarm, CauseRunning, CauseLimit, CauseOutage, CauseHandler, CauseQuarantineFull,
		CauseStore, CauseStopping, CauseUnguarded,
	}
}

// End tells how one look at a task ended. Tasks that are refused, that are duplicates, or that pass unsigned have none: their
// Verdict says all. Like a Verdict it carries nothing that an unverified task says of itself.
type End struct {
	Kind   jobs.Kind // of a verified task, else ""
	Result Result
	Cause  Cause // where ResultDeferred
	// Ran says that a handler was called, and Took for how long.
	Ran  bool
	Took time.Duration
}

// over tells how a look at a task has ended. d is nil where the task did not verify.
func (h *verifying) over(ctx context.Context, d *delivery, end *ending) *ending {
	if h.cfg.OnEnd == nil {
		return end
	}
	e := End{Result: end.result()}
	if e.Result == ResultDeferred {
		e.Cause = causeOf(end.cause)
	}
	if d != nil {
		e.Kind, e.Ran, e.Took = jobs.Kind(d.Claims().Kind), d.ran, d.duration
	}
	switch {
	case e.Result == ResultDeferred:
	case d == nil, d.told == Duplicate, end != nil && isRefusal(end.cause), end == nil && !e.Ran:
		return end // observed, a duplicate, refused, or done meanwhile by another run
	}
	h.cfg.OnEnd(ctx, e)
	return end
}

func (e *ending) result() Result {
	if e == nil {
		return ResultDone
	}
	switch e.action {
	case later:
		return ResultDeferred
	case archive:
		return ResultDead
	case revoke:
		return ResultDropped
	case again:
	}
	return ResultFailed
}

func isRefusal(err error) bool {
	_, ok := errors.AsType[*signing.Refusal](err)
	return ok
}

// causeOf says why a task was put off, by what it was put off with. What nothing else explains is what every step needs: the
// places where sealq writes down what it has done.
func causeOf(err error) Cause {
	if refusal, ok := errors.AsType[*signing.Refusal](err); ok {
		if refusal.Reason == signing.ReasonNotYetDue {
			return CauseNotYetDue
		}
		return CauseUnknownKey
	}
	if _, ok := errors.AsType[*outageError](err); ok {
		return CauseOutage
	}
	if _, ok := errors.AsType[*deferredError](err); ok {
		return CauseHandler
	}
	for _, known := range []struct {
		err   error
		cause Cause
	}{
		{ErrKeyAlarm, CauseKeyAlarm},
		{ErrRunning, CauseRunning},
		{ErrLimit, CauseLimit},
		{errNotRun, CauseOutage}, // a breaker's, which closed in this moment
		{ErrUnguarded, CauseUnguarded},
		{quarantine.ErrFull, CauseQuarantineFull},
		{context.Canceled, CauseStopping},
	} {
		if errors.Is(err, known.err) {
			return known.cause
		}
	}
	return CauseStore
}
