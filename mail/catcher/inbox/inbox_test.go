package inbox_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/smtp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/net/html"

	"github.com/sealq/sealq/mail/catcher"
	"github.com/sealq/sealq/mail/catcher/inbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// box is an inbox over a catcher that got mails by SMTP.
type box struct {
	*inbox.Inbox

	mails *catcher.Catcher
}

func open(t *testing.T, mails ...string) box {
	t.Helper()
	clock := time.Date(2026, 3, 29, 1, 30, 0, 0, time.UTC)
	c, err := catcher.StartWith("127.0.0.1:0", catcher.Options{Now: func() time.Time { return clock }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	in, err := inbox.New(inbox.Config{Mails: c})
	if err != nil {
		t.Fatal(err)
	}
	b := box{Inbox: in, mails: c}
	for _, mail := range mails {
		b.receive(t, mail)
	}
	return b
}

func (b box) receive(t *testing.T, mail string) {
	t.Helper()
	data := []byte(strings.ReplaceAll(mail, "\n", "\r\n"))
	if err := smtp.SendMail(b.mails.Addr(), nil, "no-reply@example.com", []string{"ann@example.org"}, data); err != nil {
		t.Fatal(err)
	}
}

func (b box) ask(t *testing.T, method, target string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, nil)
	r.Host = "localhost:1234"
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		} else {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w
}

// page reads a page as a browser would, and holds it to what every page keeps to: our own elements alone, and nothing from elsewhere.
func (b box) page(t *testing.T, target string) *html.Node {
	t.Helper()
	w := b.ask(t, http.MethodGet, target)
	if w.Code != http.StatusOK {
		t.Fatalf("%s answered %d", target, w.Code)
	}
	policy := w.Header().Get("Content-Security-Policy")
	if strings.Contains(policy, "unsafe") || !strings.HasPrefix(policy, "default-src 'none'") {
		t.Errorf("%s has the policy %s", target, policy)
	}
	if strings.ContainsFunc(w.Body.String(), func(r rune) bool {
		return r < ' ' && r != '\n' && r != '\t' || strings.ContainsRune("\u202e\u2066\u200b\u0085", r)
	}) {
		t.Errorf("%s holds a control character", target)
	}
	doc, err := html.Parse(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	known := strings.Fields("html head meta title link body header main a span div p h1 h2 form button ol ul li bdi time dl dt dd pre iframe details summary")
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if !slices.Contains(known, n.Data) {
			t.Errorf("%s holds <%s>", target, n.Data)
		}
		for _, a := range n.Attr {
			switch {
			case strings.HasPrefix(a.Key, "on"), a.Key == "style":
				t.Errorf("%s holds %s=%q", target, a.Key, a.Val)
			case n.Data == "a" && a.Key == "href":
				if !strings.HasPrefix(a.Val, "/") && !strings.HasPrefix(a.Val, "http://") && !strings.HasPrefix(a.Val, "https://") {
					t.Errorf("%s links to %q", target, a.Val)
				}
			case a.Key == "src", a.Key == "href", a.Key == "action":
				if !strings.HasPrefix(a.Val, "/") || strings.HasPrefix(a.Val, "//") {
					t.Errorf("%s loads %q", target, a.Val)
				}
			}
		}
	}
	return doc
}

// texts are what the elements of that name hold.
func texts(doc *html.Node, element string) []string {
	var found []string
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode || n.Data != element {
			continue
		}
		var b strings.Builder
		for c := range n.Descendants() {
			if c.Type == html.TextNode {
				b.WriteString(c.Data)
			}
		}
		found = append(found, strings.Join(strings.Fields(b.String()), " "))
	}
	return found
}

// attribute is that of the first element of the name, "" for none.
func attribute(doc *html.Node, element, key string) string {
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && n.Data == element {
			for _, a := range n.Attr {
				if a.Key == key {
					return a.Val
				}
			}
		}
	}
	return ""
}

const confirmation = "Message-ID: <1@example.com>\nFrom: no-reply@example.com\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nContent-Type: multipart/alternative; boundary=b\n\n" +
	"--b\nContent-Type: text/plain; charset=utf-8\n\nOpen\nhttps://a.example/confirm?key=abc&x=1\n" +
	"--b\nContent-Type: text/html; charset=utf-8\n\n<p style=\"color:red\">Open <a href=\"https://a.example/confirm?key=abc&amp;x=1\">this</a> or <a href=' http://b.example/ '>that</a>, " +
	"not <a href=\"javascript:alert(1)\">this</a></p><script>alert(1)</script>\n--b--\n"

