package inbox_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"github.com/sealq/sealq/mail/catcher/inbox"
)

func encoded(s string) string {
	return "=?utf-8?b?" + base64.StdEncoding.EncodeToString([]byte(s)) + "?="
}

func TestHostileMailsAreShownHarmless(t *testing.T) {
	t.Parallel()
	big := strings.Repeat(strings.Repeat("y", 99)+"\n", 95_000) // 9.5 MB
	for sentence, tt := range map[string]struct {
		mail  string
		title string
		shown string // somewhere on the page
	}{
		"markup in the subject":            {"Subject: </title><script>alert(1)</script>\n\nx\n", "</title><script>alert(1)</script>", ""},
		"an encoded subject":               {"Subject: " + encoded(`"><img src=x onerror=alert(1)>`) + "\n\nx\n", `"><img src=x onerror=alert(1)>`, ""},
		"markup in the text":               {"Subject: s\n\n</pre><iframe src=//evil.example></iframe>\n", "s", "</pre><iframe src=//evil.example></iframe>"},
		"markup in a header":               {"Subject: s\nX-A: <script>alert(1)</script>\n\nx\n", "s", "<script>alert(1)</script>"},
		"control characters":               {"Subject: " + encoded("a\x1b[31m\x00b\rc\nd\u0085\x7f") + "\n\ny\x1bz\n", "a␛[31m␀b␍c␊d⟨U+0085⟩␡", "y␛z"},
		"text that turns its direction":    {"Subject: " + encoded("a\u202egpj.exe\u2066\u200b") + "\n\nx\u202ey\n", "a⟨U+202E⟩gpj.exe⟨U+2066⟩⟨U+200B⟩", "x⟨U+202E⟩y"},
		"emojis and joiners stay":          {"Subject: " + encoded("👩\u200d💻 नमस्\u200dते") + "\n\nx\n", "👩\u200d💻 नमस्\u200dते", ""},
		"bytes that are no UTF-8":          {"Subject: s\nContent-Type: text/plain; charset=iso-8859-1\n\nGr\xfc\xdfe\n", "s", "Gr\ufffd\ufffde"},
		"a subject in no known charset":    {"Subject: =?klingon?q?x?=\n\nx\n", "=?klingon?q?x?=", "This mail is broken"},
		"a multipart that never ends":      {"Subject: s\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nhello\n", "s", "This mail is broken"},
		"no header at all":                 {"no header", "(no subject)", "This mail is broken"},
		"10 MB of text":                    {"Subject: s\n\n" + big, "s", " more bytes are not shown"},
		"10 MB of HTML":                    {"Subject: s\nContent-Type: text/html\n\n" + big, "s", " more bytes are not shown"},
		"10 MB of headers":                 {"Subject: s\n" + strings.Repeat("X-A: "+strings.Repeat("y", 900)+"\n", 10_000) + "\nx\n", "s", " more are not shown"},
		"a subject of 1 MB":                {"Subject: " + strings.Repeat(strings.Repeat("y", 900)+"\n ", 1000) + "\n\nx\n", strings.Repeat("y", 300) + "…", ""},
		"links that are none":              {"Subject: s\n\nhttps://\u202emoc.elpmaxe javascript:alert(1)\n", "s", "Links https://⟨U+202E⟩moc.elpmaxe Text"},
		"a link that would have to be cut": {"Subject: s\nContent-Transfer-Encoding: quoted-printable\n\nhttps://a.example/" + strings.Repeat(strings.Repeat("y", 900)+"=\n", 3) + "\n", "s", "UTC Text https://a.example/y"},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			b := open(t, tt.mail)
			b.page(t, "/")
			doc := b.page(t, "/mails/1")
			if diff := cmp.Diff([]string{tt.title}, texts(doc, "h1")); diff != "" {
				t.Error(diff)
			}
			if all := texts(doc, "main"); !strings.Contains(all[0], tt.shown) {
				t.Errorf("%q is not on the page: %.500s", tt.shown, all[0])
			}
			for _, target := range []string{"/", "/mails/1", "/mails/1/html"} {
				if size := b.ask(t, http.MethodGet, target).Body.Len(); size > 2<<20 {
					t.Errorf("%s has %d bytes", target, size)
				}
			}
		})
	}
}

