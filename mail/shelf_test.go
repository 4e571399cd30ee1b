package mail_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/mail"
)

// files makes a folder of texts by path.
func files(texts map[string]string) fstest.MapFS {
	folder := fstest.MapFS{}
	for path, text := range texts {
		folder[path] = &fstest.MapFile{Data: []byte(text)}
	}
	return folder
}

// whole are all parts of the confirmation in French, which we do not have.
func whole(over map[string]string) map[string]string {
	texts := map[string]string{
		"fr/confirmation/subject.txt": "Hello {{.Product}}\n",
		"fr/confirmation/body.txt":    "{{.Link}}",
		"fr/confirmation/body.html":   `<a href="{{.Link}}">{{.Link}}</a>`,
	}
	for part, text := range over {
		if path := "fr/confirmation/" + part; text == "" {
			delete(texts, path)
		} else {
			texts[path] = text
		}
	}
	return texts
}

func parsed(t *testing.T, texts map[string]string) *mail.Templates {
	t.Helper()
	templates, err := mail.ParseTemplates(files(texts))
	if err != nil {
		t.Fatal(err)
	}
	return templates
}

func TestTemplatesThatCannotBeUsedAreNamed(t *testing.T) {
	t.Parallel()
	part := func(name, text string) map[string]string {
		return whole(map[string]string{name: text})
	}
	one := func(path, text string) map[string]string { return map[string]string{path: text} }
	const dir = "fr/confirmation/"
	for sentence, tt := range map[string]struct {
		folder map[string]string
		file   string // "" where there is nothing to refuse
		line   int
		says   string
	}{
		"a whole kind":                           {whole(nil), "", 0, ""},
		"a missing subject":                      {part("subject.txt", ""), dir + "subject.txt", 0, "remove the folder fr/confirmation"},
		"a missing text":                         {part("body.txt", ""), dir + "body.txt", 0, "is missing"},
		"a missing HTML part":                    {part("body.html", ""), dir + "body.html", 0, "is missing"},
		"a part that does not parse":             {part("body.txt", "a\nOpen {{.Link}"), dir + "body.txt", 2, "bad character"},
		"an unknown variable in the subject":     {part("subject.txt", "Hello {{.Name}}"), dir + "subject.txt", 1, "there is no {{.Name}} here: there are {{.Product}}, {{.Link}}, {{.ExpiresAt}}"},
		"an unknown variable in the text":        {part("body.txt", "{{.Link}}\n\n{{.Name}}"), dir + "body.txt", 3, "{{.Name}}"},
		"an unknown variable in the HTML":        {part("body.html", "<p>\n{{.Link}} {{.Name}}</p>"), dir + "body.html", 2, "{{.Name}}"},
		"an unknown variable in the preheader":   {part("preheader.txt", "{{.Name}}"), dir + "preheader.txt", 1, "{{.Name}}"},
		"one in a branch that is not taken":      {part("body.txt", "{{.Link}}{{if not .Product}}\n{{.Name}}{{end}}"), dir + "body.txt", 2, "{{.Name}}"},
		"one in the other branch":                {part("body.txt", "{{.Link}}{{if .Product}}x{{else}}\n{{.Name}}{{end}}"), dir + "body.txt", 2, "{{.Name}}"},
		"what a piece has":                       {part("body.html", "{{with button .Link \"x\" \"y\"}}{{.Label}}{{template \"link\" .Link}}{{else}}{{.Product}}{{end}}"), "", 0, ""},
		"one in an argument":                     {part("body.txt", "{{.Link}}{{if eq .Product (print .Name)}}x{{else}}y{{end}}"), dir + "body.txt", 1, "{{.Name}}"},
		"one that is called by $":                {part("body.txt", "{{.Link}}{{with .Product}}\n{{$.Name}}{{end}}"), dir + "body.txt", 2, "{{.Name}}"},
		"another kind's variable":                {part("body.txt", "{{.Link}} {{.At}}"), dir + "body.txt", 1, "{{.At}}"},
		"an unknown function":                    {part("body.txt", "{{.Link}} {{shout .Product}}"), dir + "body.txt", 1, "shout"},
		"an unknown piece":                       {part("body.html", "{{.Link}}\n{{template \"banner\" .}}"), dir + "body.html", 2, "banner"},
		"a piece that gets what it cannot take":  {part("body.html", "{{.Link}}\n{{template \"button\" .}}"), "layout.html", 0, "Label"},
		"a text without the link":                {part("body.txt", "Hello {{.Product}}"), dir + "body.txt", 0, "{{.Link}}"},
		"an HTML part without the link":          {part("body.html", "<p>Hello {{.Product}}</p>"), dir + "body.html", 0, "{{.Link}}"},
		"an HTML part that ends inside of a tag": {part("body.html", "{{.Link}}\n<a href=\"{{.Link}}"), dir + "body.html", 2, "does not end"},
		"a subject of two lines":                 {part("subject.txt", "Hello\n{{.Product}}"), dir + "subject.txt", 0, "more than one line"},
		"a subject that makes nothing":           {part("subject.txt", "{{if not .Product}}x{{end}}"), dir + "subject.txt", 0, "nothing"},
		"a subject that grows too long":          {part("subject.txt", strings.Repeat("{{.Product}} ", 5)), dir + "subject.txt", 0, "500 bytes"},
		"a value in a style":                     {part("body.html", `<p style="background: {{.Product}}"><a href="{{.Link}}">{{.Link}}</a></p>`), dir + "body.html", 0, "lets none stand"},
		"a relative link":                        {part("body.html", `<a href="{{.Link}}">{{.Link}}</a> <a href="/go">home</a>`), dir + "body.html", 0, "leads nowhere"},
		"a link without scheme":                  {part("body.html", `<a href="{{.Link}}">{{.Link}}</a> <a href="//app.example/go">home</a>`), dir + "body.html", 0, "leads nowhere"},
		"a text that makes nothing":              {part("body.txt", "{{if not .Product}}x{{end}}"), dir + "body.txt", 0, "nothing"},
		"what is not UTF-8":                      {part("body.txt", "{{.Link}} \xff"), dir + "body.txt", 0, "UTF-8"},
		"what is too large":                      {part("body.txt", "{{.Link}}"+strings.Repeat("x", 256<<10)), dir + "body.txt", 0, "256 KiB"},
		"a kind that is misspelled":              {one("en/confirmaton/body.txt", "x"), "en/confirmaton", 0, "there are confirmation, account_exists"},
		"a part that is misspelled":              {one("en/confirmation/body.htm", "x"), "en/confirmation/body.htm", 0, "subject.txt"},
		"a folder in a kind":                     {one("en/confirmation/body.txt/x", "x"), "en/confirmation/body.txt", 0, "no part"},
		"a kind without a language":              {one("confirmation/body.txt", "x"), "confirmation", 0, "en/confirmation"},
		"a language that there is not":           {one("xx/confirmation/body.txt", "x"), "xx", 0, "BCP 47"},
		"a language in words":                    {one("german/confirmation/body.txt", "x"), "german", 0, "BCP 47"},
		"no language":                            {one("und/confirmation/body.txt", "x"), "und", 0, "BCP 47"},
		"a tag that is written otherwise":        {one("de_at/confirmation/body.txt", "x"), "de_at", 0, "rename the folder to de-AT"},
		"a file that means nothing":              {one("layuot.html", "x"), "layuot.html", 0, "layout.html"},
		"one in a language":                      {one("de/dates.txt", "x"), "de/dates.txt", 0, "date.txt"},
		"hidden files and notes":                 {map[string]string{".git/x": "", "README.md": "", "de/.DS_Store": "", "de/notes.md": "", "de/confirmation/.x": ""}, "", 0, ""},
		"a layout without the content":           {one("layout.html", "<p>{{.Product}}</p>"), "layout.html", 0, `{{template "content" .}}`},
		"a text layout without it":               {one("de/layout.txt", "Hello"), "de/layout.txt", 0, `{{template "content" .}}`},
		"a layout with a kind's variable":        {one("layout.html", "{{template \"content\" .}}\n{{.ExpiresAt}}"), "layout.html", 2, "{{.Subject}}"},
		"a layout of pieces alone":               {one("layout.html", `{{define "link"}}<a href="{{.}}">{{.}}</a>{{end}}`), "", 0, ""},
		"dates without the minutes":              {one("fr/date.txt", "2 January 2006 UTC"), "fr/date.txt", 0, "minute"},
		"dates that do not say UTC":              {one("de/date.txt", "2.1.2006, 15:04"), "de/date.txt", 0, "UTC"},
		"dates with eleven months":               {one("de/date.txt", "2. January 2006, 15:04 UTC\n"+strings.Repeat("Monat\n", 11)), "de/date.txt", 0, "twelve"},
		"dates with a month without a name":      {one("de/date.txt", "2. January 2006, 15:04 UTC\na\n\n"+strings.Repeat("Monat\n", 10)), "de/date.txt", 0, "twelve"},
		"dates with months that stand nowhere":   {one("de/date.txt", "2.1.2006, 15:04 UTC\n"+strings.Repeat("Monat\n", 12)), "de/date.txt", 0, "January"},
		"dates in digits":                        {one("de/date.txt", "2.1.2006, 15:04 UTC"), "", 0, ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			_, err := mail.ParseTemplates(files(tt.folder))
			if tt.file == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			refusal, ok := errors.AsType[*mail.TemplateError](err)
			if !ok {
				t.Fatalf("want a *TemplateError, got %v", err)
			}
			if diff := cmp.Diff(tt.file, refusal.File); diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
			if tt.line > 0 && refusal.Line != tt.line || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("line %d of want %d: %v", refusal.Line, tt.line, err)
			}
		})
	}
}

