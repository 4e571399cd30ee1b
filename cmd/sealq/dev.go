package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/cmd/sealq/internal/config"
	"github.com/sealq/sealq/cmd/sealq/internal/embedded"
	"github.com/sealq/sealq/cmd/sealq/internal/seed"
	"github.com/sealq/sealq/dashboard"
	"github.com/sealq/sealq/examples/signup/site"
	"github.com/sealq/sealq/mail/catcher/inbox"
)

const (
	devAudience = "dev"
	devFrom     = "no-reply@dev.example"
	devProduct  = "the demo app"
	// devOverdue restores soon what a miniredis forgot with the process before.
	devOverdue = "10s"
	freePort   = "127.0.0.1:0"
	// devListen is by that name, as browsers keep the dashboard's cookie over plain HTTP for no other.
	devListen = "localhost:0"
)

// devFlags are dev's own.
type devFlags struct {
	dir, app, inbox string
	expose, seed    bool
}

func (p *program) dev() *cobra.Command {
	var f devFlags
	c := uses(&cobra.Command{
		Use: "dev", Short: "Run it all on an embedded stack, with a demo app and a mail inbox", Args: exactly(),
		Long: "Run worker, relay and scheduler as serve does, on a SQLite file, a miniredis and a mail catcher inside this process, with a\n" +
			"demo app and an inbox that shows the mails. It prints where they are and what other commands need to work on the same\n" +
			"stack, and stays up until SIGINT or SIGTERM. Only Go is needed.\n\n" +
			"Without --dir all is gone at the end. With it, database and key ring stay, and the next dev goes on with them; the mails of\n" +
			"the inbox and what is in the miniredis are gone all the same, and jobs that were in it are restored from the database.\n\n" +
			"--seed-data begins with the day before: people, mails, forged tasks, keys, schedules and operators, made by the production code on a\n" +
			"clock of its own, so that every page of the dashboard has something to show. It says who may log in. It is for a new database alone.",
		Example: "  sealq dev\n  sealq dev --seed-data\n  sealq dev --dir sealq-dev --app-listen localhost:3000 --inbox-listen localhost:8025",
	}, "listen", "overdue", "concurrency", "pending-ttl", "reset-ttl", "lockout-limit", "lockout-for", "lockout-notice", "expire-pending-cron",
		"reset-lockouts-cron", "shutdown-timeout", "log-level", "log-format")
	flags := c.Flags()
	flags.StringVar(&f.dir, "dir", "", "`folder` of database and key ring, made where they are missing (default a temporary one)")
	flags.StringVar(&f.app, "app-listen", freePort, "`address` of the demo app")
	flags.StringVar(&f.inbox, "inbox-listen", freePort, "`address` of the inbox")
	flags.BoolVar(&f.expose, "expose", false, "let them listen on other than loopback; the mails hold working links")
	flags.BoolVar(&f.seed, "seed-data", false, "begin with a day of plausible life")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		own := *p
		own.environ = slices.DeleteFunc(slices.Clone(p.environ), isBrought)
		for name := range brought() {
			if cmd.Flags().Changed(name) || cmd.Flags().Changed(name+"-file") {
				return wrongly("`sealq dev` brings its own --%s: leave it out, or run `sealq serve`", name)
			}
		}
		return own.action(func(ctx context.Context, s *session, _ []string) error { return s.dev(ctx, f, cmd) })(cmd, args)
	}
	return c
}

// brought are the options that dev does not ask for, because it brings what they name.
func brought() map[string]bool {
	return map[string]bool{
		"redis-url": true, "database-url": true, "keys": true, "kek-file": true, "audience": true, "smtp-url": true, "mail-from": true,
		"mail-dkim-domain": true, "mail-dkim-selector": true, "mail-dkim-key": true, "base-url": true, "product": true, "queues": true,
		"confirm-path": true, "reset-path": true, "email-path": true,
	}
}

// isBrought says whether an environment variable, NAME=VALUE, is one of them.
func isBrought(variable string) bool {
	name, _, _ := strings.Cut(variable, "=")
	name, ok := strings.CutPrefix(name, "SEALQ_")
	option := strings.ReplaceAll(strings.ToLower(name), "_", "-")
	return ok && (brought()[option] || brought()[strings.TrimSuffix(option, "-file")])
}

