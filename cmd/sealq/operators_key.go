package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/operators"
)

func (p *program) operatorsKey() *cobra.Command {
	var role, name string
	var life time.Duration
	c := uses(&cobra.Command{
		Use: "key NAME", Short: "Make a key of an operator's, for a program", Args: exactly("NAME"),
		Long: "Make a key of an operator's, for a program such as Prometheus that reads /metrics, and print it: nobody is shown it again. It may no\n" +
			"more than viewer, unless told otherwise, and never more than the operator; it ends with him, after --for, or when it is revoked on\n" +
			"the page that has his name. It is audited.",
		Example: "  (umask 077; sealq operators key ann --name prometheus > prometheus.key)\n  curl -H \"Authorization: Bearer $(cat prometheus.key)\" http://localhost:8080/metrics",
		RunE: p.withOperators(func(ctx context.Context, s *session, o *operators.Operators, args []string) error {
			if name == "" {
				return wrongly("--name is required: say what the key is for")
			}
			key, err := o.NewKeyFor(ctx, actor(), args[0], name, operators.Role(role), life)
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(map[string]string{"operator": args[0], "name": name, "role": role, "key": key})
			}
			fmt.Fprintln(s.stdout, key)
			return nil
		}),
	}, "database-url")
	c.Flags().StringVar(&name, "name", "", "what the key is for")
	c.Flags().StringVar(&role, "role", string(operators.RoleViewer), "viewer or operator")
	c.Flags().DurationVar(&life, "for", 90*24*time.Hour, "how long it lasts, 8784h at most")
	return c
}
