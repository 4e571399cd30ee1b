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

// ringLifetime is the max_lifetime of new rings: how long a signature may live at most.
const ringLifetime = 30 * 24 * time.Hour

func (p *program) keys() *cobra.Command {
	return group(&cobra.Command{
		Use: "keys", Short: "Make and rotate the keys that sign tasks",
		Long: "Make and rotate the keys that sign tasks. A rotation takes two steps, so that every host knows a key before it\n" +
			"signs: `keys rotate` publishes a new key, `keys promote` lets it sign some minutes later.",
		Example: "  sealq keys init\n  sealq keys rotate\n  sealq keys promote 1a2b3c4d",
	}, p.keysInit(), p.keysList(), p.keysRotate(), p.keysPromote())
}

// ringFile is the ring of --keys where it is to be written.
func (s *session) ringFile() (*signing.File, error) {
	source, err := s.ringSource()
	if err != nil {
		return nil, err
	}
	file, ok := source.(*signing.File)
	if !ok {
		return nil, wrongly("--keys %s cannot be written: this command needs file:PATH", source)
	}
	return file, nil
}

func (p *program) keysInit() *cobra.Command {
	return uses(&cobra.Command{
		Use: "init", Short: "Make a key ring with one active key", Args: exactly(),
		Long:    "Make a key ring with one active key, in a new file of mode 0600. A file that is there is left alone.",
		Example: "  sealq keys init --keys file:keys.json",
		RunE: p.action(func(_ context.Context, s *session, _ []string) error {
			file, err := s.ringFile()
			if err != nil {
				return err
			}
			ring, err := signing.NewRing(s.now(), ringLifetime)
			if err != nil {
				return err
			}
			if err := file.Create(ring); err != nil {
				return fmt.Errorf("--keys: %w", err)
			}
			kid := newest(ring).KID
			return s.answer(map[string]any{"path": file.Path(), "version": ring.Version(), "kid": kid},
				"made %s with the active key %s: give a copy to every host that signs or verifies, and keep it secret", file.Path(), kid)
		}),
	}, "keys")
}

func (p *program) keysList() *cobra.Command {
	return uses(&cobra.Command{
		Use: "list", Short: "List the keys and their states, never a secret", Args: exactly(),
		Example: "  sealq keys list --json",
		RunE: p.action(func(ctx context.Context, s *session, _ []string) error {
			source, err := s.ringSource()
			if err != nil {
				return err
			}
			ring, err := source.Load(ctx)
			if err != nil {
				return fmt.Errorf("--keys: %w", err)
			}
			if s.json {
				return s.printJSON(struct {
					Version uint64            `json:"version"`
					Keys    []signing.KeyInfo `json:"keys"`
				}{ring.Version(), ring.Keys()})
			}
			w := tabwriter.NewWriter(s.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "KID\tSTATE\tCREATED\tSIGNS UNTIL\tVERIFIES UNTIL\tKINDS")
			for _, k := range ring.Keys() {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", k.KID, k.State, moment(&k.CreatedAt), moment(k.SignUntil), moment(k.VerifyUntil), strings.Join(k.Kinds, ","))
			}
			return flush(w)
		}),
	}, "keys")
}

func (p *program) keysRotate() *cobra.Command {
	var kinds []string
	c := uses(&cobra.Command{
		Use: "rotate", Short: "Publish a new key, which signs after `keys promote`", Args: exactly(),
		Example: "  sealq keys rotate\n  sealq keys rotate --kinds 'mail:*,users:expire_pending'",
		RunE: p.action(func(ctx context.Context, s *session, _ []string) error {
			file, err := s.ringFile()
			if err != nil {
				return err
			}
			var refused error // of a ring that was sound before
			ring, err := file.Update(ctx, func(r *signing.Ring) (next *signing.Ring, err error) {
				next, refused = r.Rotate(s.now(), kinds)
				return next, refused
			})
			if bad, ok := errors.AsType[*signing.RingError](refused); ok && kinds != nil {
				return wrongly("--kinds: %s", bad.Problem)
			}
			if err != nil {
				return fmt.Errorf("--keys: %w", err)
			}
			key := newest(ring)
			from := key.CreatedAt.Add(signing.DefaultPropagationGrace)
			return s.answer(map[string]any{"version": ring.Version(), "kid": key.KID, "state": key.State, "promote_from": from},
				"published %s: bring the ring to every host, then, from %s on, run\n  sealq keys promote %s", key.KID, moment(&from), key.KID)
		}),
	}, "keys")
	c.Flags().StringSliceVar(&kinds, "kinds", nil, "what the key may sign, such as 'mail:*' (default: every kind)")
	return c
}

func (p *program) keysPromote() *cobra.Command {
	var force bool
	c := uses(&cobra.Command{
		Use: "promote KID", Short: "Let a published key sign; the active one retires", Args: exactly("KID"),
		Long: "Let a published key sign from now on. The active key retires: it verifies what it has signed, and signs no more.\n" +
			"A key that was published less than 5 minutes ago is refused, because hosts may not know it yet.",
		Example: "  sealq keys promote 1a2b3c4d",
		RunE: p.action(func(ctx context.Context, s *session, args []string) error {
			kid, err := signing.ParseKID(args[0])
			if err != nil {
				return wrongly("KID: %v, as `sealq keys list` shows them", err)
			}
			file, err := s.ringFile()
			if err != nil {
				return err
			}
			early := false
			ring, err := file.Update(ctx, func(r *signing.Ring) (*signing.Ring, error) {
				next, err := r.Promote(kid, s.now(), 0)
				if early = errors.Is(err, signing.ErrTooYoung); early && force {
					return r.PromoteForced(kid, s.now())
				}
				return next, err
			})
			if young, ok := errors.AsType[*signing.TooYoungError](err); ok {
				return fmt.Errorf("key %s is too young: hosts may not know it yet; promote it from %s on, or risk with --force that they defer what it signs until they have read the ring",
					kid, moment(&young.ReadyAt))
			}
			if err != nil {
				return fmt.Errorf("--keys: %w", err)
			}
			if early {
				fmt.Fprintln(s.stderr, "sealq: warning: forced: hosts that have not read this ring yet defer what the key signs, and refuse it 5 minutes after it was signed")
			}
			return s.answer(map[string]any{"version": ring.Version(), "kid": kid, "state": signing.Active}, "%s is active", kid)
		}),
	}, "keys")
	c.Flags().BoolVar(&force, "force", false, "promote a key that hosts may not know yet: they defer what it signs until they have read the ring, and refuse it after 5 minutes")
	return c
}

// newest is the key that was made last.
func newest(r *signing.Ring) signing.KeyInfo {
	keys := r.Keys()
	return keys[len(keys)-1]
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
