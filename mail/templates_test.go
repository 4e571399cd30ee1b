package mail_test

import (
	"errors"
	"fmt"
	"html"
	"math"
	"regexp"
	"slices"
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

func defaults(t testing.TB) *mail.Templates {
	t.Helper()
	templates, err := mail.DefaultTemplates()
	if err != nil {
		t.Fatal(err)
	}
	return templates
}

// letter is one mail that people get.
type letter struct {
	name string // of its golden
	kind mail.Kind
	data mail.AccountData
}

// letters are all kinds, with data for each, in that language.
func letters(language string) []letter {
	at := time.Date(2026, 3, 30, 3, 30, 0, 0, time.FixedZone("elsewhere", 2*60*60))
	var all []letter
	for _, kind := range mail.Kinds() {
		d := mail.AccountData{Product: "Example", Link: "https://app.example.com/page?key=AbC-_123&lang=en", ExpiresAt: at, Language: language}
		if !slices.Contains(kind.Variables(), "ExpiresAt") {
			d.Link, d.ExpiresAt, d.At = "https://app.example.com", time.Time{}, at
		}
		if kind != mail.KindEmailNotice {
			all = append(all, letter{string(kind), kind, d})
			continue
		}
		d.Address = "n***@example.org"
		all = append(all, letter{"email_notice_asked", kind, d})
		d.Done = true
		all = append(all, letter{"email_notice_done", kind, d})
	}
	return all
}

// write renders a letter.
func (l letter) write(t testing.TB, templates *mail.Templates) mail.Content {
	t.Helper()
	content, err := l.try(templates)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func (l letter) try(templates *mail.Templates) (mail.Content, error) {
	if l.kind == mail.KindConfirmation {
		return templates.Confirmation(mail.ConfirmationData{Product: l.data.Product, Link: l.data.Link, ExpiresAt: l.data.ExpiresAt, Language: l.data.Language})
	}
	return templates.Account(l.kind, l.data)
}

// eachLetter runs a test for every kind in every language.
func eachLetter(t *testing.T, test func(t *testing.T, l letter, templates *mail.Templates)) {
	t.Helper()
	templates := defaults(t)
	if diff := cmp.Diff([]string{"en", "de"}, templates.Languages()); diff != "" {
		t.Error(diff)
	}
	for _, language := range templates.Languages() {
		for _, l := range letters(language) {
			t.Run(language+"/"+l.name, func(t *testing.T) {
				t.Parallel()
				test(t, l, templates)
			})
		}
	}
}

func TestMailsSayWhatAReaderNeeds(t *testing.T) {
	t.Parallel()
	says := map[string][]string{"en": {"30 March 2026, 01:30 UTC", "If "}, "de": {"30. März 2026, 01:30 Uhr (UTC)", "Wenn "}}
	eachLetter(t, func(t *testing.T, l letter, templates *mail.Templates) {
		t.Helper()
		got := l.write(t, templates)
		if got.Language != l.data.Language || !strings.Contains(got.Subject, "Example") {
			t.Errorf("it is in %s, its subject is %q", got.Language, got.Subject)
		}
		text, page := strings.Join(strings.Fields(got.Text), " "), html.UnescapeString(got.HTML)
		for _, want := range append(says[l.data.Language], "Example", l.data.Link, l.data.Address) {
			if !strings.Contains(text, want) || !strings.Contains(page, want) {
				t.Errorf("it lacks %q:\n%s\n%s", want, got.Text, got.HTML)
			}
		}
		for line := range strings.SplitSeq(got.Text, "\n") {
			if n := len([]rune(line)); n > 78 {
				t.Errorf("a line of %d columns: %s", n, line)
			}
		}
	})
}

func TestMailsAreReadableWithoutImagesAndInTheDark(t *testing.T) {
	t.Parallel()
	eachLetter(t, func(t *testing.T, l letter, templates *mail.Templates) {
		t.Helper()
		page := l.write(t, templates).HTML
		for _, want := range []string{
			`<html lang="` + l.data.Language + `" dir="ltr">`, `<meta name="color-scheme" content="light dark">`, "prefers-color-scheme: dark",
			"color-scheme: light dark", `<title>`, `<div style="display: none;`, `<bdi>Example</bdi>`,
		} {
			if !strings.Contains(page, want) {
				t.Errorf("it lacks %q", want)
			}
		}
		if tables, marked := strings.Count(page, "<table"), strings.Count(page, `<table role="presentation"`); tables == 0 || tables != marked {
			t.Errorf("%d of %d tables are there for their looks alone", marked, tables)
		}
		for _, remote := range []string{"<img", "<link", "<script", "<iframe", "url(", "@import", "src="} {
			if strings.Contains(page, remote) {
				t.Errorf("it has %q", remote)
			}
		}
		elsewhere := html.UnescapeString(strings.ReplaceAll(page, html.EscapeString(l.data.Link), ""))
		if found := regexp.MustCompile(`(https?:)?//[a-z]\S*`).FindString(elsewhere); found != "" {
			t.Errorf("it points elsewhere: %s", found)
		}
		// A link beside the button, which itself is one: some programs show no backgrounds.
		want := 1
		if !l.data.ExpiresAt.IsZero() {
			want = 2
		}
		if got := strings.Count(page, `href="`+html.EscapeString(l.data.Link)+`"`); got != want {
			t.Errorf("links: want %d, got %d", want, got)
		}
	})
}

func TestNamesAreWordsWhateverTheyAreMadeOf(t *testing.T) {
	t.Parallel()
	eachLetter(t, func(t *testing.T, l letter, templates *mail.Templates) {
		t.Helper()
		l.data.Product = `<script>alert("x")</script> & O'Söhne` + "\u202egnp"
		if l.data.Address != "" {
			l.data.Address = "\u2067n***@<b>example.org"
		}
		got := l.write(t, templates)
		if strings.Contains(got.HTML, "<script>") || strings.Contains(got.HTML, "<b>") || !strings.Contains(got.HTML, "&lt;script&gt;") {
			t.Errorf("markup is not escaped:\n%s", got.HTML)
		}
		if !strings.Contains(strings.Join(strings.Fields(got.Text), " "), `<script>alert("x")</script> & O'Söhnegnp`) {
			t.Errorf("the text does not have the product as it is:\n%s", got.Text)
		}
		if strings.ContainsAny(got.Subject+got.Text+html.UnescapeString(got.HTML), "\u202e\u2067") {
			t.Error("a name turns the direction of the sentence around it")
		}
	})
}

func TestMailsRefuseData(t *testing.T) {
	t.Parallel()
	eachLetter(t, func(t *testing.T, l letter, templates *mail.Templates) {
		t.Helper()
		for sentence, tt := range map[string]struct {
			part  string
			spoil func(*mail.AccountData)
		}{
			"no product":                        {"Product", func(d *mail.AccountData) { d.Product = "" }},
			"a product that nobody sees":        {"Product", func(d *mail.AccountData) { d.Product = "\u202e" }},
			"a product that injects a header":   {"Product", func(d *mail.AccountData) { d.Product = "Example\r\nBcc: eve@example.net" }},
			"a product of more than 200 bytes":  {"Product", func(d *mail.AccountData) { d.Product = strings.Repeat("x", 201) }},
			"no link":                           {"Link", func(d *mail.AccountData) { d.Link = "" }},
			"a relative link":                   {"Link", func(d *mail.AccountData) { d.Link = "/page?key=t0ken" }},
			"a link that is a script":           {"Link", func(d *mail.AccountData) { d.Link = "javascript:alert('t0ken')" }},
			"a link without a host":             {"Link", func(d *mail.AccountData) { d.Link = "https:///confirm?key=t0ken" }},
			"a link with a blank":               {"Link", func(d *mail.AccountData) { d.Link = "https://example.com/confirm?key=t0ken x" }},
			"a link with a line break":          {"Link", func(d *mail.AccountData) { d.Link = "https://example.com/confirm?key=t0ken\nx" }},
			"no time":                           {"", func(d *mail.AccountData) { d.ExpiresAt, d.At = time.Time{}, time.Time{} }},
			"a new address that is a new line":  {"Address", func(d *mail.AccountData) { d.Address = "n***@example.org\r\nBcc: eve@example.net" }},
			"a new address that is not there":   {"Address", func(d *mail.AccountData) { d.Address = "" }},
			"all that is needed, and a surplus": {"-", func(d *mail.AccountData) { d.Done = true }},
		} {
			if tt.part == "Address" && l.kind != mail.KindEmailNotice {
				continue
			}
			spoiled := l
			tt.spoil(&spoiled.data)
			_, err := spoiled.try(templates)
			if tt.part == "-" {
				if err != nil {
					t.Errorf("%s: %v", sentence, err)
				}
				continue
			}
			refusal, ok := errors.AsType[*mail.TemplateError](err)
			if !ok || refusal.Kind != string(l.kind) || tt.part != "" && refusal.Part != tt.part || strings.Contains(err.Error(), "t0ken") {
				t.Errorf("%s: got %v", sentence, err)
			}
		}
	})
	for _, kind := range []mail.Kind{"no such kind", mail.KindConfirmation} {
		if _, err := defaults(t).Account(kind, letters("en")[1].data); err == nil {
			t.Errorf("the kind %q was rendered as one to an owner", kind)
		}
	}
}

func TestEveryKindIsTriedWithTheProductsName(t *testing.T) {
	t.Parallel()
	if err := defaults(t).Check("Größenwahn & Söhne"); err != nil {
		t.Error(err)
	}
	refusal, ok := errors.AsType[*mail.TemplateError](defaults(t).Check(strings.Repeat("ö", 101)))
	if !ok || refusal.Part != "Product" {
		t.Errorf("a product that is too long: %v", refusal)
	}
	folder := fstest.MapFS{"en/lockout_notice/subject.txt": {Data: []byte(`{{if eq .Product "Example"}}x{{else if gt (len .Product) 60}}x{{end}}`)}}
	templates, err := mail.ParseTemplates(folder)
	if err == nil {
		err = templates.Check("Short")
	}
	if refusal, ok := errors.AsType[*mail.TemplateError](err); !ok || refusal.File != "en/lockout_notice/subject.txt" {
		t.Errorf("a subject that makes nothing of this product: %v", err)
	}
}

// The colours that stand on one another, in light and dark. Programs that turn colours around keep the contrast of what is far apart.
func TestColoursHaveContrastAlsoTurnedAround(t *testing.T) {
	t.Parallel()
	page := letters("en")[0].write(t, defaults(t)).HTML
	for _, pair := range [][2]string{
		{"#1b1f24", "#ffffff"}, {"#57606a", "#ffffff"}, {"#1a56c4", "#ffffff"}, {"#ffffff", "#2a6ae0"}, // light
		{"#e6e8eb", "#1e2227"}, {"#aab2bb", "#1e2227"}, {"#8ab8ff", "#1e2227"}, // dark
	} {
		for _, colour := range pair {
			if !strings.Contains(page, colour) {
				t.Errorf("there is no %s in the layout any more: name its colours here", colour)
			}
		}
		for how, turn := range map[string]func(float64) float64{"as it is": func(v float64) float64 { return v }, "inverted": func(v float64) float64 { return 255 - v }} {
			if got := contrast(t, pair[0], pair[1], turn); got < 4.5 { // WCAG 2.2, 1.4.3
				t.Errorf("%s on %s, %s: a contrast of %.2f", pair[0], pair[1], how, got)
			}
		}
	}
}

// contrast is WCAG's ratio.
func contrast(t *testing.T, a, b string, turn func(float64) float64) float64 {
	t.Helper()
	luminance := func(colour string) float64 {
		var rgb [3]int
		if _, err := fmt.Sscanf(colour, "#%02x%02x%02x", &rgb[0], &rgb[1], &rgb[2]); err != nil {
			t.Fatal(err)
		}
		sum := 0.0
		for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
			sum += weight * linear(turn(float64(rgb[i]))/255)
		}
		return sum
	}
	high, low := luminance(a), luminance(b)
	return (max(high, low) + 0.05) / (min(high, low) + 0.05)
}

func linear(v float64) float64 {
	if v <= 0.04045 {
		return v / 12.92
	}
	return math.Pow((v+0.055)/1.055, 2.4)
}
