// Package inbox shows what a catcher has caught, as pages for a browser without JavaScript.
//
// Whoever can put a mail into it chooses what stands in that mail, so nothing of a mail is trusted: text is escaped, cut, and shown with its
// control characters made visible; its HTML part is a document of its own without origin, scripts, forms and anything from elsewhere, in
// a frame. Mails hold working links, so that by default only requests to a loopback name are answered, which no other site can make a
// browser send. It changes nothing but by the button that forgets all.
package inbox

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sealq/sealq/mail/catcher"
)

//go:embed pages/*.html
var pages embed.FS

//go:embed assets
var assets embed.FS

// Mails is what is shown: a catcher.
type Mails interface {
	// Messages are the mails, oldest first.
	Messages() []catcher.Caught
	// Forget forgets them all.
	Forget()
}

var _ Mails = (*catcher.Catcher)(nil)

// Config of an inbox.
type Config struct {
	Mails Mails
	// AnyHost answers whatever name the request is for. False: only localhost and loopback addresses, because a page of another site whose
	// name leads to 127.0.0.1 could otherwise read the mails.
	AnyHost bool
	// Location is the time zone of the times shown. Nil: UTC.
	Location *time.Location
}

// Policies of the pages and of a mail's HTML part. Mails carry their styles in their elements, which is all that the second allows; it has
// no origin, and neither scripts nor forms nor loads anything.
const (
	pagePolicy = "default-src 'none'; style-src 'self'; img-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	mailPolicy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
	rawPolicy  = "sandbox; default-src 'none'; frame-ancestors 'none'"
)

// Inbox is the pages.
type Inbox struct {
	config    Config
	templates map[string]*template.Template
	handler   http.Handler
}

// New makes an inbox. It serves under the root of its host.
func New(c Config) (*Inbox, error) {
	if c.Mails == nil {
		return nil, errors.New("inbox: Config.Mails is required")
	}
	if c.Location == nil {
		c.Location = time.UTC
	}
	in := &Inbox{config: c, templates: map[string]*template.Template{}}
	for _, name := range []string{"list", "mail", "message"} {
		parsed, err := template.ParseFS(pages, "pages/layout.html", "pages/"+name+".html")
		if err != nil {
			return nil, fmt.Errorf("inbox: read the pages: %w", err)
		}
		in.templates[name] = parsed
	}
	foreign := http.NewCrossOriginProtection()
	foreign.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		in.say(w, http.StatusForbidden, "Not from here", "This was sent by another site. Nothing was forgotten.")
	}))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", in.list)
	mux.HandleFunc("GET /mails/{id}", in.mail)
	mux.HandleFunc("GET /mails/{id}/html", in.html)
	mux.HandleFunc("GET /mails/{id}/raw", in.raw)
	mux.HandleFunc("POST /forget", in.forget)
	mux.Handle("GET /assets/{file}", http.FileServerFS(assets))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		in.say(w, http.StatusNotFound, "Not found", "There is no such page.")
	})
	in.handler = foreign.Handler(mux)
	return in, nil
}

// ServeHTTP answers.
func (in *Inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-DNS-Prefetch-Control", "off")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if !in.config.AnyHost && !loopback(r.Host) {
		in.say(w, http.StatusMisdirectedRequest, "Not by this name", "The inbox answers to localhost and 127.0.0.1 only.")
		return
	}
	in.handler.ServeHTTP(w, r)
}

// loopback says whether host, with or without a port, names this machine and cannot name another.
func loopback(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
	}
	ip := net.ParseIP(name)
	return strings.EqualFold(name, "localhost") || (ip != nil && ip.IsLoopback())
}

func (in *Inbox) list(w http.ResponseWriter, r *http.Request) {
	before, err := strconv.ParseUint(r.URL.Query().Get("before"), 10, 64)
	if err != nil {
		before = 0 // from the newest on
	}
	v := listed(in.config.Mails.Messages(), before, in.config.Location)
	v.Live = before == 0 && r.URL.Query().Get("live") != "off"
	in.write(w, http.StatusOK, "list", v)
}

func (in *Inbox) mail(w http.ResponseWriter, r *http.Request) {
	if m, ok := in.find(w, r); ok {
		in.write(w, http.StatusOK, "mail", opened(m, in.config.Location))
	}
}

// html is the HTML part as a document of its own, for the frame and for nothing else.
func (in *Inbox) html(w http.ResponseWriter, r *http.Request) {
	if m, ok := in.find(w, r); ok {
		in.send(w, "text/html; charset=utf-8", mailPolicy, []byte(quiet(cut(strings.ToValidUTF8(m.HTML, "\ufffd"), maxHTML).Text)))
	}
}

// raw is the source, as plain text whatever it holds.
func (in *Inbox) raw(w http.ResponseWriter, r *http.Request) {
	if m, ok := in.find(w, r); ok {
		w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="mail-%d.eml"`, m.ID))
		in.send(w, "text/plain; charset=utf-8", rawPolicy, m.Data)
	}
}

func (in *Inbox) forget(w http.ResponseWriter, r *http.Request) {
	in.config.Mails.Forget()
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// find returns the mail that the path names, or answers that there is none.
func (in *Inbox) find(w http.ResponseWriter, r *http.Request) (catcher.Caught, bool) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err == nil {
		for _, m := range in.config.Mails.Messages() {
			if m.ID == id {
				return m, true
			}
		}
	}
	in.say(w, http.StatusNotFound, "No such mail", "It was forgotten, or never came: the newest alone are kept.")
	return catcher.Caught{}, false
}

func (in *Inbox) say(w http.ResponseWriter, status int, title, text string) {
	in.write(w, status, "message", message{Title: title, Text: text})
}

// message is a sentence or two.
type message struct{ Title, Text string }

// write writes a page, by way of memory, so that it comes whole or not at all.
func (in *Inbox) write(w http.ResponseWriter, status int, name string, v any) {
	var text bytes.Buffer
	if err := in.templates[name].ExecuteTemplate(&text, "layout", v); err != nil {
		http.Error(w, "the page could not be made: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = text.WriteTo(w) // the reader is gone if it fails
}

func (in *Inbox) send(w http.ResponseWriter, kind, policy string, content []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Security-Policy", policy)
	w.Header().Del("Cross-Origin-Opener-Policy") // browsers do not open a sandboxed document with one
	_, _ = w.Write(content)                      // likewise
}
