package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/cmd/sealq/internal/config"
)

// session is a command with its settings.
type session struct {
	*program
	*config.Settings
	json bool
	// logger is silent unless the command turns logging on: what goes wrong with one that ends is its error.
	logger *slog.Logger
}

// action is what a command does with its settings. settings are read, and warned of, first.
func (p *program) action(do func(ctx context.Context, s *session, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		settings, err := config.Load(cmd.Flags(), p.environ)
		if err != nil {
			return err
		}
		for _, w := range settings.Warnings {
			fmt.Fprintln(p.stderr, "sealq: warning:", w)
		}
		asJSON, err := cmd.Flags().GetBool("json")
		if err != nil {
			return fmt.Errorf("--json: %w", err)
		}
		s := &session{program: p, Settings: settings, json: asJSON, logger: slog.New(slog.DiscardHandler)}
		app.LogRedis(s.logger)
		return do(cmd.Context(), s, args)
	}
}

// log turns logging to standard error on, as --log-level and --log-format say.
func (s *session) log() error {
	level, err := s.LogLevel()
	if err != nil {
		return err
	}
	asJSON, err := s.LogJSON()
	if err != nil {
		return err
	}
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler = slog.NewTextHandler(s.stderr, options)
	if asJSON {
		handler = slog.NewJSONHandler(s.stderr, options)
	}
	s.logger = slog.New(handler)
	return nil
}

// printJSON writes one document.
func (p *program) printJSON(v any) error {
	e := json.NewEncoder(p.stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// answer writes v as JSON for programs, or the line for people.
func (s *session) answer(v any, format string, args ...any) error {
	if s.json {
		return s.printJSON(v)
	}
	fmt.Fprintf(s.stdout, format+"\n", args...)
	return nil
}
