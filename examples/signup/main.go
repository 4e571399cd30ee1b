// Command signup is a small web app that shows the whole life of a login on sealq: sign up, confirm, log in and out, sessions, a page behind a role, a
// forgotten password, another password, another address. It works without JavaScript, and is there to be copied from:
//
//	main.go           flags
//	run.go            the app from its first listener to its last goroutine: database, queue, mail, worker, site
//	site/site.go      routes, what holds for every page (origin, headers, limits), and how pages are written
//	site/session.go   who is logged in: sessions begin, end, are listed, and die with a password
//	site/join.go      sign up, confirm, ask for the mail again
//	site/login.go     log in, log out, a forgotten password
//	site/account.go   another password, another address, sessions, the page for staff
//	site/pages/       html/template; the three layouts that they share are in layout.html
//	site/assets/      the style sheet
//
// What it refuses: it never tells a stranger whether an address has an account; nothing happens on GET, so that no scanner of mails confirms anything; no
// link is ever made from a request; no page loads anything from elsewhere.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "signup:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string, out, log io.Writer) error {
	c := Config{Out: out, Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	flags := flag.NewFlagSet("signup", flag.ContinueOnError)
	flags.SetOutput(log)
	flags.StringVar(&c.Listen, "listen", "localhost:8080", "where the site listens")
	flags.StringVar(&c.BaseURL, "base-url", "", "where people find it, `https://app.example`; links in mails lead there (default http://LISTEN)")
	flags.StringVar(&c.Dir, "dir", "signup-data", "the `folder` of the database and the key ring, made where they are missing")
	flags.StringVar(&c.RedisURL, "redis-url", "", "the queue's `redis://…` (default one inside this process)")
	flags.StringVar(&c.SMTPURL, "smtp-url", "", "the mail server, `smtp://user:pass@host:587?tls=starttls` (default one inside this process, which prints the mails)")
	flags.StringVar(&c.MailFrom, "mail-from", "", "the sender of mails (default no-reply@app.example)")
	flags.BoolVar(&c.Devices, "devices", false, "browsers that have logged in keep a counter of their own, so that strangers do not lock their owners out")
	if err := flags.Parse(args); err != nil {
		return err //nolint:wrapcheck // a sentence for whoever typed it
	}
	return Run(ctx, c)
}
