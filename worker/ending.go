package worker

import (
	"errors"
	"time"

	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/signing"
)

// action is what asynq is to do with a task that did not succeed.
type action int

const (
	again   action = iota // a failed try: later, counted
	later                 // put off: no try is used up
	archive               // never again; asynq keeps it where people find it
	revoke                // never again; out of the queue
)

// ending is the only error that a Verifier's handler returns to asynq. It does not unwrap to its cause, which may hold
// anything, asynq's own sentinels too: what asynq does follows the action alone.
type ending struct {
	action action
	after  time.Duration // until the next try, where again by a kind's policy; zero: as the app's RetryDelayFunc says
	until  time.Time     // where later
	cause  error
	app    bool // the cause is a handler's, about a task that passed: the app's callbacks may see both
}

// Error is the cause's.
func (e *ending) Error() string { return e.cause.Error() }

// Is tells asynq what to do.
func (e *ending) Is(target error) bool {
	switch target {
	case asynq.SkipRetry:
		return e.action == archive
	case asynq.RevokeTask:
		return e.action == revoke
	case ErrUnguarded, ErrKeyAlarm:
		return e.cause == target
	}
	return false
}

// Permanent marks an error that no further try can mend: the job is dead at once.
func Permanent(err error) error { return &permanentError{err: err} }

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// Defer puts the job off until then without using up a try: something outside the job must change first.
func Defer(until time.Time, err error) error { return &deferredError{until: until, err: err} }

type deferredError struct {
	until time.Time
	err   error
}

func (e *deferredError) Error() string { return e.err.Error() }
func (e *deferredError) Unwrap() error { return e.err }

// undecodable is a verified task whose arguments are not those of its kind.
type undecodable struct{ refusal *signing.Refusal }

func (e *undecodable) Error() string { return e.refusal.Error() }

// undecodableOf is the refusal of a run whose arguments did not decode, or nil.
func undecodableOf(end *ending) *signing.Refusal {
	if end == nil {
		return nil
	}
	if u, ok := errors.AsType[*undecodable](end.cause); ok {
		return u.refusal
	}
	return nil
}
