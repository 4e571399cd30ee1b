package jobstest

import (
	"context"
	"sync"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/worker" //nolint:depguard // see outbox.go
)

// Ledger runs effects in one transaction of the test's, which the test rolls back at its end, and remembers them in
// memory. It begins, commits and rolls back nothing: what a handler wrote before it failed is still in Tx, where the
// real ledger rolls it back.
type Ledger[Tx any] struct {
	// Tx is what handlers get.
	Tx Tx
	// Outbox is told of rows that are done. Nil: nobody is.
	Outbox worker.Outbox

	mu      sync.Mutex
	entered map[entry]bool
}

type entry struct {
	kind   jobs.Kind
	effect string
}

var (
	_ worker.Ledger[any] = (*Ledger[any])(nil)
	_ worker.Effects     = (*Ledger[any])(nil)
)

// Once runs fn unless the effect was entered before: see worker.Ledger.
func (l *Ledger[Tx]) Once(ctx context.Context, e jobs.Effect, fn func(ctx context.Context, tx Tx) error) (done bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := entry{e.Kind, e.ID}
	if done = l.entered[key]; !done {
		if err := fn(ctx, l.Tx); err != nil {
			return false, err
		}
		if l.entered == nil {
			l.entered = make(map[entry]bool)
		}
		l.entered[key] = true
	}
	if l.Outbox != nil {
		err = l.Outbox.RowDone(ctx, jobs.RowRef{ID: e.ID, Kind: e.Kind})
	}
	return done, err
}

// EffectDone says whether the effect was entered: see worker.Effects.
func (l *Ledger[Tx]) EffectDone(_ context.Context, kind jobs.Kind, effect string) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entered[entry{kind, effect}], nil
}
