package mail_test

import (
	"errors"
	"html"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/mail"
)

func confirmation() mail.ConfirmationData {
	return mail.ConfirmationData{
		Product:   "Example",
		Link:      "https://app.example.com/confirm?key=AbC-_123&lang=en",
		ExpiresAt: time.Date(2026, 3, 30, 3, 30, 0, 0, time.FixedZone("elsewhere", 2*60*60)),
	}
}

func defaults(t *testing.T) *mail.Templates {
	t.Helper()
	templates, err := mail.DefaultTemplates()
	if err != nil {
		t.Fatal(err)
	}
	return templates
}

func TestConfirmationSaysWhatAReaderNeeds(t *testing.T) {
	t.Parallel()
	got, err := defaults(t).Confirmation(confirmation())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("Confirm your address for Example", got.Subject); diff != "" {
		t.Error(diff)
	}
	for _, want := range []string{"Example", confirmation().Link, "30 March 2026, 01:30 UTC", "ignore this message"} {
		if !strings.Contains(got.Text, want) {
			t.Errorf("the text lacks %q:\n%s", want, got.Text)
		}
		if !strings.Contains(html.UnescapeString(got.HTML), want) {
			t.Errorf("the HTML lacks %q:\n%s", want, got.HTML)
		}
	}
}

func TestConfirmationNeedsNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	got, err := defaults(t).Confirmation(confirmation())
	if err != nil {
		t.Fatal(err)
	}
	for _, remote := range []string{"<img", "<link", "<script", "<iframe", "url(", "@import", "src="} {
		if strings.Contains(got.HTML, remote) {
			t.Errorf("the HTML has %q", remote)
		}
	}
	body := html.UnescapeString(strings.ReplaceAll(got.HTML, html.EscapeString(confirmation().Link), ""))
	if found := regexp.MustCompile(`(https?:)?//[a-z]\S*`).FindString(body); found != "" {
		t.Errorf("the HTML points elsewhere: %s", found)
	}
	for _, dark := range []string{`<meta name="color-scheme" content="light dark">`, "prefers-color-scheme: dark"} {
		if !strings.Contains(got.HTML, dark) {
			t.Errorf("the HTML lacks %q", dark)
		}
	}
}

func TestConfirmationEscapesTheProduct(t *testing.T) {
	t.Parallel()
	data := confirmation()
	data.Product = `<script>alert("x")</script> & Söhne`
	got, err := defaults(t).Confirmation(data)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(got.HTML, "<script>") || !strings.Contains(got.HTML, "&lt;script&gt;") {
		t.Errorf("the HTML does not escape the product:\n%s", got.HTML)
	}
	if !strings.Contains(got.Text, data.Product) {
		t.Errorf("the text does not have the product as it is:\n%s", got.Text)
	}
}

func TestConfirmationRefusesData(t *testing.T) {
	t.Parallel()
	templates := defaults(t)
	for sentence, tt := range map[string]struct {
		part  string
		spoil func(*mail.ConfirmationData)
	}{
		"no product":                      {"Product", func(d *mail.ConfirmationData) { d.Product = "" }},
		"a product that injects a header": {"Product", func(d *mail.ConfirmationData) { d.Product = "Example\r\nBcc: eve@example.net" }},
		"no link":                         {"Link", func(d *mail.ConfirmationData) { d.Link = "" }},
		"a relative link":                 {"Link", func(d *mail.ConfirmationData) { d.Link = "/confirm?key=t0ken" }},
		"a link that is a script":         {"Link", func(d *mail.ConfirmationData) { d.Link = "javascript:alert('t0ken')" }},
		"a link without a host":           {"Link", func(d *mail.ConfirmationData) { d.Link = "https:///confirm?key=t0ken" }},
		"a link with a blank":             {"Link", func(d *mail.ConfirmationData) { d.Link = "https://example.com/confirm?key=t0ken x" }},
		"a link with a line break":        {"Link", func(d *mail.ConfirmationData) { d.Link = "https://example.com/confirm?key=t0ken\nx" }},
		"no end of validity":              {"ExpiresAt", func(d *mail.ConfirmationData) { d.ExpiresAt = time.Time{} }},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			data := confirmation()
			tt.spoil(&data)
			_, err := templates.Confirmation(data)
			refusal, ok := errors.AsType[*mail.TemplateError](err)
			if !ok {
				t.Fatalf("want a *TemplateError, got %v", err)
			}
			if diff := cmp.Diff(mail.TemplateError{Kind: "confirmation", Part: tt.part}, mail.TemplateError{Kind: refusal.Kind, Part: refusal.Part}); diff != "" {
				t.Error(diff)
			}
			if strings.Contains(err.Error(), "t0ken") {
				t.Errorf("the error shows the link: %v", err)
			}
		})
	}
}

func TestParseTemplates(t *testing.T) {
	t.Parallel()
	const subject, text, body = "confirmation/subject.txt", "confirmation/body.txt", "confirmation/body.html"
	for sentence, tt := range map[string]struct {
		file, source string // what replaces a good file; no source: the file is missing
		part, names  string // where the error is, and what it has to name; no part: there is none
	}{
		"good ones":                              {text, "Open {{.Link}}", "", ""},
		"a missing part":                         {body, "", "body.html", "body.html"},
		"a part that does not parse":             {text, "Open {{.Link}", "body.txt", "bad character"},
		"an unknown variable in the text":        {text, "{{.Link}} {{.Name}}", "body.txt", "Name"},
		"an unknown variable in the HTML":        {body, "{{.Link}} {{.Name}}", "body.html", "Name"},
		"an unknown variable in the subject":     {subject, "Hello {{.Name}}", "subject.txt", "Name"},
		"an unknown function":                    {text, "{{.Link}} {{shout .Product}}", "body.txt", "shout"},
		"a text without the link":                {text, "Hello {{.Product}}", "body.txt", "{{.Link}}"},
		"an HTML part without the link":          {body, "<p>Hello {{.Product}}</p>", "body.html", "{{.Link}}"},
		"an HTML part that ends inside of a tag": {body, "<a href=\"{{.Link}}", "body.html", "ends"},
		"a subject of two lines":                 {subject, "Hello\n{{.Product}}", "subject.txt", "more than one line"},
		"a subject that makes nothing":           {subject, "{{if not .Product}}x{{end}}", "subject.txt", "nothing"},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			folder := fstest.MapFS{
				subject: {Data: []byte("Hello {{.Product}}\n")},
				text:    {Data: []byte("{{.Link}}")},
				body:    {Data: []byte(`<a href="{{.Link}}">{{.Link}}</a>`)},
			}
			if folder[tt.file] = (&fstest.MapFile{Data: []byte(tt.source)}); tt.source == "" {
				delete(folder, tt.file)
			}
			_, err := mail.ParseTemplates(folder)
			if tt.part == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			refusal, ok := errors.AsType[*mail.TemplateError](err)
			if !ok {
				t.Fatalf("want a *TemplateError, got %v", err)
			}
			if diff := cmp.Diff(tt.part, refusal.Part); diff != "" {
				t.Error(diff)
			}
			if !strings.Contains(err.Error(), tt.names) {
				t.Errorf("the error does not name %q: %v", tt.names, err)
			}
		})
	}
}
