package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/signing"
)

// ringPlace is where --keys leads.
type ringPlace struct {
	source  signing.Source // a file's or a variable's; nil: the ring is in the database
	kekFile string         // of the database's ring
}

// ringOptions are what every command that reads a ring takes.
func ringOptions(more ...string) []string {
	return append([]string{"keys", "kek-file", "database-url"}, more...)
}

// ringPlace reads --keys, and --kek-file where it is needed. It connects to nothing.
func (s *session) ringPlace() (ringPlace, error) {
	text, err := s.Required("keys", "give file:PATH, or database with --kek-file")
	if err != nil {
		return ringPlace{}, err
	}
	if text == "database" {
		path, err := s.Required("kek-file", "name the file with the key-encryption key of --keys database; `sealq keys init` makes it")
		return ringPlace{kekFile: path}, err
	}
	source, err := signing.ParseSource(text)
	if err != nil { // not repeated: it may be a ring in the wrong place
		return ringPlace{}, wrongly("--keys must be file:PATH, database, or env:NAME for development")
	}
	if _, ok := source.(signing.Env); ok {
		fmt.Fprintln(s.stderr, "sealq: warning: --keys env: is for development: whoever sees the environment has the keys, and a running process sees no rotation")
	}
	return ringPlace{source: source}, nil
}

// audience reads --audience.
func (s *session) audience() (string, error) {
	return s.Required("audience", "name this deployment, such as prod-eu; what signs and what verifies must name the same one")
}

// inDatabase opens the ring that the database keeps.
func (p ringPlace) inDatabase(db app.Database) (*signing.Database, error) {
	kek, err := signing.LoadKEK(p.kekFile)
	if err != nil {
		return nil, fmt.Errorf("--kek-file: %w", err)
	}
	return signing.NewDatabase(db, kek)
}

// openKeys loads the ring, which must have minVersion or a higher one. With it goes a goroutine that follows the source:
// Close ends it.
func (s *session) openKeys(ctx context.Context, source signing.Source, audience string, minVersion uint64) (*signing.Keys, error) {
	return s.openKeysWith(ctx, source, audience, signing.Options{MinVersion: minVersion})
}

func (s *session) openKeysWith(ctx context.Context, source signing.Source, audience string, o signing.Options) (*signing.Keys, error) {
	o.Logger = s.logger
	keys, err := signing.OpenWith(ctx, source, audience, o)
	switch {
	case errors.Is(err, signing.ErrInvalidAudience):
		return nil, wrongly("--audience: %v", signing.ErrInvalidAudience)
	case errors.Is(err, signing.ErrOlderRing):
		return nil, fmt.Errorf("--keys: %w; where it is lost for good, make another with `sealq keys init --lost`", err)
	case err != nil:
		return nil, inKeys(err)
	}
	return keys, nil
}

// inKeys names the option that an error of the ring belongs to.
func inKeys(err error) error {
	if errors.Is(err, signing.ErrWrongKEK) {
		return fmt.Errorf("--kek-file: %w", err)
	}
	return fmt.Errorf("--keys: %w", err)
}

// keyRing is the ring of --keys for one command, and the database of --database-url once it is asked for.
type keyRing struct {
	signing.Source
	s     *session
	place ringPlace
	vault *signing.Database // nil: the ring is in no database
	db    app.Database      // nil: not opened, or none is named
}

// withRing opens the ring for one command. The database is opened only for a ring in it.
func (p *program) withRing(do func(ctx context.Context, r *keyRing, args []string) error) func(ctx context.Context, s *session, args []string) error {
	return func(ctx context.Context, s *session, args []string) (err error) {
		place, err := s.ringPlace()
		if err != nil {
			return err
		}
		r := &keyRing{s: s, place: place, Source: place.source}
		defer func() { err = errors.Join(err, r.close()) }()
		if place.source == nil {
			if err := r.openDatabase(ctx); err != nil {
				return err
			}
			if r.vault, err = place.inDatabase(r.db); err != nil {
				return err
			}
			r.Source = r.vault
		}
		return do(ctx, r, args)
	}
}

func (r *keyRing) openDatabase(ctx context.Context) error {
	d, err := r.s.database()
	if err != nil {
		return err
	}
	r.db, err = d.openMigrated(ctx)
	return err
}

// database is that of --database-url, nil where none is named.
func (r *keyRing) database(ctx context.Context) (app.Database, error) {
	text, err := r.s.Text("database-url")
	if err == nil && text != "" && r.db == nil {
		err = r.openDatabase(ctx)
	}
	return r.db, err
}

func (r *keyRing) close() error {
	if r.db == nil {
		return nil
	}
	return r.db.Close()
}

// read loads the ring.
func (r *keyRing) read(ctx context.Context) (*signing.Ring, error) {
	ring, err := r.Load(ctx)
	if err != nil {
		return nil, inKeys(err)
	}
	return ring, nil
}

// update writes what change makes of the ring.
func (r *keyRing) update(ctx context.Context, change func(*signing.Ring) (*signing.Ring, error)) (*signing.Ring, error) {
	var ring *signing.Ring
	var err error
	if r.vault != nil {
		ring, err = r.vault.Update(ctx, change)
	} else {
		var file *signing.File
		if file, err = r.place.file(); err != nil {
			return nil, err
		}
		ring, err = file.Update(ctx, change)
	}
	switch {
	case errors.Is(err, signing.ErrRingMoved):
		return nil, fmt.Errorf("--keys: %w: nothing was changed, run the command again", err)
	case err != nil:
		return nil, inKeys(err)
	}
	return ring, nil
}

// file is the ring's file, where it has one.
func (p ringPlace) file() (*signing.File, error) {
	file, ok := p.source.(*signing.File)
	if !ok {
		return nil, wrongly("--keys %s cannot be written: this command needs file:PATH or database", p.source)
	}
	return file, nil
}

// bring says what is left to be done before every host has the ring.
func (r *keyRing) bring() string {
	if r.vault != nil {
		return "hosts read it within a minute"
	}
	return "bring the ring to every host"
}

// makeVault opens the database's ring for `keys init`, and makes the key-encryption key where its file is missing.
func (r *keyRing) makeVault() (made bool, err error) {
	kek, err := signing.LoadKEK(r.place.kekFile)
	if errors.Is(err, signing.ErrNoKEK) {
		kek, err = signing.CreateKEK(r.place.kekFile)
		made = err == nil
	}
	if errors.Is(err, fs.ErrExist) { // somebody was quicker, whose ring this would not open
		return false, fmt.Errorf("--kek-file: %w: run the command again", err)
	}
	if err != nil {
		return false, fmt.Errorf("--kek-file: %w", err)
	}
	r.vault, err = signing.NewDatabase(r.db, kek)
	return made, err
}
