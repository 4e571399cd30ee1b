package docs_test

import (
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/mail"
)

// The folder that mail-templates.md shows is read as it stands there.
func TestTheGuidesMailTemplatesCanBeUsed(t *testing.T) {
	t.Parallel()
	folder := fstest.MapFS{}
	for _, example := range regexp.MustCompile("(?s)`([a-z./_-]+\\.(?:txt|html))`[^`]*(?:`[^`\n]+`[^`]*)*\n```\n(.*?)```\n").FindAllStringSubmatch(read(t, "mail-templates.md"), -1) {
		folder[example[1]] = &fstest.MapFile{Data: []byte(example[2])}
	}
	templates, err := mail.ParseTemplates(folder)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"de/confirmation/subject.txt", "fr/date.txt", "fr/password_reset/body.html", "fr/password_reset/body.txt", "fr/password_reset/subject.txt", "layout.html",
	}
	if diff := cmp.Diff(want, templates.Own()); diff != "" {
		t.Error(diff)
	}
	got, err := templates.Account(mail.KindPasswordReset, mail.AccountData{
		Product: "Wanderfreunde", Link: "https://app.example/reset?key=x", ExpiresAt: time.Date(2026, 8, 1, 9, 30, 0, 0, time.UTC), Language: "fr-CH",
	})
	if err != nil || !strings.Contains(strings.Join(strings.Fields(got.Text), " "), "1 août 2026 à 09:30 UTC") || !strings.Contains(got.HTML, "Am Waldrand 1") {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestTheGuidesTableOfVariablesIsTheCodes(t *testing.T) {
	t.Parallel()
	got := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| (?:`([a-z_]+)`|(layouts)) \\|[^|]*\\| (.*) \\|$").FindAllStringSubmatch(read(t, "mail-templates.md"), -1) {
		got[row[1]+row[2]] = row[3]
	}
	list := func(names []string) string { return "`" + strings.Join(names, "`, `") + "`" }
	want := map[string]string{"layouts": list(mail.LayoutVariables())}
	for _, kind := range mail.Kinds() {
		want[string(kind)] = list(kind.Variables())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
