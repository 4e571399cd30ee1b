package browser_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/sealq/sealq/internal/testservers"
)

// stepTime is how long one step in the browser may take: an idle machine needs some milliseconds, a busy one of two cores seconds.
const stepTime = 90 * time.Second

// One browser and one app serve all, one test after the other: each has a window with cookies of its own, and an address.
func TestInChromium(t *testing.T) { //nolint:tparallel // the windows of one browser fight for the focus
	t.Parallel()
	c, s := startChromium(t), start(t)
	for name, width := range map[string]int64{"desk": 1280, "telephone": 390} { //nolint:paralleltest // one after the other
		t.Run("the life of a login, on a "+name, func(t *testing.T) {
			c.tab(t, width).life(t, s, name+"@app.example")
		})
	}
	t.Run("log in by keyboard alone", func(t *testing.T) { //nolint:paralleltest // one after the other
		s.activate(t, "keys@app.example")
		tab := c.tab(t, 1280)
		tab.visit(t, s.url+"/login")
		for _, field := range []struct{ id, text string }{{"login-email", "keys@app.example"}, {"login-password", password}} {
			tab.step(t, "tab to "+field.id, func(ctx context.Context) error { return tab.tabTo(ctx, field.id) })
			tab.step(t, "type into "+field.id, func(ctx context.Context) error { return chromedp.Do(ctx, chromedp.KeyEvent(field.text)) })
		}
		tab.leaves(t, "the Enter key", chromedp.KeyEvent(kb.Enter))
		tab.reads(t, "You are logged in as keys@app.example")
	})
	// A link that leads on from a page with a key does not tell where it came from.
	t.Run("nobody is told the key", func(t *testing.T) { //nolint:paralleltest // one after the other
		tab := c.tab(t, 1280)
		for _, path := range []string{"/confirm", "/reset", "/email"} {
			tab.visit(t, s.url+path+"?"+url.Values{"key": {"abc"}}.Encode())
			tab.press(t, `nav a[href="/login"]`)
			if got := eval[string](t, tab, "document.referrer"); got != "" {
				t.Errorf("%s: the next page knows %q", path, got)
			}
		}
	})
}

// life is what a person does who fills in what the labels ask for.
func (b *tab) life(t *testing.T, s *system, email string) {
	t.Helper()
	b.visit(t, s.url)
	b.press(t, `main a[href="/signup"]`)
	b.fill(t, "E-mail address", "not an address")
	b.press(t, "#signup button")
	b.blames(t, "E-mail address", "not an e-mail address")
	b.fill(t, "E-mail address", email)
	b.press(t, "#signup button")
	b.reads(t, "a mail is on its way")

	b.visit(t, s.link(t, email, mailConfirm).String())
	b.fill(t, "Password", "short")
	b.press(t, "#confirm button")
	b.blames(t, "Password", "at least 8 characters")
	b.fill(t, "Password", password)
	b.press(t, "#confirm button")
	b.reads(t, "Your address is confirmed")
	b.press(t, `nav a[href="/login"]`)
	b.logsIn(t, email, password)
	b.reads(t, "You are logged in as "+email)

	b.visit(t, s.url+"/staff")
	b.reads(t, "a role that you do not have")
	s.grant(t, email, "staff")
	b.visit(t, s.url+"/staff")
	b.reads(t, "You have the role staff")

	elsewhere := s.elsewhere(t)
	if elsewhere.post(t, "/login", "email", email, "password", password); !elsewhere.loggedIn(t) {
		t.Fatal("not logged in elsewhere")
	}
	b.press(t, `nav a[href="/account"]`)
	b.press(t, "#end-others button")
	b.reads(t, "All other sessions have ended")
	if elsewhere.loggedIn(t) {
		t.Error("another session goes on")
	}
	b.fill(t, "Present password", "wrong")
	b.fill(t, "New password", password2)
	b.press(t, "#change-password button")
	b.blames(t, "Present password", "not your password")
	b.fill(t, "Present password", password)
	b.fill(t, "New password", password2)
	b.press(t, "#change-password button")
	b.reads(t, "Your password is changed")
	b.fill(t, "New e-mail address", "new-"+email)
	b.fill(t, "Password", password2)
	b.press(t, "#change-email button")
	b.reads(t, "mailed a link to the new address")
	b.visit(t, s.link(t, "new-"+email, mailNewEmail).String())
	b.press(t, "#email button")
	b.reads(t, "Your address is changed")
	b.press(t, "header form button")
	b.reads(t, "You are logged out")

	b.press(t, `main a[href="/forgot"]`)
	b.fill(t, "E-mail address", "new-"+email)
	b.press(t, "#forgot button")
	b.visit(t, s.link(t, "new-"+email, mailReset).String())
	b.fill(t, "New password", password)
	b.press(t, "#reset button")
	b.reads(t, "Log in with the new one")
	b.press(t, `nav a[href="/login"]`)
	b.logsIn(t, "new-"+email, password)
	b.reads(t, "You are logged in as new-"+email)
	b.press(t, ".sessions button")
	b.reads(t, "You are logged out")
	if complaints := b.complaints(); len(complaints) > 0 {
		t.Errorf("the browser complains: %s", strings.Join(complaints, "\n"))
	}
}

func (b *tab) logsIn(t *testing.T, email, password string) {
	t.Helper()
	b.fill(t, "E-mail address", email)
	b.fill(t, "Password", password)
	b.press(t, "#login button")
}

// chromium is a browser that is running.
type chromium struct{ ctx context.Context } //nolint:containedctx // chromedp's handle of the browser

