package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/signing"
)

// purgeFlags are what `sealq quarantine purge` takes beside its options.
type purgeFlags struct {
	olderThan                   time.Duration
	reason                      string
	authentic, overflow, dryRun bool
}

// purged is what a purge answers.
type purged struct {
	quarantine.Purged
	Forgotten int64 `json:"forgotten"` // counted tasks that were not kept
	Kept      int64 `json:"kept"`      // entries that are meant and stay, because they were signed and not released
	DryRun    bool  `json:"dry_run"`
}

func (p *program) quarantinePurge() *cobra.Command {
	var f purgeFlags
	c := uses(&cobra.Command{
		Use: "purge [ID…]", Short: "Delete entries that are done with", Args: cobra.ArbitraryArgs,
		Long: "Delete entries: those that are named, or all that are old enough or of a reason. What was signed and not released stays\n" +
			"unless --authentic says otherwise: only a key's holder can have made it. It is audited.",
		Example: "  sealq quarantine purge --older-than 720h\n  sealq quarantine purge --reason bad_signature --dry-run\n" +
			"  sealq quarantine purge --authentic 0199a1b2-0000-7000-8000-000000000000",
		RunE: p.action(func(ctx context.Context, s *session, ids []string) (err error) {
			filter, err := f.filter(ids)
			if err != nil {
				return err
			}
			d, err := s.database()
			if err != nil {
				return err
			}
			db, err := d.openMigrated(ctx)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, db.Close()) }()
			return s.purge(ctx, db, f, filter)
		}),
	}, "database-url")
	c.Flags().DurationVar(&f.olderThan, "older-than", 0, "only what was received before that time, such as 720h")
	c.Flags().StringVar(&f.reason, "reason", "", "only what was refused for that `reason`, such as bad_signature")
	c.Flags().BoolVar(&f.authentic, "authentic", false, "also what was signed, and not released")
	c.Flags().BoolVar(&f.overflow, "overflow", false, "forget what was counted and not kept, too")
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "delete nothing, and say what would be")
	return c
}

// filter says what is meant. Nothing is not everything.
func (f purgeFlags) filter(ids []string) (quarantine.Filter, error) {
	reason := signing.Reason(f.reason)
	switch {
	case f.olderThan < 0:
		return quarantine.Filter{}, wrongly("--older-than must not be negative")
	case f.reason != "" && !reason.Known():
		return quarantine.Filter{}, wrongly("--reason %q is none: see the column REASON of `sealq quarantine list`", f.reason)
	case len(ids) == 0 && f.olderThan == 0 && f.reason == "" && !f.overflow:
		return quarantine.Filter{}, wrongly("say what to purge: an ID, --older-than or --reason")
	}
	return quarantine.Filter{IDs: ids, OlderThan: f.olderThan, Reason: reason, Authentic: f.authentic}, nil
}

func (s *session) purge(ctx context.Context, db app.Database, f purgeFlags, filter quarantine.Filter) error {
	answer := purged{DryRun: f.dryRun}
	var err error
	entries := len(filter.IDs) > 0 || filter.OlderThan > 0 || filter.Reason != ""
	if entries && !f.authentic { // asked before: what is purged is no more counted then
		if answer.Kept, err = s.kept(ctx, db, filter); err != nil {
			return err
		}
	}
	switch {
	case entries && f.dryRun:
		answer.Purged, err = db.MatchRefused(ctx, filter)
	case entries:
		answer.Purged, err = db.Purge(ctx, actor(), filter)
	}
	if err != nil {
		return err
	}
	if f.overflow {
		if answer.Forgotten, err = s.forget(ctx, db, f.dryRun); err != nil {
			return err
		}
	}
	if !f.dryRun {
		s.linkAudit(ctx, db)
	}
	if err := s.answer(answer, "%s", answer.sentence(f.overflow)); err != nil {
		return err
	}
	if left := len(filter.IDs) - int(answer.Entries); left > 0 {
		return fmt.Errorf("%s left: not there, not what the flags say, or signed and not released, which --authentic purges", plural(left, "ID"))
	}
	return nil
}

// kept counts the entries that only --authentic would purge.
func (s *session) kept(ctx context.Context, db app.Database, filter quarantine.Filter) (int64, error) {
	without, err := db.MatchRefused(ctx, filter)
	if err != nil {
		return 0, err
	}
	filter.Authentic = true
	all, err := db.MatchRefused(ctx, filter)
	return max(all.Entries-without.Entries, 0), err
}

func stays(n int64) string {
	if n == 1 {
		return "1 entry stays"
	}
	return fmt.Sprintf("%d entries stay", n)
}

func (s *session) forget(ctx context.Context, db app.Database, dryRun bool) (int64, error) {
	if !dryRun {
		counted, err := db.ForgetOverflow(ctx, actor())
		return counted.Entries, err
	}
	usage, err := db.QuarantineUsage(ctx)
	var n int64
	for _, o := range usage.Overflow {
		n += o.Entries
	}
	return n, err
}

// sentence is the answer for people.
func (a purged) sentence(overflow bool) string {
	done, count := "purged", fmt.Sprintf("%s (%s)", entriesOf(a.Entries), plural(int(a.Bytes), "byte"))
	if a.DryRun {
		done = "would purge"
	}
	text := done + " " + count
	if a.Authentic > 0 {
		text += fmt.Sprintf(", %d of them signed", a.Authentic)
	}
	if a.Kept > 0 {
		text += fmt.Sprintf("; %s, signed and not released: only a key's holder can have made them, --authentic purges them too", stays(a.Kept))
	}
	if overflow {
		text += fmt.Sprintf("; %s the count of %s that found no room", map[bool]string{false: "forgot", true: "would forget"}[a.DryRun], plural(int(a.Forgotten), "task"))
	}
	return text
}

func entriesOf(n int64) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}
