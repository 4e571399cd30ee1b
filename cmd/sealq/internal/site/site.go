// Package site is the demo app: sign up, confirm, log in, ask for a new password. It is as small as shows the mails and what comes of them,
// and keeps no sessions: examples/signup is the app to copy from. It tells nobody whether an address has an account, acts on POST alone,
// and loads nothing from elsewhere.
package site

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"strings"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/cmd/sealq/internal/app"
)

//go:embed pages/*.html
var pages embed.FS

//go:embed assets
var assets embed.FS

const (
	maxBody = 16 << 10 // bytes of a form
	policy  = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

// Config of a site.
type Config struct {
	Users app.Accounts
	// Inbox is where its mails can be read. Zero: that is not said.
	Inbox string
	// Logger hears of what went wrong on our side. Nil: nobody does.
	Logger *slog.Logger
}

type site struct {
	Config

	page *template.Template
}

// view is what the one page shows.
type view struct {
	Title, Text, Error, Inbox string
	Form                      *form
}

type form struct {
	Action, Button, Key string
	Email               string // as it was typed
	AskEmail            bool
	Password            string // what the browser is to complete: current-password or new-password. Zero: no password is asked for
}

// New makes the site.
func New(c Config) (http.Handler, error) {
	page, err := template.ParseFS(pages, "pages/page.html")
	if err != nil {
		return nil, fmt.Errorf("read the demo app's page: %w", err)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &site{Config: c, page: page}
	mux := http.NewServeMux()
	for route, handle := range map[string]http.HandlerFunc{
		"GET /{$}":    s.home,
		"GET /signup": s.show("Sign up", signup), "POST /signup": s.signup,
		"GET /confirm": s.show("Confirm your address", confirm), "POST /confirm": s.confirm,
		"GET /login": s.show("Log in", login), "POST /login": s.login,
		"GET /forgot": s.show("A new password", forgot), "POST /forgot": s.forgot,
		"GET /reset": s.show("Choose a new password", reset), "POST /reset": s.reset,
	} {
		mux.Handle(route, handle)
	}
	mux.Handle("GET /assets/{file}", http.FileServerFS(assets))
	protected := http.NewCrossOriginProtection().Handler(http.MaxBytesHandler(mux, maxBody))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Referrer-Policy", "no-referrer") // addresses of pages hold keys
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		protected.ServeHTTP(w, r)
	}), nil
}

func signup(r *http.Request) form {
	return form{Action: "/signup", Button: "Sign up", AskEmail: true, Email: r.PostFormValue("email")}
}

func login(r *http.Request) form {
	return form{Action: "/login", Button: "Log in", AskEmail: true, Email: r.PostFormValue("email"), Password: "current-password"}
}

func forgot(r *http.Request) form {
	return form{Action: "/forgot", Button: "Mail me a link", AskEmail: true, Email: r.PostFormValue("email")}
}

func confirm(r *http.Request) form {
	return form{Action: "/confirm", Button: "Confirm", Key: r.FormValue("key"), Password: "new-password"}
}

func reset(r *http.Request) form {
	return form{Action: "/reset", Button: "Set the password", Key: r.FormValue("key"), Password: "new-password"}
}

func (s *site) home(w http.ResponseWriter, r *http.Request) {
	s.say(w, r, http.StatusOK, "The demo app", "Sign up with any address: its mails go to the inbox, and to nobody else.")
}

// show shows a form; nothing happens on GET, because scanners of mails follow links.
func (s *site) show(title string, make func(*http.Request) form) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		f := make(r)
		s.write(w, r, http.StatusOK, view{Title: title, Form: &f})
	}
}

// again shows a form with what is wrong.
func (s *site) again(w http.ResponseWriter, r *http.Request, title, problem string, f form) {
	s.write(w, r, http.StatusUnprocessableEntity, view{Title: title, Error: problem, Form: &f})
}

// signup has one answer for free and taken addresses. Whoever has the mailbox chooses the password.
func (s *site) signup(w http.ResponseWriter, r *http.Request) {
	_, err := s.Users.Register(r.Context(), accounts.Registration{Email: r.PostFormValue("email"), PasswordLater: true})
	if problem := refused(err); problem != "" {
		s.again(w, r, "Sign up", problem, signup(r))
		return
	}
	if errors.Is(err, accounts.ErrThrottled) || errors.Is(err, accounts.ErrAlreadyActive) {
		err = nil
	}
	s.checkMail(w, r, err)
}

