// Package embedded runs the servers that sealq needs inside the process: a SQLite file, a miniredis and a mail
// catcher, in a temporary folder. Nothing durable rests on the miniredis: the outbox is in SQLite. All else that
// runs on them is the production code.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/mail/catcher"
	"github.com/sealq/sealq/signing"
)

// Stack is the running servers and what connects to them.
type Stack struct {
	Dir      string // temporary, removed by Close
	Database app.Database
	Queue    *miniredis.Miniredis
	Redis    *redis.Client
	Mail     *catcher.Catcher
	RingFile string // a key ring that was just made

	close []func() error
}

// maxLifetime of the ring's signatures.
const maxLifetime = 30 * 24 * time.Hour

// Start starts everything. The ring is dated ringAge back, as if the stack had been running for that long.
func Start(ctx context.Context, ringAge time.Duration) (_ *Stack, err error) {
	s := &Stack{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.Dir, err = os.MkdirTemp("", "sealq-*"); err != nil {
		return nil, fmt.Errorf("make a temporary folder: %w", err)
	}
	s.onClose(func() error { return os.RemoveAll(s.Dir) })

	s.RingFile = filepath.Join(s.Dir, "keys.json")
	ring, err := signing.NewRing(time.Now().Add(-ringAge), maxLifetime)
	if err != nil {
		return nil, err
	}
	if err := signing.NewFile(s.RingFile).Create(ring); err != nil {
		return nil, err
	}

	if s.Queue, err = miniredis.Run(); err != nil {
		return nil, fmt.Errorf("start miniredis: %w", err)
	}
	s.onClose(func() error { s.Queue.Close(); return nil })
	s.Redis = redis.NewClient(&redis.Options{Addr: s.Queue.Addr()})
	s.onClose(s.Redis.Close)

	if s.Mail, err = catcher.Start("127.0.0.1:0"); err != nil { //nolint:contextcheck // the catcher lives until Close
		return nil, err
	}
	s.onClose(s.Mail.Close)

	if s.Database, err = app.Open(ctx, "sqlite:"+filepath.Join(s.Dir, "sealq.db")); err != nil {
		return nil, err
	}
	s.onClose(s.Database.Close)
	if _, err := s.Database.Migrate(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Stack) onClose(f func() error) { s.close = append(s.close, f) }

// Close stops what was started, the last first, and removes the folder.
func (s *Stack) Close() error {
	var errs []error
	for _, f := range slices.Backward(s.close) {
		errs = append(errs, f())
	}
	s.close = nil
	return errors.Join(errs...)
}
