package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/cmd/sealq/internal/config"
)

// usesKey annotates a command with the options that it reads.
const usesKey = "sealq_options"

// root is the command tree.
func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "sealq",
		Short: "Authentication jobs whose every task is signed",
		Long: "sealq mails confirmations, expires registrations that nobody confirmed and lifts lockouts. Every task in its\n" +
			"queue is signed; a worker verifies before it decodes.",
		SilenceErrors: true, SilenceUsage: true,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	config.AddFlags(root.PersistentFlags())
	root.PersistentFlags().Bool("json", false, "print JSON, for programs")
	root.SetUsageFunc(usage)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return wrongly("%s: see `%s --help`", flagProblem(err), cmd.CommandPath())
	})
	for _, g := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"first", "To see what it does:", []*cobra.Command{p.demo(), p.dev()}},
		{"run", "To run it:", []*cobra.Command{p.serve(), p.worker(), p.scheduler(), p.dashboard(), p.migrate()}},
		{"operate", "To operate it:", []*cobra.Command{p.explain(), p.keys(), p.tasks(), p.quarantine(), p.drill(), p.doctor(), p.bench(), p.schedules(), p.mail(), p.operators(), p.redisACL(), p.config(), p.version()}},
		{"app", "To try what an app does:", []*cobra.Command{p.accounts(), p.enqueue()}},
	} {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, c := range g.commands {
			c.GroupID = g.id
			root.AddCommand(c)
		}
	}
	root.AddGroup(&cobra.Group{ID: "shell", Title: "For the shell:"})
	root.SetCompletionCommandGroupID("shell")
	root.SetHelpCommandGroupID("shell")
	root.SetHelpCommand(p.help())
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			group(c)
			c.Example = "  sealq completion bash > /etc/bash_completion.d/sealq"
		}
	}
	return root
}

func (p *program) help() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Explain a command", GroupID: "shell",
		Example: "  sealq help keys rotate",
		RunE: func(cmd *cobra.Command, args []string) error {
			found, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return wrongly("there is no command %q: see `sealq help`", strings.Join(args, " "))
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
	}
}

// group makes c a command that only holds others.
func group(c *cobra.Command, commands ...*cobra.Command) *cobra.Command {
	c.AddCommand(commands...)
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		return wrongly("`%s` needs one of: %s", cmd.CommandPath(), strings.Join(subcommands(cmd), ", "))
	}
	return c
}

func unknownCommand(cmd *cobra.Command, name string) error {
	cmd.SuggestionsMinimumDistance = 2 // cobra's own default, which only its own message sets
	hint := fmt.Sprintf("see `%s --help`", cmd.CommandPath())
	if like := cmd.SuggestionsFor(name); len(like) > 0 {
		hint = fmt.Sprintf("did you mean %s?", strings.Join(like, " or "))
	}
	return wrongly("unknown command %q for %q: %s", name, cmd.CommandPath(), hint)
}

func subcommands(cmd *cobra.Command) []string {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return names
}

// uses notes which options a command reads, for its help.
func uses(c *cobra.Command, options ...string) *cobra.Command {
	c.Annotations = map[string]string{usesKey: strings.Join(options, " ")}
	return c
}

// exactly requires the positional arguments that a command names.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return wrongly("`%s` needs %s: see `%s --help`", cmd.CommandPath(), strings.Join(names[len(args):], " and "), cmd.CommandPath())
		case len(args) > len(names):
			return wrongly("`%s` does not take %q: see `%s --help`", cmd.CommandPath(), args[len(names)], cmd.CommandPath())
		}
		return nil
	}
}

// usage is cobra's, with the options that the command reads in place of all of them.
func usage(cmd *cobra.Command) error {
	out := cmd.OutOrStdout()
	line := cmd.UseLine()
	if cmd.HasAvailableSubCommands() {
		line = cmd.CommandPath() + " COMMAND [flags]"
	}
	fmt.Fprintf(out, "Usage:\n  %s\n", line)
	if cmd.HasExample() {
		fmt.Fprintf(out, "\nExamples:\n%s\n", cmd.Example)
	}
	if cmd.HasAvailableSubCommands() {
		listCommands(cmd)
	}
	local := cmd.LocalNonPersistentFlags()
	if local.HasAvailableFlags() {
		fmt.Fprintf(out, "\nFlags:\n%s", local.FlagUsages())
	}
	options := strings.Fields(cmd.Annotations[usesKey])
	if len(options) > 0 {
		slices.SortStableFunc(options, func(a, b string) int { return config.Place(a) - config.Place(b) })
		fmt.Fprintf(out, "\nOptions (also as SEALQ_… and in --config, see `sealq config`):\n%s", config.Flags(options...).FlagUsages())
	}
	fmt.Fprintln(out, "\nEvery command takes --json for programs and --config FILE for its options.")
	return nil
}

func listCommands(cmd *cobra.Command) {
	out := cmd.OutOrStdout()
	print := func(title string, in func(*cobra.Command) bool) {
		fmt.Fprintf(out, "\n%s\n", title)
		for _, c := range cmd.Commands() {
			if in(c) {
				fmt.Fprintf(out, "  %-*s %s\n", cmd.Commands()[0].NamePadding(), c.Name(), c.Short)
			}
		}
	}
	for _, g := range cmd.Groups() {
		print(g.Title, func(c *cobra.Command) bool {
			return c.GroupID == g.ID && (c.IsAvailableCommand() || c.Name() == "help")
		})
	}
	if len(cmd.Groups()) == 0 {
		print("Commands:", (*cobra.Command).IsAvailableCommand)
	}
}
