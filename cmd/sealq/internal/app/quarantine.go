package app

import (
	"context"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/signing"
)

// Quarantine is what an operator does with refused tasks.
type Quarantine interface {
	// Release releases an entry of one of the auth kinds under keys, in actor's name.
	Release(ctx context.Context, keys *signing.Keys, id, actor string) (quarantine.Released, error)
	// Purge deletes entries.
	Purge(ctx context.Context, actor string, f quarantine.Filter) (quarantine.Purged, error)
	// MatchRefused counts what Purge would delete.
	MatchRefused(ctx context.Context, f quarantine.Filter) (quarantine.Purged, error)
	// ForgetOverflow deletes the counters of what was not kept.
	ForgetOverflow(ctx context.Context, actor string) (quarantine.Used, error)
}

func (d database[Tx]) Release(ctx context.Context, keys *signing.Keys, id, actor string) (quarantine.Released, error) {
	catalog, err := jobs.NewCatalog(authjobs.Definitions()...)
	if err != nil {
		return quarantine.Released{}, err
	}
	return quarantine.Release(ctx, d.backend, keys, catalog, quarantine.Order{ID: id, Actor: actor})
}

func (d database[Tx]) Purge(ctx context.Context, actor string, f quarantine.Filter) (quarantine.Purged, error) {
	return quarantine.Purge(ctx, d.backend, actor, f)
}

func (d database[Tx]) ForgetOverflow(ctx context.Context, actor string) (quarantine.Used, error) {
	return quarantine.ForgetOverflow(ctx, d.backend, actor)
}
