package mail_test

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"mime"
	"mime/multipart"
	netmail "net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/mail"
)

var update = flag.Bool("update", false, "write the goldens anew; a change of what is sent needs a decision record")

func TestRenderIsTheGolden(t *testing.T) {
	t.Parallel()
	templates, err := mail.DefaultTemplates()
	if err != nil {
		t.Fatal(err)
	}
	content, err := templates.Confirmation(confirmation())
	if err != nil {
		t.Fatal(err)
	}
	confirm := message()
	confirm.Subject, confirm.Text, confirm.HTML = content.Subject, content.Text, content.HTML
	plain := message()
	plain.HTML = ""
	beyond := message()
	beyond.To = "jürgen@bücher.example"
	beyond.Subject = "Bestätige deine Adresse für Größenwahn & Söhne, bitte noch heute: ✉ 確認してください"
	beyond.Text = "Grüße,\n.\n..\nFrom here on =20 and a line that is rather longer than the seventy-six characters of a quoted-printable line\n"
	for name, tt := range map[string]struct {
		from    string
		message mail.Message
	}{
		"confirmation.eml": {from, confirm},
		"plain.eml":        {"no-reply@example.com", plain},
		"beyond_ascii.eml": {"Größenwahn & Söhne <no-reply@bücher.example>", beyond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sender := newSender(t, mail.Config{URL: "smtp://mail.example.com", From: tt.from})
			got, err := sender.Render(tt.message)
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", "v1", name)
			if *update {
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
		})
	}
}

// checkWire holds every rendered message to what RFC 5322 and RFC 2045 ask of lines.
func checkWire(t *testing.T, raw []byte) {
	t.Helper()
	if bare := bytes.ReplaceAll(raw, []byte("\r\n"), nil); bytes.ContainsAny(bare, "\r\n") {
		t.Error("a line does not end in CRLF")
	}
	head, _, _ := strings.Cut(string(raw), "\r\n\r\n")
	for line := range strings.SplitSeq(string(raw), "\r\n") {
		if len(line) > 78 {
			t.Errorf("a line of %d bytes: %s", len(line), line)
		}
	}
	for line := range strings.SplitSeq(head, "\r\n") {
		if strings.TrimSpace(line) == "" {
			t.Errorf("a blank line among the headers:\n%s", head)
		}
	}
}

