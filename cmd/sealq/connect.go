package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/cmd/sealq/internal/brief"
	"github.com/sealq/sealq/cmd/sealq/internal/config"
	"github.com/sealq/sealq/mail"
)

// database is where --database-url leads.
type database struct {
	url   string
	where string // for people: no credentials
	path  string // of an SQLite file, else ""
}

// database reads --database-url. It connects to nothing.
func (s *session) database() (database, error) {
	text, err := s.Required("database-url", "give postgres://USER:PASSWORD@HOST:5432/DATABASE or sqlite:PATH")
	if err != nil {
		return database{}, err
	}
	if path, ok := strings.CutPrefix(text, "sqlite:"); ok {
		if path == "" {
			return database{}, wrongly("--database-url names no file: write sqlite:PATH")
		}
		return database{url: text, where: path, path: path}, nil
	}
	u, err := config.ParseURL("--database-url", text)
	if err != nil {
		return database{}, err
	}
	if u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return database{}, wrongly("--database-url must begin with postgres:// or sqlite:")
	}
	parsed, err := pgx.ParseConfig(text)
	if err != nil { // not repeated: what pgx does not understand may be a part of the password
		return database{}, wrongly("--database-url is not understood: write it like postgres://USER:PASSWORD@HOST:5432/DATABASE")
	}
	return database{url: text, where: net.JoinHostPort(parsed.Host, strconv.Itoa(int(parsed.Port)))}, nil
}

// open connects. It makes no SQLite file: that is for migrate up.
func (d database) open(ctx context.Context) (app.Database, error) {
	if err := d.exists(); err != nil {
		return nil, err
	}
	return d.openOrCreate(ctx)
}

// exists says no of an SQLite file that is not there.
func (d database) exists() error {
	if d.path != "" {
		if _, err := os.Stat(d.path); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("there is no database %s (--database-url): run `sealq migrate up`, or correct the path", d.path)
		}
	}
	return nil
}

func (d database) openOrCreate(ctx context.Context) (app.Database, error) {
	opening, cancel := context.WithTimeout(ctx, reachPatience)
	defer cancel()
	db, err := d.connect(opening)
	if err != nil {
		return nil, d.unreachable(err)
	}
	return db, nil
}

// connect connects, and does not say where.
func (d database) connect(ctx context.Context) (app.Database, error) {
	db, err := app.Open(ctx, d.url)
	if err != nil {
		return nil, err
	}
	if err := db.Ping(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// unreachable explains an error of opening. SQLite's say what to do about the file themselves.
func (d database) unreachable(err error) error {
	if d.path != "" {
		return err
	}
	return fmt.Errorf("cannot reach the database at %s (--database-url): %w; start it or correct the URL", d.where, brief.Error(err))
}

// openMigrated connects and requires the tables to be up to date.
func (d database) openMigrated(ctx context.Context) (app.Database, error) {
	db, err := d.open(ctx)
	if err != nil {
		return nil, err
	}
	_, pending, err := db.MigrationStatus(ctx)
	if err == nil && len(pending) > 0 {
		err = fmt.Errorf("the database at %s (--database-url) lacks %s: run `sealq migrate up`", d.where, plural(len(pending), "migration"))
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// onThisMachine says of a host's name or address that nobody else gets there by it.
func onThisMachine(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.Unmap().IsLoopback()
}

// mailServer is where --smtp-url leads.
type mailServer struct {
	*mail.Sender
	where string // for people: no credentials
	here  bool   // on this machine
}

// mailServer reads --smtp-url, --mail-from and the options of DKIM. It connects to nothing.
func (s *session) mailServer() (mailServer, error) {
	text, err := s.Required("smtp-url", "give smtp://USER:PASSWORD@HOST:587?tls=starttls")
	if err != nil {
		return mailServer{}, err
	}
	from, err := s.Required("mail-from", "name the sender, such as no-reply@example.com")
	if err != nil {
		return mailServer{}, err
	}
	u, err := mail.ParseURL(text)
	if err != nil { // it repeats nothing of the URL
		return mailServer{}, wrongly("--smtp-url: %w", err)
	}
	dkim, err := s.dkim()
	if err != nil {
		return mailServer{}, err
	}
	sender, err := mail.NewSender(mail.Config{URL: text, From: from, DKIM: dkim, Logger: s.logger})
	if refused, ok := errors.AsType[*mail.DKIMError](err); ok {
		return mailServer{}, wrongly("--mail-dkim-%s %s", strings.ToLower(refused.Field), refused.Problem)
	}
	if _, ok := errors.AsType[*mail.MessageError](err); ok {
		return mailServer{}, wrongly("--mail-from: %w", err)
	}
	return mailServer{Sender: sender, where: net.JoinHostPort(u.Host, strconv.Itoa(u.Port)), here: onThisMachine(u.Host)}, err
}

// dkim reads how mails are signed: by all three options, or not at all.
func (s *session) dkim() (d mail.DKIM, err error) {
	var key string
	for name, value := range map[string]*string{"domain": &d.Domain, "selector": &d.Selector, "key": &key} {
		if *value, err = s.Text("mail-dkim-" + name); err != nil {
			return mail.DKIM{}, err
		}
	}
	d.Key = []byte(key)
	return d, nil
}
