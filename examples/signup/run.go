package main

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/examples/signup/site"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/relay"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/mail/catcher"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/store/sqlite"
	"github.com/sealq/sealq/worker"
	"github.com/sealq/sealq/worker/authworker"
)

// Config of the app.
type Config struct {
	Listen   string // host:port; port 0: a free one
	BaseURL  string // scheme and host, where links lead. Zero: http:// and where it listens; without a host localhost
	Dir      string // of the database and the key ring
	RedisURL string // Zero: a Redis inside the process, which forgets. Nothing is lost: what is to be done is in the database
	SMTPURL  string // Zero: a mail server inside the process, which prints the mails to Out
	MailFrom string // Zero: no-reply@app.example
	Devices  bool   // browsers that have logged in keep a counter of their own
	Accounts accounts.Config
	Now      func() time.Time  // Nil: time.Now
	Out      io.Writer         // for people. Nil: nobody reads it
	Logger   *slog.Logger      // Nil: nothing is logged
	Ready    func(addr string) // told where it listens, when it does. Nil: nobody is
}

// shutdown is how long requests and mails that are under way may take when the app ends.
const shutdown = 10 * time.Second

// Run runs the app until ctx ends.
func Run(ctx context.Context, c Config) (err error) {
	var closers []func() error
	defer func() {
		for len(closers) > 0 {
			err = errors.Join(err, closers[len(closers)-1]())
			closers = closers[:len(closers)-1]
		}
	}()
	onClose := func(f func() error) { closers = append(closers, f) }

	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	onClose(func() error { _ = listener.Close(); return nil }) // the server closes it first
	c.Out, c.MailFrom = cmp.Or[io.Writer](c.Out, io.Discard), cmp.Or(c.MailFrom, "no-reply@app.example")
	c.BaseURL = cmp.Or(c.BaseURL, c.whereItListens(listener.Addr()))
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	if c.Now == nil {
		c.Now = time.Now
	}

	db, keys, err := c.open(ctx)
	if err != nil {
		return err
	}
	onClose(db.Close)
	onClose(func() error { keys.Close(); return nil })
	users, err := c.accounts(db)
	if err != nil {
		return err
	}

	if c.RedisURL == "" {
		queue, err := miniredis.Run()
		if err != nil {
			return fmt.Errorf("start miniredis: %w", err)
		}
		onClose(func() error { queue.Close(); return nil })
		c.RedisURL = "redis://" + queue.Addr()
	}
	var inbox *catcher.Catcher
	if c.SMTPURL == "" {
		inbox, err = catcher.Start("127.0.0.1:0") //nolint:contextcheck // it is there until it is closed
		if err != nil {
			return err
		}
		onClose(inbox.Close)
		c.SMTPURL = inbox.URL()
	}
	options, err := redis.ParseURL(c.RedisURL)
	if err != nil {
		return errors.New("-redis-url is not a Redis URL: redis://HOST:PORT/0")
	}
	queue := redis.NewClient(options)
	onClose(queue.Close)

	server, outbox, err := c.worker(db, keys, queue, users)
	if err != nil {
		return err
	}
	pages, err := site.New(site.Config{DB: db, Users: users, BaseURL: c.BaseURL, Devices: c.Devices, Nudge: outbox.Nudge, Now: c.Now, Logger: c.Logger})
	if err != nil {
		return err
	}

	g, running := errgroup.WithContext(ctx)
	if inbox != nil {
		g.Go(func() error { printMails(running, inbox, c.Out); return nil })
	}
	g.Go(func() error { return server.Run(running) })
	g.Go(func() error { return outbox.Run(running) })
	g.Go(func() error { return serve(running, listener, pages) })
	fmt.Fprintf(c.Out, "The site is at %s, its data in %s.\n", c.BaseURL, c.Dir)
	if c.Ready != nil {
		c.Ready(listener.Addr().String())
	}
	return g.Wait() //nolint:wrapcheck // the parts say what they are
}

// whereItListens is the address by which people know it: cookies of localhost are not those of 127.0.0.1.
func (c Config) whereItListens(at net.Addr) string {
	host, _, _ := net.SplitHostPort(c.Listen) // somebody listens: it is well formed
	_, port, _ := net.SplitHostPort(at.String())
	return "http://" + net.JoinHostPort(cmp.Or(host, "localhost"), port)
}

