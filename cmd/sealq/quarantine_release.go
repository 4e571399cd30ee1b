package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/signing"
)

func (p *program) quarantineRelease() *cobra.Command {
	return uses(&cobra.Command{
		Use: "release ID", Short: "Let a refused task's job run after all, under a new ID", Args: exactly("ID"),
		Long: "Let a refused task's job run after all: as a new row of the outbox, under a new ID and with a fresh life. Only what a\n" +
			"key of the ring signed for this audience is released; its queue, its times and what the worker knew do not matter. Its\n" +
			"original effect is noted as done in the same transaction, so that the bytes have none if they come again. It is audited.",
		Example: "  sealq quarantine release 0199a1b2-0000-7000-8000-000000000000",
		RunE: p.action(p.withRing(func(ctx context.Context, r *keyRing, args []string) error {
			s := r.s
			audience, err := s.audience()
			if err != nil {
				return err
			}
			if r.db == nil {
				if err := r.openDatabase(ctx); err != nil {
					return err
				}
			}
			released, err := s.release(ctx, r.db, r, audience, args[0])
			if err != nil {
				return err
			}
			s.linkAudit(ctx, r.db)
			return s.answer(released, "%s is released as %s: %s in %s, when a relay enqueues it", released.ID, released.ReleasedAs, released.Kind, released.Queue)
		})),
	}, ringOptions("audience")...)
}

// release refuses a ring that is older than the newest that any process has seen: it may lack a revocation.
func (s *session) release(ctx context.Context, db app.Database, source signing.Source, audience, id string) (quarantine.Released, error) {
	seen, err := db.HighestRingVersion(ctx)
	if err != nil {
		return quarantine.Released{}, err
	}
	keys, err := s.openKeys(ctx, source, audience, seen)
	if err != nil {
		return quarantine.Released{}, err
	}
	defer keys.Close()
	return db.Release(ctx, keys, id, actor())
}