// read parses a message with nothing but the standard library.
func read(t *testing.T, raw []byte) (header netmail.Header, parts map[string]string) {
	t.Helper()
	m, err := netmail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	kind, parameters, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("multipart/alternative", kind); diff != "" {
		t.Fatal(diff)
	}
	parts = map[string]string{}
	for reader := multipart.NewReader(m.Body, parameters["boundary"]); ; {
		part, err := reader.NextPart()
		if errors.Is(err, io.EOF) {
			return m.Header, parts
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		parts[part.Header.Get("Content-Type")] = strings.ReplaceAll(string(content), "\r\n", "\n")
	}
}

func TestRenderCanBeReadBack(t *testing.T) {
	t.Parallel()
	subject := strings.TrimSpace(strings.Repeat("Bestätigung für Ännchen 確認 ", 12))
	m := message()
	m.Subject = subject
	m.Text = "Grüße\n.\n..two\nFrom: nobody\n--\n" + strings.Repeat("ä", 400) + "\n"
	m.HTML = "<p>Grüße = &amp; 確認</p>\n"
	raw, err := newSender(t, mail.Config{URL: "smtp://mail.example.com", From: "Größenwahn & Söhne <no-reply@example.com>"}).Render(m)
	if err != nil {
		t.Fatal(err)
	}
	checkWire(t, raw)
	header, parts := read(t, raw)

	var words mime.WordDecoder
	got, err := words.DecodeHeader(header.Get("Subject"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(subject, got); diff != "" {
		t.Error(diff)
	}
	sender, err := header.AddressList("From")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]*netmail.Address{{Name: "Größenwahn & Söhne", Address: "no-reply@example.com"}}, sender); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]string{
		"Message-Id":     "<" + m.ID + ">",
		"Date":           "Sun, 29 Mar 2026 01:30:00 +0000",
		"Auto-Submitted": "auto-generated",
		"Mime-Version":   "1.0",
		"To":             "<ann@example.org>",
		"User-Agent":     "",
		"X-Mailer":       "",
	} {
		if diff := cmp.Diff(want, header.Get(name)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if diff := cmp.Diff(map[string]string{"text/plain; charset=UTF-8": m.Text, "text/html; charset=UTF-8": m.HTML}, parts); diff != "" {
		t.Error(diff)
	}
}

func TestRenderIsTheSameEveryTime(t *testing.T) {
	t.Parallel()
	config := mail.Config{URL: "smtp://mail.example.com"}
	m := message()
	first, err := newSender(t, config).Render(m)
	if err != nil {
		t.Fatal(err)
	}
	m.Date = m.Date.In(time.FixedZone("elsewhere", 2*60*60)) // the same instant, read back from a database in another zone
	second, err := newSender(t, config).Render(m)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(first), string(second)); diff != "" {
		t.Error(diff)
	}
	m.Text += "!"
	third, err := newSender(t, config).Render(m)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(third, first[bytes.Index(first, []byte("boundary=")):][:60]) {
		t.Error("another text has the same boundary")
	}
}

func TestRenderRefuses(t *testing.T) {
	t.Parallel()
	sender := newSender(t, mail.Config{URL: "smtp://mail.example.com"})
	for sentence, tt := range map[string]struct {
		field string
		spoil func(*mail.Message)
	}{
		"a header injected through the subject":    {"Subject", func(m *mail.Message) { m.Subject = "Hello\r\nBcc: eve@example.net" }},
		"a bare line feed in the subject":          {"Subject", func(m *mail.Message) { m.Subject = "Hello\nBcc: eve@example.net" }},
		"a bare carriage return in the subject":    {"Subject", func(m *mail.Message) { m.Subject = "Hello\rBcc: eve@example.net" }},
		"a NUL in the subject":                     {"Subject", func(m *mail.Message) { m.Subject = "Hello\x00" }},
		"a line separator in the subject":          {"Subject", func(m *mail.Message) { m.Subject = "Hello\u2028you" }},
		"a subject that is not UTF-8":              {"Subject", func(m *mail.Message) { m.Subject = "Hello \xff" }},
		"an empty subject":                         {"Subject", func(m *mail.Message) { m.Subject = " " }},
		"a subject over 500 bytes":                 {"Subject", func(m *mail.Message) { m.Subject = strings.Repeat("x", 501) }},
		"two blanks in a row in the subject":       {"Subject", func(m *mail.Message) { m.Subject = "Hello  " + strings.Repeat("x", 90) }},
		"a header injected through the address":    {"To", func(m *mail.Message) { m.To = "ann@example.org\r\nBcc: eve@example.net" }},
		"a command injected through the address":   {"To", func(m *mail.Message) { m.To = "ann@example.org>\r\nRCPT TO:<eve@example.net" }},
		"two addresses":                            {"To", func(m *mail.Message) { m.To = "ann@example.org,eve@example.net" }},
		"a display name":                           {"To", func(m *mail.Message) { m.To = "Ann <ann@example.org>" }},
		"angle brackets":                           {"To", func(m *mail.Message) { m.To = "<ann@example.org>" }},
		"a comment":                                {"To", func(m *mail.Message) { m.To = "ann@example.org (Ann)" }},
		"a quoted local part":                      {"To", func(m *mail.Message) { m.To = `"ann"@example.org` }},
		"a group":                                  {"To", func(m *mail.Message) { m.To = "all: ann@example.org;" }},
		"a zero-width space in the domain":         {"To", func(m *mail.Message) { m.To = "ann@exam\u200bple.org" }},
		"a soft hyphen in the domain":              {"To", func(m *mail.Message) { m.To = "ann@exam\u00adple.org" }},
		"a blank behind the address":               {"To", func(m *mail.Message) { m.To = "ann@example.org " }},
		"no address":                               {"To", func(m *mail.Message) { m.To = "" }},
		"no domain":                                {"To", func(m *mail.Message) { m.To = "ann" }},
		"a domain that is none":                    {"To", func(m *mail.Message) { m.To = "ann@-example-.org" }},
		"an address literal":                       {"To", func(m *mail.Message) { m.To = "ann@[127.0.0.1]" }},
		"65 bytes before the @":                    {"To", func(m *mail.Message) { m.To = strings.Repeat("a", 65) + "@example.org" }},
		"a header injected through the Message-ID": {"ID", func(m *mail.Message) { m.ID = "1@example.com>\r\nBcc: eve@example.net" }},
		"angle brackets around the Message-ID":     {"ID", func(m *mail.Message) { m.ID = "<1@example.com>" }},
		"a Message-ID with a blank":                {"ID", func(m *mail.Message) { m.ID = "1 2@example.com" }},
		"a Message-ID with two @":                  {"ID", func(m *mail.Message) { m.ID = "1@2@example.com" }},
		"a Message-ID beyond ASCII":                {"ID", func(m *mail.Message) { m.ID = "ä@example.com" }},
		"a Message-ID over 250 bytes":              {"ID", func(m *mail.Message) { m.ID = strings.Repeat("a", 240) + "@example.com" }},
		"no Message-ID":                            {"ID", func(m *mail.Message) { m.ID = "" }},
		"no text":                                  {"Text", func(m *mail.Message) { m.Text = "" }},
		"a text that is not UTF-8":                 {"Text", func(m *mail.Message) { m.Text = "\xff" }},
		"a text over 1 MiB":                        {"Text", func(m *mail.Message) { m.Text = strings.Repeat("x", 1<<20+1) }},
		"an HTML part that is not UTF-8":           {"HTML", func(m *mail.Message) { m.HTML = "\xff" }},
		"an HTML part over 1 MiB":                  {"HTML", func(m *mail.Message) { m.HTML = strings.Repeat("x", 1<<20+1) }},
		"no date":                                  {"Date", func(m *mail.Message) { m.Date = time.Time{} }},
		"a date with five digits of year":          {"Date", func(m *mail.Message) { m.Date = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			m := message()
			tt.spoil(&m)
			raw, err := sender.Render(m)
			refusal, ok := errors.AsType[*mail.MessageError](err)
			if !ok {
				t.Fatalf("want a *MessageError, got %v and\n%s", err, raw)
			}
			if diff := cmp.Diff(tt.field, refusal.Field); diff != "" {
				t.Error(diff)
			}
			failed, ok := errors.AsType[*mail.SendError](err)
			if !ok || failed.Stage != mail.StageMessage || failed.Outcome != mail.OutcomePermanent {
				t.Errorf("want a permanent *SendError of the message, got %#v", failed)
			}
			if strings.Contains(err.Error(), "eve@") || strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("the error repeats the value: %q", err)
			}
		})
	}
}

