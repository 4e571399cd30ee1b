package accounts_test

import (
	"errors"
	"log/slog"
	"net/mail"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/sealq/sealq/accounts"
)

func TestAddressesThatPass(t *testing.T) {
	t.Parallel()
	local64 := strings.Repeat("a", 64)
	for name, tc := range map[string]struct{ given, norm string }{
		"plain":                                   {"jane@example.com", "jane@example.com"},
		"upper case folds, and is kept as given":  {"Jane.DOE@Example.COM", "jane.doe@example.com"},
		"a tag stays":                             {"jane+news@example.com", "jane+news@example.com"},
		"every special character of RFC 5322":     {"!#$%&'*+-/=?^_`{|}~@example.com", "!#$%&'*+-/=?^_`{|}~@example.com"},
		"an international domain becomes ASCII":   {"jane@Bücher.example", "jane@xn--bcher-kva.example"},
		"its ASCII form is the same domain":       {"jane@XN--bcher-kva.example", "jane@xn--bcher-kva.example"},
		"a domain with a combining mark too":      {"jane@bu\u0308cher.example", "jane@xn--bcher-kva.example"},
		"composed and decomposed are one":         {"jose\u0301@example.com", "jos\u00e9@example.com"},
		"upper case outside ASCII folds":          {"ÉTÉ@example.com", "été@example.com"},
		"the angstrom sign is the letter":         {"\u212b@example.com", "\u00e5@example.com"},
		"sharp s stays one character":             {"straße@example.com", "straße@example.com"},
		"a capital sigma does not look around it": {"ΟΔΟΣ@example.com", "οδοσ@example.com"},
		"a final sigma is a sigma":                {"οδος@example.com", "οδοσ@example.com"},
		"capital sharp s is sharp s":              {"STRAẞE@example.com", "straße@example.com"},
		"a Cyrillic variant is its letter":        {"\u1c80\u1c82\u1c88@example.com", "\u0432\u043e\ua64b@example.com"},
		"both cases of Cherokee are one":          {"\uab70\u13a0@example.com", "\u13a0\u13a0@example.com"},
		"an iota below is an iota behind":         {"\u1fb3@example.com", "\u03b1\u03b9@example.com"},
		"an iota below and an accent, reordered":  {"\u03b1\u0345\u0301@example.com", "\u03ac\u03b9@example.com"},
		"the micro sign is a mu":                  {"\u00b5@example.com", "\u03bc@example.com"},
		"Cyrillic is its own address":             {"аdmin@example.com", "аdmin@example.com"},
		"64 bytes before the at sign":             {local64 + "@example.com", local64 + "@example.com"},
		"a name under localhost":                  {"me@app.localhost", "me@app.localhost"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := accounts.ParseEmail(tc.given)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.given, e.Given()); diff != "" {
				t.Error("mail must go to the address as given:", diff)
			}
			if diff := cmp.Diff(tc.norm, e.Norm()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A caseless comparison by Unicode's rules (3.13, D147) must not tell two addresses apart that are two accounts, or make one of what is two.
func TestAddressesThatFoldAlikeAreOne(t *testing.T) {
	t.Parallel()
	fold, compared := cases.Fold(), 0
	for r := range unicode.MaxRune {
		alone := string(r)
		a, err := accounts.ParseEmail("x" + alone + "@example.com")
		if err != nil {
			continue // what turns to ASCII, is invisible, …
		}
		alike := norm.NFKC.String(fold.String(norm.NFKC.String(fold.String(norm.NFD.String(alone)))))
		if strings.ContainsAny(alone, "ßẞ") || unicode.Is(unicode.Cherokee, r) { // whose folding is ASCII; which fold takes for one another
			alike = alone
		}
		for _, other := range []string{alike, string(unicode.SimpleFold(r))} {
			if other == alone || other == "\u212a" || other == "\u017f" { // of which k and s are the plain ones
				continue
			}
			b, err := accounts.ParseEmail("x" + other + "@example.com")
			if err != nil || a.Norm() != b.Norm() {
				t.Errorf("%U is %q, and %q, which it folds to, is %q, %v", r, a.Norm(), other, b.Norm(), err)
			}
			compared++
		}
	}
	if compared < 1000 {
		t.Errorf("compared %d characters only", compared)
	}
}

// badEmails are refused at registration, too: see TestBadInputWritesNothing.
var badEmails = map[string]string{
	"empty":                                    "",
	"only a space":                             " ",
	"a name, no address":                       "jane",
	"no local part":                            "@example.com",
	"no domain":                                "jane@",
	"two at signs":                             "jane@doe@example.com",
	"a display name":                           "Jane <jane@example.com>",
	"a quoted display name":                    `"Jane" <jane@example.com>`,
	"angle brackets":                           "<jane@example.com>",
	"two addresses":                            "jane@example.com,eve@evil.example",
	"two addresses with a space":               "jane@example.com, eve@evil.example",
	"two addresses with a semicolon":           "jane@example.com;eve@evil.example",
	"a group":                                  "all:jane@example.com;",
	"header injection by CR LF":                "jane@example.com\r\nBcc: eve@evil.example",
	"header injection by LF":                   "jane@example.com\nBcc:eve@evil.example",
	"header injection before the at sign":      "jane\r\nBcc:eve@example.com",
	"header injection by a line separator":     "jane@example.com\u2028Bcc:eve",
	"header injection by next line":            "jane\u0085bcc@example.com",
	"NUL":                                      "jane\x00@example.com",
	"NUL at the end":                           "jane@example.com\x00",
	"tab":                                      "jane\t@example.com",
	"delete":                                   "jane\x7f@example.com",
	"a leading space":                          " jane@example.com",
	"a trailing space":                         "jane@example.com ",
	"a no-break space":                         "jane\u00a0doe@example.com",
	"an ideographic space":                     "jane\u3000doe@example.com",
	"a comment":                                "jane(boss)@example.com",
	"a comment behind":                         "jane@example.com (boss)",
	"a quoted local part":                      `"jane doe"@example.com`,
	"a quoted local part without need":         `"jane"@example.com`,
	"a backslash":                              `jane\@example.com`,
	"zero-width space":                         "ja\u200bne@example.com",
	"zero-width non-joiner":                    "ja\u200cne@example.com",
	"zero-width joiner":                        "ja\u200dne@example.com",
	"word joiner":                              "ja\u2060ne@example.com",
	"byte-order mark":                          "\ufeffjane@example.com",
	"soft hyphen":                              "ja\u00adne@example.com",
	"combining grapheme joiner":                "ja\u034fne@example.com",
	"Hangul filler":                            "ja\u3164ne@example.com",
	"variation selector":                       "jane\ufe0f@example.com",
	"variation selector of the supplement":     "jane\U000e0100@example.com",
	"tag character":                            "jane\U000e0041@example.com",
	"right-to-left override":                   "jane\u202e@example.com",
	"zero-width in the domain":                 "jane@exam\u200bple.com",
	"private use":                              "jane\ue000@example.com",
	"the Kelvin sign":                          "\u212aate@example.com",
	"the Kelvin sign in the domain":            "kate@\u212aate.example",
	"capital dotted I":                         "\u0130van@example.com",
	"capital dotted I from two characters":     "I\u0307van@example.com",
	"capital dotted I in the domain":           "jane@\u0130van.example",
	"dotless i":                                "m\u0131ke@example.com",
	"mathematical dotless i":                   "m\U0001d6a4ke@example.com",
	"a symbol that becomes Hebrew among Latin": "jane@a\u2135b.example",
	"long s":                                   "\u017fam@example.com",
	"a ligature":                               "\ufb01nn@example.com",
	"full-width letters":                       "\uff4aane@example.com",
	"a full-width at sign":                     "jane\uff20evil.example@example.com",
	"only a full-width at sign":                "jane\uff20example.com",
	"care of, which hides a slash":             "\u2105jane@example.com",
	"feminine ordinal":                         "jan\u00aa@example.com",
	"a full-width dot":                         "jane\uff0e@example.com",
	"an ideographic dot in the domain":         "jane@example\u3002com",
	"a half-width dot in the domain":           "jane@example\uff61com",
	"invalid UTF-8":                            "jane\xff@example.com",
	"invalid UTF-8 in the domain":              "jane@example\xff.com",
	"the replacement character":                "jane\ufffd@example.com",
	"an IPv4 literal":                          "jane@[192.0.2.1]",
	"an IPv6 literal":                          "jane@[IPv6:2001:db8::1]",
	"a bare IPv4 address":                      "jane@192.0.2.1",
	"a numeric top-level domain":               "jane@example.123",
	"localhost":                                "root@localhost",
	"another domain without a dot":             "jane@intranet",
	"a dot at the end of the domain":           "jane@example.com.",
	"two dots in the domain":                   "jane@example..com",
	"a dot before the domain":                  "jane@.example.com",
	"a hyphen before the domain":               "jane@-example.com",
	"an underscore in the domain":              "jane@exa_mple.com",
	"Punycode that is none":                    "jane@xn--\u00fc.example",
	"Punycode of plain ASCII":                  "jane@xn--example-.com",
	"a dot first":                              ".jane@example.com",
	"a dot last":                               "jane.@example.com",
	"two dots":                                 "ja..ne@example.com",
	"65 bytes before the at sign":              strings.Repeat("a", 65) + "@example.com",
	"33 two-byte characters before it":         strings.Repeat("é", 33) + "@example.com",
	"64 bytes that are 96 in lower case":       strings.Repeat("\u023a", 32) + "@example.com",
	"over 254 bytes once in Punycode":          strings.Repeat("a", 20) + "@" + strings.Repeat("ü.", 29) + "example",
	"a label of 64 bytes":                      "jane@" + strings.Repeat("a", 64) + ".example",
	"255 bytes":                                strings.Repeat("a", 64) + "@" + strings.Repeat("abcdefghi.", 18) + "abcdefghij",
	"a megabyte":                               strings.Repeat("a", 1<<20) + "@example.com",
	"a domain over the limit once in Punycode": "jane@" + strings.Repeat("ü.", 60) + "example",
}

func TestAddressesThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, given := range badEmails {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := accounts.ParseEmail(given)
			wantErr(t, err, accounts.ErrInvalidEmail)
			if typed, ok := errors.AsType[*accounts.EmailError](err); !ok || typed.Cause == nil {
				t.Fatalf("got %T, want *EmailError with a cause", err)
			}
			if e != (accounts.Email{}) {
				t.Error("a refused address was given out")
			}
			if len(given) > 5 && strings.Contains(err.Error(), given) {
				t.Errorf("the error repeats the address: %v", err)
			}
		})
	}
}

