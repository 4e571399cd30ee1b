package browser_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"database/sql"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/chromedp"
	"github.com/google/uuid"
	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/dashboard"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/operators"
	"github.com/sealq/sealq/store/sqlite"
)

// stepTime is how long one step in the browser may take: an idle machine needs some milliseconds, a busy one of two cores seconds.
const stepTime = 90 * time.Second

const (
	password = "a long enough passphrase"
	evil     = "</title><script>document.title='evil'</script><img src=x onerror=\"document.title='evil'\">\u202e"
)

// Over plain HTTP by the name localhost, as in `sealq dev`: the browser must take a __Host- cookie from there.
func TestInChromium(t *testing.T) { //nolint:tparallel // the windows of one browser fight for the focus
	t.Parallel()
	w, c := open(t), startChromium(t)
	for name, width := range map[string]int64{"desk": 1280, "telephone": 390} { //nolint:paralleltest // one after the other
		t.Run("an admin comes in and looks around, on a "+name, func(t *testing.T) {
			b := c.tab(t, width)
			b.visit(t, w.url+"/queue?name=mail")
			b.reads(t, "Log in")
			b.fill(t, "name", "admin-"+name)
			b.fill(t, "password", password)
			b.press(t, ".first")
			b.reads(t, "Scan this with an authenticator app")
			secret := eval[string](t, b, `document.getElementById("secret").textContent`)
			b.fill(t, "code", totp(t, secret, time.Now()))
			b.press(t, ".first")
			b.reads(t, "Nobody can show them again")
			b.press(t, "main a.button")
			b.reads(t, "Queue mail") // where he wanted to go
			b.picture(t, "queue-"+name, chromedp.FullScreenshot(100))
			b.press(t, ".brand a")
			b.reads(t, "Needs somebody")
			b.reads(t, "1 task refused: bad_signature")
			for _, theme := range []string{"dark", "light"} {
				b.press(t, `footer button[value="`+theme+`"]`)
				b.picture(t, "now-"+name+"-"+theme, chromedp.FullScreenshot(100))
				b.contrasts(t)
			}
			// What comes is shown without a reload, and none of what Redis holds has run.
			w.put(t, "later-"+name)
			b.until(t, `document.querySelector("table").innerText.includes("`+fmt.Sprint(w.waiting(t))+`")`)
			if got := eval[string](t, b, "document.title"); !strings.HasPrefix(got, "Now") {
				t.Errorf("the title is %q", got)
			}
			b.visit(t, w.url+"/account")
			b.reads(t, "This one.")
			b.press(t, `header form[action="/logout"] button`)
			b.reads(t, "Log in")
			b.visit(t, w.url+"/account")
			b.reads(t, "Log in")
			if complaints := b.complaints(); len(complaints) > 0 {
				t.Errorf("the browser complains: %s", strings.Join(complaints, "\n"))
			}
		})
	}
	t.Run("a viewer sees no button that he may not press", func(t *testing.T) { //nolint:paralleltest // likewise
		b := c.tab(t, 1280)
		b.visit(t, w.url+"/login")
		b.fill(t, "name", "viewer")
		b.fill(t, "password", password)
		b.press(t, ".first")
		b.visit(t, w.url+"/queue?name=mail")
		if n := eval[int](t, b, `document.querySelectorAll("main button").length`); n != 0 {
			t.Errorf("he sees %d", n)
		}
	})
	t.Run("a live page says that it is not up to date, and recovers when the server is back", func(t *testing.T) { //nolint:paralleltest // likewise
		recovers(t, w, c.tab(t, 1280))
	})
	t.Run("a live page leaves open what was opened, and scrolled what was scrolled", func(t *testing.T) { //nolint:paralleltest // likewise
		keeps(t, w, c.tab(t, 390))
	})
}

// world is a dashboard on localhost.
type world struct {
	pages     *dashboard.Dashboard
	url       string
	away      atomic.Bool // it answers nothing but an error
	server    *httptest.Server
	client    *asynq.Client
	inspector *asynq.Inspector
}

type records struct{ *sqlite.DB }

func (r records) Record(ctx context.Context, e audit.Entry) error {
	return r.InTx(ctx, func(tx *sql.Tx) error { return r.AppendAudit(ctx, tx, e) })
}

