package browser_test

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/sealq/sealq/dashboard"
)

// axe is axe-core 4.14.1 (MPL-2.0), as its authors minified it.
//
//go:embed testdata/axe.min.js
var axe string

// place is a page as the walk comes to it.
type place struct {
	pattern string // of its route
	name    string // of its picture
	path    string // where it is; "": open says
	open    func(t *testing.T, b *tab, d *dev)
}

// follow comes to what a link on another page leads to.
func follow(path, selector string) func(*testing.T, *tab, *dev) {
	return func(t *testing.T, b *tab, d *dev) {
		t.Helper()
		b.visit(t, d.Dashboard+path)
		b.press(t, selector)
	}
}

// places are all pages. Who adds a route adds its page here.
func places() []place {
	return []place{
		{pattern: "GET /login", name: "login", path: "/login"},
		{pattern: "GET /login/code", name: "enrol", open: func(t *testing.T, b *tab, d *dev) {
			t.Helper()
			d.givesPassword(t, b, "admin")
		}},
		{pattern: "POST /login/enrol", name: "enrolled", open: func(t *testing.T, b *tab, d *dev) {
			t.Helper()
			d.showsCode(t, b)
		}},
		{pattern: "GET /login/code", name: "code", open: func(t *testing.T, b *tab, d *dev) {
			t.Helper()
			b.visit(t, d.Dashboard+"/account")
			b.press(t, `form[action="/logout"] button`)
			d.givesPassword(t, b, "admin")
		}},
		{pattern: "GET /{$}", name: "now", open: func(t *testing.T, b *tab, d *dev) {
			t.Helper()
			d.showsCode(t, b)
			b.visit(t, d.Dashboard+"/")
			b.until(t, `!document.body.innerText.includes("for the first time")`)
		}},
		{pattern: "GET /runbooks/{name}", name: "runbook", open: follow("/", `a[href^="/runbooks/"]`)},
		{pattern: "GET /queue", name: "queue", path: "/queue?name=mail&state=archived"},
		{pattern: "GET /queue", name: "queue-retry", path: "/queue?name=mail&state=retry"},
		{pattern: "GET /task", name: "task", open: follow("/queue?name=mail&state=retry", "tbody th a")},
		{pattern: "GET /find", name: "find", path: "/find?id=01900000-0000-7000-8000-000000000000"},
		{pattern: "GET /servers", name: "servers", path: "/servers"},
		{pattern: "GET /quarantine", name: "quarantine", path: "/quarantine"},
		{pattern: "GET /quarantine/entry", name: "entry", open: follow("/quarantine?reason=expired", "tbody a")},
		{pattern: "GET /requests", name: "requests", path: "/requests"},
		{pattern: "GET /audit", name: "audit", path: "/audit"},
		{pattern: "GET /keys", name: "keys", path: "/keys"},
		{pattern: "GET /schedules", name: "schedules", path: "/schedules"},
		{pattern: "GET /schedule", name: "schedule", path: "/schedule?name=users%3Aexpire_pending"},
		{pattern: "GET /accounts", name: "accounts", path: "/accounts"},
		{pattern: "POST /accounts", name: "account-story", open: func(t *testing.T, b *tab, d *dev) {
			t.Helper()
			b.visit(t, d.Dashboard+"/accounts")
			b.fill(t, "asked", d.Seeded.Address)
			b.press(t, "main .first")
		}},
		{pattern: "GET /mails", name: "mails", path: "/mails"},
		{pattern: "GET /mail", name: "mail", open: follow("/suppressions", `tbody a[href^="/mail?"]`)},
		{pattern: "GET /suppressions", name: "suppressions", path: "/suppressions"},
		{pattern: "POST /suppressions", name: "confirm", open: follow("/suppressions", "tbody button")},
		{pattern: "GET /account", name: "own", path: "/account"},
		{pattern: "GET /account/enrol", name: "own-enrol", path: "/account/enrol"},
		{pattern: "GET /operators", name: "operators", path: "/operators"},
		{pattern: "/", name: "not-found", path: "/no/such/page"},
	}
}

