package worker

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

// asynqLogger lets asynq log through slog, and says things of one kind once in a while: while Redis is away asynq has several lines a
// second, and one for each task that is refused.
type asynqLogger struct {
	logger *slog.Logger
	now    func() time.Time

	mu   sync.Mutex
	said map[string]saying // by the line's first words
}

type saying struct {
	at     time.Time
	unsaid int
}

const (
	sayEvery = 10 * time.Second
	// kindWords is how many words tell asynq's lines apart, up to a "=": IDs and causes come after them.
	kindWords = 3
	// mostKinds bounds the memory of lines, should a version of asynq have one that begins with what somebody wrote to Redis.
	mostKinds = 100
	// longestLine is how much of a line is told: there are IDs and types in it, which nobody has verified and may be of any length.
	longestLine = 1000
)

func newAsynqLogger(logger *slog.Logger, now func() time.Time) *asynqLogger {
	return &asynqLogger{logger: logger, now: now, said: make(map[string]saying)}
}

// Debug implements asynq.Logger.
func (l *asynqLogger) Debug(args ...any) { l.log(slog.LevelDebug, args) }

// Info implements asynq.Logger.
func (l *asynqLogger) Info(args ...any) { l.log(slog.LevelInfo, args) }

// Warn implements asynq.Logger.
func (l *asynqLogger) Warn(args ...any) { l.log(slog.LevelWarn, args) }

// Error implements asynq.Logger.
func (l *asynqLogger) Error(args ...any) { l.log(slog.LevelError, args) }

// Fatal is called by asynq when it cannot go on; it expects the process to end.
func (l *asynqLogger) Fatal(args ...any) {
	l.logger.ErrorContext(context.Background(), "asynq", slog.String("message", fmt.Sprint(args...)))
	os.Exit(1)
}

func (l *asynqLogger) log(level slog.Level, args []any) {
	message := fmt.Sprint(args...)
	unsaid, say := l.may(message)
	if !say {
		return
	}
	attrs := []slog.Attr{slog.String("message", strings.ToValidUTF8(message[:min(len(message), longestLine)], ""))}
	if unsaid > 0 {
		attrs = append(attrs, slog.Int("unsaid", unsaid)) // lines of its kind since the last
	}
	l.logger.LogAttrs(context.Background(), level, "asynq", attrs...)
}

func (l *asynqLogger) may(message string) (unsaid int, say bool) {
	words := strings.SplitN(message, " ", kindWords+1)
	kind, _, _ := strings.Cut(strings.Join(words[:min(len(words), kindWords)], " "), "=")
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if len(l.said) >= mostKinds {
		clear(l.said)
	}
	s := l.said[kind]
	if !s.at.IsZero() && now.Sub(s.at) < sayEvery {
		s.unsaid++
		l.said[kind] = s
		return 0, false
	}
	l.said[kind] = saying{at: now}
	return s.unsaid, true
}

// attrs are those of a line that may hold for each task of a flood, where it is to be said now.
func (l *asynqLogger) attrs(kind string, attrs ...any) (all []any, say bool) {
	unsaid, say := l.may(kind)
	if unsaid > 0 {
		attrs = append(attrs, slog.Int("unsaid", unsaid))
	}
	return attrs, say
}
