package accounts_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/accounts"
)

func TestParseLanguage(t *testing.T) {
	t.Parallel()
	for sentence, tt := range map[string]struct {
		tag, want string
		refused   bool
	}{
		"none is the deployment's":        {"", "", false},
		"a language":                      {"de", "de", false},
		"a region, in canonical spelling": {"DE_at", "de-AT", false},
		"a script":                        {"zh-hant-tw", "zh-Hant-TW", false},
		"an old name of a language":       {"iw", "he", false},
		"a language that there is not":    {"xx", "", true},
		"a region that there is not":      {"de-XX-1", "", true},
		"what is no tag":                  {"deutsch bitte", "", true},
		"a wildcard":                      {"*", "", true},
		"a list":                          {"de,en", "", true},
		"no language":                     {"und", "", true},
		"private use alone":               {"x-mine", "", true},
		"a line break":                    {"de\n", "", true},
		"more than 35 bytes":              {"de-DE-u-co-phonebk-nu-latn-ca-buddhist", "", true},
		"extensions":                      {"de-DE-u-ca-buddhist-co-phonebk", "de-DE-u-ca-buddhist-co-phonebk", false},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			got, err := accounts.ParseLanguage(tt.tag)
			if _, ok := errors.AsType[*accounts.LanguageError](err); ok != tt.refused || errors.Is(err, accounts.ErrInvalidLanguage) != tt.refused {
				t.Errorf("refused: want %v, got %v", tt.refused, err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if again, err := accounts.ParseLanguage(got); err != nil || again != got {
				t.Errorf("%q parses to %q, %v", got, again, err)
			}
		})
	}
}

func TestALanguageGoesFromTheRegistrationToTheUser(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	_, err := s.Register(t.Context(), s.db.begin(), accounts.Registration{Email: goodEmail, Password: goodPassword, Language: "DE_at"})
	must(t, err)
	speaks := func(want string) {
		t.Helper()
		status, err := s.Show(t.Context(), goodEmail)
		must(t, err)
		if diff := cmp.Diff(want, status.Language); diff != "" {
			t.Error(diff)
		}
	}
	speaks("de-AT")
	key := s.db.mailKey(t, goodEmail)
	_, err = s.Activate(t.Context(), s.db.begin(), key)
	must(t, err)
	speaks("de-AT")

	_, err = s.Register(t.Context(), s.db.begin(), accounts.Registration{Email: "other@example.com", Password: goodPassword, Language: "no tag"})
	wantErr(t, err, accounts.ErrInvalidLanguage)
	if s.db.pendings["other@example.com"] != nil {
		t.Error("a refused registration was written")
	}
}

func TestAUserSetsHisLanguageAndItIsRecordedOnce(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	u := s.activated(t, goodEmail, goodPassword)
	s.db.changes = nil
	for _, tag := range []string{"pt_br", "pt-BR", ""} {
		must(t, s.SetLanguage(t.Context(), s.db.begin(), u.ID, tag))
	}
	subject := "user/" + u.ID
	want := []accounts.Change{
		{Actor: subject, Action: "account.language_set", Subject: subject, Detail: map[string]string{"language": "pt-BR"}},
		{Actor: subject, Action: "account.language_set", Subject: subject, Detail: map[string]string{"language": ""}},
	}
	if diff := cmp.Diff(want, s.db.changes); diff != "" {
		t.Error(diff)
	}
	wantErr(t, s.SetLanguage(t.Context(), s.db.begin(), u.ID, "xx"), accounts.ErrInvalidLanguage)
	wantErr(t, s.SetLanguage(t.Context(), s.db.begin(), "0199c0de-7000-7000-8000-000000000001", "de"), accounts.ErrNoSuchUser)
	if diff := cmp.Diff(want, s.db.changes); diff != "" {
		t.Error(diff)
	}
}
