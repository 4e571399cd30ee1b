package dashboard_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"database/sql"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/net/html"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/dashboard"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/judge"
	"github.com/sealq/sealq/operators"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/store/sqlite"
)

const password = "a long enough passphrase"

// world is a dashboard before a real Redis, over a database of its own, with one operator of each role: viewer, operator and admin.
type world struct {
	*httptest.Server

	t     *testing.T
	db    *sqlite.DB
	redis *redis.Client
	ops   *operators.Operators
	keys  *jobs.Enqueuer
}

// source is a key ring in memory.
type source struct{ *signing.Ring }

func (s source) Load(context.Context) (*signing.Ring, error) { return s.Ring, nil }
func (source) String() string                                { return "memory" }

// records gives the dashboard its transactions.
type records struct{ *sqlite.DB }

func (r records) Record(ctx context.Context, e audit.Entry) error {
	return r.InTx(ctx, func(tx *sql.Tx) error { return r.AppendAudit(ctx, tx, e) })
}

// noteArgs are the arguments of the test's own kinds.
type noteArgs struct {
	Note string `json:"note"`
}

func note(kind jobs.Kind) jobs.Def[noteArgs] {
	return jobs.Define[noteArgs](kind, jobs.Policy{Queue: "mail", MaxAge: time.Hour})
}

// open brings it up. change may change how it is configured.
func open(t *testing.T, change ...func(*dashboard.Config)) *world {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "sealq.db"))
	check(t, err)
	t.Cleanup(func() { _ = db.Close() })
	_, err = db.Migrate(t.Context())
	check(t, err)
	ops, err := operators.New(db, operators.Config{
		Hash: accounts.HashCost{MemoryKiB: 8, Passes: 1, Lanes: 1}, Lockout: accounts.Lockout{Limit: 1000}, Issuer: "sealq test",
	})
	check(t, err)
	for _, role := range operators.Roles() {
		check(t, ops.Add(t.Context(), "cli:test", string(role), password, role))
	}
	client := testservers.Redis(t).Client(t)
	ring, err := signing.NewRing(time.Now(), 720*time.Hour)
	check(t, err)
	keys, err := signing.OpenWith(t.Context(), source{ring}, "test", signing.Options{})
	check(t, err)
	t.Cleanup(keys.Close)
	catalog, err := jobs.NewCatalog(append(authjobs.Definitions(), note("test:note"), note("test:secret"))...)
	check(t, err)
	verdicts, err := judge.New(judge.Config{Keys: keys, Catalog: catalog, Effects: db})
	check(t, err)
	enqueuer, err := jobs.NewEnqueuer(asynq.NewClientFromRedisClient(client), keys, jobs.Config{})
	check(t, err)
	c := dashboard.Config{
		Operators: ops, Redis: client, Inspector: asynq.NewInspectorFromRedisClient(client), Records: records{db}, Queues: []string{"mail"},
		Judge: verdicts, PlainKind: func(kind string) bool { return kind == "test:note" }, Deployment: "test", LoginsPerMinute: 1000,
		Runbooks: fstest.MapFS{"rotation.md": {Data: []byte("# Rotating <keys>\n")}},
	}
	for _, f := range change {
		f(&c)
	}
	d, err := dashboard.New(c)
	check(t, err)
	w := &world{Server: httptest.NewTLSServer(d), t: t, db: db, redis: client, ops: ops, keys: enqueuer}
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

