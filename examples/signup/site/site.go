// Package site is the pages of the app in examples/signup: an http.Handler over accounts in SQLite. `sealq dev` serves the same. It keeps sessions, and asks
// the database each time who holds one; it sends no mail and holds no key: accounts note in the outbox what is to be mailed, and a worker does it. The map
// of its files is in the program's main.go.
package site

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/store/sqlite"
)

//go:embed pages/*.html
var pages embed.FS

//go:embed assets
var assets embed.FS

const (
	// Product is what the app calls itself where nobody says otherwise.
	Product = "Signup"

	// PathConfirm is the page of the link that confirms an address. Workers put all three into mails.
	PathConfirm = "/confirm"
	// PathReset is that of the link for a new password.
	PathReset = "/reset"
	// PathEmail is that of the link that confirms another address.
	PathEmail = "/email"

	roleStaff = "staff"

	maxBody      = 16 << 10 // bytes of a form
	maxUnderWay  = 64       // changes whose reply is out already
	changeWithin = 30 * time.Second
)

// Config of a Site.
type Config struct {
	DB      *sqlite.DB
	Users   *accounts.Accounts[*sql.Tx]
	BaseURL string           // scheme and host, where people find it
	Product string           // what the pages call the app. Zero: Product
	Inbox   string           // URL where its mails can be read, on a machine for development. Zero: that is not said
	Devices bool             // browsers that have logged in keep a counter of their own
	Nudge   func()           // told that there is something new to be mailed. Nil: the relay sees it when it next looks
	Now     func() time.Time // what the list of sessions says that it is. Nil: time.Now
	Logger  *slog.Logger     // Nil: nothing is logged
}

// Site is the app's pages.
type Site struct {
	Config

	sessions  *scs.SessionManager
	staff     accounts.Guard
	https     bool
	templates map[string]*template.Template
	handler   http.Handler

	underWay chan struct{} // as many as there is room for
	changes  sync.WaitGroup
}

// New makes a Site.
func New(c Config) (*Site, error) {
	base, err := url.Parse(c.BaseURL)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") || strings.Trim(base.Path, "/") != "" {
		return nil, fmt.Errorf("the base URL %q is not a scheme and a host, such as https://app.example", c.BaseURL)
	}
	c.Product, c.Logger = cmp.Or(c.Product, Product), cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	if c.Nudge == nil {
		c.Nudge = func() {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Site{Config: c, https: base.Scheme == "https", staff: c.Users.Require(roleStaff), underWay: make(chan struct{}, maxUnderWay)}
	s.sessions = s.newSessions()
	s.templates = map[string]*template.Template{}
	for _, name := range []string{"home", "form", "account", "staff", "message"} {
		if s.templates[name], err = template.ParseFS(pages, "pages/layout.html", "pages/"+name+".html"); err != nil {
			return nil, fmt.Errorf("read the pages: %w", err)
		}
	}
	mux := http.NewServeMux()
	for route, handle := range map[string]page{
		"GET /{$}": s.home, "/": s.notFound,
		"GET /signup": s.showSignup, "POST /signup": s.signup,
		"GET " + PathConfirm: s.showConfirm, "POST " + PathConfirm: s.confirm,
		"GET /resend": s.showResend, "POST /resend": s.resend,
		"GET /login": s.showLogin, "POST /login": s.login, "POST /logout": s.logout,
		"GET /forgot": s.showForgot, "POST /forgot": s.forgot,
		"GET " + PathReset: s.showReset, "POST " + PathReset: s.reset,
		"GET /account": s.member(s.account), "POST /account/password": s.member(s.changePassword), "POST /account/email": s.member(s.changeEmail),
		"GET " + PathEmail: s.showEmail, "POST " + PathEmail: s.confirmEmail,
		"POST /account/sessions": s.member(s.endSession), "POST /account/sessions/others": s.member(s.endOtherSessions),
		"GET /staff": s.member(s.staffOnly),
	} {
		mux.Handle(route, s.handle(handle))
	}
	// A form on another site cannot act here. Our own origin is named, so that it counts whatever Host a proxy hands on.
	foreign := http.NewCrossOriginProtection()
	if err := foreign.AddTrustedOrigin(base.Scheme + "://" + base.Host); err != nil {
		return nil, fmt.Errorf("the base URL: %w", err)
	}
	foreign.SetDenyHandler(s.handle(s.notFromHere))
	all := http.NewServeMux()
	all.Handle("GET /assets/{file}", http.FileServerFS(assets))
	all.Handle("/", s.sessions.LoadAndSave(foreign.Handler(mux)))
	s.handler = s.headers(http.MaxBytesHandler(all, maxBody))
	return s, nil
}

// ServeHTTP answers.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Wait waits for changes whose reply is out already. The site must not be asked anything any more.
func (s *Site) Wait() { s.changes.Wait() }

// headers are on every answer. Nothing but our own style sheet is loaded, no script runs, nobody frames us, and forms go nowhere else.
func (s *Site) headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "same-origin") // keyPages say less still
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		if s.https {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

// page answers a request. An error of it is ours, not the visitor's.
type page func(w http.ResponseWriter, r *http.Request) error

func (s *Site) handle(p page) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := r.ParseForm()
		if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
			err = s.say(w, r, http.StatusRequestEntityTooLarge, "Too much", fmt.Sprintf("A form has %d bytes at most.", tooLarge.Limit))
		} else if err != nil {
			err = s.say(w, r, http.StatusBadRequest, "Not understood", "This is not what our forms send.")
		} else {
			err = p(w, r)
		}
		if err != nil { // the path alone: a query may hold a key
			s.Logger.ErrorContext(r.Context(), "page failed", slog.String("path", r.URL.Path), slog.Any("error", err))
			_ = s.say(w, r, http.StatusServiceUnavailable, "Not now", "Something went wrong here. Please try again in a minute.") // nothing else is left to do
		}
	})
}

