package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/signing"
)

func (p *program) keys() *cobra.Command {
	return group(&cobra.Command{
		Use: "keys", Short: "Make and rotate the keys that sign tasks",
		Long: "Make and rotate the keys that sign tasks. A rotation takes two steps, so that every host knows a key before it\n" +
			"signs: `keys rotate` publishes a new key, `keys promote` lets it sign some minutes later. A key that leaked is\n" +
			"revoked at once, with `keys revoke`.",
		Example: "  sealq keys init\n  sealq keys rotate\n  sealq keys promote 1a2b3c4d",
	}, p.keysInit(), p.keysList(), p.keysCheck(), p.keysRotate(), p.keysPromote(), p.keysRetire(), p.keysRevoke(), p.keysDestroy())
}

func (p *program) keysList() *cobra.Command {
	return uses(&cobra.Command{
		Use: "list", Short: "List the keys and their states, never a secret", Args: exactly(),
		Example: "  sealq keys list --json",
		RunE: p.action(p.withRing(func(ctx context.Context, r *keyRing, _ []string) error {
			ring, err := r.read(ctx)
			if err != nil {
				return err
			}
			if r.s.json {
				return p.printJSON(struct {
					Version uint64            `json:"version"`
					Keys    []signing.KeyInfo `json:"keys"`
				}{ring.Version(), ring.Keys()})
			}
			w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "KID\tSTATE\tCREATED\tSIGNS UNTIL\tVERIFIES UNTIL\tKINDS")
			for _, k := range ring.Keys() {
				if k.State == signing.Revoked || k.State == signing.Destroyed {
					k.SignUntil, k.VerifyUntil = nil, nil // it does neither any more, whatever was planned
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", k.KID, k.State, moment(&k.CreatedAt), moment(k.SignUntil), moment(k.VerifyUntil), strings.Join(k.Kinds, ","))
			}
			return flush(w)
		})),
	}, ringOptions()...)
}

func (p *program) keysRotate() *cobra.Command {
	var kinds []string
	c := uses(&cobra.Command{
		Use: "rotate", Short: "Publish a new key, which signs after `keys promote`", Args: exactly(),
		Example: "  sealq keys rotate\n  sealq keys rotate --kinds 'mail:*,users:expire_pending'",
		RunE: p.action(p.withRing(func(ctx context.Context, r *keyRing, _ []string) error {
			var refused error // of a ring that was sound before
			ring, err := r.update(ctx, func(ring *signing.Ring) (next *signing.Ring, err error) {
				next, refused = ring.Rotate(p.now(), kinds)
				return next, refused
			})
			if bad, ok := errors.AsType[*signing.RingError](refused); ok && kinds != nil {
				return wrongly("--kinds: %s", bad.Problem)
			}
			if err != nil {
				return err
			}
			key := newest(ring)
			from := key.CreatedAt.Add(signing.DefaultPropagationGrace)
			return r.s.answer(map[string]any{"version": ring.Version(), "kid": key.KID, "state": key.State, "promote_from": from},
				"published %s: %s, then, from %s on, run\n  sealq keys promote %s", key.KID, r.bring(), moment(&from), key.KID)
		})),
	}, ringOptions()...)
	c.Flags().StringSliceVar(&kinds, "kinds", nil, "what the key may sign, such as 'mail:*' (default: every kind)")
	return c
}

// parseKID reads the argument of the commands that move one key.
func parseKID(text string) (signing.KID, error) {
	kid, err := signing.ParseKID(text)
	if err != nil {
		return kid, wrongly("KID: %v, as `sealq keys list` shows them", err)
	}
	return kid, nil
}

// newest is the key that was made last.
func newest(r *signing.Ring) signing.KeyInfo {
	keys := r.Keys()
	return keys[len(keys)-1]
}

// active is the key that signs. Every ring has one.
func active(keys []signing.KeyInfo) signing.KID {
	for _, k := range keys {
		if k.State == signing.Active {
			return k.KID
		}
	}
	return signing.KID{}
}

// stateOf is the key's state, "" where the ring has no such key.
func stateOf(r *signing.Ring, kid signing.KID) signing.State {
	for _, k := range r.Keys() {
		if k.KID == kid {
			return k.State
		}
	}
	return ""
}

// moment is a time for people, "-" for none.
func moment(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func flush(w *tabwriter.Writer) error {
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}