func (w *world) browser() *browser {
	w.t.Helper()
	jar, err := cookiejar.New(nil)
	check(w.t, err)
	client := &http.Client{Jar: jar, Transport: w.Client().Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &browser{w, client}
}

// answer is one that was read.
type answer struct {
	*http.Response

	text string
	doc  *html.Node
}

func (b *browser) do(method, target string, form url.Values, headers ...string) answer {
	b.t.Helper()
	var r *http.Request
	var err error
	if form == nil {
		r, err = http.NewRequestWithContext(b.t.Context(), method, b.URL+target, nil)
	} else {
		r, err = http.NewRequestWithContext(b.t.Context(), method, b.URL+target, strings.NewReader(form.Encode()))
		if err == nil {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
	}
	check(b.t, err)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := b.client.Do(r)
	check(b.t, err)
	defer func() { _ = response.Body.Close() }()
	var text strings.Builder
	_, err = fmt.Fprint(&text, read(b.t, response))
	check(b.t, err)
	doc, err := html.Parse(strings.NewReader(text.String()))
	check(b.t, err)
	return answer{response, text.String(), doc}
}

func read(t *testing.T, r *http.Response) string {
	t.Helper()
	var b strings.Builder
	buffer := make([]byte, 64<<10)
	for {
		n, err := r.Body.Read(buffer)
		b.Write(buffer[:n])
		if err != nil {
			return b.String()
		}
	}
}

func (b *browser) get(target string, headers ...string) answer {
	b.t.Helper()
	return b.do(http.MethodGet, target, nil, headers...)
}

func (b *browser) post(target string, pairs ...string) answer {
	b.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return b.do(http.MethodPost, target, form)
}

// follow goes where an answer leads, until it leads nowhere.
func (b *browser) follow(a answer) answer {
	b.t.Helper()
	for range 5 {
		if a.StatusCode != http.StatusSeeOther {
			return a
		}
		a = b.get(a.Header.Get("Location"))
	}
	b.t.Fatalf("it leads on and on, to %s", a.Header.Get("Location"))
	return a
}

// page asks for a page, which must come.
func (b *browser) page(target string) answer {
	b.t.Helper()
	a := b.get(target)
	if a.StatusCode != http.StatusOK {
		b.t.Fatalf("%s answered %d: %.300s", target, a.StatusCode, a.text)
	}
	return a
}

var secretText = regexp.MustCompile(`<code id="secret">([A-Z2-7]+)</code>`)

// totp is what an authenticator app shows, by an implementation that is not the dashboard's.
func totp(t *testing.T, secret string, at time.Time) string {
	t.Helper()
	raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
	check(t, err)
	mac := hmac.New(sha1.New, raw)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(at.Unix()/30)))
	digest := mac.Sum(nil)
	start := digest[19] & 0xf
	return fmt.Sprintf("%06d", (binary.BigEndian.Uint32(digest[start:start+4])&0x7fffffff)%1e6)
}

// as logs in as the operator of that role. An admin enrols on the way.
func (w *world) as(role operators.Role) *browser {
	w.t.Helper()
	b := w.browser()
	a := b.follow(b.post("/login", "name", string(role), "password", password))
	if found := secretText.FindStringSubmatch(a.text); found != nil {
		a = b.post("/login/enrol", "code", totp(w.t, found[1], time.Now()), "to", "/")
		if len(texts(a.doc, "li")) != 10 {
			w.t.Fatalf("no ten recovery codes: %d, %.500s", a.StatusCode, a.text)
		}
		a = b.get("/")
	}
	if a.StatusCode != http.StatusOK || !slices.Contains(texts(a.doc, "h1"), "Now") {
		w.t.Fatalf("%s is not in: %d, %.500s", role, a.StatusCode, a.text)
	}
	return b
}

// texts are those of all elements of the name, their space made one.
func texts(doc *html.Node, element string) []string {
	var all []string
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && n.Data == element {
			all = append(all, textOf(n))
		}
	}
	return all
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

// entries are the actions in the audit log, the oldest first.
func (w *world) entries(like string) []string {
	w.t.Helper()
	check(w.t, func() error {
		_, err := w.db.ChainAudit(w.t.Context(), 1000)
		return err
	}())
	links, err := w.db.AuditLinks(w.t.Context(), 0, 1000)
	check(w.t, err)
	var all []string
	for _, l := range links {
		if strings.HasPrefix(l.Entry.Action, like) {
			all = append(all, l.Entry.Actor+" "+l.Entry.Action+" "+l.Entry.Subject)
		}
	}
	return all
}

// refused puts a task into quarantine.
func (w *world) refused(r jobs.Refused) {
	w.t.Helper()
	r.ID = uuid.NewString()
	check(w.t, w.db.Keep(w.t.Context(), r))
}