// noPages are what is served beside pages.
var noPages = []string{"GET /assets/{file}", "GET /live", "GET /metrics"}

// TestOnADayOfLife is about `sealq dev --seed-data`.
func TestOnADayOfLife(t *testing.T) { //nolint:tparallel // as in TestInChromium
	t.Parallel()
	d, c := startDev(t), startChromium(t)
	t.Run("every page is filled, and for everybody", func(t *testing.T) {
		walk(t, d, c.tab(t, 1280))
	})
	stories(t, d, c)
}

func TestNobodyForgetsAPage(t *testing.T) {
	t.Parallel()
	var walked []string
	for _, p := range places() {
		walked = append(walked, p.pattern)
	}
	patterns := dashboard.Patterns()
	for _, pattern := range patterns {
		if (strings.HasPrefix(pattern, "GET ") || pattern == "/") && !slices.Contains(walked, pattern) && !slices.Contains(noPages, pattern) {
			t.Errorf("nobody walks to %q: give it a row in places", pattern)
		}
	}
	for _, pattern := range walked {
		if !slices.Contains(patterns, pattern) {
			t.Errorf("places has a row for %q, which is no route", pattern)
		}
	}
}

// walk looks at each page by axe-core's rules of WCAG 2 A and AA, and its best practices, in both colour schemes, on a desk and on a
// telephone. Pictures are taken where SEALQ_TEST_PICTURES names a folder.
func walk(t *testing.T, d *dev, b *tab) {
	t.Helper()
	for _, p := range places() {
		t.Run(p.name, func(t *testing.T) {
			b.look(t, 1280, "light")
			if p.open != nil {
				p.open(t, b, d)
			} else {
				b.visit(t, d.Dashboard+p.path)
			}
			b.isFilled(t)
			for _, width := range []int64{1280, 390} {
				for _, scheme := range []string{"light", "dark"} {
					b.look(t, width, scheme)
					b.fits(t)
					b.accessible(t, fmt.Sprintf("%d px wide, %s", width, scheme))
					if scheme == "light" || p.name == "now" {
						b.picture(t, fmt.Sprintf("%s-%d-%s", p.name, width, scheme), chromedp.FullScreenshot(100))
						b.picture(t, fmt.Sprintf("window-%s-%d-%s", p.name, width, scheme), chromedp.CaptureScreenshot())
					}
				}
			}
		})
	}
}

// look is by which window the page is seen.
func (b *tab) look(t *testing.T, width int64, scheme string) {
	t.Helper()
	b.step(t, "change the window", func(ctx context.Context) error { return chromedp.Do(ctx, chromedp.EmulateViewport(width, 844)) })
	emulate(t, b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
}

// isFilled looks for what stands in the place of something.
func (b *tab) isFilled(t *testing.T) {
	t.Helper()
	for _, empty := range eval[[]string](t, b, `[...document.querySelectorAll("main p.soft")].map(e => e.innerText).filter(text => /^(There are none|Nothing|None|No task)/.test(text))`) {
		t.Errorf("%s: %s", eval[string](t, b, "location.pathname"), empty)
	}
}

// accessible runs axe-core, which is put into the page past its policy, as the browser's own tools are.
func (b *tab) accessible(t *testing.T, how string) {
	t.Helper()
	eval[chromedp.Void](t, b, "if (!window.axe) {"+axe+"}")
	faults := eval[[]string](t, b, `axe.run(document, {
		runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"], resultTypes: ["violations"],
	}).then(r => r.violations.map(v => v.id + ": " + v.help + ": " + v.nodes.slice(0, 3).map(n => n.html.slice(0, 200) + " (" + n.any.concat(n.all, n.none).map(c => c.message).join("; ").slice(0, 200) + ")").join(" | ")))`,
		chromedp.EvalAwaitPromise)
	for _, fault := range faults {
		t.Errorf("%s, %s: %s", eval[string](t, b, "location.pathname"), how, fault)
	}
}
