package mail_test

import (
	"errors"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/mail"
)

// accountMails are the kinds, and data for each.
func accountMails() map[string]struct {
	kind mail.Kind
	data mail.AccountData
} {
	at := time.Date(2026, 3, 30, 3, 30, 0, 0, time.FixedZone("elsewhere", 2*60*60))
	link := mail.AccountData{Product: "Example", Link: "https://app.example.com/page?key=AbC-_123&lang=en", ExpiresAt: at}
	notice := mail.AccountData{Product: "Example", Link: "https://app.example.com", At: at}
	asked, done := notice, notice
	asked.Address, done.Address, done.Done = "n***@example.org", "n***@example.org", true
	return map[string]struct {
		kind mail.Kind
		data mail.AccountData
	}{
		"password_reset":     {mail.KindPasswordReset, link},
		"email_change":       {mail.KindEmailChange, link},
		"password_changed":   {mail.KindPasswordChanged, notice},
		"account_exists":     {mail.KindAccountExists, notice},
		"lockout_notice":     {mail.KindLockoutNotice, notice},
		"email_notice_asked": {mail.KindEmailNotice, asked},
		"email_notice_done":  {mail.KindEmailNotice, done},
	}
}

func TestMailsToOwnersAreTheGoldens(t *testing.T) {
	t.Parallel()
	for name, m := range accountMails() {
		got, err := defaults(t).Account(m.kind, m.data)
		if err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string]string{name + ".txt": "Subject: " + got.Subject + "\n\n" + got.Text, name + ".html": got.HTML} {
			path := filepath.Join("testdata", "v1", file)
			if *update {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), text); diff != "" {
				t.Errorf("%s: %s", file, diff)
			}
		}
	}
}

func TestMailsToOwnersSayWhatAReaderNeedsAndNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	for name, m := range accountMails() {
		got, err := defaults(t).Account(m.kind, m.data)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"Example", m.data.Link, "30 March 2026, 01:30 UTC", m.data.Address, "If "} {
			if !strings.Contains(got.Text, want) || !strings.Contains(html.UnescapeString(got.HTML), want) {
				t.Errorf("%s lacks %q:\n%s\n%s", name, want, got.Text, got.HTML)
			}
		}
		for _, remote := range []string{"<img", "<link", "<script", "<iframe", "url(", "@import", "src="} {
			if strings.Contains(got.HTML, remote) {
				t.Errorf("the HTML of %s has %q", name, remote)
			}
		}
		body := html.UnescapeString(strings.ReplaceAll(got.HTML, html.EscapeString(m.data.Link), ""))
		if found := regexp.MustCompile(`(https?:)?//[a-z]\S*`).FindString(body); found != "" {
			t.Errorf("the HTML of %s points elsewhere: %s", name, found)
		}
	}
}

func TestMailsToOwnersRefuseData(t *testing.T) {
	t.Parallel()
	for name, m := range accountMails() {
		for sentence, spoil := range map[string]func(*mail.AccountData){
			"no product":                      func(d *mail.AccountData) { d.Product = "" },
			"a product that injects a header": func(d *mail.AccountData) { d.Product = "Example\r\nBcc: eve@example.net" },
			"a relative link":                 func(d *mail.AccountData) { d.Link = "/page?key=t0ken" },
			"a link that is a script":         func(d *mail.AccountData) { d.Link = "javascript:alert('t0ken')" },
			"no time":                         func(d *mail.AccountData) { d.ExpiresAt, d.At = time.Time{}, time.Time{} },
		} {
			data := m.data
			spoil(&data)
			_, err := defaults(t).Account(m.kind, data)
			refusal, ok := errors.AsType[*mail.TemplateError](err)
			if !ok || refusal.Kind != string(m.kind) || strings.Contains(err.Error(), "t0ken") {
				t.Errorf("%s, %s: got %v", name, sentence, err)
			}
		}
	}
	if _, err := defaults(t).Account("no such kind", accountMails()["lockout_notice"].data); err == nil {
		t.Error("an unknown kind was rendered")
	}
	data := accountMails()["email_notice_done"].data
	data.Address = "n***@example.org\r\nBcc: eve@example.net"
	if _, err := defaults(t).Account(mail.KindEmailNotice, data); err == nil {
		t.Error("a new address of two lines was rendered")
	}
}

func TestTemplatesThatAFolderLacksAreThePackagesOwn(t *testing.T) {
	t.Parallel()
	folder := fstest.MapFS{
		"confirmation/subject.txt":   {Data: []byte("Hello")},
		"confirmation/body.txt":      {Data: []byte("{{.Link}}")},
		"confirmation/body.html":     {Data: []byte("{{.Link}}")},
		"password_reset/subject.txt": {Data: []byte("Mine")},
		"password_reset/body.txt":    {Data: []byte("{{.Link}}")},
		"password_reset/body.html":   {Data: []byte("{{.Link}}")},
	}
	templates, err := mail.ParseTemplates(folder)
	if err != nil {
		t.Fatal(err)
	}
	for name, subject := range map[string]string{"password_reset": "Mine", "lockout_notice": "Your account at Example was locked for a while"} {
		m := accountMails()[name]
		got, err := templates.Account(m.kind, m.data)
		if err != nil || got.Subject != subject {
			t.Errorf("%s: got %q, %v", name, got.Subject, err)
		}
	}
	folder["password_reset/body.txt"] = &fstest.MapFile{Data: []byte("no link")}
	if _, err := mail.ParseTemplates(folder); err == nil {
		t.Error("a text without its link was accepted")
	}
}
