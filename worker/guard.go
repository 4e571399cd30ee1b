package worker

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/hibiken/asynq"
)

// mostTries bounds what asynq's own delay function is told of the retried count, which is not signed: at 50 a retry would be due in
// ten weeks, at 5 it is within a quarter of an hour.
const mostTries = 5

// Config guards a server's configuration. asynq calls ErrorHandler, RetryDelayFunc and IsFailure for tasks that
// nobody has verified; after Config they see only errors that a handler returned for a task that passed. It
// also notes the server's queues: a task signed for another queue is refused. One Verifier may guard several
// servers; its queues are those of all.
//
// GroupAggregator is taken out: aggregation happens before any verification, so that a group would carry
// forged tasks into a new one. jobs.Wrap refuses to enqueue into a group.
func (v *Verifier) Config(c asynq.Config) asynq.Config {
	v.serve(c.Queues)
	v.slots.grow(c)
	if c.GroupAggregator != nil {
		v.cfg.Logger.Error("asynq.Config.GroupAggregator is not used: it would see unverified tasks")
		c.GroupAggregator = nil
	}
	c.RetryDelayFunc = v.retryDelay(c.RetryDelayFunc)
	c.IsFailure = isFailure(c.IsFailure)
	if app := c.ErrorHandler; app != nil {
		c.ErrorHandler = asynq.ErrorHandlerFunc(func(ctx context.Context, task *asynq.Task, err error) {
			if e := endingOf(err); e.app {
				app.HandleError(ctx, task, e.cause)
			}
		})
	}
	return c
}

// serve adds a server's queues to those that are this worker's.
func (v *Verifier) serve(queues map[string]int) {
	if len(queues) == 0 {
		queues = map[string]int{"default": 1} // asynq's own default
	}
	for {
		old := v.queues.Load()
		all := make(map[string]bool, len(queues))
		if old != nil {
			maps.Copy(all, *old)
		}
		for queue, priority := range queues {
			if priority > 0 {
				all[queue] = true
			}
		}
		if v.queues.CompareAndSwap(old, &all) {
			return
		}
	}
}

func (v *Verifier) retryDelay(app asynq.RetryDelayFunc) asynq.RetryDelayFunc {
	if app == nil {
		app = asynq.DefaultRetryDelayFunc
	}
	return func(n int, err error, task *asynq.Task) time.Duration {
		switch e := endingOf(err); {
		case e.action == later:
			return max(e.until.Sub(v.cfg.Now()), 0)
		case e.after > 0:
			return e.after
		case e.app:
			return app(max(n, 0), e.cause, task)
		default: // a lease or context that ended: asynq's own error, of a task that nobody verified
			return asynq.DefaultRetryDelayFunc(min(max(n, 0), mostTries), err, nil)
		}
	}
}

func isFailure(app func(error) bool) func(error) bool {
	return func(err error) bool {
		e := endingOf(err)
		if e.app && app != nil {
			return app(e.cause)
		}
		return err != nil && e.action != later
	}
}

// endingOf is err's ending; of asynq's own errors, the zero one: a failed try that no app may see.
func endingOf(err error) ending {
	if e, ok := errors.AsType[*ending](err); ok {
		return *e
	}
	return ending{}
}
