package site_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/cmd/sealq/internal/site"
)

func open(t *testing.T, users func(app.Accounts) app.Accounts) http.Handler {
	t.Helper()
	db, err := app.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "sealq.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	a, err := db.Accounts(accounts.Config{TellOwner: true, RegisterAgain: accounts.NewGeneration})
	if err != nil {
		t.Fatal(err)
	}
	pages, err := site.New(site.Config{Users: users(a), Inbox: "http://localhost:8025"})
	if err != nil {
		t.Fatal(err)
	}
	return pages
}

func asTheyAre(a app.Accounts) app.Accounts { return a }

// ask sends a form, or nothing where form is nil.
func ask(t *testing.T, pages http.Handler, target string, form url.Values, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	method := http.MethodGet
	if form != nil {
		method = http.MethodPost
	}
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for pair := range slices.Chunk(headers, 2) {
		r.Header.Set(pair[0], pair[1])
	}
	w := httptest.NewRecorder()
	pages.ServeHTTP(w, r)
	if policy := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("%s has the policy %q", target, policy)
	}
	return w
}

func TestAFreeAndATakenAddressAreAnsweredAlike(t *testing.T) {
	t.Parallel()
	pages := open(t, asTheyAre)
	form := url.Values{"email": {"ada@example.org"}}
	first, second := ask(t, pages, "/signup", form), ask(t, pages, "/signup", form)
	if first.Code != http.StatusOK || second.Code != first.Code || first.Body.String() != second.Body.String() {
		t.Errorf("%d and %d, the pages are alike: %v", first.Code, second.Code, first.Body.String() == second.Body.String())
	}
}

func TestWhatIsTypedIsEscaped(t *testing.T) {
	t.Parallel()
	pages := open(t, asTheyAre)
	w := ask(t, pages, "/signup", url.Values{"email": {`"><script>alert(1)</script>`}})
	if w.Code != http.StatusUnprocessableEntity || strings.Contains(w.Body.String(), "<script") {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
	w = ask(t, pages, "/confirm?key=%22%3E%3Cscript%3E", nil)
	if w.Code != http.StatusOK || strings.Contains(w.Body.String(), "<script") {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}

func TestFormsOfOtherSitesDoNothing(t *testing.T) {
	t.Parallel()
	pages := open(t, func(a app.Accounts) app.Accounts { return untouched{t: t, Accounts: a} })
	for _, target := range []string{"/signup", "/confirm", "/login", "/forgot", "/reset"} {
		if w := ask(t, pages, target, url.Values{"email": {"ada@example.org"}}, "Sec-Fetch-Site", "cross-site"); w.Code != http.StatusForbidden {
			t.Errorf("%s answered %d", target, w.Code)
		}
		if w := ask(t, pages, target+"?key=abc", nil); w.Code != http.StatusOK {
			t.Errorf("GET %s answered %d", target, w.Code)
		}
	}
}

// untouched are accounts that nobody may ask.
type untouched struct {
	app.Accounts

	t *testing.T
}

func (u untouched) Register(context.Context, accounts.Registration) (accounts.Pending, error) {
	u.t.Error("somebody was registered")
	return accounts.Pending{}, nil
}

func (u untouched) ActivateWithPassword(context.Context, string, string) (accounts.User, error) {
	u.t.Error("somebody was activated")
	return accounts.User{}, nil
}

func (u untouched) Authenticate(context.Context, string, string) (accounts.User, error) {
	u.t.Error("an attempt was charged")
	return accounts.User{}, nil
}

func (u untouched) RequestReset(context.Context, string) error {
	u.t.Error("a mail was asked for")
	return nil
}

func (u untouched) ResetPassword(context.Context, string, string) (accounts.User, error) {
	u.t.Error("a password was changed")
	return accounts.User{}, nil
}

// broken are accounts whose database is away.
type broken struct{ app.Accounts }

func (broken) Register(context.Context, accounts.Registration) (accounts.Pending, error) {
	return accounts.Pending{}, errors.New("the disk of secret-host is full")
}

func TestWhatGoesWrongInsideIsNotTold(t *testing.T) {
	t.Parallel()
	pages := open(t, func(a app.Accounts) app.Accounts { return broken{a} })
	w := ask(t, pages, "/signup", url.Values{"email": {"ada@example.org"}})
	if w.Code != http.StatusServiceUnavailable || strings.Contains(w.Body.String(), "secret-host") {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}