func TestAFolderThatCannotBeReadIsNamed(t *testing.T) {
	t.Parallel()
	_, err := mail.ParseTemplates(fstest.MapFS{"en": {Mode: 0}, "en/confirmation/body.txt": {Mode: 1 << 31}})
	if refusal, ok := errors.AsType[*mail.TemplateError](err); !ok || refusal.File == "" {
		t.Errorf("got %v", err)
	}
}

func TestWhatAFolderLacksIsOurs(t *testing.T) {
	t.Parallel()
	link := letters("de")[0]
	ours := link.write(t, defaults(t))
	templates := parsed(t, map[string]string{"de/confirmation/subject.txt": "Willkommen\r\n"})
	got := link.write(t, templates)
	if got.Subject != "Willkommen" || got.Text != ours.Text {
		t.Errorf("one part of a kind: %+v", got)
	}
	if diff := cmp.Diff([]string{"de/confirmation/subject.txt"}, templates.Own()); diff != "" {
		t.Error(diff)
	}
	wantFiles := map[string]string{
		"subject.txt": "de/confirmation/subject.txt", "preheader.txt": "", "body.txt": "", "body.html": "", "layout.html": "", "layout.txt": "",
	}
	if diff := cmp.Diff(wantFiles, templates.Files(mail.KindConfirmation, "de-CH")); diff != "" {
		t.Error(diff)
	}

	windows := parsed(t, map[string]string{"de/confirmation/body.html": "<p>\r\n{{.Link}}\r\n</p>\r\n", "de/confirmation/body.txt": "\ufeff{{.Link}}"})
	if got := link.write(t, windows); strings.Contains(got.HTML, "\r") || !strings.HasPrefix(got.Text, "https://") {
		t.Errorf("files of another system: %q\n%q", got.HTML, got.Text)
	}

	templates = parsed(t, map[string]string{
		"layout.html": `<i>{{template "content" .}}</i>{{define "link"}}<a href="{{.}}">{{.}}!</a>{{end}}`, "layout.txt": "{{template \"content\" .}}\n--\nAda & Co",
		"de/layout.txt": "{{template \"content\" .}}\n--\nAda & Söhne, {{.Language}}",
	})
	for _, tt := range []struct{ language, text string }{{"en", "\n--\nAda & Co\n"}, {"de", "\n--\nAda & Söhne, de\n"}} {
		for _, l := range letters(tt.language) {
			got := l.write(t, templates)
			if !strings.HasPrefix(got.HTML, "<i><p>") || !strings.Contains(got.HTML, "!</a>") || !strings.HasSuffix(got.Text, tt.text) {
				t.Errorf("%s in another layout: %s\n%s", l.name, got.HTML, got.Text)
			}
			if l.data.ExpiresAt.IsZero() == strings.Contains(got.HTML, `class="button"`) { // a piece that the app's layout lacks
				t.Errorf("%s has a button that it should not have, or none:\n%s", l.name, got.HTML)
			}
		}
	}
}

