package office_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/net/html"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/cmd/sealq/internal/office"
	"github.com/sealq/sealq/dashboard"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/rawtask"
	"github.com/sealq/sealq/operators"
	"github.com/sealq/sealq/store/sqlite"
)

const password = "a long enough passphrase"

// world is a dashboard before a real Redis and an SQLite database, wired as the binary does it, with a viewer and an operator.
type world struct {
	*httptest.Server

	t      testing.TB
	db     app.Database
	raw    *sqlite.DB // the same file, for what workers do; nil where it is PostgreSQL
	people app.Accounts
	redis  *redis.Client
}

func open(t testing.TB, options ...func(*dashboard.Config)) *world {
	t.Helper()
	return openOn(t, "sqlite:"+filepath.Join(t.TempDir(), "sealq.db"), options...)
}

// openOn is open on a database of the test's choice.
func openOn(t testing.TB, database string, options ...func(*dashboard.Config)) *world {
	t.Helper()
	db, err := app.Open(t.Context(), database)
	check(t, err)
	t.Cleanup(func() { _ = db.Close() })
	_, err = db.Migrate(t.Context())
	check(t, err)
	var raw *sqlite.DB
	if file, ok := strings.CutPrefix(database, "sqlite:"); ok {
		raw, err = sqlite.Open(t.Context(), file)
		check(t, err)
		t.Cleanup(func() { _ = raw.Close() })
	}
	cheap := accounts.HashCost{MemoryKiB: 8, Passes: 1, Lanes: 1}
	ops, err := operators.New(db, operators.Config{Hash: cheap})
	check(t, err)
	for _, role := range []operators.Role{operators.RoleViewer, operators.RoleOperator} {
		check(t, ops.Add(t.Context(), "cli:test", string(role), password, role))
	}
	people, err := db.Accounts(accounts.Config{Hash: cheap})
	check(t, err)
	kinds, err := app.Kinds()
	check(t, err)
	client := testservers.Redis(t).Client(t)
	c := dashboard.Config{
		Operators: ops, Redis: client, Inspector: asynq.NewInspectorFromRedisClient(client), Records: db, LoginsPerMinute: 1000,
		Schedules: office.Schedules{Database: db, Kinds: kinds}, Accounts: office.Accounts{Database: db, Queue: rawtask.NewLister(client), Accounts: people},
		Mails: office.Mails{Database: db}, MailLimits: authjobs.MailLimits{Hourly: 2},
	}
	for _, option := range options {
		option(&c)
	}
	d, err := dashboard.New(c)
	check(t, err)
	w := &world{Server: httptest.NewTLSServer(d), t: t, db: db, raw: raw, people: people, redis: client}
	t.Cleanup(w.Close)
	return w
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// browser keeps cookies and follows no redirect unasked.
type browser struct {
	*world

	client *http.Client
}

// as logs in as the operator of that role.
func (w *world) as(role operators.Role) *browser {
	w.t.Helper()
	jar, err := cookiejar.New(nil)
	check(w.t, err)
	b := &browser{w, &http.Client{Jar: jar, Transport: w.Client().Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	if a := b.post("/login", "name", string(role), "password", password); a.code != http.StatusSeeOther {
		w.t.Fatalf("%s is not in: %d", role, a.code)
	}
	return b
}

// answer is one that was read.
type answer struct {
	code     int
	text     string // of the page, its space made one
	raw      string
	doc      *html.Node
	location string
}

func (b *browser) do(r *http.Request) answer {
	b.t.Helper()
	response, err := b.client.Do(r)
	check(b.t, err)
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	check(b.t, err)
	doc, err := html.Parse(strings.NewReader(string(raw)))
	check(b.t, err)
	return answer{response.StatusCode, textOf(doc), string(raw), doc, response.Header.Get("Location")}
}

func textOf(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func (b *browser) get(target string) answer {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.URL+target, nil)
	check(b.t, err)
	return b.do(r)
}

func (b *browser) post(target string, pairs ...string) answer {
	b.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.URL+target, strings.NewReader(form.Encode()))
	check(b.t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.do(r)
}

// page asks for a page, which must come.
func (b *browser) page(target string) answer {
	b.t.Helper()
	a := b.get(target)
	if a.code != http.StatusOK {
		b.t.Fatalf("%s answered %d: %s", target, a.code, a.text)
	}
	return a
}

// confirmed sends a form, and the form of the page that asks whether it is meant, as that page has it; and follows it.
func (b *browser) confirmed(target string, pairs ...string) answer {
	b.t.Helper()
	before := len(b.entries())
	asked := b.post(target, pairs...)
	if asked.code != http.StatusOK || !strings.Contains(asked.text, "Are you sure?") {
		b.t.Fatalf("%s does not ask: %d, %s", target, asked.code, asked.text)
	}
	if n := len(b.entries()); n != before {
		b.t.Fatalf("%s did something unasked", target)
	}
	action, fields := form(asked.doc, "sure")
	a := b.post(action, fields...)
	if a.code == http.StatusSeeOther {
		return b.page(a.location)
	}
	return a
}

// form is the action of the form that has a button of that name, and what is sent when it is pressed.
func form(doc *html.Node, button string) (action string, fields []string) {
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode || n.Data != "form" {
			continue
		}
		var pairs []string
		found := false
		for in := range n.Descendants() {
			switch {
			case in.Data == "input" && attr(in, "type") == "hidden":
				pairs = append(pairs, attr(in, "name"), attr(in, "value"))
			case in.Data == "button" && attr(in, "name") == button:
				pairs, found = append(pairs, button, attr(in, "value")), true
			}
		}
		if found {
			return attr(n, "action"), pairs
		}
	}
	return "", nil
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// buttons are what the page's own forms offer, without those of the frame.
func (a answer) buttons() []string {
	var all []string
	for n := range a.doc.Descendants() {
		if n.Data != "main" {
			continue
		}
		for d := range n.Descendants() {
			if d.Data == "button" {
				all = append(all, textOf(d))
			}
		}
	}
	return all
}

// entries are what the audit log has of operators' deeds, the oldest first.
func (w *world) entries() []string {
	w.t.Helper()
	_, err := w.raw.ChainAudit(w.t.Context(), 1000)
	check(w.t, err)
	links, err := w.raw.AuditLinks(w.t.Context(), 0, 1000)
	check(w.t, err)
	var all []string
	for _, l := range links {
		if strings.HasPrefix(l.Entry.Actor, "operator:") && !strings.HasPrefix(l.Entry.Action, "operator.") {
			all = append(all, fmt.Sprintf("%s %s %s", l.Entry.Actor, l.Entry.Action, l.Entry.Subject))
		}
	}
	return all
}

// register registers an address, and records its mail.
func (w *world) register(email string) (id, row string) {
	w.t.Helper()
	pending, err := w.people.Register(w.t.Context(), accounts.Registration{Email: email, Password: password})
	check(w.t, err)
	mails, err := w.db.MailsOf(w.t.Context(), pending.ID, 1)
	check(w.t, err)
	return pending.ID, mails[0].Row.ID
}

// tried is a try of a registration's mail that ended so.
func (w *world) tried(id, row string, a authjobs.MailAnswer, cause string) {
	w.t.Helper()
	d, err := w.raw.ClaimConfirmation(w.t.Context(), authjobs.MailClaim{
		MailID: row, PendingID: id, Generation: 1, MessageID: row + "@example.com", Lease: time.Minute, Limits: authjobs.MailLimits{Hourly: 2},
	})
	check(w.t, err)
	check(w.t, w.raw.MailFailed(context.WithoutCancel(w.t.Context()), d, a, cause))
}
