package worker

import (
	"context"
	"errors"
	"time"

	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/signing"
)

type verifiedKey struct{}

// delivery is a verified task on its way to a typed handler.
type delivery struct {
	signing.Verified
	keep time.Duration
	done func(context.Context, signing.Claims) (bool, error) // nil: nobody to ask
	say  func(Outcome)
	told Outcome // "": not yet

	ran       bool          // its handler has returned
	duration  time.Duration // of its handler
	notNeeded bool          // its handler says so: ErrNotNeeded
}

// ended takes ErrNotNeeded for the success that it is.
func (d *delivery) ended(err error) error {
	if errors.Is(err, ErrNotNeeded) {
		d.notNeeded = true
		return nil
	}
	return err
}

// learnt is what its run's end says to breakers.
func (d *delivery) learnt(err error) error {
	if err == nil && d.notNeeded {
		return ErrNotNeeded
	}
	return err
}

// tell says what became of the task, once.
func (d *delivery) tell(o Outcome) {
	if d.told == "" {
		d.told = o
		d.say(o)
	}
}

// took begins to measure a handler, and ends when the function that it returns is called.
func (d *delivery) took(now func() time.Time) (ended func()) {
	began := now()
	return func() { d.ran, d.duration = true, now().Sub(began) }
}

// entering runs a handler that enters the effect itself: whether the task passed or its effect was done before is known
// when it has.
func (h *verifying) entering(ctx context.Context, task *asynq.Task, t signing.Task, d *delivery) *ending {
	end := h.dispatch(ctx, task, d)
	refusal := undecodableOf(end)
	if refusal != nil && d.done != nil { // that the effect is done comes before, and nobody has asked
		done, err := d.done(ctx, d.Claims())
		switch {
		case err != nil:
			return h.unread(ctx, err)
		case done:
			d.tell(Duplicate)
			return nil
		}
	}
	if end == nil || !isUnasked(end.cause) {
		d.tell(Passed)
	}
	if refusal != nil {
		return h.refuse(ctx, t, refusal)
	}
	return end
}

func (h *verifying) entersEffect(kind string) bool {
	if h.rules.Kind == nil {
		return false
	}
	rule, _ := h.rules.Kind(kind)
	return rule.EntersEffect
}

// unasked says that the ledger could not be asked whether the effect is done.
type unasked struct{ err error }

func (e *unasked) Error() string { return e.err.Error() }
func (e *unasked) Unwrap() error { return e.err }

func isUnasked(err error) bool {
	_, ok := errors.AsType[*unasked](err)
	return ok
}