// startChromium starts one that runs as root, in a container with a small /dev/shm (chromedp's default) and without a graphics card. Its profile goes with it.
func startChromium(t *testing.T) *chromium {
	t.Helper()
	var said sink
	ctx, stop := chromedp.NewContext(context.WithoutCancel(t.Context()), chromedp.WithAllocatorOptions(
		chromedp.ExecPath(testservers.Chromium(t)), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.CombinedOutput(&said),
	))
	t.Cleanup(stop)
	open(ctx, t, stop)
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

// open makes the browser or tab of ctx, which lives as long as ctx, so that ctx itself can have no deadline.
func open(ctx context.Context, t *testing.T, stop context.CancelFunc) {
	t.Helper()
	late := time.AfterFunc(stepTime, stop)
	defer late.Stop()
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start the browser or a tab, within %v: %v", stepTime, err)
	}
}

// tab is one tab of a browser.
type tab struct {
	ctx context.Context //nolint:containedctx // chromedp's handle of the tab

	mu    sync.Mutex
	wrong []string
}

func (c *chromium) tab(t *testing.T, width int64) *tab {
	t.Helper()
	ctx, stop := chromedp.NewContext(c.ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(stop)
	open(ctx, t, stop)
	b := &tab{ctx: ctx}
	check(t, chromedp.Listen(ctx, func(event any) {
		e, ok := event.(*cdplog.EventEntryAdded)
		if !ok || e.Entry.Level != cdplog.EntryLevelError {
			return
		}
		for _, status := range []string{"422", "403"} { // forms that come back with an error, and the page for staff
			if strings.Contains(e.Entry.Text, "responded with a status of "+status) {
				return
			}
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

// step bounds what it does.
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

// leaves does what leads to another page, and waits for it.
func (b *tab) leaves(t *testing.T, what string, action chromedp.Action[chromedp.Void]) {
	t.Helper()
	b.step(t, what, func(ctx context.Context) error {
		_, err := chromedp.RunResponse(ctx, action)
		return err
	})
	b.fits(t)
}

// press clicks a button or link.
func (b *tab) press(t *testing.T, selector string) {
	t.Helper()
	b.leaves(t, "press "+selector, chromedp.Click(chromedp.CSS(selector)))
}

// fill clears the field that a label is bound to, and types into it.
func (b *tab) fill(t *testing.T, label, text string) {
	t.Helper()
	id := eval[string](t, b, fmt.Sprintf(`[...document.querySelectorAll("label")].find(l => l.textContent == %q)?.control?.id ?? ""`, label))
	if id == "" {
		t.Fatalf("no field has the label %q", label)
	}
	b.step(t, "fill in "+label, func(ctx context.Context) error {
		return chromedp.Do(ctx, chromedp.Clear(chromedp.ID(id)), chromedp.SendKeys(chromedp.ID(id), text))
	})
}

// blames looks whether a field, and that field alone, is marked as wrong, and what is read out with it.
func (b *tab) blames(t *testing.T, label, text string) {
	t.Helper()
	got := eval[[]string](t, b, `[...document.querySelectorAll("[aria-invalid=true]")].map(e =>
		e.labels[0].textContent + ": " + document.getElementById(e.getAttribute("aria-describedby")).textContent)`)
	if len(got) != 1 || !strings.HasPrefix(got[0], label+": ") || !strings.Contains(got[0], text) {
		t.Errorf("want the field %q marked, and %q read out with it; got %q", label, text, got)
	}
}

// tabTo presses the Tab key until a field has the focus. Whatever has it on the way must be seen to have it.
func (b *tab) tabTo(ctx context.Context, id string) error {
	for range 20 {
		if err := chromedp.Do(ctx, chromedp.KeyEvent(kb.Tab)); err != nil {
			return err
		}
		at, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](`[document.activeElement.id, getComputedStyle(document.activeElement).outlineStyle]`))
		if err != nil {
			return err
		}
		if at[1] == "none" {
			return fmt.Errorf("nobody sees where the focus is: %q", at[0])
		}
		if at[0] == id {
			return nil
		}
	}
	return fmt.Errorf("20 times Tab do not reach it")
}

func (b *tab) reads(t *testing.T, text string) {
	t.Helper()
	if got := eval[string](t, b, "document.body.innerText"); !strings.Contains(got, text) {
		t.Fatalf("the page does not say %q:\n%s", text, got)
	}
}

// fits looks whether the page is as wide as the window, and every field has a name and room for a finger.
func (b *tab) fits(t *testing.T) {
	t.Helper()
	faults := eval[[]string](t, b, `[
		...(document.documentElement.scrollWidth > innerWidth ? ["the page is wider than the window"] : []),
		...[...document.querySelectorAll("input:not([type=hidden])")].filter(e => !e.labels.length).map(e => "no label: " + e.id),
		...[...document.querySelectorAll("button")].filter(e => e.offsetHeight < 44).map(e => "too low: " + e.textContent),
		...(document.querySelectorAll("h1").length == 1 ? [] : ["not one heading"]),
		...(getComputedStyle(document.body).maxWidth == "none" ? ["no style"] : []),
	]`)
	if len(faults) > 0 {
		t.Errorf("%s: %s", eval[string](t, b, "location.pathname"), strings.Join(faults, "; "))
	}
}

func eval[T any](t *testing.T, b *tab, expression string) (value T) {
	t.Helper()
	b.step(t, expression, func(ctx context.Context) (err error) {
		value, err = chromedp.Run(ctx, chromedp.Evaluate[T](expression))
		return err
	})
	return value
}