func TestAMailIsInTheNearestLanguageOfItsReader(t *testing.T) {
	t.Parallel()
	texts := whole(nil)
	texts["fr/confirmation/body.txt"] = "{{.Link}} {{date .ExpiresAt}}"
	texts["de-AT/confirmation/subject.txt"] = "Servus"
	texts["ar/confirmation/subject.txt"], texts["ar/confirmation/body.txt"], texts["ar/confirmation/body.html"] = "مرحبا", "{{.Link}}", "<p>{{.Link}}</p>"
	templates := parsed(t, texts)
	if diff := cmp.Diff([]string{"en", "ar", "de", "de-AT", "fr"}, templates.Languages()); diff != "" {
		t.Error(diff)
	}
	for reader, want := range map[string]string{
		"": "en", "no tag": "en", "xx": "en", "und": "en", "ja": "en", "en-GB": "en",
		"de": "de", "de-DE": "de", "de-CH": "de", "gsw": "de", "de-AT": "de-AT", "fr-CA": "fr", "ar-EG": "ar",
	} {
		l := letters(reader)[0]
		if got := l.write(t, templates); got.Language != want {
			t.Errorf("a reader of %q: want %s, got %s", reader, want, got.Language)
		}
	}
	austrian := letters("de-AT")[0].write(t, templates)
	if austrian.Subject != "Servus" || austrian.Text != letters("de")[0].write(t, templates).Text {
		t.Errorf("what a region lacks is not its language's: %+v", austrian)
	}
	if arabic := letters("ar")[0].write(t, templates).HTML; !strings.Contains(arabic, `<html lang="ar" dir="rtl">`) || !strings.Contains(arabic, `align="right"`) {
		t.Errorf("it is not written from right to left:\n%s", arabic)
	}
	if french := letters("fr")[0].write(t, templates).Text; !strings.Contains(french, "2026-03-30, 01:30 UTC") {
		t.Errorf("a language without date.txt: %s", french)
	}
	// French has one kind only.
	if got := letters("fr")[1].write(t, templates); got.Language != "en" || !slices.Contains(templates.Gaps(), "fr/account_exists") || slices.Contains(templates.Gaps(), "fr/confirmation") {
		t.Errorf("a kind that is not there in French is in %s; gaps: %v", got.Language, templates.Gaps())
	}
	if gaps := defaults(t).Gaps(); gaps != nil {
		t.Errorf("our own have gaps: %v", gaps)
	}
}

