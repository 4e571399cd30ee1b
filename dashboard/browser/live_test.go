package browser_test

import (
	"fmt"
	"testing"
)

// isIn logs the viewer in, and looks at a page.
func (b *tab) isIn(t *testing.T, w *world, path string) {
	t.Helper()
	b.visit(t, w.url+"/login")
	b.fill(t, "name", "viewer")
	b.fill(t, "password", password)
	b.press(t, ".first")
	b.visit(t, w.url+path)
}

// shows is what is true when the page has the newest count of tasks that wait.
func (w *world) shows(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf(`document.querySelector("main").innerText.includes("pending %d")`, w.waiting(t))
}

// recovers is about a live page whose server goes away and comes back.
func recovers(t *testing.T, w *world, b *tab) {
	t.Helper()
	b.isIn(t, w, "/queue?name=mail")
	w.put(t, "one")
	b.until(t, w.shows(t))
	w.away.Store(true)
	w.server.CloseClientConnections()
	b.until(t, `document.getElementById("state").textContent === "Not up to date: the connection is lost."`)
	b.until(t, `document.getElementById("state").textContent === "Not up to date: no answer."`) // the browser itself has given up
	w.put(t, "two")
	w.away.Store(false)
	b.until(t, w.shows(t))
	b.until(t, `document.getElementById("state").textContent === ""`)
	w.put(t, "three") // it listens again
	b.until(t, w.shows(t))
}

// keeps is about what a person has done to a live page, which shows something new beneath his hands.
func keeps(t *testing.T, w *world, b *tab) {
	t.Helper()
	b.isIn(t, w, "/")
	b.until(t, `document.querySelector("details") !== null`)
	eval[bool](t, b, `(() => {
		document.querySelector("details").open = true;
		document.querySelector(".scroll").scrollLeft = 120;
		scrollTo(0, 200);
		window.old = document.querySelector("details");
		return true;
	})()`)
	w.put(t, "four")
	b.until(t, `!window.old.isConnected`)
	for what, expression := range map[string]string{
		"what was opened is open":    `document.querySelector("details").open`,
		"what was closed is closed":  `[...document.querySelectorAll("details")].filter(e => e.open).length === 1`,
		"the table is where it was":  `document.querySelector(".scroll").scrollLeft === 120`,
		"the page is where it was":   `scrollY === 200`,
		"and it shows what has come": fmt.Sprintf(`document.querySelector("table").innerText.includes(%q)`, fmt.Sprint(w.waiting(t))),
	} {
		if !eval[bool](t, b, expression) {
			t.Errorf("it is not so that %s", what)
		}
	}
}