func open(t *testing.T) *world {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "sealq.db"))
	check(t, err)
	t.Cleanup(func() { _ = db.Close() })
	_, err = db.Migrate(t.Context())
	check(t, err)
	ops, err := operators.New(db, operators.Config{Hash: accounts.HashCost{MemoryKiB: 8, Passes: 1, Lanes: 1}})
	check(t, err)
	for name, role := range map[string]operators.Role{"admin-desk": operators.RoleAdmin, "admin-telephone": operators.RoleAdmin, "viewer": operators.RoleViewer} {
		check(t, ops.Add(t.Context(), "cli:test", name, password, role))
	}
	check(t, db.Keep(t.Context(), jobs.Refused{ID: uuid.NewString(), TaskID: evil, Queue: "mail", Kind: evil, Reason: "bad_signature"}))
	redis := testservers.Redis(t).Client(t)
	w := &world{client: asynq.NewClientFromRedisClient(redis), inspector: asynq.NewInspectorFromRedisClient(redis)}
	d, err := dashboard.New(dashboard.Config{
		Operators: ops, Redis: redis, Inspector: w.inspector, Records: records{db}, Queues: []string{"mail"}, Deployment: "prod-eu",
		Examine: func(context.Context) []dashboard.Finding {
			return []dashboard.Finding{
				{Group: "database", Check: "schedules", Subject: "lockouts:reset", Status: dashboard.Problem, Message: "nothing has come of it since it was due 2h ago", Advice: "start `sealq scheduler`, and look into its log"},
				{Group: "keys", Check: "active key", Status: dashboard.Warning, Message: "the active key is 41 days old"},
				{Group: "redis", Check: "version", Status: dashboard.Fine, Message: "Redis is 7.4"},
			}
		},
	})
	check(t, err)
	w.pages = d
	for _, id := range []string{"a task", evil} {
		_, err := w.client.Enqueue(asynq.NewTask(evil, []byte(evil)), asynq.Queue("mail"), asynq.TaskID(id))
		check(t, err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	w.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.away.Load() {
			http.Error(rw, "away", http.StatusServiceUnavailable)
			return
		}
		d.ServeHTTP(rw, r)
	}))
	t.Cleanup(func() { stop(); check(t, <-ended); w.server.Close() })
	w.url = strings.Replace(w.server.URL, "127.0.0.1", "localhost", 1)
	return w
}

func (w *world) put(t *testing.T, id string) {
	t.Helper()
	_, err := w.client.Enqueue(asynq.NewTask("test:note", nil), asynq.Queue("mail"), asynq.TaskID(id))
	check(t, err)
}

func (w *world) waiting(t *testing.T) int {
	t.Helper()
	info, err := w.inspector.GetQueueInfo("mail")
	check(t, err)
	return info.Pending
}

// totp is what an authenticator app shows.
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

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sink keeps what the browser says, for a test that fails.
type sink struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// chromium is a browser that is running.
type chromium struct{ ctx context.Context } //nolint:containedctx // chromedp's handle of the browser

func startChromium(t *testing.T) *chromium {
	t.Helper()
	var said sink
	ctx, stop := chromedp.NewContext(context.WithoutCancel(t.Context()), chromedp.WithAllocatorOptions(
		chromedp.ExecPath(testservers.Chromium(t)), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.CombinedOutput(&said),
	))
	t.Cleanup(stop)
	start(ctx, t, stop)
	t.Cleanup(func() {
		closing, cancel := context.WithTimeout(ctx, stepTime)
		defer cancel()
		check(t, chromedp.Cancel(closing))
		if t.Failed() {
			t.Logf("the browser said:\n%s", &said)
		}
	})
	return &chromium{ctx}
}

// start makes the browser or tab of ctx, which lives as long as ctx, so that ctx itself can have no deadline.
func start(ctx context.Context, t *testing.T, stop context.CancelFunc) {
	t.Helper()
	late := time.AfterFunc(stepTime, stop)
	defer late.Stop()
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start the browser or a tab, within %v: %v", stepTime, err)
	}
}

// tab is one tab of a browser, with cookies of its own.
type tab struct {
	ctx context.Context //nolint:containedctx // chromedp's handle of the tab

	mu    sync.Mutex
	wrong []string
}

