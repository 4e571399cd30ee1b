package app

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/redis/go-redis/v9"
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

// LogRedis lets go-redis, whose logger is one for the whole process, log through slog.
func LogRedis(logger *slog.Logger) { redis.SetLogger(redisLogger{logger}) }

type redisLogger struct{ logger *slog.Logger }

func (l redisLogger) Printf(ctx context.Context, format string, v ...any) {
	l.logger.WarnContext(ctx, "redis", slog.String("message", fmt.Sprintf(format, v...)))
}