func TestMailsAreListedTheNewestFirst(t *testing.T) {
	t.Parallel()
	b := open(t, "Subject: first\n\nx\n", confirmation, "\nno header to speak of\n")
	doc := b.page(t, "/")
	want := []string{
		"(no subject) to ann@example.org from no-reply@example.com 29 Mar 2026, 01:30:00 UTC",
		"Grüße to ann@example.org from no-reply@example.com 29 Mar 2026, 01:30:00 UTC",
		"first to ann@example.org from no-reply@example.com 29 Mar 2026, 01:30:00 UTC",
	}
	if diff := cmp.Diff(want, texts(doc, "li")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"3 mails"}, texts(doc, "h1")); diff != "" {
		t.Error(diff)
	}
	if got := attribute(doc, "time", "datetime"); got != "2026-03-29T01:30:00Z" {
		t.Errorf("a program reads %q", got)
	}
}

func TestTheListIsReadAgainByItselfUnlessToldNotTo(t *testing.T) {
	t.Parallel()
	b := open(t, "Subject: x\n\ny\n")
	for target, want := range map[string]string{"/": "refresh", "/?live=off": "", "/?before=2": "", "/mails/1": ""} {
		if got := attribute(b.page(t, target), "meta", "http-equiv"); got != want {
			t.Errorf("%s: want %q, got %q", target, want, got)
		}
	}
}

func TestLongListsComeInPages(t *testing.T) {
	t.Parallel()
	b := open(t)
	for i := range 103 {
		b.receive(t, fmt.Sprintf("Subject: %d\n\nx\n", i+1))
	}
	first := b.page(t, "/")
	if got := texts(first, "li"); len(got) != 100 || !strings.HasPrefix(got[99], "4 ") {
		t.Errorf("the first page has %d mails and ends with %q", len(got), got[len(got)-1])
	}
	if !slices.Contains(texts(first, "a"), "Older") {
		t.Error("the first page does not lead to the older ones")
	}
	second := b.page(t, "/?before=4")
	if got := texts(second, "li"); len(got) != 3 || !strings.HasPrefix(got[0], "3 ") || slices.Contains(texts(second, "a"), "Older") {
		t.Errorf("the second page has %q", got)
	}
}

func TestOneMailIsShownWhole(t *testing.T) {
	t.Parallel()
	b := open(t, confirmation)
	doc := b.page(t, "/mails/1")
	if diff := cmp.Diff([]string{"Grüße"}, texts(doc, "h1")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"https://a.example/confirm?key=abc&x=1", "http://b.example/"}, texts(doc, "li")); diff != "" {
		t.Error("links:", diff)
	}
	if got := texts(doc, "pre"); len(got) != 2 || got[0] != "Open https://a.example/confirm?key=abc&x=1" || !strings.HasPrefix(got[1], "Message-ID: <1@example.com>") {
		t.Errorf("want text and source, got %q", got)
	}
	headers := []string{"To", "From", "Came", "Content-Type", "From", "Message-Id", "Subject"}
	if diff := cmp.Diff(headers, texts(doc, "dt")); diff != "" {
		t.Error("headers:", diff)
	}

	if got, there := attribute(doc, "iframe", "src"), hasEmpty(doc, "iframe", "sandbox"); got != "/mails/1/html" || !there {
		t.Errorf("the frame shows %q, sandboxed: %v", got, there)
	}
	part := b.ask(t, http.MethodGet, "/mails/1/html")
	policy := part.Header().Get("Content-Security-Policy")
	for _, want := range []string{"sandbox;", "default-src 'none'", "form-action 'none'", "frame-ancestors 'self'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the HTML part's policy lacks %s: %s", want, policy)
		}
	}
	if strings.Contains(policy, "allow-") || strings.Contains(policy, "script-src") || strings.Contains(policy, "img-src") {
		t.Errorf("the HTML part may too much: %s", policy)
	}
	if !strings.Contains(part.Body.String(), `<p style="color:red">`) {
		t.Errorf("the HTML part is %q", part.Body)
	}

	source := b.ask(t, http.MethodGet, "/mails/1/raw")
	if diff := cmp.Diff(strings.ReplaceAll(confirmation, "\n", "\r\n"), source.Body.String()); diff != "" {
		t.Error("source:", diff)
	}
	if got := source.Header().Get("Content-Type"); got != "text/plain; charset=utf-8" || source.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("the source is of the type %s", got)
	}
}

// hasEmpty says whether the first element of the name has the attribute, without a value.
func hasEmpty(doc *html.Node, element, key string) bool {
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && n.Data == element {
			return slices.Contains(n.Attr, html.Attribute{Key: key})
		}
	}
	return false
}