func TestTheHTMLPartNamesNothingToConnectTo(t *testing.T) {
	t.Parallel()
	const header = "Subject: s\nContent-Type: text/html\n\n"
	for sentence, part := range map[string]string{
		"plainly": `<base href=//evil><meta http-equiv=refresh content="0;url=//evil"><link rel=preconnect href=//evil><iframe src=//evil></iframe>` +
			`<object data=//evil></object><embed src=//evil><script src=//evil></script>`,
		"without scripts":  `<noscript><link rel=preconnect href=//evil></noscript>`,
		"in a frame":       `<iframe><link rel=preconnect href=//evil></iframe>`,
		"out of a drawing": `<svg><style><p><link rel=preconnect href=//evil></p></style></svg>`,
		"in a frameset":    `<frameset><frame src=//evil></frameset>`,
		"as it was typed":  `<IFRAME/SRC=//evil` + "\n" + `></IFRAME>`,
		"nested deep":      strings.Repeat("<div>\n", 2000) + `<iframe src=//evil></iframe>`,
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			b := open(t, header+part+"<p style=\"color:red\">words</p>\n")
			got := b.ask(t, http.MethodGet, "/mails/1/html").Body.String()
			doc, err := html.ParseWithOptions(strings.NewReader(got), html.ParseOptionEnableScripting(false))
			if err != nil {
				t.Fatal(err)
			}
			for _, element := range []string{"base", "meta", "link", "iframe", "frame", "object", "embed", "script"} {
				if found := texts(doc, element); len(found) > 0 {
					t.Errorf("it holds <%s>: %.300s", element, got)
				}
			}
			if sentence != "in a frameset" && !strings.Contains(got, "words") {
				t.Errorf("its words are gone: %.300s", got)
			}
		})
	}
}

func TestOnlyAButtonOfOursForgetsThem(t *testing.T) {
	t.Parallel()
	b := open(t, "Subject: x\n\ny\n")
	if got := b.ask(t, http.MethodGet, "/forget").Code; got != http.StatusNotFound && got != http.StatusMethodNotAllowed {
		t.Errorf("GET answered %d", got)
	}
	for _, headers := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"}} {
		if got := b.ask(t, http.MethodPost, "/forget", headers...).Code; got != http.StatusForbidden {
			t.Errorf("a POST with %q answered %d", headers, got)
		}
	}
	if got := len(b.mails.Messages()); got != 1 {
		t.Fatalf("%d mails are left", got)
	}
	w := b.ask(t, http.MethodPost, "/forget", "Sec-Fetch-Site", "same-origin")
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/" || len(b.mails.Messages()) != 0 {
		t.Errorf("our own answered %d and left %d mails", w.Code, len(b.mails.Messages()))
	}
	if got := b.ask(t, http.MethodGet, "/mails/1").Code; got != http.StatusNotFound {
		t.Errorf("a mail that was forgotten answered %d", got)
	}
	if diff := cmp.Diff([]string{"0 mails"}, texts(b.page(t, "/"), "h1")); diff != "" {
		t.Error(diff)
	}
}

func TestNoOtherNameLeadsToTheMails(t *testing.T) {
	t.Parallel()
	b := open(t, "Subject: x\n\ny\n")
	anyHost, err := inbox.New(inbox.Config{Mails: b.mails, AnyHost: true})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]int{
		"localhost": 200, "LOCALHOST:80": 200, "127.0.0.1:8025": 200, "127.9.9.9": 200, "[::1]:8025": 200, "[::1]": 200,
		"rebound.example": 421, "localhost.evil.example:80": 421, "10.0.0.1:8025": 421, "": 421,
	} {
		if got := b.ask(t, http.MethodGet, "/mails/1", "Host", host).Code; got != want {
			t.Errorf("as %q it answers %d, not %d", host, got, want)
		}
		if got := (box{Inbox: anyHost}).ask(t, http.MethodGet, "/mails/1", "Host", host).Code; got != 200 {
			t.Errorf("told to answer to any, as %q it answers %d", host, got)
		}
	}
}

func TestWhatIsNotThereIsSaid(t *testing.T) {
	t.Parallel()
	b := open(t)
	for _, target := range []string{"/nothing", "/mails/1", "/mails/x", "/mails/1/html", "/mails/1/raw", "/assets/nothing.css"} {
		if got := b.ask(t, http.MethodGet, target).Code; got != http.StatusNotFound {
			t.Errorf("%s answered %d", target, got)
		}
	}
	for _, target := range []string{"/assets/style.css", "/assets/icon.svg"} {
		if got := b.ask(t, http.MethodGet, target).Code; got != http.StatusOK {
			t.Errorf("%s answered %d", target, got)
		}
	}
	if _, err := inbox.New(inbox.Config{}); err == nil {
		t.Error("an inbox without mails was made")
	}
}
