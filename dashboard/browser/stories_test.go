package browser_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// stories are what people come for, each with somebody whose role is too low for it.
func stories(t *testing.T, d *dev, c *chromium) {
	t.Helper()
	viewer, operator, admin := c.tab(t, 1280), c.tab(t, 1280), c.tab(t, 1280)
	d.comesIn(t, viewer, "viewer")
	d.comesIn(t, operator, "operator")
	d.comesIn(t, admin, "admin")
	for _, story := range []struct {
		name string
		tell func(t *testing.T)
	}{
		{"an operator releases a task from quarantine", func(t *testing.T) {
			t.Helper()
			const unreleased = `tbody tr:not(:has(.tag:not(.problem))) a`
			operator.visit(t, d.Dashboard+"/quarantine?reason=expired")
			operator.press(t, unreleased)
			entry := eval[string](t, operator, `location.href`)
			viewer.visit(t, entry)
			viewer.mayNot(t, "/quarantine", "id", eval[string](t, viewer, `new URL(location).searchParams.get("id")`), "do", "release", "authentic", "yes")
			operator.press(t, `button[value="release"]`)
			operator.reads(t, "Are you sure?")
			operator.press(t, `button[name="sure"]`)
			operator.comesTo(t, entry, `[...document.querySelectorAll("dt")].some(e => e.innerText === "Released")`)
		}},
		{"an admin rotates the key", func(t *testing.T) {
			t.Helper()
			const keys = `document.querySelectorAll(".scroll[aria-label=Keys] tbody tr").length`
			operator.visit(t, d.Dashboard+"/keys")
			operator.mayNot(t, "/keys", "do", "rotate")
			admin.visit(t, d.Dashboard+"/keys")
			before := eval[int](t, admin, keys)
			admin.press(t, `button[value="rotate"]`)
			admin.reads(t, "Publish a new key?")
			admin.press(t, `button[name="sure"]`)
			admin.comesTo(t, d.Dashboard+"/keys", fmt.Sprintf("%s === %d", keys, before+1))
			admin.reads(t, "is published")
		}},
		{"an operator pauses a schedule, and lets it go on", func(t *testing.T) {
			t.Helper()
			at := d.Dashboard + "/schedule?name=lockouts%3Areset"
			viewer.visit(t, at)
			viewer.mayNot(t, "/schedule", "name", "lockouts:reset", "do", "pause")
			for _, do := range []string{"pause", "resume"} {
				operator.visit(t, at)
				operator.press(t, `button[value="`+do+`"]`)
				if strings.Contains(eval[string](t, operator, "document.title"), "sure") {
					operator.press(t, `button[name="sure"]`)
				}
				paused := eval[string](t, operator, `document.querySelector(".facts dd").innerText`)
				if strings.Contains(paused, "paused") != (do == "pause") {
					t.Errorf("after %s the schedule is %s", do, paused)
				}
			}
		}},
		{"one address is followed, and a viewer sees it cut", func(t *testing.T) {
			t.Helper()
			for _, who := range []struct {
				tab   *tab
				whole bool
			}{{viewer, false}, {operator, true}} {
				who.tab.visit(t, d.Dashboard+"/accounts")
				who.tab.fill(t, "asked", d.Seeded.Address)
				who.tab.press(t, "main .first")
				for _, step := range []string{"the link was used: the account is active", "mail:lockout_notice", "mail:password_reset", "the mail server took it: 250"} {
					who.tab.reads(t, step)
				}
				if text := eval[string](t, who.tab, "document.body.innerText"); strings.Contains(text, d.Seeded.Address) != who.whole {
					t.Errorf("that the address is shown whole should be %v:\n%s", who.whole, text)
				}
				if address := eval[string](t, who.tab, "location.href"); strings.Contains(address, "lovelace") {
					t.Errorf("the address stands in the link %s", address)
				}
			}
			viewer.mayNot(t, "/accounts/lock", "email", d.Seeded.Address, "do", "lock", "for", "1h")
		}},
		{"the keyboard comes to everything, and shows where it is", func(t *testing.T) {
			t.Helper()
			for _, path := range []string{"/keys", "/queue?name=default", "/schedule?name=users%3Aexpire_pending", "/accounts", "/suppressions", "/account"} {
				admin.visit(t, d.Dashboard+path)
				admin.tabsThrough(t)
			}
		}},
		{"times are in the reader's zone, with UTC beside", func(t *testing.T) {
			t.Helper()
			emulate(t, viewer, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Asia/Kolkata"})
			viewer.visit(t, d.Dashboard+"/keys")
			text := eval[string](t, viewer, `document.querySelector("time").innerText`)
			if !strings.Contains(text, "GMT+5:30") || !strings.Contains(text, "UTC") {
				t.Errorf("a time reads %q", text)
			}
			emulate(t, viewer, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: ""})
		}},
		{"without JavaScript all is there", func(t *testing.T) {
			t.Helper()
			plain := c.tab(t, 390)
			emulate(t, plain, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
			d.comesIn(t, plain, "operator")
			plain.visit(t, d.Dashboard+"/schedule?name=retention%3Apurge")
			if text := eval[string](t, plain, `document.querySelector("time").innerText`); !strings.HasSuffix(text, "UTC") || strings.Contains(text, "/") {
				t.Errorf("a time reads %q: has the script run?", text)
			}
			plain.press(t, `button[value="pause"]`)
			plain.reads(t, "retention:purge")
			plain.press(t, `form[action="/theme"] button[value="dark"]`)
			if theme := eval[string](t, plain, `document.documentElement.dataset.theme`); theme != "dark" {
				t.Errorf("the theme is %q", theme)
			}
		}},
	} {
		t.Run(story.name, story.tell)
	}
	for name, b := range map[string]*tab{"viewer": viewer, "operator": operator, "admin": admin} {
		for _, complaint := range b.complaints() {
			if !strings.Contains(complaint, "403") { // which mayNot is about
				t.Errorf("the %s's browser complains: %s", name, complaint)
			}
		}
	}
}

// mayNot looks that the page has no button of that form, and that what the form would send is refused.
func (b *tab) mayNot(t *testing.T, action string, form ...string) {
	t.Helper()
	if n := eval[int](t, b, fmt.Sprintf(`document.querySelectorAll('main form[action=%q] button').length`, action)); n != 0 {
		t.Errorf("%s has %d buttons for somebody who may not press them", action, n)
	}
	pairs := []string{`["sure", "yes"]`}
	for i := 0; i < len(form); i += 2 {
		pairs = append(pairs, fmt.Sprintf("[%q, %q]", form[i], form[i+1]))
	}
	status := eval[int](t, b, fmt.Sprintf(`fetch(%q, {method: "POST", body: new URLSearchParams([%s])}).then(r => r.status)`, action, strings.Join(pairs, ", ")), chromedp.EvalAwaitPromise)
	if status != 403 {
		t.Errorf("POST %s by somebody who may not was answered with %d", action, status)
	}
}

// comesTo looks again and again until the page there is so.
func (b *tab) comesTo(t *testing.T, address, expression string) {
	t.Helper()
	b.visit(t, address)
	b.until(t, fmt.Sprintf(`(() => { const yes = %s; if (!yes && !window.again) { window.again = setTimeout(() => location.reload(), 300); } return yes; })()`, expression))
}

// tabsThrough presses Tab from the beginning of the page to its end.
func (b *tab) tabsThrough(t *testing.T) {
	t.Helper()
	all := eval[int](t, b, `(() => {
		window.toReach = [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, [tabindex='0']")].filter(e => e.checkVisibility() && !e.disabled);
		return toReach.length;
	})()`)
	for range all {
		b.step(t, "press Tab", func(ctx context.Context) error { return chromedp.Do(ctx, chromedp.KeyEvent(kb.Tab)) })
		if fault := eval[string](t, b, `(() => {
			const e = document.activeElement, style = getComputedStyle(e), box = e.getBoundingClientRect(), i = toReach.indexOf(e);
			const what = e.outerHTML.slice(0, 80);
			if (i < 0) return "not looked for, or reached twice: " + what;
			toReach[i] = null;
			if (style.outlineStyle === "none" || parseFloat(style.outlineWidth) < 2) return "its focus is not seen: " + what;
			if (box.right <= 0 || box.bottom <= 0 || box.left >= innerWidth || box.top >= innerHeight) return "it has the focus outside of the window: " + what;
			return "";
		})()`); fault != "" {
			t.Errorf("%s: %s", eval[string](t, b, "location.pathname"), fault)
			return
		}
	}
}

// emulate changes what the browser pretends.
func emulate[P any](t *testing.T, b *tab, c cdp.Command[P, cdp.Empty], params P) {
	t.Helper()
	b.step(t, c.Method, func(ctx context.Context) error {
		return chromedp.Do(ctx, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
			_, err := cdp.Call(ctx, target, c, params)
			return err
		}))
	})
}
