package main

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/cmd/sealq/internal/config"
	"github.com/sealq/sealq/cmd/sealq/internal/demo"
)

func (p *program) config() *cobra.Command {
	return &cobra.Command{
		Use: "config", Short: "Show every option, its value and where it came from", Args: exactly(),
		Long: "Show every option, its value and where it came from: a flag wins over the environment, the environment over\n" +
			"--config FILE, the file over the default. Secrets are redacted. Then the file's schedules, as they stand there.",
		Example: "  sealq config\n  sealq --config sealq.yaml config --json",
		RunE: p.action(func(_ context.Context, s *session, _ []string) error {
			options, err := s.Show()
			if err != nil {
				return err
			}
			schedules := filedSchedules(s.Schedules())
			if s.json {
				return s.printJSON(map[string]any{"options": options, "schedules": schedules})
			}
			w := tabwriter.NewWriter(s.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "OPTION\tVALUE\tSOURCE")
			for _, o := range options {
				fmt.Fprintf(w, "%s\t%s\t%s\n", o.Name, orDash(o.Value), o.Source)
			}
			if len(schedules) > 0 {
				fmt.Fprintln(w, "\nSCHEDULE\tCRON\tKIND\tSOURCE")
			}
			for _, f := range schedules {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s%s\n", orDash(f.Name), orDash(f.Cron), orDash(f.Kind), config.FromFile, f.rest())
			}
			return flush(w)
		}),
	}
}

// filedSchedule is a schedule of the configuration file, as it stands there: what it leaves out a scheduler's own says, or a default.
type filedSchedule struct {
	Name    string          `json:"name"`
	Cron    string          `json:"cron"`
	Zone    string          `json:"zone"`
	Kind    string          `json:"kind"`
	Args    json.RawMessage `json:"args"`
	CatchUp string          `json:"catch_up"`
	Jitter  string          `json:"jitter"`
	Paused  bool            `json:"paused"`
	Problem string          `json:"problem"` // "": its shape is right; sealq schedules says whether it can be used
}

func filedSchedules(all []config.Schedule) []filedSchedule {
	filed := make([]filedSchedule, len(all))
	for i, s := range all {
		f := filedSchedule{Name: s.Name, Cron: s.Cron, Zone: s.Zone, Kind: s.Kind, CatchUp: s.CatchUp, Paused: s.Paused}
		if s.Args != "" {
			f.Args = json.RawMessage(s.Args)
		}
		if s.Jitter != 0 {
			f.Jitter = s.Jitter.String()
		}
		if s.Err != nil {
			f.Problem = s.Err.Error()
		}
		filed[i] = f
	}
	return filed
}

// rest is what else the file says of it, to follow the source.
func (f filedSchedule) rest() string {
	var said []string
	for _, part := range []struct{ name, text string }{{"zone", f.Zone}, {"args", string(f.Args)}, {"catch_up", f.CatchUp}, {"jitter", f.Jitter}} {
		if part.text != "" {
			said = append(said, part.name+" "+part.text)
		}
	}
	if f.Paused {
		said = append(said, "paused")
	}
	if f.Problem != "" {
		said = append(said, "cannot be used: "+f.Problem)
	}
	if len(said) == 0 {
		return ""
	}
	return ": " + strings.Join(said, ", ")
}

// build is what the binary was made from.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"` // "" where Go did not record it
	Go      string `json:"go"`
}

func buildOf(info *debug.BuildInfo, ok bool) build {
	if !ok {
		return build{Version: "unknown"}
	}
	b := build{Version: info.Main.Version, Go: info.GoVersion}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.Commit = s.Value
		}
	}
	if b.Version == "" {
		b.Version = "(devel)"
	}
	return b
}

func (p *program) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print version, commit and Go version", Args: exactly(),
		Example: "  sealq version --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := buildOf(debug.ReadBuildInfo())
			if asJSON, err := cmd.Flags().GetBool("json"); err == nil && asJSON {
				return p.printJSON(b)
			}
			fmt.Fprintf(p.stdout, "sealq %s\ncommit %s\n%s\n", b.Version, orDash(b.Commit), b.Go)
			return nil
		},
	}
}

func (p *program) demo() *cobra.Command {
	return &cobra.Command{
		Use: "demo", Short: "Tell the whole story on an embedded stack, in seconds", Args: exactly(),
		Long: "Tell the whole story on an embedded stack that needs Go alone: register, mail, activate, log in; expire, lock and\n" +
			"unlock; lose the queue and deliver all the same; refuse forged tasks. A step that does not hold ends it with exit code 1.",
		Example: "  sealq demo",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return demo.Run(cmd.Context(), p.stdout)
		},
	}
}
