package worker

import "time"

// Enter asks b to let a job run.
func Enter(b *Breaker) (retry time.Time, ok bool) { return b.enter() }

// Leave ends a job's run with err.
func Leave(b *Breaker, err error) { b.leave(err) }
