// Package embedded runs the servers that sealq needs inside the process: a SQLite file, a miniredis and a mail
// catcher. Nothing durable rests on the miniredis: the outbox is in SQLite. All else that
// runs on them is the production code.
package embedded

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/mail/catcher"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/store/sqlite"
)

// Stack is the running servers and what connects to them.
type Stack struct {
	Dir      string
	Database app.Database
	Queue    *miniredis.Miniredis
	Redis    *redis.Client
	Mail     *catcher.Catcher
	// RingFile holds the key ring, "" where the database does; then KEKFile holds the key under which it is wrapped.
	RingFile, KEKFile string
	Ring              Ring
	// Fresh says that there was no database before.
	Fresh bool

	close []func() error
}

// Config of a Stack.
type Config struct {
	// Dir keeps database and key ring, which are made where they are missing. Zero: a temporary folder, which Close removes.
	Dir string
	// RingAge dates a ring that is made back, as if the stack had been running for that long.
	RingAge time.Duration
	// RingInDatabase keeps the ring there, where operators can have its keys moved. Zero: in a file.
	RingInDatabase bool
	// Mail says how the mail catcher behaves. Zero: it takes every mail.
	Mail catcher.Options
}

// Ring is where a key ring is kept.
type Ring interface {
	signing.Source
	Update(ctx context.Context, change func(*signing.Ring) (*signing.Ring, error)) (*signing.Ring, error)
}

// maxLifetime of the ring's signatures.
const maxLifetime = 30 * 24 * time.Hour

// Start starts everything.
func Start(ctx context.Context, c Config) (_ *Stack, err error) {
	s := &Stack{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if err := s.openDir(c.Dir); err != nil {
		return nil, err
	}
	if s.Queue, err = miniredis.Run(); err != nil {
		return nil, fmt.Errorf("start miniredis: %w", err)
	}
	s.onClose(func() error { s.Queue.Close(); return nil })
	s.Redis = redis.NewClient(&redis.Options{Addr: s.Queue.Addr()})
	s.onClose(s.Redis.Close)

	if s.Mail, err = catcher.StartWith("127.0.0.1:0", c.Mail); err != nil { //nolint:contextcheck // the catcher lives until Close
		return nil, err
	}
	s.onClose(s.Mail.Close)

	_, missing := os.Stat(s.DatabaseFile())
	s.Fresh = errors.Is(missing, fs.ErrNotExist)
	if s.Database, err = app.Open(ctx, s.DatabaseURL()); err != nil {
		return nil, err
	}
	s.onClose(s.Database.Close)
	if _, err := s.Database.Migrate(ctx); err != nil {
		return nil, err
	}
	if c.RingInDatabase {
		err = s.openVault(ctx, c.RingAge)
	} else {
		err = s.openRing(c.RingAge)
	}
	return s, err
}

// App opens the database once more, as an app has it that is written for SQLite, with accounts of its own. Close closes it.
func (s *Stack) App(ctx context.Context, c accounts.Config) (*sqlite.DB, *accounts.Accounts[*sql.Tx], error) {
	db, err := sqlite.Open(ctx, s.DatabaseFile())
	if err != nil {
		return nil, nil, err
	}
	s.onClose(db.Close)
	users, err := accounts.New(db, authjobs.NewNotifier[*sql.Tx](db), c)
	return db, users, err
}

// DatabaseFile is where the database is.
func (s *Stack) DatabaseFile() string { return filepath.Join(s.Dir, "sealq.db") }

// DatabaseURL is the database's as other processes take it.
func (s *Stack) DatabaseURL() string { return "sqlite:" + s.DatabaseFile() }

func (s *Stack) openDir(dir string) error {
	if dir == "" {
		temporary, err := os.MkdirTemp("", "sealq-*")
		if err != nil {
			return fmt.Errorf("make a temporary folder: %w", err)
		}
		s.Dir = temporary
		s.onClose(func() error { return os.RemoveAll(temporary) })
		return nil
	}
	whole, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(whole, 0o700)
	}
	if err != nil {
		return fmt.Errorf("make the folder of the data: %w", err)
	}
	s.Dir = whole
	return nil
}

func (s *Stack) openRing(age time.Duration) error {
	s.RingFile = filepath.Join(s.Dir, "keys.json")
	s.Ring = signing.NewFile(s.RingFile)
	if _, err := os.Stat(s.RingFile); !errors.Is(err, fs.ErrNotExist) {
		return err //nolint:wrapcheck // names the file; nil: it is there already
	}
	ring, err := signing.NewRing(time.Now().Add(-age), maxLifetime)
	if err != nil {
		return err
	}
	return signing.NewFile(s.RingFile).Create(ring)
}

func (s *Stack) openVault(ctx context.Context, age time.Duration) error {
	s.KEKFile = filepath.Join(s.Dir, "kek.txt")
	kek, err := signing.LoadKEK(s.KEKFile)
	if errors.Is(err, signing.ErrNoKEK) {
		kek, err = signing.CreateKEK(s.KEKFile)
	}
	if err != nil {
		return err
	}
	vault, err := signing.NewDatabase(s.Database, kek)
	if err != nil {
		return err
	}
	s.Ring = vault
	ring, err := signing.NewRing(time.Now().Add(-age), maxLifetime)
	if err != nil {
		return err
	}
	if err := vault.Create(ctx, ring); !errors.Is(err, signing.ErrRingExists) {
		return err
	}
	return nil
}

func (s *Stack) onClose(f func() error) { s.close = append(s.close, f) }

// Close stops what was started, the last first, and removes the folder if it is a temporary one.
func (s *Stack) Close() error {
	var errs []error
	for _, f := range slices.Backward(s.close) {
		errs = append(errs, f())
	}
	s.close = nil
	return errors.Join(errs...)
}
