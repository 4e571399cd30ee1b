package app

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// LogRedis lets go-redis, whose logger is one for the whole process, log through slog.
func LogRedis(logger *slog.Logger) {
	redis.SetLogger(&redisLogger{logger: logger, now: time.Now, said: make(map[string]time.Time)})
}

// redisLogger says each of go-redis's sentences once in a while: while Redis is away there are several a second.
type redisLogger struct {
	logger *slog.Logger
	now    func() time.Time

	mu   sync.Mutex
	said map[string]time.Time // by format
}

const sayEvery = 10 * time.Second

func (l *redisLogger) Printf(ctx context.Context, format string, v ...any) {
	if l.may(format) {
		l.logger.WarnContext(ctx, "redis", slog.String("message", fmt.Sprintf(format, v...)))
	}
}

func (l *redisLogger) may(format string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if at, said := l.said[format]; said && now.Sub(at) < sayEvery {
		return false
	}
	l.said[format] = now
	return true
}
