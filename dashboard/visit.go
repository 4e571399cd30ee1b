package dashboard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/operators"
)

// visit is one request and who makes it.
type visit struct {
	http.ResponseWriter

	r   *http.Request
	d   *Dashboard
	who who
}

// who is whoever is logged in; the zero who is nobody.
type who struct {
	session  operators.Session // zero with a key
	token    string            // likewise
	key      bool
	complete bool
	name     string // for the audit log
	role     operators.Role
}

// The names of the cookies. With __Host- a browser takes them only where it holds the connection for safe, without a Domain, and for the
// whole host, so that no neighbour can plant one.
const (
	sessionCookie = "__Host-sealq"
	themeCookie   = "__Host-sealq-theme"
)

// liveHeader marks what the page's script asks by itself, which keeps no session alive.
const liveHeader = "Sealq-Live"

// againMark does so in the address from which a page without a script is loaded again.
const againMark = "again"

// again is that address.
func (v *visit) again() string {
	query := v.r.URL.Query()
	query.Del("did") // what was done was told once
	query.Set(againMark, "yes")
	return local(v.r.URL.EscapedPath() + "?" + query.Encode())
}

// whoPatience is how long the database may take to say who asks: what a page then says of it must come in time, and a stream must end.
const whoPatience = 4 * time.Second

// identify finds out who asks. A key that is shown counts alone, so that a script cannot borrow a browser's session.
func (d *Dashboard) identify(v *visit, steady bool) error {
	ctx, cancel := context.WithTimeout(v.r.Context(), whoPatience)
	defer cancel()
	if header := v.r.Header.Get("Authorization"); header != "" {
		secret, _ := strings.CutPrefix(header, "Bearer ")
		k, err := d.key(ctx, secret, steady)
		if errors.Is(err, operators.ErrNoKey) {
			v.who.key = true
			return errNobody
		}
		v.who = who{key: true, complete: true, name: "key:" + k.Operator + "/" + k.Name, role: k.Role}
		return err
	}
	cookie, err := v.r.Cookie(sessionCookie)
	if err != nil {
		return errNobody
	}
	asked := v.r.Header.Get(liveHeader) == "" && v.r.URL.Path != "/live" && !v.r.URL.Query().Has(againMark)
	s, err := d.cfg.Operators.Session(ctx, cookie.Value, asked)
	if errors.Is(err, operators.ErrNoSession) {
		return errNobody
	}
	v.who = who{session: s, token: cookie.Value, complete: s.Complete, name: operators.Actor(s.Name), role: s.Role}
	return err
}

// keep gives the browser a session's token. Without an end it goes with the browser; the server ends it anyway.
func (v *visit) keep(token string) {
	http.SetCookie(v, &http.Cookie{Name: sessionCookie, Value: token, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

func (v *visit) forget() {
	http.SetCookie(v, &http.Cookie{Name: sessionCookie, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: -1})
	v.Header().Set("Clear-Site-Data", `"cache"`)
}

func (v *visit) from() operators.From {
	return operators.From{Agent: v.r.UserAgent(), Remote: v.remote()}
}

// record enters what is about to be done, without which it is not done.
func (v *visit) record(ctx context.Context, action, subject string, detail map[string]string) error {
	return v.d.cfg.Records.Record(ctx, audit.Entry{Actor: v.who.name, Action: action, Subject: subject, Detail: detail})
}

// patient bounds what the page asks of Redis and the database.
func (v *visit) patient() (context.Context, context.CancelFunc) {
	return context.WithTimeout(v.r.Context(), patience)
}

// frame is what every page has around its own.
type frame struct {
	Title      string
	Deployment string
	Name       string // "": nobody is in
	Role       operators.Role
	May        map[string]bool
	Theme      string // "", "light" or "dark"
	ReadOnly   bool
	Here       string // where the switch of the theme comes back to
	Live       bool   // the page shows what changes
	Again      string // from where it does without a script
	Page       any
}

// page writes a page, by way of memory, so that it comes whole or not at all.
func (v *visit) page(status int, name, title string, content any) error {
	f := frame{
		Title: title, Deployment: label(v.d.cfg.Deployment), ReadOnly: v.d.cfg.ReadOnly, Theme: v.themeNow(), Here: v.here(), Page: content,
		May: make(map[string]bool),
	}
	if v.who.complete {
		f.Name, f.Role = strings.TrimPrefix(v.who.name, "operator:"), v.who.role
		f.Live = slices.Contains([]string{"now", "queue", "servers", "quarantine", "entry", "keys", "requests", "schedules", "schedule", "mails", "mail"}, name) && v.r.Method == http.MethodGet
		f.Again = v.again()
		for _, role := range operators.Roles() {
			f.May[string(role)] = v.who.role.May(role)
		}
	}
	var text bytes.Buffer
	if err := v.d.templates[name].ExecuteTemplate(&text, "layout", f); err != nil {
		return fmt.Errorf("make the page %s: %w", name, err)
	}
	v.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.WriteHeader(status)
	_, _ = text.WriteTo(v) // the reader is gone if it fails
	return nil
}

// here is the page that is shown, "/" where it cannot be asked for again.
func (v *visit) here() string {
	if v.r.Method != http.MethodGet || v.r.URL.Path == "/login" {
		return "/"
	}
	return local(v.r.URL.RequestURI())
}

// local is a target on this host, "/" for any other. Browsers drop tabs and line ends from an address, and take \ for /: what holds one may lead
// elsewhere when it is read.
func local(target string) string {
	odd := func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "//") || strings.ContainsFunc(target, odd) {
		return "/"
	}
	return target
}

func (v *visit) themeNow() string {
	if c, err := v.r.Cookie(themeCookie); err == nil && (c.Value == "dark" || c.Value == "light") {
		return c.Value
	}
	return ""
}

// theme switches between the system's colours, dark and light, without a script.
func (d *Dashboard) theme(v *visit) error {
	c := &http.Cookie{Name: themeCookie, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: 365 * 24 * 3600}
	switch c.Value = v.r.PostFormValue("theme"); c.Value {
	case "dark", "light":
	default:
		c.Value, c.MaxAge = "", -1
	}
	http.SetCookie(v, c)
	http.Redirect(v, v.r, local(v.r.PostFormValue("to")), http.StatusSeeOther)
	return nil
}

func attrs(r *http.Request, err error) []any {
	return []any{slog.String("method", r.Method), slog.String("path", clean(r.URL.Path, maxName, false)), slog.Any("error", err)}
}

// readPages reads the templates, each with the layout around it.
func readPages() (map[string]*template.Template, error) {
	names, err := pages.ReadDir("pages")
	if err != nil {
		return nil, err //nolint:wrapcheck // New wraps it
	}
	all := make(map[string]*template.Template)
	for _, entry := range names {
		name, ok := strings.CutSuffix(entry.Name(), ".html")
		if !ok || name == "layout" {
			continue
		}
		parsed, err := template.ParseFS(pages, "pages/layout.html", "pages/"+entry.Name())
		if err != nil {
			return nil, err //nolint:wrapcheck // New wraps it
		}
		all[name] = parsed
	}
	return all, nil
}
