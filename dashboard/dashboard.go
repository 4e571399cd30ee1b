package dashboard

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/sealq/sealq/jobs/rawtask"
)

//go:embed pages/*.html
var pages embed.FS

//go:embed assets
var assets embed.FS

// policy of every answer. Styles and the one script are files of ours; nothing is loaded from elsewhere, and nobody may frame a page.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// What a request may bring, in bytes.
const (
	maxTarget = 8 << 10
	maxForm   = 64 << 10
)

// Dashboard is the pages. Run watches for them.
type Dashboard struct {
	cfg       Config
	tasks     *rawtask.Lister
	templates map[string]*template.Template
	handler   http.Handler
	limit     *limiter
	redact    *redactor
	watch     *watch
	known     *known
	chain     *chainCheck
	groups    *refusedGroups
}

// New makes a Dashboard. It serves under the root of its host.
func New(c Config) (*Dashboard, error) {
	c, err := c.complete()
	if err != nil {
		return nil, err
	}
	d := &Dashboard{
		cfg: c, tasks: rawtask.NewLister(c.Redis), limit: newLimiter(c.LoginsPerMinute, c.Now), redact: newRedactor(), known: newKnown(),
		chain: newChainCheck(), groups: &refusedGroups{records: c.Records, clock: c.Now},
	}
	d.watch = newWatch(d)
	if d.templates, err = readPages(); err != nil {
		return nil, fmt.Errorf("new dashboard: read the pages: %w", err)
	}
	mux := http.NewServeMux()
	for _, rt := range d.routes() {
		mux.Handle(rt.pattern, d.admit(rt))
	}
	foreign := http.NewCrossOriginProtection()
	foreign.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.answer(&visit{ResponseWriter: w, r: r, d: d}, &refusal{http.StatusForbidden, "Not from here", "This was sent by another site. Nothing was changed."}) //nolint:contextcheck // the visit holds the request, which has it
	}))
	d.handler = foreign.Handler(mux)
	return d, nil
}

// Run watches the deployment for the pages until ctx ends, and returns nil.
func (d *Dashboard) Run(ctx context.Context) error { return d.watch.run(ctx) }

// ServeHTTP answers.
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-DNS-Prefetch-Control", "off")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set("Cache-Control", "no-store")
	if len(r.RequestURI) > maxTarget {
		d.answer(&visit{ResponseWriter: w, r: r, d: d}, &refusal{http.StatusRequestURITooLong, "Too long", "That address is longer than any of ours."}) //nolint:contextcheck // likewise
		return
	}
	if r.Body != nil {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	}
	d.handler.ServeHTTP(w, r)
}

// refusal is an answer that is no page of its own.
type refusal struct {
	status      int
	title, text string
}

func (e *refusal) Error() string { return e.title + ": " + e.text }

func refuse(status int, title, format string, args ...any) error {
	return &refusal{status, title, fmt.Sprintf(format, args...)}
}

// admit is the one place that says who may what, and answers what goes wrong.
func (d *Dashboard) admit(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !rt.lasts {
			ctx, cancel := context.WithTimeout(r.Context(), longest)
			defer cancel()
			r = r.WithContext(ctx)
		}
		v := &visit{ResponseWriter: w, r: r, d: d}
		defer d.caught(v)   //nolint:contextcheck // likewise
		err := d.let(v, rt) //nolint:contextcheck // likewise
		if err == nil {
			err = rt.serve(v)
		}
		if err != nil {
			d.answer(v, err) //nolint:contextcheck // likewise
		}
	})
}

// caught tells the log and the asker of a mistake of ours: the server would tell neither.
func (d *Dashboard) caught(v *visit) {
	switch why := recover(); why {
	case nil:
	case http.ErrAbortHandler:
		panic(why)
	default:
		d.answer(v, fmt.Errorf("panic: %v at %s", why, debug.Stack()))
	}
}

// let says why the visitor may not do what the route does.
func (d *Dashboard) let(v *visit, rt route) error {
	if rt.needs == nothing {
		return nil
	}
	err := d.identify(v, rt.steady)
	if err != nil && !errors.Is(err, errNobody) {
		return err
	}
	switch {
	case rt.needs == anyone:
		return nil
	case err != nil:
		return errNobody
	case v.who.key && rt.personal:
		return refuse(http.StatusForbidden, "Not with a key", "This is for people who are logged in.")
	case rt.needs == halfway:
		return nil
	case !v.who.complete:
		return errHalfway
	case rt.least != "" && !v.who.role.May(rt.least):
		return refuse(http.StatusForbidden, "Not for your role", "This needs the role %s, and yours is %s. An admin can change that: sealq operators role.", rt.least, v.who.role)
	case rt.changes && d.cfg.ReadOnly:
		return errReadOnly()
	}
	return nil
}

func errReadOnly() error {
	return refuse(http.StatusForbidden, "Read-only", "This dashboard was started with --read-only, and changes nothing.")
}

var (
	errNobody  = errors.New("nobody is logged in")
	errHalfway = errors.New("the code is still wanted")
)

// answer makes an error an answer.
func (d *Dashboard) answer(v *visit, err error) {
	refused, ok := errors.AsType[*refusal](err)
	switch {
	case errors.Is(err, errNobody):
		d.askWho(v)
		return
	case errors.Is(err, errHalfway):
		http.Redirect(v, v.r, "/login/code", http.StatusSeeOther)
		return
	case errors.Is(err, context.Canceled) && v.r.Context().Err() != nil:
		return // the asker is gone
	case !ok:
		d.cfg.Logger.ErrorContext(v.r.Context(), "a page could not be made", attrs(v.r, err)...)
		if d.tellAway(v) {
			return
		}
		refused = &refusal{http.StatusInternalServerError, "This did not work", "The log of this process says why. What was asked may have been done or not: look before you repeat it."}
	}
	if err := v.page(refused.status, "message", refused.title, refused.text); err != nil {
		http.Error(v, "the page could not be made", http.StatusInternalServerError)
	}
}

// patience bounds what one page asks of Redis and the database.
const patience = 8 * time.Second

// longest bounds a request in all: the server gives an answer 10 s, and after that nobody would hear what came of it.
const longest = 9 * time.Second
