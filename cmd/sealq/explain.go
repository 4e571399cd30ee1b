package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/cmd/sealq/internal/explain"
	"github.com/sealq/sealq/jobs/rawtask"
)

func (p *program) explain() *cobra.Command {
	return uses(&cobra.Command{
		Use: "explain ADDRESS|ID", Short: "Tell what happened to one person's mail, and what to do", Args: exactly("ADDRESS|ID"),
		Long: "Tell what happened to one person's registration and mails: registered, recorded in the outbox, signed by which key, tried,\n" +
			"what the mail server answered, activated; then the first step that is missing, and what to do. ID is that of a registration or\n" +
			"user, of an outbox row or its task, or a Message-ID. It changes nothing, needs no key, and shows no token. Without Redis it says\n" +
			"what the database knows.",
		Example: "  sealq explain ada@example.com\n  sealq explain 0199a1b2-0000-7000-8000-000000000000 --json",
		RunE: p.action(func(ctx context.Context, s *session, args []string) error {
			if _, err := s.database(); err != nil {
				return err
			}
			return s.withDatabase(ctx, func(db app.Database) error { return s.explained(ctx, db, args[0]) })
		}),
	}, "database-url", "redis-url")
}

func (s *session) explained(ctx context.Context, db app.Database, asked string) (err error) {
	server, err := s.redis()
	if err != nil {
		return err
	}
	c := explain.Config{Records: db, Now: s.now}
	client, err := server.reach(ctx)
	if err != nil {
		c.Away = sentence(err)
	} else {
		defer func() { err = errors.Join(err, client.Close()) }()
		c.Queue = rawtask.NewLister(client)
	}
	story, err := explain.Explain(ctx, c, asked)
	unknown := errors.Is(err, explain.ErrUnknown)
	if err != nil && !unknown {
		return err
	}
	if _, wrong := accounts.ParseEmail(asked); unknown && wrong != nil && strings.Contains(asked, "@") {
		return wrongly("ADDRESS|ID: %w; nor is it the Message-ID of a mail", wrong)
	}
	err = nil
	if s.json {
		err = s.printJSON(story)
	} else if !unknown {
		err = s.printStory(story)
	}
	if unknown {
		err = errors.Join(err, fmt.Errorf("status none: there is no account, registration, outbox row or mail of %s. A registration that expired is deleted "+
			"soon, and its address with it: ask with the ID that the app logged, or have it registered again", shownName(asked)))
	}
	return err
}

func (s *session) printStory(story explain.Story) error {
	head := "status " + string(story.Status)
	if story.Email != "" {
		head = shownText(story.Email) + ": " + head
	}
	if story.AccountID != "" {
		head += ", account " + story.AccountID
	}
	fmt.Fprintln(s.stdout, head)
	w := tabwriter.NewWriter(s.stdout, 0, 0, 2, ' ', 0)
	for _, step := range story.Steps {
		age := "-"
		if step.At != nil {
			age = step.Age + " ago"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", moment(step.At), age, step.Step, step.Text)
	}
	if err := flush(w); err != nil {
		return err
	}
	missing := story.Missing
	if missing == "" {
		missing = "nothing"
	}
	fmt.Fprintln(s.stdout, "missing:", missing)
	if story.Advice != "" {
		fmt.Fprintln(s.stdout, "what to do:", story.Advice)
	}
	return nil
}