func TestLogsShowNoAddress(t *testing.T) {
	t.Parallel()
	e, err := accounts.ParseEmail("Jane@Example.com")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	slog.New(slog.NewTextHandler(&out, nil)).Info("seen", slog.Any("email", e))
	if got := out.String(); strings.Contains(strings.ToLower(got), "jane@") || !strings.Contains(got, "j***@example.com") {
		t.Errorf("logged %s", got)
	}
}

func cherokee(r rune) bool { return unicode.Is(unicode.Cherokee, r) }

func FuzzParseEmail(f *testing.F) {
	for _, seed := range badEmails {
		if len(seed) < 1000 {
			f.Add(seed)
		}
	}
	for _, seed := range []string{"jane@example.com", "É\u0323t@Bücher.example", "jose\u0301@example.com", "ΟΔΟΣ@ουτοπία.example", "\u1e9e@xn--strae-oqa.example"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, given string) {
		e, err := accounts.ParseEmail(given)
		if err != nil {
			wantErr(t, err, accounts.ErrInvalidEmail)
			return
		}
		if e.Given() != given {
			t.Errorf("given %q became %q", given, e.Given())
		}
		again, err := accounts.ParseEmail(e.Norm())
		if err != nil || again.Norm() != e.Norm() {
			t.Errorf("normalising %q is not stable: %q, %v", e.Norm(), again.Norm(), err)
		}
		for _, form := range []string{given, e.Norm()} {
			a, err := mail.ParseAddress(form)
			if err != nil || a.Name != "" || a.Address != form {
				t.Errorf("net/mail reads %q as %v, %v", form, a, err)
			}
			local, domain, _ := strings.Cut(form, "@")
			if len(form) > 254 || len(local) > 64 || strings.Contains(domain, "@") || strings.ContainsAny(form, " \t\r\n\x00<>,;:\"()\\[]") {
				t.Errorf("%q passed", form)
			}
		}
		local, _, _ := strings.Cut(strings.ReplaceAll(e.Norm(), "ß", ""), "@")
		if folded := norm.NFKC.String(cases.Fold().String(local)); !strings.ContainsFunc(local, cherokee) && folded != norm.NFKC.String(local) {
			t.Errorf("%q folds to %q still", e.Norm(), folded)
		}
	})
}
