package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/signing"
)

func (p *program) keysRevoke() *cobra.Command {
	return uses(&cobra.Command{
		Use: "revoke KID", Short: "End a key that leaked, at once: nothing that it signed verifies any more", Args: exactly("KID"),
		Long: "End a key that leaked. Nothing that it signed verifies any more: workers quarantine it, and restore the jobs of the\n" +
			"outbox under the key that signs now. If it was the active key, the key published longest follows in the same write, or\n" +
			"a new one. With --database-url, links in mails that were made with it and that nobody used are void, and mailed anew.",
		Example: "  sealq keys revoke 1a2b3c4d",
		RunE: p.action(p.withRing(func(ctx context.Context, r *keyRing, args []string) error {
			kid, err := parseKID(args[0])
			if err != nil {
				return err
			}
			return r.revoke(ctx, kid)
		})),
	}, ringOptions()...)
}

// revocation is the answer of `keys revoke`.
type revocation struct {
	Version     uint64        `json:"version"`
	KID         signing.KID   `json:"kid"`
	State       signing.State `json:"state"`
	Active      signing.KID   `json:"active"`
	Promoted    bool          `json:"promoted"`     // the active key is another one now
	LinksVoided *int          `json:"links_voided"` // null: no database was named, or see the error
}

// revoke revokes, and then voids links. The database need not be there for the first, which is urgent.
func (r *keyRing) revoke(ctx context.Context, kid signing.KID) error {
	var made bool
	a := revocation{KID: kid, State: signing.Revoked}
	ring, err := r.update(ctx, func(ring *signing.Ring) (*signing.Ring, error) {
		switch stateOf(ring, kid) {
		case signing.Revoked:
			return ring, nil // its links are still to be looked for
		case signing.Active:
			a.Promoted, made = true, ring.Successor().IsZero()
			return ring.RevokeActive(kid, ring.Successor(), r.s.now())
		default:
			return ring.Revoke(kid)
		}
	})
	if err != nil {
		return err
	}
	a.Version, a.Active = ring.Version(), active(ring.Keys())
	db, err := r.database(ctx)
	if err == nil && db != nil {
		var links int
		if links, err = db.RenewKeys(ctx, kid.String()); err == nil {
			a.LinksVoided = &links
		}
	}
	if err != nil {
		err = fmt.Errorf("%s is revoked, but its unused links were not voided: %w; run the command again, or leave it to the workers, who do it within a minute", kid, err)
	}
	return errors.Join(r.s.answer(a, "%s", a.text(made, r.bring())), err)
}

func (a revocation) text(made bool, bring string) string {
	lines := []string{fmt.Sprintf("%s is revoked: nothing that it signed verifies any more; %s", a.KID, bring)}
	switch {
	case made:
		lines = append(lines, fmt.Sprintf("%s, a new key, is active in its place: hosts defer what it signs until they have read the ring", a.Active))
	case a.Promoted:
		lines = append(lines, fmt.Sprintf("%s, which was published, is active in its place", a.Active))
	}
	if a.LinksVoided != nil {
		lines = append(lines, plural(*a.LinksVoided, "unused link")+" void, and mailed anew")
	}
	return strings.Join(lines, "\n")
}

func (p *program) keysDestroy() *cobra.Command {
	return uses(&cobra.Command{
		Use: "destroy KID", Short: "Drop the secret of a key that nothing needs any more", Args: exactly("KID"),
		Long: "Drop a key's secret; its ID stays in the ring. A retiring key must be past the time until which it verifies, and no\n" +
			"row of the database may need it; a revoked one goes at once. What stands in Redis is no reason to keep a key.",
		Example: "  sealq keys destroy 1a2b3c4d",
		RunE: p.action(p.withRing(func(ctx context.Context, r *keyRing, args []string) error {
			kid, err := parseKID(args[0])
			if err != nil {
				return err
			}
			return r.destroy(ctx, kid)
		})),
	}, ringOptions()...)
}

func (r *keyRing) destroy(ctx context.Context, kid signing.KID) error {
	var d signing.Destruction
	db, err := r.database(ctx)
	if err != nil {
		return err
	}
	if db != nil {
		if d.UnfinishedRows, err = r.finish(ctx, db, kid); err != nil {
			return err
		}
	}
	ring, err := r.update(ctx, func(ring *signing.Ring) (*signing.Ring, error) { return ring.Destroy(kid, r.s.now(), d) })
	if err != nil {
		return err
	}
	return r.s.answer(map[string]any{"version": ring.Version(), "kid": kid, "state": signing.Destroyed}, "%s is destroyed: its secret is gone from the ring; %s", kid, r.bring())
}

// finish counts the rows that need the key. A revoked key's links are voided a last time: afterwards nobody knows any more
// that it was revoked.
func (r *keyRing) finish(ctx context.Context, db app.Database, kid signing.KID) (rows int, err error) {
	ring, err := r.read(ctx)
	if err != nil {
		return 0, err
	}
	if stateOf(ring, kid) == signing.Revoked {
		if _, err := db.RenewKeys(ctx, kid.String()); err != nil {
			return 0, err
		}
	}
	return db.RowsNeedingKey(ctx, kid.String())
}
