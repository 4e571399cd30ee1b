package site_test

import (
	"bytes"
	"database/sql"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/examples/signup/site"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/store/sqlite"
)

// The pages themselves are tested with the program, from sign-up to the last session.
func TestThePagesSayWhatTheyAreToldToSay(t *testing.T) {
	t.Parallel()
	const link = `<a href="http://localhost:8025">Mail inbox</a>`
	for name, c := range map[string]struct {
		config       site.Config
		says, silent string
	}{
		"where the mails are":         {site.Config{Inbox: "http://localhost:8025"}, link, ""},
		"nothing of where they are":   {site.Config{}, "<title>Welcome – Signup</title>", "inbox"},
		"what the app is called":      {site.Config{Product: "the demo app"}, "<title>Welcome – the demo app</title>", "Signup"},
		"what is to be told, escaped": {site.Config{Product: "<b>", Inbox: "javascript:alert(1)"}, "&lt;b&gt;", "javascript:"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := httptest.NewRecorder()
			open(t, c.config).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
			body := w.Body.String()
			if w.Code != http.StatusOK || !strings.Contains(body, c.says) || c.silent != "" && strings.Contains(body, c.silent) {
				t.Errorf("%d, want %q and not %q:\n%s", w.Code, c.says, c.silent, body)
			}
		})
	}
}

// What the config leaves out is there: whoever signs up makes the site nudge nobody and log nothing.
func TestAConfigMayLeaveOutWhatHasADefault(t *testing.T) {
	t.Parallel()
	s := open(t, site.Config{})
	w := post(t, s, "/signup", "email=ada%40app.example")
	s.Wait()
	status, err := s.Users.Show(t.Context(), "ada@app.example")
	if err != nil || w.Code != http.StatusOK || status.Status != accounts.StandingPending {
		t.Errorf("%d, %s, %v", w.Code, status.Status, err)
	}
}

func TestWhatGoesWrongInsideIsNotTold(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := open(t, site.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err := s.DB.Close(); err != nil {
		t.Fatal(err)
	}
	w := post(t, s, "/login", "email=ada%40app.example&password=secret")
	if body := w.Body.String(); w.Code != http.StatusServiceUnavailable || !strings.Contains(body, "try again in a minute") || strings.Contains(body, "database") {
		t.Errorf("%d:\n%s", w.Code, body)
	}
	if text := log.String(); !strings.Contains(text, "database is closed") || strings.Contains(text, "secret") {
		t.Errorf("the log says: %s", text)
	}
}

func post(t *testing.T, s *site.Site, path, form string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func open(t *testing.T, c site.Config) *site.Site {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "signup.db"))
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
	users, err := accounts.New(db, authjobs.NewNotifier[*sql.Tx](db), accounts.Config{})
	if err != nil {
		t.Fatal(err)
	}
	c.DB, c.Users, c.BaseURL = db, users, "http://localhost:8080"
	s, err := site.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