func TestNewSenderRefuses(t *testing.T) {
	t.Parallel()
	for sentence, c := range map[string]mail.Config{
		"no URL":                              {From: from},
		"no sender":                           {URL: "smtp://mail.example.com"},
		"a sender that is no address":         {URL: "smtp://mail.example.com", From: "Example"},
		"two senders":                         {URL: "smtp://mail.example.com", From: "a@example.com, b@example.com"},
		"a header injected through the name":  {URL: "smtp://mail.example.com", From: "Example\r\nBcc: eve@example.net <a@example.com>"},
		"one hidden in an encoded word":       {URL: "smtp://mail.example.com", From: "=?utf-8?q?a=0D=0ABcc:_eve?= <a@example.com>"},
		"a NUL hidden in an encoded word":     {URL: "smtp://mail.example.com", From: "=?utf-8?q?a=00b?= <a@example.com>"},
		"a line separator hidden in one":      {URL: "smtp://mail.example.com", From: "=?utf-8?q?a=E2=80=A8b?= <a@example.com>"},
		"a zero-width space in the address":   {URL: "smtp://mail.example.com", From: "a@exam\u200bple.com"},
		"a negative timeout":                  {URL: "smtp://mail.example.com", From: from, Timeouts: mail.Timeouts{Answer: -1}},
		"TLS that does not verify anything":   {URL: "smtp://mail.example.com", From: from, TLSConfig: unverified()},
		"a connection in clear to a far host": {URL: "smtp://mail.example.com?tls=none", From: from},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			if _, err := mail.NewSender(c); err == nil {
				t.Error("want an error, got none")
			}
		})
	}
}

func TestTimeoutBoundsALease(t *testing.T) {
	t.Parallel()
	for sentence, tt := range map[string]struct {
		config mail.Config
		want   time.Duration
	}{
		"12 minutes by default, after two of waiting": {mail.Config{URL: "smtp://mail.example.com"}, 14 * time.Minute},
		"the URL's timeout, and as long of waiting":   {mail.Config{URL: "smtp://mail.example.com?timeout=90s"}, 3 * time.Minute},
		"the configuration over the URL": {
			mail.Config{URL: "smtp://mail.example.com?timeout=90s", Timeouts: mail.Timeouts{Total: time.Minute, Wait: time.Second}}, 61 * time.Second,
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, newSender(t, tt.config).Timeout()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