func TestADeploymentHasItsOwnDefault(t *testing.T) {
	t.Parallel()
	templates, err := mail.NewTemplates(mail.TemplatesConfig{Language: "de", Folder: files(whole(nil))})
	if err != nil {
		t.Fatal(err)
	}
	for reader, want := range map[string]string{"": "de", "ja": "de", "en-US": "en", "fr": "fr"} {
		if got := letters(reader)[0].write(t, templates); got.Language != want {
			t.Errorf("a reader of %q: want %s, got %s", reader, want, got.Language)
		}
	}
	if got := letters("fr")[1].write(t, templates); got.Language != "de" {
		t.Errorf("a kind that French lacks is in %s", got.Language)
	}
	french := mail.TemplatesConfig{Language: "fr", Folder: files(whole(nil))}
	if templates, err = mail.NewTemplates(french); err != nil {
		t.Fatal(err)
	}
	if got := letters("ja")[1].write(t, templates); got.Language != "en" {
		t.Errorf("a kind that the default lacks is in %s", got.Language)
	}
	for _, tag := range []string{"it", "xx", "no tag"} {
		if _, err := mail.NewTemplates(mail.TemplatesConfig{Language: tag}); !errors.Is(err, mail.ErrNoLanguage) {
			t.Errorf("%s as the default: %v", tag, err)
		}
	}
}

