package demo

import (
	"context"
	"log/slog"
	"sync"
)

// sweeps listens to the worker's log for what its sweeps changed: a row that is gone leaves nothing else to see.
type sweeps struct {
	mu   sync.Mutex
	rows map[string]int64 // by kind
}

func (s *sweeps) changed(kind string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rows[kind]
}

// Enabled implements slog.Handler.
func (s *sweeps) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (s *sweeps) Handle(_ context.Context, r slog.Record) error {
	if r.Message != "sweep done" {
		return nil
	}
	var kind string
	var rows int64
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "kind":
			kind = a.Value.String()
		case "rows":
			rows = a.Value.Int64()
		}
		return true
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows[kind] += rows
	return nil
}

// WithAttrs implements slog.Handler.
func (s *sweeps) WithAttrs([]slog.Attr) slog.Handler { return s }

// WithGroup implements slog.Handler.
func (s *sweeps) WithGroup(string) slog.Handler { return s }
