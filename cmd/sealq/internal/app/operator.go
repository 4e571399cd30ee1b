package app

import (
	"context"
	"time"

	"github.com/sealq/sealq/accounts"
)

// Operator is accounts.Operator with a transaction of its own for each call.
type Operator interface {
	Register(ctx context.Context, r accounts.Registration) (accounts.Pending, error)
	Activate(ctx context.Context, key string) (accounts.User, error)
	Disable(ctx context.Context, userID string) error
	Enable(ctx context.Context, userID string) error
	Lock(ctx context.Context, email string, d time.Duration) error
	Unlock(ctx context.Context, email string) error
	Grant(ctx context.Context, userID, role string) error
	Revoke(ctx context.Context, userID, role string) error
}

func (a inTx[Tx]) Operator(name string) Operator {
	return operator[Tx]{Operator: a.Accounts.Operator(name), run: a.run}
}

type operator[Tx any] struct {
	accounts.Operator[Tx]
	run func(context.Context, func(Tx) error) error
}

func (o operator[Tx]) Register(ctx context.Context, r accounts.Registration) (p accounts.Pending, err error) {
	err = o.run(ctx, func(tx Tx) (err error) {
		p, err = o.Operator.Register(ctx, tx, r)
		return err
	})
	return p, err
}

func (o operator[Tx]) Activate(ctx context.Context, key string) (u accounts.User, err error) {
	err = o.run(ctx, func(tx Tx) (err error) {
		u, err = o.Operator.Activate(ctx, tx, key)
		return err
	})
	return u, err
}

func (o operator[Tx]) Disable(ctx context.Context, userID string) error {
	return o.run(ctx, func(tx Tx) error { return o.Operator.Disable(ctx, tx, userID) })
}

func (o operator[Tx]) Enable(ctx context.Context, userID string) error {
	return o.run(ctx, func(tx Tx) error { return o.Operator.Enable(ctx, tx, userID) })
}

func (o operator[Tx]) Lock(ctx context.Context, email string, d time.Duration) error {
	return o.run(ctx, func(tx Tx) error { return o.Operator.Lock(ctx, tx, email, d) })
}

func (o operator[Tx]) Unlock(ctx context.Context, email string) error {
	return o.run(ctx, func(tx Tx) error { return o.Operator.Unlock(ctx, tx, email) })
}

func (o operator[Tx]) Grant(ctx context.Context, userID, role string) error {
	return o.run(ctx, func(tx Tx) error { return o.Operator.Grant(ctx, tx, userID, role) })
}

func (o operator[Tx]) Revoke(ctx context.Context, userID, role string) error {
	return o.run(ctx, func(tx Tx) error { return o.Operator.Revoke(ctx, tx, userID, role) })
}
