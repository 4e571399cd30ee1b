package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/signing"
)

// ringLifetime is the max_lifetime of new rings: how long a signature may live at most.
const ringLifetime = 30 * 24 * time.Hour

func (p *program) keysInit() *cobra.Command {
	var lost bool
	c := uses(&cobra.Command{
		Use: "init", Short: "Make a key ring with one active key", Args: exactly(),
		Long: "Make a key ring with one active key: in a new file of mode 0600, or in the database, wrapped under the key in\n" +
			"--kek-file, which is made too where it is missing. A ring that is there is left alone.",
		Example: "  sealq keys init --keys file:keys.json\n  sealq keys init --keys database --kek-file /etc/sealq/kek.txt",
		RunE: p.action(func(ctx context.Context, s *session, _ []string) (err error) {
			place, err := s.ringPlace()
			if err != nil {
				return err
			}
			r := &keyRing{s: s, place: place}
			defer func() { err = errors.Join(err, r.close()) }()
			if place.source == nil {
				return r.initDatabase(ctx, lost)
			}
			return r.initFile(ctx, lost)
		}),
	}, ringOptions()...)
	c.Flags().BoolVar(&lost, "lost", false, "the ring that was in use is lost for good: follow it, and void the unused links of its keys")
	return c
}

func (r *keyRing) initFile(ctx context.Context, lost bool) error {
	file, err := r.place.file()
	if err != nil {
		return err
	}
	ring, err := r.first(ctx, lost)
	if err != nil {
		return err
	}
	if err := file.Create(ring); err != nil {
		return inKeys(err)
	}
	if err := r.made(ctx, lost, map[string]any{"path": file.Path()}, ring); err != nil || r.s.json {
		return err
	}
	fmt.Fprintf(r.s.stdout, "made %s with the active key %s: give a copy to every host that signs or verifies, and keep it secret\n", file.Path(), newest(ring).KID)
	return nil
}

func (r *keyRing) initDatabase(ctx context.Context, lost bool) error {
	if err := r.openDatabase(ctx); err != nil {
		return err
	}
	// Before a key-encryption key is made that no ring would open under.
	if _, _, err := r.db.LoadWrappedRing(ctx); !lost && err == nil {
		return fmt.Errorf("--keys: the database: %w; rotate its keys with `sealq keys rotate`", signing.ErrRingExists)
	}
	made, err := r.makeVault()
	if err != nil {
		return err
	}
	ring, err := r.first(ctx, lost)
	if err != nil {
		return err
	}
	if lost {
		err = r.vault.Replace(ctx, ring)
	} else {
		err = r.vault.Create(ctx, ring)
	}
	if err != nil {
		return inKeys(err)
	}
	if err := r.made(ctx, lost, map[string]any{"path": nil, "kek_file": r.place.kekFile, "kek_made": made}, ring); err != nil || r.s.json {
		return err
	}
	fmt.Fprintf(r.s.stdout, "made a ring in the database with the active key %s\n", newest(ring).KID)
	if made {
		fmt.Fprintf(r.s.stdout, "made %s: give a copy to every host that signs or verifies, keep it secret, and keep a copy elsewhere: without it the ring is lost\n", r.place.kekFile)
	}
	return nil
}

// first makes the ring. One that follows a lost ring has the version after the highest that was seen of it.
func (r *keyRing) first(ctx context.Context, lost bool) (*signing.Ring, error) {
	if !lost {
		return signing.NewRing(r.s.now(), ringLifetime)
	}
	db, err := r.database(ctx)
	if err != nil {
		return nil, err
	}
	if db == nil {
		return nil, wrongly("--lost needs --database-url, which knows what was lost; without a database, `sealq keys init` is enough")
	}
	seen, err := db.HighestRingVersion(ctx)
	if err != nil {
		return nil, err
	}
	return signing.NewRingAfter(r.s.now(), ringLifetime, seen)
}

// lostReports is how far back keys of a lost ring are looked for: as long as reports are kept.
const lostReports = 24 * time.Hour

// made prints the answer for programs, and voids what the keys of a lost ring left behind: nobody knows who has them now.
func (r *keyRing) made(ctx context.Context, lost bool, answer map[string]any, ring *signing.Ring) error {
	answer["version"], answer["kid"] = ring.Version(), newest(ring).KID
	if lost {
		links, err := r.voidLost(ctx, ring)
		if err != nil {
			return fmt.Errorf("the ring is made, but unused links of the lost keys were not voided: %w", err)
		}
		answer["links_voided"] = links
		if !r.s.json {
			fmt.Fprintf(r.s.stdout, "%s of lost keys void, and mailed anew\n", plural(links, "unused link"))
		}
	}
	if r.s.json {
		return r.s.printJSON(answer)
	}
	return nil
}

func (r *keyRing) voidLost(ctx context.Context, ring *signing.Ring) (int, error) {
	reports, err := r.db.RingReports(ctx, lostReports)
	if err != nil {
		return 0, err
	}
	done := map[signing.KID]bool{newest(ring).KID: true}
	links := 0
	for _, report := range reports {
		for kid := range report.CheckValues {
			if done[kid] {
				continue
			}
			done[kid] = true
			n, err := r.db.RenewKeys(ctx, kid.String())
			links += n
			if err != nil {
				return links, err
			}
		}
	}
	return links, nil
}
