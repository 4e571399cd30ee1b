package dashboard_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/dashboard"
	"github.com/sealq/sealq/operators"
)

// Who may do what, by pattern: the table that the dashboard's own is held to. x stands for who is let through: a stranger, somebody whose
// password was right, a viewer, an operator, an admin, a key of each of both roles.
var allowed = map[string]string{
	//                               - ½ v o a kv ko
	"GET /assets/{file}":         "x x x x x x x",
	"GET /login":                 "x x x x x x x",
	"POST /login":                "x x x x x x x",
	"POST /theme":                "x x x x x x x",
	"GET /login/code":            ". x x x x . .",
	"POST /login/code":           ". x x x x . .",
	"POST /login/enrol":          ". x x x x . .",
	"POST /logout":               ". x x x x . .",
	"GET /{$}":                   ". . x x x x x",
	"GET /live":                  ". . x x x x x",
	"GET /metrics":               ". . x x x x x",
	"GET /runbooks/{name}":       ". . x x x x x",
	"GET /servers":               ". . x x x x x",
	"GET /queue":                 ". . x x x x x",
	"GET /task":                  ". . x x x x x",
	"GET /find":                  ". . x x x x x",
	"POST /find":                 ". . x x x x x",
	"POST /task/reveal":          ". . . x x . x",
	"POST /tasks":                ". . . x x . x",
	"POST /queue":                ". . . x x . x",
	"GET /quarantine":            ". . x x x x x",
	"GET /quarantine/entry":      ". . x x x x x",
	"POST /quarantine/reveal":    ". . . x x . x",
	"POST /quarantine":           ". . . x x . x",
	"GET /requests":              ". . x x x x x",
	"GET /audit":                 ". . . x x . x",
	"GET /keys":                  ". . x x x x x",
	"POST /keys":                 ". . . . x . .",
	"GET /schedules":             ". . x x x x x",
	"GET /schedule":              ". . x x x x x",
	"POST /schedule":             ". . . x x . x",
	"GET /accounts":              ". . x x x x x",
	"POST /accounts":             ". . x x x x x",
	"POST /accounts/lock":        ". . . x x . x",
	"GET /mails":                 ". . x x x x x",
	"GET /mail":                  ". . x x x x x",
	"POST /mail":                 ". . . x x . x",
	"GET /suppressions":          ". . x x x x x",
	"POST /suppressions":         ". . . x x . x",
	"GET /account":               ". . x x x . .",
	"POST /account/sessions/end": ". . x x x . .",
	"GET /account/enrol":         ". . x x x . .",
	"POST /account/enrol":        ". . x x x . .",
	"POST /account/keys":         ". . x x x . .",
	"POST /account/keys/revoke":  ". . x x x . .",
	"GET /operators":             ". . . . x . .",
	"/":                          ". . x x x x x",
}

// target is a request that the pattern matches, which does no harm.
func target(pattern string) (method, path string) {
	method, path, ok := strings.Cut(pattern, " ")
	if !ok {
		return http.MethodGet, "/no/such/page"
	}
	path = strings.NewReplacer("{file}", "style.css", "{name}", "rotation", "{$}", "").Replace(path)
	return method, path
}

