package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/operators"
)

func (p *program) operators() *cobra.Command {
	return group(&cobra.Command{
		Use: "operators", Short: "Say who may come to the dashboard, and as what",
		Long: "Say who may come to the dashboard, and as what: a viewer looks, an operator also does to tasks and schedules what can be done, an\n" +
			"admin also says who may. Passwords come from standard input only. Every change is audited, and ends the operator's sessions.",
		Example: "  sealq operators add ann --role admin < password.txt\n  sealq operators list",
	}, p.operatorsAdd(), p.operatorsList(), p.operatorsRole(), p.operatorsDisable(), p.operatorsPassword(), p.operatorsResetMFA(), p.operatorsKey())
}

// withOperators opens the operators in the database for one command.
func (p *program) withOperators(do func(ctx context.Context, s *session, o *operators.Operators, args []string) error) func(*cobra.Command, []string) error {
	return p.action(func(ctx context.Context, s *session, args []string) error {
		if _, err := s.database(); err != nil {
			return err
		}
		return s.withDatabase(ctx, func(db app.Database) error {
			o, err := operators.New(db, operators.Config{Now: s.now})
			if err != nil {
				return err
			}
			if err := do(ctx, s, o, args); err != nil {
				return inOperators(err, args)
			}
			s.linkAudit(ctx, db)
			return nil
		})
	})
}

// inOperators says which argument an error is about, and what to do.
func inOperators(err error, args []string) error {
	switch {
	case isUsage(err):
		return err
	case errors.Is(err, operators.ErrInvalidName):
		return wrongly("NAME: %w", operators.ErrInvalidName)
	case errors.Is(err, operators.ErrInvalidKey):
		return wrongly("--name, --role or --for: %w", operators.ErrInvalidKey)
	case errors.Is(err, operators.ErrInvalidRole):
		return wrongly("--role: %w", operators.ErrInvalidRole)
	case errors.Is(err, operators.ErrNoSuchOperator), errors.Is(err, operators.ErrNameTaken):
		return fmt.Errorf("%s: %w: see `sealq operators list`", shownName(args[0]), err)
	}
	return err
}

// operatorView is an operator as he is listed.
type operatorView struct {
	Name       string         `json:"name"`
	Role       operators.Role `json:"role"`
	Disabled   bool           `json:"disabled"`
	MFA        bool           `json:"mfa"`
	CreatedAt  time.Time      `json:"created_at"`
	LoggedInAt *time.Time     `json:"logged_in_at"` // null: never
}

