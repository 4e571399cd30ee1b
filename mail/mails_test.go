package mail_test

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/mail"
)

// Every kind in every language, as it goes over the wire.
func TestMailsAreTheGoldens(t *testing.T) {
	t.Parallel()
	sender := newSender(t, mail.Config{URL: "smtp://mail.example.com", From: from})
	eachLetter(t, func(t *testing.T, l letter, templates *mail.Templates) {
		t.Helper()
		content := l.write(t, templates)
		m := message()
		m.Subject, m.Text, m.HTML = content.Subject, content.Text, content.HTML
		got, err := sender.Render(m)
		if err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", "mails", l.data.Language, l.name+".eml")
		if *update {
			if err := os.MkdirAll(filepath.Dir(golden), 0o750); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(golden, got, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Error(diff)
		}
		checkWire(t, got)
		checkStructure(t, got, content)
	})
}

func TestThereIsNoGoldenWithoutItsMail(t *testing.T) {
	t.Parallel()
	want := map[string]bool{}
	for _, language := range defaults(t).Languages() {
		for _, l := range letters(language) {
			want[filepath.Join("testdata", "mails", language, l.name+".eml")] = true
		}
	}
	found, err := filepath.Glob("testdata/mails/*/*")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, path := range found {
		got[path] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// checkStructure parses a mail with nothing but the standard library, and holds it to what was written.
func checkStructure(t *testing.T, raw []byte, content mail.Content) {
	t.Helper()
	m, err := netmail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil || subject != content.Subject {
		t.Errorf("subject %q, %v", subject, err)
	}
	if got := m.Header.Get("MIME-Version") + " " + m.Header.Get("Auto-Submitted"); got != "1.0 auto-generated" {
		t.Errorf("MIME-Version, Auto-Submitted: %s", got)
	}
	for _, list := range []string{"From", "To"} {
		if all, err := m.Header.AddressList(list); err != nil || len(all) != 1 {
			t.Errorf("%s: %v, %v", list, all, err)
		}
	}
	if _, err := m.Header.Date(); err != nil {
		t.Error(err)
	}
	kind, parameters, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("Content-Type %s, %v", kind, err)
	}
	parts := multipart.NewReader(m.Body, parameters["boundary"])
	for _, want := range []struct{ kind, content string }{{"text/plain", content.Text}, {"text/html", content.HTML}} { // the richest last (RFC 2046, 5.1.4)
		part, err := parts.NextRawPart()
		if err != nil {
			t.Fatal(err)
		}
		kind, parameters, err := mime.ParseMediaType(part.Header.Get("Content-Type"))
		if err != nil || kind != want.kind || !strings.EqualFold(parameters["charset"], "utf-8") || part.Header.Get("Content-Transfer-Encoding") != "quoted-printable" {
			t.Errorf("a part is %s, %v, in %s, %v", kind, parameters, part.Header.Get("Content-Transfer-Encoding"), err)
		}
		decoded, err := io.ReadAll(quotedprintable.NewReader(part))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.content, strings.ReplaceAll(string(decoded), "\r\n", "\n")); diff != "" {
			t.Errorf("%s: %s", kind, diff)
		}
	}
	if _, err := parts.NextPart(); !errors.Is(err, io.EOF) {
		t.Errorf("there are more than two parts: %v", err)
	}
}