// refused is what a person can do better about an address or a password, "" for all other errors.
func refused(err error) string {
	if e, ok := errors.AsType[*accounts.EmailError](err); ok {
		return "The address is " + e.Error() + "."
	}
	if e, ok := errors.AsType[*accounts.PasswordError](err); ok {
		return "The password is " + e.Error() + "."
	}
	return ""
}

func (s *site) checkMail(w http.ResponseWriter, r *http.Request, err error) {
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.say(w, r, http.StatusOK, "Look into your mailbox", "If this address can be used for what you asked, a mail is on its way.")
}

func (s *site) confirm(w http.ResponseWriter, r *http.Request) {
	_, err := s.Users.ActivateWithPassword(r.Context(), r.PostFormValue("key"), r.PostFormValue("password"))
	problem := refused(err)
	switch {
	case problem != "":
		s.again(w, r, "Confirm your address", problem, confirm(r))
	case errors.Is(err, accounts.ErrUnknownKey), errors.Is(err, accounts.ErrAlreadyActive):
		s.say(w, r, http.StatusGone, "This link does not work", "It works once, and not for ever. Log in, or sign up again.")
	case err != nil:
		s.failed(w, r, err)
	default:
		s.say(w, r, http.StatusOK, "Your address is confirmed", "Now log in with your password.")
	}
}

func (s *site) login(w http.ResponseWriter, r *http.Request) {
	user, err := s.Users.Authenticate(r.Context(), r.PostFormValue("email"), r.PostFormValue("password"))
	if errors.Is(err, accounts.ErrRefused) {
		s.again(w, r, "Log in", "Address or password is wrong, or too many attempts failed.", login(r))
		return
	}
	var roles []string
	if err == nil {
		roles, err = s.Users.Roles(r.Context(), user.ID)
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	text := "Your user ID is " + user.ID + ". You have no roles."
	if len(roles) > 0 {
		text = "Your user ID is " + user.ID + ". Your roles: " + strings.Join(roles, ", ") + "."
	}
	s.say(w, r, http.StatusOK, "You are logged in", text)
}

func (s *site) forgot(w http.ResponseWriter, r *http.Request) {
	err := s.Users.RequestReset(r.Context(), r.PostFormValue("email"))
	if problem := refused(err); problem != "" {
		s.again(w, r, "A new password", problem, forgot(r))
		return
	}
	s.checkMail(w, r, err)
}

func (s *site) reset(w http.ResponseWriter, r *http.Request) {
	_, err := s.Users.ResetPassword(r.Context(), r.PostFormValue("key"), r.PostFormValue("password"))
	problem := refused(err)
	switch {
	case problem != "":
		s.again(w, r, "Choose a new password", problem, reset(r))
	case errors.Is(err, accounts.ErrUnknownToken):
		s.say(w, r, http.StatusGone, "This link does not work", "It works once, and not for ever. Ask for another.")
	case err != nil:
		s.failed(w, r, err)
	default:
		s.say(w, r, http.StatusOK, "Your password is changed", "Now log in with it.")
	}
}

func (s *site) failed(w http.ResponseWriter, r *http.Request, err error) {
	// The path alone: a query may hold a key.
	s.Logger.ErrorContext(r.Context(), "page failed", slog.String("path", r.URL.Path), slog.Any("error", err))
	s.say(w, r, http.StatusServiceUnavailable, "Not now", "Something went wrong here. Please try again in a minute.")
}

func (s *site) say(w http.ResponseWriter, r *http.Request, status int, title, text string) {
	s.write(w, r, status, view{Title: title, Text: text})
}

// write writes the page, by way of memory, so that it comes whole or not at all.
func (s *site) write(w http.ResponseWriter, r *http.Request, status int, v view) {
	v.Inbox = s.Inbox
	var text bytes.Buffer
	if err := s.page.Execute(&text, v); err != nil {
		s.Logger.ErrorContext(r.Context(), "page failed", slog.String("path", r.URL.Path), slog.Any("error", err))
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = text.WriteTo(w) // the visitor is gone if it fails
}