func TestEveryRouteIsForThoseThatTheTableSays(t *testing.T) {
	t.Parallel()
	for column, visitor := range []struct {
		name string
		make func(w *world) (b *browser, headers []string)
	}{
		{"a stranger", func(w *world) (*browser, []string) { return w.browser(), nil }},
		{"halfway", func(w *world) (*browser, []string) {
			b := w.browser()
			b.post("/login", "name", "admin", "password", password)
			return b, nil
		}},
		{"a viewer", func(w *world) (*browser, []string) { return w.as(operators.RoleViewer), nil }},
		{"an operator", func(w *world) (*browser, []string) { return w.as(operators.RoleOperator), nil }},
		{"an admin", func(w *world) (*browser, []string) { return w.as(operators.RoleAdmin), nil }},
		{"a viewer's key", func(w *world) (*browser, []string) {
			return w.browser(), []string{"Authorization", "Bearer " + w.key(operators.RoleViewer)}
		}},
		{"an operator's key", func(w *world) (*browser, []string) {
			return w.browser(), []string{"Authorization", "Bearer " + w.key(operators.RoleOperator)}
		}},
	} {
		t.Run(visitor.name, func(t *testing.T) {
			t.Parallel()
			var routes []dashboard.Route
			w := open(t, func(c *dashboard.Config) { routes = routesOf(t, *c) })
			b, headers := visitor.make(w)
			var patterns []string
			for _, rt := range routes {
				patterns = append(patterns, rt.Pattern)
				row, ok := allowed[rt.Pattern]
				if !ok {
					t.Errorf("the route %q has no row in this table: say who may", rt.Pattern)
					continue
				}
				want := strings.Fields(row)[column] == "x"
				method, path := target(rt.Pattern)
				if rt.Pattern == "GET /live" && want {
					continue // it would never end: see TestAStreamEndsWithItsSession
				}
				if path == "/logout" || path == "/login" && method == http.MethodPost {
					continue // last, below
				}
				if got := letIn(b.do(method, path, nil, headers...)); got != want {
					t.Errorf("%s: let in %v", rt.Pattern, got)
				}
			}
			for pattern := range allowed {
				if !slices.Contains(patterns, pattern) {
					t.Errorf("the table has a row for %q, which is no route", pattern)
				}
			}
			if got, want := letIn(b.do(http.MethodPost, "/logout", nil, headers...)), strings.Fields(allowed["POST /logout"])[column] == "x"; got != want {
				t.Errorf("POST /logout: let in %v", got)
			}
		})
	}
}

func routesOf(t *testing.T, c dashboard.Config) []dashboard.Route {
	t.Helper()
	d, err := dashboard.New(c)
	check(t, err)
	return d.Routes()
}

// letIn says whether who asked was let through to what the route does, whatever came of it there.
func letIn(a answer) bool {
	path, to := a.Request.URL.Path, a.Header.Get("Location")
	switch {
	case path == "/logout":
		return len(a.Cookies()) > 0 // which take the session away
	case a.StatusCode == http.StatusForbidden, a.StatusCode == http.StatusUnauthorized && a.Header.Get("WWW-Authenticate") != "":
		return false
	}
	return to != "/login" && !strings.HasPrefix(to, "/login?to=") && (to != "/login/code" || path == "/login/code")
}

// key makes a key of the operator of that role.
func (w *world) key(role operators.Role) string {
	w.t.Helper()
	token, _, err := w.ops.Login(w.t.Context(), string(role), password, operators.From{})
	check(w.t, err)
	s, err := w.ops.Session(w.t.Context(), token, true)
	check(w.t, err)
	secret, err := w.ops.NewKey(w.t.Context(), s, "script", role, 2*time.Hour)
	check(w.t, err)
	return secret
}

func TestReadOnlyRefusesEveryChange(t *testing.T) {
	t.Parallel()
	var routes []dashboard.Route
	w := open(t, func(c *dashboard.Config) { c.ReadOnly = true; routes = routesOf(t, *c) })
	b := w.as(operators.RoleAdmin)
	var changes []string
	for _, rt := range routes {
		if !rt.Changes {
			continue
		}
		changes = append(changes, rt.Pattern)
		method, path := target(rt.Pattern)
		if a := b.do(method, path, nil); a.StatusCode != http.StatusForbidden || !strings.Contains(a.text, "--read-only") {
			t.Errorf("%s answered %d", rt.Pattern, a.StatusCode)
		}
	}
	want := []string{
		"POST /task/reveal", "POST /tasks", "POST /queue", "POST /quarantine/reveal", "POST /quarantine", "POST /keys",
		"POST /schedule", "POST /accounts/lock", "POST /mail", "POST /suppressions", "POST /account/enrol", "POST /account/keys",
	}
	if diff := cmp.Diff(want, changes); diff != "" {
		t.Errorf("what changes something (-want +got):\n%s", diff)
	}
	// Nor by the door of those who are not in yet.
	if a := w.as(operators.RoleViewer).post("/login/enrol", "code", "000000"); a.StatusCode != http.StatusForbidden || !strings.Contains(a.text, "--read-only") {
		t.Errorf("POST /login/enrol of somebody who is in answered %d", a.StatusCode)
	}
	if !slices.Contains(texts(b.page("/").doc, "span"), "read-only") {
		t.Error("the pages do not say so")
	}
}