// change is one change of accounts, in a transaction, and what is to be mailed of it.
func (s *Site) change(ctx context.Context, fn func(tx *sql.Tx) error) error {
	err := s.DB.InTx(ctx, fn)
	s.Nudge()
	return err
}

var errBusy = errors.New("too many changes are under way")

// later makes a change without the reply waiting for it: a known address takes longer than an unknown one, and nobody shall see which it was.
func (s *Site) later(ctx context.Context, what string, fn func(ctx context.Context, tx *sql.Tx) error) error {
	select {
	case s.underWay <- struct{}{}:
	default:
		return errBusy
	}
	s.changes.Go(func() {
		defer func() { <-s.underWay }()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), changeWithin)
		defer cancel()
		if err := s.change(ctx, func(tx *sql.Tx) error { return fn(ctx, tx) }); err != nil {
			s.Logger.ErrorContext(ctx, "change failed after its reply", slog.String("change", what), slog.Any("error", err))
		}
	})
	return nil
}

// view is what a template shows.
type view struct {
	Title, Product, Inbox string
	Failed                bool           // something is wrong with a form
	User                  *accounts.User // nil: nobody is logged in
	Text                  string
	Form                  form
	More                  any
}

// form is what the template of that name shows.
type form struct {
	ID, Action, Button string
	Key                string // of a link; "" for none
	Fields             []field
	Error              string // of no field alone
}

type field struct{ Name, Label, Type, Autocomplete, Value, Hint, Error string }

// failed says whether something is wrong with the form.
func (f form) failed() bool {
	for _, field := range f.Fields {
		if field.Error != "" {
			return true
		}
	}
	return f.Error != ""
}

// status is what the page with the form has.
func (f form) status() int {
	if f.failed() {
		return http.StatusUnprocessableEntity
	}
	return http.StatusOK
}

// blame puts an error at a field.
func (f form) blame(name, text string) form {
	for i := range f.Fields {
		if f.Fields[i].Name == name {
			f.Fields[i].Error = text
		}
	}
	return f
}

// refused blames an address or password that the accounts do not take; ok is false for any other error.
func (f form) refused(err error, email, password string) (_ form, ok bool) {
	if e, ok := errors.AsType[*accounts.EmailError](err); ok {
		return f.blame(email, "This is "+e.Error()+"."), true
	}
	if e, ok := errors.AsType[*accounts.PasswordError](err); ok {
		return f.blame(password, "This is "+e.Error()+"."), true
	}
	return f, false
}

// write writes a page. It is written to memory first, so that a page comes whole or not at all.
func (s *Site) write(w http.ResponseWriter, r *http.Request, status int, name string, v view) error {
	v.Product, v.Inbox = s.Product, s.Inbox
	if user, ok, err := s.current(r.Context()); err != nil && status < http.StatusInternalServerError {
		return err
	} else if ok {
		v.User = &user
	}
	var text bytes.Buffer
	if err := s.templates[name].ExecuteTemplate(&text, "layout", v); err != nil {
		return fmt.Errorf("write the page %s: %w", name, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = text.WriteTo(w) // the visitor is gone if it fails
	return nil
}

// ask shows a form, again where something is wrong with it.
func (s *Site) ask(w http.ResponseWriter, r *http.Request, title, text string, f form) error {
	return s.write(w, r, f.status(), "form", view{Title: title, Failed: f.failed(), Text: text, Form: f})
}

// say shows a sentence or two.
func (s *Site) say(w http.ResponseWriter, r *http.Request, status int, title, text string) error {
	return s.write(w, r, status, "message", view{Title: title, Text: text})
}

// keyPage is for pages whose address holds a key: it must not travel on in a Referer. Browsers then send "Origin: null" with the form, which those older
// than 2023, without Sec-Fetch-Site, cannot get past the protection against foreign origins.
func keyPage(w http.ResponseWriter) { w.Header().Set("Referrer-Policy", "no-referrer") }

func (s *Site) home(w http.ResponseWriter, r *http.Request) error {
	return s.write(w, r, http.StatusOK, "home", view{Title: "Welcome"})
}

func (s *Site) notFound(w http.ResponseWriter, r *http.Request) error {
	return s.say(w, r, http.StatusNotFound, "Not found", "There is no such page.")
}

func (s *Site) notFromHere(w http.ResponseWriter, r *http.Request) error {
	return s.say(w, r, http.StatusForbidden, "Not from here", "This form was sent by another site, or by a very old browser. Nothing was done.")
}