func TestTextIsBrokenAtBlanksAndNowhereElse(t *testing.T) {
	t.Parallel()
	word := strings.Repeat("x", 100)
	templates := parsed(t, whole(map[string]string{"body.txt": "\n\n" +
		strings.Repeat("ab ", 26) + "\n{{if .Product}}\n{{end}}\n\n" + strings.Repeat("ab ", 27) + "\n" + "  indented\t\n" +
		word + " " + word + "\n" + strings.Repeat("漢字 ", 20) + "\n{{.Link}}\n\n\n"}))
	got := letters("fr")[0].write(t, templates).Text
	want := strings.TrimSpace(strings.Repeat("ab ", 26)) + "\n\n" + strings.TrimSpace(strings.Repeat("ab ", 26)) + "\nab\n  indented\n" +
		word + "\n" + word + "\n" + strings.TrimSpace(strings.Repeat("漢字 ", 15)) + "\n" + strings.TrimSpace(strings.Repeat("漢字 ", 5)) + "\n" +
		letters("fr")[0].data.Link + "\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTheSameDataMakesTheSameMail(t *testing.T) {
	t.Parallel()
	var first []byte
	for range 3 {
		var all bytes.Buffer
		templates := defaults(t)
		for _, l := range append(letters("en"), letters("de")...) {
			c := l.write(t, templates)
			all.WriteString(c.Subject + c.Text + c.HTML)
		}
		if first == nil {
			first = all.Bytes()
		}
		if diff := cmp.Diff(first, all.Bytes()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestAPreviewIsOfAnyKind(t *testing.T) {
	t.Parallel()
	for _, kind := range mail.Kinds() {
		got, err := defaults(t).Preview(kind, mail.Sample{Product: "Ada & Co", Language: "de-AT", Done: kind == mail.KindEmailNotice})
		if err != nil || got.Language != "de" || !strings.Contains(got.Subject, "Ada & Co") {
			t.Errorf("%s: %+v, %v", kind, got, err)
		}
	}
	at := time.Date(2031, 5, 6, 7, 8, 0, 0, time.UTC)
	for kind, when := range map[mail.Kind]string{mail.KindPasswordReset: "7 May 2031", mail.KindLockoutNotice: "6 May 2031"} {
		got, err := defaults(t).Preview(kind, mail.Sample{Product: "Ada", Link: "https://ada.example/here", At: at})
		if err != nil || !strings.Contains(got.Text, "https://ada.example/here") || !strings.Contains(got.Text, when) {
			t.Errorf("%s: %s, %v", kind, got.Text, err)
		}
	}
	if _, err := defaults(t).Preview("no such kind", mail.Sample{Product: "x"}); err == nil {
		t.Error("an unknown kind was rendered")
	}
	if files := defaults(t).Files("no such kind", ""); len(files) > 0 {
		t.Errorf("an unknown kind has files: %v", files)
	}
}
