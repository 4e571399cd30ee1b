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

func (p *program) suppressionsRemove() *cobra.Command {
	return uses(&cobra.Command{
		Use: "remove ADDRESS", Short: "Send mails to an address again", Args: exactly("ADDRESS"),
		Long: "Take an address off the list, so that mails go to it again. Those that were not sent meanwhile are not sent now: have them\n" +
			"asked for again. It is audited.",
		Example: "  sealq mail suppressions remove ada@example.com",
		RunE: p.action(func(ctx context.Context, s *session, args []string) error {
			email, err := accounts.ParseEmail(args[0])
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
		}),
	}, "database-url")
}
