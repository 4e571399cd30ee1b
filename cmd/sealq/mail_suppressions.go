package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/jobs/authjobs"
)

func (p *program) mailSuppressions() *cobra.Command {
	return group(&cobra.Command{
		Use: "suppressions", Short: "List the addresses that a mail server refused for good, or take one off the list",
		Example: "  sealq mail suppressions list\n  sealq mail suppressions remove ada@example.com",
	}, p.suppressionsList(), p.suppressionsRemove())
}

// suppression is one as it is listed.
type suppression struct {
	Address   string    `json:"address"`
	Reason    string    `json:"reason"`
	SMTPCode  int       `json:"smtp_code"`
	SMTPReply string    `json:"smtp_reply"`
	Mail      string    `json:"mail"`
	Since     time.Time `json:"since"`
}

func (p *program) suppressionsList() *cobra.Command {
	var limit int
	c := uses(&cobra.Command{
		Use: "list", Short: "List addresses to which nothing is sent, the newest first", Args: exactly(),
		Example: "  sealq mail suppressions list --limit 20\n  sealq mail suppressions list --json",
		RunE: p.action(func(ctx context.Context, s *session, _ []string) error {
			if limit < 1 {
				return wrongly("--limit must be 1 or more")
			}
			if _, err := s.database(); err != nil {
				return err
			}
			return s.withDatabase(ctx, func(db app.Database) error {
				found, err := db.Suppressions(ctx, limit)
				if err != nil {
					return err
				}
				list := make([]suppression, len(found))
				for i, f := range found {
					list[i] = suppression{
						Address: shownText(f.Address), Reason: f.Reason, SMTPCode: f.SMTPCode, SMTPReply: shownText(f.SMTPReply), Mail: f.MailID, Since: f.Since,
					}
				}
				if s.json {
					return s.printJSON(list)
				}
				if len(list) == 0 {
					fmt.Fprintln(s.stdout, "no address is suppressed")
					return nil
				}
				w := tabwriter.NewWriter(s.stdout, 0, 0, 2, ' ', 0)
				fmt.Fprintln(w, "SINCE\tADDRESS\tREASON\tMAIL\tANSWER")
				for _, f := range list {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d %s\n", moment(&f.Since), f.Address, f.Reason, cell(f.Mail, 40), f.SMTPCode, f.SMTPReply)
				}
				return flush(w)
			})
		}),
	}, "database-url")
	c.Flags().IntVar(&limit, "limit", 1000, "how many at most")
	return c
}

// removeFlags are what `sealq mail suppressions remove` takes instead of an address.
type removeFlags struct {
	code     int
	since    string
	all, yes bool
}

func (p *program) suppressionsRemove() *cobra.Command {
	var f removeFlags
	c := uses(&cobra.Command{
		Use: "remove [ADDRESS]", Short: "Send mails to addresses again", Args: cobra.MaximumNArgs(1),
		Long: "Take an address off the list, or all that a mail server refused with a code, or since a time: when it was your server that was wrong,\n" +
			"and not they. Mails go to them again. Those that were not sent meanwhile are not sent now: have them asked for again. Without\n" +
			"--yes, several are counted and stay. It is audited.",
		Example: "  sealq mail suppressions remove ada@example.com\n  sealq mail suppressions remove --code 550 --since 24h --yes",
		RunE: p.action(func(ctx context.Context, s *session, args []string) error {
			if len(args) == 1 {
				if f != (removeFlags{}) {
					return wrongly("ADDRESS and flags exclude each other")
				}
				return s.unsuppress(ctx, args[0])
			}
			filter, err := f.filter(s.now())
			if err != nil {
				return err
			}
			return s.unsuppressAll(ctx, filter, f.yes)
		}),
	}, "database-url")
	c.Flags().IntVar(&f.code, "code", 0, "those that were refused with this `CODE`, such as 550")
	c.Flags().StringVar(&f.since, "since", "", "those that were refused since a `TIME`, such as 2026-03-29T01:30:00Z, or for so long, such as 24h")
	c.Flags().BoolVar(&f.all, "all", false, "all that there are")
	c.Flags().BoolVar(&f.yes, "yes", false, "remove them, and do not only count them")
	return c
}

// filter says what is meant. Nothing is not everything.
func (f removeFlags) filter(now time.Time) (authjobs.SuppressionFilter, error) {
	none, chosen := authjobs.SuppressionFilter{}, authjobs.SuppressionFilter{SMTPCode: f.code}
	switch {
	case f.code != 0 && (f.code < 500 || f.code > 599):
		return none, wrongly("--code must be from 500 to 599: others suppress nobody")
	case f.all && (f.code != 0 || f.since != ""):
		return none, wrongly("--all goes with neither --code nor --since")
	case !f.all && f.code == 0 && f.since == "":
		return none, wrongly("say what to remove: an ADDRESS, --code, --since or --all")
	case f.since == "":
		return chosen, nil
	}
	if age, err := time.ParseDuration(f.since); err == nil && age > 0 {
		chosen.Since = now.Add(-age)
		return chosen, nil
	}
	var err error
	if chosen.Since, err = time.Parse(time.RFC3339, f.since); err != nil {
		return none, wrongly("--since must be a time such as 2026-03-29T01:30:00Z, or a duration such as 24h")
	}
	return chosen, nil
}

func (s *session) unsuppress(ctx context.Context, address string) error {
	email, err := accounts.ParseEmail(address)
	if err != nil {
		return wrongly("ADDRESS: %w", err)
	}
	if _, err := s.database(); err != nil {
		return err
	}
	return s.withDatabase(ctx, func(db app.Database) error {
		err := db.Unsuppress(ctx, actor(), email)
		if errors.Is(err, authjobs.ErrNotSuppressed) {
			return fmt.Errorf("%s: %w: see `sealq mail suppressions list`", shownText(email.Norm()), authjobs.ErrNotSuppressed)
		}
		if err != nil {
			return err
		}
		s.linkAudit(ctx, db)
		shown := shownText(email.Norm())
		return s.answer(map[string]string{"removed": shown}, "mails go to %s again", shown)
	})
}

// unsuppressAll removes several, or says how many there are.
func (s *session) unsuppressAll(ctx context.Context, f authjobs.SuppressionFilter, yes bool) error {
	if _, err := s.database(); err != nil {
		return err
	}
	return s.withDatabase(ctx, func(db app.Database) error {
		if !yes {
			n, err := db.CountSuppressions(ctx, f)
			if err != nil {
				return err
			}
			return fmt.Errorf("%s would be mailed again, and nothing was removed: add --yes if that is what you want", addresses(n))
		}
		n, err := db.UnsuppressAll(ctx, actor(), f)
		if n > 0 {
			s.linkAudit(ctx, db)
		}
		if err != nil {
			return fmt.Errorf("after %s: %w", addresses(n), err)
		}
		return s.answer(map[string]int64{"removed": n}, "mails go to %s again", addresses(n))
	})
}

func addresses(n int64) string {
	if n == 1 {
		return "1 address"
	}
	return fmt.Sprintf("%d addresses", n)
}