// doors are where dev listens.
type doors struct{ app, inbox net.Listener }

// dev brings up the stack, and then does what serve does.
func (s *session) dev(ctx context.Context, f devFlags, cmd *cobra.Command) (err error) {
	if err := s.checkDev(f); err != nil {
		return err
	}
	sv := service{tally: newTally()}
	defer func() { err = errors.Join(err, sv.closeAll()) }()
	var at doors
	if at.app, err = sv.listens(ctx, f.app, "app-listen"); err != nil {
		return err
	}
	if at.inbox, err = sv.listens(ctx, f.inbox, "inbox-listen"); err != nil {
		return err
	}
	stack, told, err := f.stack(ctx, address(f.app, at.app))
	if err != nil {
		return err
	}
	sv.closes(stack.Close)

	world := devWorld(stack, address(f.app, at.app))
	if s.Settings, err = config.Load(cmd.Flags(), slices.Concat(s.environ, world, s.devDefaults())); err != nil {
		return err
	}
	if err := s.log(); err != nil {
		return err
	}
	p, err := s.plan(true, true)
	if err != nil {
		return err
	}
	if err := s.open(ctx, p, &sv); err != nil {
		return err
	}
	if err := s.devPages(ctx, &sv, stack, at, f); err != nil {
		return err
	}
	listener, err := sv.listens(ctx, p.listen, "listen")
	if err != nil {
		return err
	}
	shown, err := s.metrics(&sv)
	if err != nil {
		return err
	}
	if err := s.openDashboard(ctx, sv.db, sv.keys, &sv, shown, ofMiniredis); err != nil {
		return err
	}
	welcome := devWelcome{
		App: address(f.app, at.app), Inbox: address(f.inbox, at.inbox), Health: address(p.listen, listener),
		Dir: stack.Dir, Stays: f.dir != "", Env: world, Seeded: told,
	}
	if err := s.welcome(welcome); err != nil {
		return err
	}
	return s.serveUntil(ctx, &sv, listener, nil, p.shutdown)
}

// stack starts the servers, with a day of life behind them where that is wanted.
func (f devFlags) stack(ctx context.Context, app string) (_ *embedded.Stack, told *seed.Told, err error) {
	c := embedded.Config{Dir: f.dir, RingInDatabase: true} // there operators can have its keys moved
	if f.seed {
		c.RingAge, c.Mail.Hook = seed.RingAge, seed.Refuse
	}
	stack, err := embedded.Start(ctx, c)
	if err != nil {
		return nil, nil, fmt.Errorf("start the embedded stack: %w", err)
	}
	if !f.seed {
		return stack, nil, nil
	}
	filled, err := seed.Fill(ctx, seed.Config{Stack: stack, Audience: devAudience, From: devFrom, BaseURL: app, Product: devProduct})
	if errors.Is(err, seed.ErrNotFresh) {
		err = wrongly("--seed-data: %w: name a --dir that holds none, or leave it out", err)
	}
	if err != nil {
		return nil, nil, errors.Join(err, stack.Close())
	}
	return stack, &filled, nil
}

// checkDev reads what can be wrong before anything is made.
func (s *session) checkDev(f devFlags) error {
	if err := s.log(); err != nil {
		return err
	}
	if _, err := s.accountsConfig(); err != nil {
		return err
	}
	listen, err := s.Address("listen")
	if err != nil {
		return err
	}
	for _, door := range []struct{ flag, addr string }{{"app-listen", f.app}, {"inbox-listen", f.inbox}, {"listen", listen}} {
		host, _, err := net.SplitHostPort(door.addr)
		if err != nil {
			return wrongly("--%s %q is not HOST:PORT, such as 127.0.0.1:0", door.flag, door.addr)
		}
		if ip := net.ParseIP(host); !f.expose && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return wrongly("--%s %s can be reached from elsewhere, and the mails hold working links: choose a loopback address, or give --expose", door.flag, door.addr)
		}
	}
	return nil
}

