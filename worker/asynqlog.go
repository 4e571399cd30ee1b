package worker

import (
	"context"
	"fmt"
	"log/slog"
	"os"
)

// asynqLogger lets asynq log through slog.
type asynqLogger struct{ logger *slog.Logger }

func (l asynqLogger) Debug(args ...any) { l.log(slog.LevelDebug, args) }
func (l asynqLogger) Info(args ...any)  { l.log(slog.LevelInfo, args) }
func (l asynqLogger) Warn(args ...any)  { l.log(slog.LevelWarn, args) }
func (l asynqLogger) Error(args ...any) { l.log(slog.LevelError, args) }

// Fatal is called by asynq when it cannot go on; it expects the process to end.
func (l asynqLogger) Fatal(args ...any) {
	l.log(slog.LevelError, args)
	os.Exit(1)
}

func (l asynqLogger) log(level slog.Level, args []any) {
	l.logger.Log(context.Background(), level, "asynq", slog.String("message", fmt.Sprint(args...)))
}