func (c *chromium) tab(t *testing.T, width int64) *tab {
	t.Helper()
	ctx, stop := chromedp.NewContext(c.ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(stop)
	start(ctx, t, stop)
	b := &tab{ctx: ctx}
	check(t, chromedp.Listen(ctx, func(event any) {
		e, ok := event.(*cdplog.EventEntryAdded)
		if !ok || e.Entry.Level != cdplog.EntryLevelError {
			return
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.wrong = append(b.wrong, fmt.Sprintf("%+v", e.Entry))
	}))
	b.step(t, "set the width", func(ctx context.Context) error { return chromedp.Do(ctx, chromedp.EmulateViewport(width, 844)) })
	return b
}

func (b *tab) complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.wrong
}

func (b *tab) step(t *testing.T, what string, do func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTime)
	defer cancel()
	if err := do(ctx); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func (b *tab) visit(t *testing.T, address string) {
	t.Helper()
	b.step(t, "visit "+address, func(ctx context.Context) error { return chromedp.Do(ctx, chromedp.Navigate(address)) })
	b.fits(t)
}

// press clicks what leads to another page, and waits for it.
func (b *tab) press(t *testing.T, selector string) {
	t.Helper()
	b.step(t, "press "+selector, func(ctx context.Context) error {
		_, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(selector)))
		return err
	})
	b.fits(t)
}

func (b *tab) fill(t *testing.T, id, text string) {
	t.Helper()
	b.step(t, "fill in "+id, func(ctx context.Context) error {
		return chromedp.Do(ctx, chromedp.Clear(chromedp.ID(id)), chromedp.SendKeys(chromedp.ID(id), text))
	})
}

func (b *tab) reads(t *testing.T, text string) {
	t.Helper()
	if got := eval[string](t, b, "document.body.innerText"); !strings.Contains(got, text) {
		t.Fatalf("the page does not say %q:\n%s", text, got)
	}
}

// until waits for an expression to be true.
func (b *tab) until(t *testing.T, expression string) {
	t.Helper()
	deadline := time.NewTimer(stepTime)
	defer deadline.Stop()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for !eval[bool](t, b, expression) {
		select {
		case <-deadline.C:
			t.Fatalf("it never was: %s\n%s", expression, eval[string](t, b, "document.body.innerText"))
		case <-again.C:
		}
	}
}

// fits looks whether the page is as wide as the window, and everything that is pressed has a name and room for a finger.
func (b *tab) fits(t *testing.T) {
	t.Helper()
	faults := eval[[]string](t, b, `[
		...(document.documentElement.scrollWidth > innerWidth ? ["the page is wider than the window"] : []),
		...[...document.querySelectorAll("input:not([type=hidden]), select")].filter(e => !e.labels.length && !e.ariaLabel).map(e => "no label: " + e.name),
		...[...document.querySelectorAll("button")].filter(e => e.offsetHeight < 44).map(e => "too low: " + e.textContent),
		...(document.querySelectorAll("h1").length == 1 ? [] : ["not one heading"]),
		...(getComputedStyle(document.body).maxWidth == "none" ? ["no style"] : []),
	]`)
	if len(faults) > 0 {
		t.Errorf("%s: %s", eval[string](t, b, "location.pathname"), strings.Join(faults, "; "))
	}
}

// contrasts measures every text against what is behind it: 4.5 to 1 (WCAG 1.4.3).
func (b *tab) contrasts(t *testing.T) {
	t.Helper()
	faults := eval[[]string](t, b, `(() => {
		const part = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
		const rgb = s => s.match(/[\d.]+/g).map(Number);
		const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
		const behind = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] !== 0) return c; } return [255, 255, 255]; };
		return [...document.querySelectorAll("body *")].filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())).map(e => {
			const a = light(rgb(getComputedStyle(e).color)), b = light(behind(e));
			return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.tagName + "." + e.className + " " + e.textContent.trim().slice(0, 30)];
		}).filter(([ratio]) => ratio < 4.5).map(([ratio, what]) => ratio.toFixed(2) + " " + what);
	})()`)
	if len(faults) > 0 {
		t.Errorf("too little contrast: %s", strings.Join(faults, "; "))
	}
}

// picture writes the page as it looks to a folder, where one is named.
func (b *tab) picture(t *testing.T, name string, picture chromedp.Action[[]byte]) {
	t.Helper()
	folder := os.Getenv("SEALQ_TEST_PICTURES")
	if folder == "" {
		return
	}
	b.step(t, "take a picture", func(ctx context.Context) error {
		data, err := chromedp.Run(ctx, picture)
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, name+".png"), data, 0o600)
		}
		return err
	})
}

func eval[T any](t *testing.T, b *tab, expression string, opts ...chromedp.EvaluateOption) (value T) {
	t.Helper()
	b.step(t, expression[:min(len(expression), 200)], func(ctx context.Context) (err error) {
		value, err = chromedp.Run(ctx, chromedp.Evaluate[T](expression, opts...))
		return err
	})
	return value
}