// devWorld is the environment in which every command works on the stack.
func devWorld(stack *embedded.Stack, app string) []string {
	return []string{
		"SEALQ_DATABASE_URL=" + stack.DatabaseURL(), "SEALQ_REDIS_URL=redis://" + stack.Queue.Addr() + "/0",
		"SEALQ_KEYS=database", "SEALQ_KEK_FILE=" + stack.KEKFile, "SEALQ_AUDIENCE=" + devAudience,
		"SEALQ_SMTP_URL=" + stack.Mail.URL(), "SEALQ_MAIL_FROM=" + devFrom, "SEALQ_BASE_URL=" + app,
	}
}

// devDefaults are where dev differs from serve in what nobody told it.
func (s *session) devDefaults() []string {
	var defaults []string
	for name, value := range map[string]string{"listen": devListen, "overdue": devOverdue, "log-level": "warn", "lockout-notice": "yes"} {
		if !s.Given(name) {
			defaults = append(defaults, "SEALQ_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))+"="+value)
		}
	}
	return append(defaults, "SEALQ_PRODUCT="+devProduct)
}

// devPages serves the demo app and the inbox.
func (s *session) devPages(ctx context.Context, sv *service, stack *embedded.Stack, at doors, f devFlags) error {
	c, err := s.devAccounts()
	if err != nil {
		return err
	}
	db, users, err := stack.App(ctx, c)
	if err != nil {
		return err
	}
	app, err := site.New(site.Config{
		DB: db, Users: users, BaseURL: address(f.app, at.app), Product: devProduct, Inbox: address(f.inbox, at.inbox), Logger: s.logger,
	})
	if err != nil {
		return err
	}
	mails, err := inbox.New(inbox.Config{Mails: stack.Mail, AnyHost: f.expose, Location: time.Local})
	if err != nil {
		return err
	}
	sv.parts = append(sv.parts,
		part{"demo app", func(ctx context.Context) error {
			defer app.Wait()
			return servePages(ctx, at.app, app)
		}},
		part{"inbox", func(ctx context.Context) error { return servePages(ctx, at.inbox, mails) }})
	return nil
}

// devAccounts are the policies of the demo app's accounts: those of the options, and what the example sets of its own.
func (s *session) devAccounts() (accounts.Config, error) {
	c, err := s.accountsConfig()
	if err != nil {
		return c, err
	}
	c.TellOwner, c.Logger = true, s.logger // so that a stranger cannot tell what an address has
	c.ResetTTL, err = s.Duration("reset-ttl")
	return c, err
}

// ofMiniredis leaves out what a miniredis does not tell of itself, and what is as it should be on a machine for development: nobody need
// do anything about it.
func ofMiniredis(c *dashboard.Config) {
	examine := c.Examine
	c.Examine = func(ctx context.Context) []dashboard.Finding {
		all := examine(ctx)
		for i, f := range all {
			if f.Group == "redis" && slices.Contains([]string{"version", "eviction", "persistence", "protection", "rights too wide"}, f.Check) &&
				(f.Status == dashboard.Problem || f.Status == dashboard.Warning) {
				all[i] = dashboard.Finding{Group: f.Group, Check: f.Check, Status: dashboard.NotLooked, Message: "this Redis is a miniredis, for development"}
			}
		}
		return all
	}
}

// address is where people find what listens: by the name that they gave.
func address(given string, at net.Listener) string {
	host, _, _ := net.SplitHostPort(given) // somebody listens: it is well formed
	_, port, _ := net.SplitHostPort(at.Addr().String())
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = ""
	}
	return "http://" + net.JoinHostPort(cmp.Or(host, "localhost"), port)
}

// servePages answers until ctx ends, then lets what is under way finish.
func servePages(ctx context.Context, listener net.Listener, pages http.Handler) error {
	server := &http.Server{
		Handler: pages, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	var err error
	select {
	case err = <-ended:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerPatience)
	defer cancel()
	if server.Shutdown(closing) != nil {
		_ = server.Close() // whoever is still asking hangs up
	}
	if err = <-ended; errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve: %w", err)
}