// open opens the database and the key ring, and makes them where they are missing.
func (c Config) open(ctx context.Context) (*sqlite.DB, *signing.Keys, error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("make the folder of the data: %w", err)
	}
	path := filepath.Join(c.Dir, "keys.json")
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		ring, err := signing.NewRing(c.Now(), 30*24*time.Hour)
		if err == nil {
			err = signing.NewFile(path).Create(ring)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("make a key ring: %w", err)
		}
	}
	db, err := sqlite.Open(ctx, filepath.Join(c.Dir, "signup.db"))
	if err != nil {
		return nil, nil, err
	}
	if _, err := db.Migrate(ctx); err != nil {
		return nil, nil, errors.Join(err, db.Close()) //nolint:contextcheck // it has nothing to wait for
	}
	keys, err := signing.Open(ctx, "file:"+path, "signup")
	if err != nil {
		return nil, nil, errors.Join(err, db.Close()) //nolint:contextcheck // it has nothing to wait for
	}
	return db, keys, nil
}

// accounts are those in the database.
func (c Config) accounts(db *sqlite.DB) (*accounts.Accounts[*sql.Tx], error) {
	c.Accounts.TellOwner = true // so that a stranger cannot tell what an address has
	c.Accounts.LockoutNotice, c.Accounts.Logger = true, c.Logger
	return accounts.New(db, authjobs.NewNotifier[*sql.Tx](db), c.Accounts)
}

// worker is what mails: a relay that takes from the database what is to be done, signs it and puts it into the queue, and a server that verifies and does it.
// `sealq serve` is the same with schedules, metrics and much more; this is it at its shortest.
func (c Config) worker(
	db *sqlite.DB, keys *signing.Keys, queue *redis.Client, users *accounts.Accounts[*sql.Tx],
) (*worker.Server, *relay.Relay, error) {
	sender, err := mail.NewSender(mail.Config{URL: c.SMTPURL, From: c.MailFrom, Logger: c.Logger})
	if err != nil {
		return nil, nil, err
	}
	handlers := worker.NewHandlers(worker.HandlersConfig{Outbox: db, Logger: c.Logger})
	err = authworker.Register(handlers, authworker.Store[*sql.Tx](db), users, authworker.Config{
		Keys: keys, Sender: sender, BaseURL: c.BaseURL, Product: site.Product, Logger: c.Logger,
		ConfirmPath: site.PathConfirm, ResetPath: site.PathReset, EmailPath: site.PathEmail,
	})
	if err != nil {
		return nil, nil, err
	}
	verifier, err := worker.New(keys, worker.Config{Quarantine: db, Effects: db, Logger: c.Logger})
	if err != nil {
		return nil, nil, err
	}
	server, err := worker.NewServer(queue, verifier, handlers, worker.ServerConfig{
		Queues: map[string]int{jobs.QueueMail: 1, jobs.QueueCritical: 1, jobs.QueueMaintenance: 1}, Concurrency: 8, Shutdown: shutdown, Logger: c.Logger,
	})
	if err != nil {
		return nil, nil, err
	}
	catalog, err := jobs.NewCatalog(authjobs.Definitions()...)
	if err != nil {
		return nil, nil, err
	}
	outbox, err := relay.New(db, catalog, keys, queue, relay.Config{Logger: c.Logger})
	return server, outbox, err
}

// serve answers until ctx ends, then finishes what is under way.
func serve(ctx context.Context, listener net.Listener, pages *site.Site) error {
	server := &http.Server{Handler: pages, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	finishing, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdown)
	defer cancel()
	err := server.Shutdown(finishing)
	if err != nil {
		err = errors.Join(fmt.Errorf("requests were still under way: %w", err), server.Close())
	}
	if stopped := <-ended; !errors.Is(stopped, http.ErrServerClosed) {
		err = errors.Join(err, stopped)
	}
	pages.Wait()
	return err
}

// printMails prints mails as they come until ctx ends.
func printMails(ctx context.Context, inbox *catcher.Catcher, out io.Writer) {
	for seen := map[string]bool{}; ; {
		m, err := inbox.Wait(ctx, func(m catcher.Caught) bool { return !seen[m.MessageID] })
		if err != nil {
			return
		}
		seen[m.MessageID] = true
		fmt.Fprintf(out, "\n--- mail to %v: %s\n%s", m.To, m.Subject, m.Text)
	}
}
