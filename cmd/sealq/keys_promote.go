package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/signing"
)

// promotion is what must hold before another key signs.
type promotion struct {
	force  bool
	expect int // how many processes must know the key; below zero: not said
}

const promotionLong = "A key that was published less than 5 minutes ago is refused, because hosts may not know it yet. With --database-url\n" +
	"every process that was seen in the last 10 minutes must know the key, by its check value, and --expect of them at least.\n" +
	"Without, nobody tells: --expect N is your own word that N hosts, all that there are, have the ring."

func (f *promotion) flags(c *cobra.Command) {
	c.Flags().BoolVar(&f.force, "force", false, "whatever hosts know: those that have not read the ring defer what the key signs, and refuse it after 5 minutes")
	c.Flags().IntVar(&f.expect, "expect", -1, "`how many` processes at least know the key (default: 1, with a database)")
}

// promotes is a move that lets another key sign, if that one is older than grace.
type promotes func(r *signing.Ring, now time.Time, grace time.Duration) (*signing.Ring, error)

func (p *program) keysPromote() *cobra.Command {
	var f promotion
	c := uses(&cobra.Command{
		Use: "promote KID", Short: "Let a published key sign; the active one retires", Args: exactly("KID"),
		Long:    "Let a published key sign from now on. The active key retires: it verifies what it has signed, and signs no more.\n" + promotionLong,
		Example: "  sealq keys promote 1a2b3c4d\n  sealq keys promote 1a2b3c4d --expect 4",
		RunE: p.action(p.withRing(func(ctx context.Context, r *keyRing, args []string) error {
			kid, err := parseKID(args[0])
			if err != nil {
				return err
			}
			return r.promote(ctx, f, func(ring *signing.Ring, now time.Time, grace time.Duration) (*signing.Ring, error) {
				return ring.Promote(kid, now, grace)
			})
		})),
	}, ringOptions("audience")...)
	f.flags(c)
	return c
}

func (p *program) keysRetire() *cobra.Command {
	var f promotion
	c := uses(&cobra.Command{
		Use: "retire KID", Short: "End the active key's signing; the key published longest follows", Args: exactly("KID"),
		Long: "End the active key's signing: the key that has been published longest is promoted. What the retired key signed\n" +
			"verifies as before; one that leaked is to be revoked.\n" + promotionLong,
		Example: "  sealq keys retire 1a2b3c4d",
		RunE: p.action(p.withRing(func(ctx context.Context, r *keyRing, args []string) error {
			kid, err := parseKID(args[0])
			if err != nil {
				return err
			}
			return r.promote(ctx, f, func(ring *signing.Ring, now time.Time, grace time.Duration) (*signing.Ring, error) {
				return ring.Retire(kid, now, grace)
			})
		})),
	}, ringOptions("audience")...)
	f.flags(c)
	return c
}

// promote makes the move when hosts know the key, or when it is forced.
func (r *keyRing) promote(ctx context.Context, f promotion, move promotes) error {
	p := r.s.program
	grace := signing.DefaultPropagationGrace
	if f.force {
		grace = 1 // zero would mean the default
	}
	ring, err := r.read(ctx)
	if err != nil {
		return err
	}
	next, err := move(ring, p.now(), grace)
	if young, ok := errors.AsType[*signing.TooYoungError](err); ok {
		return fmt.Errorf("key %s is too young: hosts may not know it yet; promote it from %s on, or risk with --force that they defer what it signs until they have read the ring",
			young.KID, moment(&young.ReadyAt))
	}
	if err != nil {
		return inKeys(err)
	}
	kid := active(next.Keys())
	var knowing []string
	if f.force {
		fmt.Fprintln(p.stderr, "sealq: warning: forced: hosts that have not read this ring yet defer what the key signs, and refuse it 5 minutes after it was signed")
	} else if knowing, err = r.knowing(ctx, kid, ring.Version(), f.expect); err != nil {
		return err
	}
	next, err = r.update(ctx, func(ring *signing.Ring) (*signing.Ring, error) { return move(ring, p.now(), grace) })
	if err != nil {
		return err
	}
	known := ""
	if len(knowing) > 0 {
		known = fmt.Sprintf("\nknown to %s", strings.Join(knowing, ", "))
	}
	return r.s.answer(map[string]any{"version": next.Version(), "kid": kid, "state": signing.Active, "known_to": orEmpty(knowing)}, "%s is active%s", kid, known)
}

// knowing lists the processes that know the key. It refuses when one does not, or when they are fewer than expected.
func (r *keyRing) knowing(ctx context.Context, kid signing.KID, version uint64, expect int) ([]string, error) {
	db, err := r.database(ctx)
	if err != nil {
		return nil, err
	}
	if db == nil && expect < 0 {
		return nil, wrongly("without --database-url nobody tells which hosts know the key: say --expect N when N hosts, all that there are, have version %d of the ring, or risk --force", version)
	}
	if db == nil {
		return nil, nil // by the operator's word
	}
	audience, err := r.s.audience()
	if err != nil {
		return nil, err
	}
	keys, err := r.s.openKeys(ctx, r, audience, 0)
	if err != nil {
		return nil, err
	}
	defer keys.Close()
	reports, err := db.RingReports(ctx, signing.ReportsCount)
	if err != nil {
		return nil, err
	}
	if expect < 0 {
		expect = 1
	}
	knowing, err := keys.Propagated(kid, reports, expect)
	if not, ok := errors.AsType[*signing.NotPropagatedError](err); ok && len(not.Missing) == 0 {
		return nil, fmt.Errorf("%w; start the rest, or say with --expect how many run", err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w; %s and try again (a process that was killed counts for 10 minutes), or risk with --force that they defer what the key signs", err, r.bring())
	}
	return knowing, nil
}