func (p *program) operatorsList() *cobra.Command {
	return uses(&cobra.Command{
		Use: "list", Short: "List the operators", Args: exactly(),
		Example: "  sealq operators list --json",
		RunE: p.withOperators(func(ctx context.Context, s *session, o *operators.Operators, _ []string) error {
			found, err := o.List(ctx)
			if err != nil {
				return err
			}
			list := make([]operatorView, len(found))
			for i, f := range found {
				list[i] = operatorView{Name: f.Name, Role: f.Role, Disabled: f.Disabled, MFA: f.Factor, CreatedAt: f.CreatedAt.UTC()}
				if f.LoggedInAt != nil {
					list[i].LoggedInAt = timeOrNone(*f.LoggedInAt)
				}
			}
			if s.json {
				return s.printJSON(list)
			}
			w := tabwriter.NewWriter(s.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tROLE\tSTATUS\tMFA\tLAST LOGIN")
			for _, v := range list {
				status, factor := "active", "no"
				if v.Disabled {
					status = "disabled"
				}
				if v.MFA {
					factor = "yes"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", v.Name, v.Role, status, factor, moment(v.LoggedInAt))
			}
			return flush(w)
		}),
	}, "database-url")
}

func (p *program) operatorsAdd() *cobra.Command {
	var role string
	c := uses(&cobra.Command{
		Use: "add NAME", Short: "Let somebody in", Args: exactly("NAME"),
		Long: "Let somebody in. The password is all of standard input up to one line end; a terminal is asked for it. An admin is asked to\n" +
			"enrol a second factor when he first logs in. It is audited.",
		Example: "  sealq operators add ann --role admin < password.txt\n  sealq operators add night.shift --role operator",
		RunE: p.withOperators(func(ctx context.Context, s *session, o *operators.Operators, args []string) error {
			if role == "" {
				return wrongly("--role is required: %w", operators.ErrInvalidRole)
			}
			password, err := s.readPassword(ctx, "Password: ", "Once more: ")
			if err != nil {
				return err
			}
			if err := o.Add(ctx, actor(), args[0], password, operators.Role(role)); err != nil {
				return err
			}
			return s.answer(map[string]string{"name": args[0], "role": role}, "%s may log in as %s", args[0], role)
		}),
	}, "database-url")
	c.Flags().StringVar(&role, "role", "", "viewer, operator or admin")
	return c
}

func (p *program) operatorsRole() *cobra.Command {
	var role string
	c := uses(&cobra.Command{
		Use: "role NAME", Short: "Say what an operator may do", Args: exactly("NAME"),
		Long:    "Say what an operator may do. It ends his sessions, and is audited.",
		Example: "  sealq operators role ann --role viewer",
		RunE: p.withOperators(func(ctx context.Context, s *session, o *operators.Operators, args []string) error {
			if role == "" {
				return wrongly("--role is required: %w", operators.ErrInvalidRole)
			}
			changed, err := o.SetRole(ctx, actor(), args[0], operators.Role(role))
			if err != nil {
				return err
			}
			return s.answer(map[string]any{"name": args[0], "role": role, "changed": changed}, "%s is %s", args[0], role)
		}),
	}, "database-url")
	c.Flags().StringVar(&role, "role", "", "viewer, operator or admin")
	return c
}

func (p *program) operatorsDisable() *cobra.Command {
	var undo bool
	c := uses(&cobra.Command{
		Use: "disable NAME", Short: "Shut an operator out, at once", Args: exactly("NAME"),
		Long: "Shut an operator out, at once: his sessions and his keys for scripts end. --undo lets him in again, and\n" +
			"brings no key back. It is audited.",
		Example: "  sealq operators disable ann\n  sealq operators disable ann --undo",
		RunE: p.withOperators(func(ctx context.Context, s *session, o *operators.Operators, args []string) error {
			changed, err := o.SetDisabled(ctx, actor(), args[0], !undo)
			if err != nil {
				return err
			}
			text := "is disabled"
			if undo {
				text = "may log in again"
			}
			return s.answer(map[string]any{"name": args[0], "disabled": !undo, "changed": changed}, "%s %s", args[0], text)
		}),
	}, "database-url")
	c.Flags().BoolVar(&undo, "undo", false, "let him in again")
	return c
}

func (p *program) operatorsPassword() *cobra.Command {
	return uses(&cobra.Command{
		Use: "password NAME", Short: "Give an operator a new password", Args: exactly("NAME"),
		Long: "Give an operator a new password, from standard input. It ends his sessions and his keys for scripts, which whoever knew the old\n" +
			"one may have made, and lifts his lock. It is audited.",
		Example: "  sealq operators password ann < password.txt",
		RunE: p.withOperators(func(ctx context.Context, s *session, o *operators.Operators, args []string) error {
			password, err := s.readPassword(ctx, "New password: ", "Once more: ")
			if err != nil {
				return err
			}
			if err := o.SetPassword(ctx, actor(), args[0], password); err != nil {
				return err
			}
			return s.answer(map[string]string{"name": args[0]}, "%s has a new password", args[0])
		}),
	}, "database-url")
}

func (p *program) operatorsResetMFA() *cobra.Command {
	return uses(&cobra.Command{
		Use: "reset-mfa NAME", Short: "Take an operator's second factor away, so that he enrols another", Args: exactly("NAME"),
		Long: "Take an operator's second factor, his recovery codes and his locks away. It ends his sessions and his keys for scripts, and is\n" +
			"audited. Until he enrols another, his password alone gets him in, as an admin to that alone: be sure who asks for it.",
		Example: "  sealq operators reset-mfa ann",
		RunE: p.withOperators(func(ctx context.Context, s *session, o *operators.Operators, args []string) error {
			if _, err := o.ResetFactor(ctx, actor(), args[0]); err != nil {
				return err
			}
			return s.answer(map[string]string{"name": args[0]}, "%s has no second factor any more", args[0])
		}),
	}, "database-url")
}
