package mail

import (
	"context"
	"time"
)

// Classify says what a code at a stage means; 0 is no answer.
func Classify(stage Stage, code int) Outcome { return classify(stage, code) }

// Pool is a pool without a server: what it gives are slots.
type Pool struct{ pool *pool }

func NewPool(limit int) Pool {
	return Pool{&pool{limit: limit, idle: time.Minute, now: time.Now}}
}

func (p Pool) Take(ctx context.Context) error {
	_, err := p.pool.take(ctx)
	return err
}

func (p Pool) Refused(ctx context.Context) error {
	_, _, err := p.pool.refused(ctx)
	return err
}

func (p Pool) Free()        { p.pool.free() }
func (p Pool) Stats() Stats { return p.pool.stats() }

// LimitMemory is how long a refused connection is remembered.
const LimitMemory = limitMemory
