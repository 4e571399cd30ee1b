package catcher_test

import (
	"fmt"
	"net/smtp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/mail/catcher"
)

func TestWhatAReaderSees(t *testing.T) {
	t.Parallel()
	alternative := "Content-Type: multipart/alternative; boundary=b\n\n--b\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n" +
		"Gr=C3=BC=C3=9Fe\n--b\nContent-Type: text/html\nContent-Transfer-Encoding: base64\n\nPGI+eDwvYj4=\n--b--\n"
	for sentence, tt := range map[string]struct {
		raw        string
		text, html string
		malformed  string
	}{
		"text without a type":                   {"Subject: x\n\nhello\n", "hello\n", "", ""},
		"quoted-printable text":                 {"Content-Transfer-Encoding: Quoted-Printable\n\na=3Db\n", "a=b\n", "", ""},
		"text and HTML":                         {alternative, "Grüße", "<b>x</b>", ""},
		"text and HTML within a mixed one":      {"Content-Type: multipart/mixed; boundary=m\n\n--m\n" + alternative + "\n--m--\n", "Grüße", "<b>x</b>", ""},
		"the first of two texts":                {"Content-Type: multipart/mixed; boundary=m\n\n--m\n\none\n--m\n\ntwo\n--m--\n", "one", "", ""},
		"another type":                          {"Content-Type: image/png\n\nx\n", "", "", ""},
		"no header":                             {"hello\n", "", "", "header"},
		"a type that cannot be read":            {"Content-Type: text/\n\nx\n", "", "", "content type"},
		"a multipart that never ends":           {"Content-Type: multipart/alternative; boundary=b\n\n--b\n\nx\n", "", "", "part"},
		"base64 that is none":                   {"Content-Transfer-Encoding: base64\n\n!!!!\n", "", "", "text/plain part"},
		"a subject in an unknown character set": {"Subject: =?klingon?q?x?=\n\nhello\n", "hello\n", "", "subject"},
		"parts within parts within parts":       {nested(7), "", "", "too deep"},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			c := start(t, catcher.Options{})
			if err := send(c, "ann@example.org", []byte(strings.ReplaceAll(tt.raw, "\n", "\r\n"))); err != nil {
				t.Fatal(err)
			}
			got := c.Messages()[0]
			if diff := cmp.Diff([]string{tt.text, tt.html}, []string{got.Text, got.HTML}); diff != "" {
				t.Error(diff)
			}
			if (got.Malformed == nil) != (tt.malformed == "") {
				t.Errorf("want %q, got %v", tt.malformed, got.Malformed)
			}
			if got.Malformed != nil && !strings.Contains(got.Malformed.Error(), tt.malformed) {
				t.Errorf("want %q, got %v", tt.malformed, got.Malformed)
			}
		})
	}
}

func nested(depth int) string {
	if depth == 0 {
		return "\nhello\n"
	}
	b := fmt.Sprintf("b%d", depth)
	return "Content-Type: multipart/mixed; boundary=" + b + "\n\n--" + b + "\n" + nested(depth-1) + "\n--" + b + "--\n"
}

func TestLink(t *testing.T) {
	t.Parallel()
	for sentence, tt := range map[string]struct{ text, want string }{
		"alone on its line":        {"Open\n\nhttps://example.com/a?b=c&d=e\n\nsoon", "https://example.com/a?b=c&d=e"},
		"at the end of a sentence": {"Open https://example.com/a.", "https://example.com/a"},
		"in brackets":              {"Open <http://example.com/a>", "http://example.com/a"},
		"the first of two":         {"http://a.example https://b.example", "http://a.example"},
		"behind something alike":   {"http or https: https:// and http://a.example/", "http://a.example/"},
		"none":                     {"Open the door, ftp://example.com", ""},
		"nothing":                  {"", ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, catcher.Caught{Text: tt.text}.Link()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLinks(t *testing.T) {
	t.Parallel()
	text := "Open <https://a.example/1>, or http://b.example/2.\nhttps:// is none, httphttp://c.example is."
	got := slices.Collect(catcher.Caught{Text: text}.Links())
	if diff := cmp.Diff([]string{"https://a.example/1", "http://b.example/2", "http://c.example"}, got); diff != "" {
		t.Error(diff)
	}
}

func ExampleStart() {
	server, err := catcher.Start("127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	mail := []byte("Subject: Hello\r\n\r\nOpen https://example.com/confirm?key=abc.\r\n")
	if err := smtp.SendMail(server.Addr(), nil, "no-reply@example.com", []string{"ann@example.org"}, mail); err != nil {
		fmt.Println(err)
		return
	}
	caught := server.Messages()[0]
	fmt.Println(caught.To, caught.Subject, caught.Link(), time.Since(caught.ReceivedAt) < time.Minute)
	// Output: [ann@example.org] Hello https://example.com/confirm?key=abc true
}
