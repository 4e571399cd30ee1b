package accounts

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Limits of RFC 5321, 4.5.3.1, and its erratum 1690, in bytes.
const (
	maxEmailBytes = 254
	maxLocalBytes = 64
)

// Email is an address that ParseEmail let pass.
type Email struct{ given, norm string }

// Given is the address as it was given: where mail goes.
func (e Email) Given() string { return e.given }

// Norm is the address as it is compared: two addresses with one Norm are one account.
func (e Email) Norm() string { return e.norm }

// LogValue leaves the first character and the domain.
func (e Email) LogValue() slog.Value { return slog.StringValue(e.redacted()) }

// Subject is whom entries of the record are about that have an address and no account: "identifier/" and 16 hexadecimal digits of the SHA-256 of
// the normalised address. It does not show the address, and needs no key, so that it is found as long as the record is kept. Whoever guesses an
// address can see by it whether it is the one: a key would have to be kept as long, and the addresses that are locked stand in the same database.
func (e Email) Subject() string {
	sum := sha256.Sum256([]byte("sealq identifier\x00" + e.norm))
	return "identifier/" + hex.EncodeToString(sum[:8])
}

// redacted is what records and notices show of an address.
func (e Email) redacted() string {
	local, domain, ok := strings.Cut(e.norm, "@")
	if !ok {
		return ""
	}
	_, size := utf8.DecodeRuneInString(local)
	return local[:size] + "***@" + domain
}

// ParseEmail takes one plain address and normalises it for comparison. The package comment says what it refuses. Its errors are *EmailError.
func ParseEmail(text string) (Email, error) {
	normal, err := normalize(text)
	if err != nil {
		return Email{}, &EmailError{Cause: err}
	}
	// What normalises to something that would be refused itself is refused: U+1D6A4 becomes a dotless i, U+2135 a Hebrew letter among Latin ones,
	// and lower case or Punycode can exceed the limits. What is its own normal form, as most addresses are, has just been looked at.
	if normal != text {
		if again, err := normalize(normal); err != nil || again != normal {
			return Email{}, &EmailError{Cause: errors.New("its spelling stands for an address that is refused")}
		}
	}
	return Email{given: text, norm: normal}, nil
}

func normalize(text string) (string, error) {
	if text == "" {
		return "", errors.New("it is empty")
	}
	if len(text) > maxEmailBytes {
		return "", fmt.Errorf("it is longer than %d bytes", maxEmailBytes)
	}
	if !utf8.ValidString(text) {
		return "", errors.New("it is not valid UTF-8")
	}
	for _, r := range text {
		if !visible(r) {
			return "", fmt.Errorf("it contains the space or invisible character %U", r)
		}
	}
	local, domain, ok := strings.Cut(text, "@")
	if !ok || strings.Contains(domain, "@") {
		return "", errors.New("one address of the form local@domain is needed")
	}
	local, err := normalizeLocal(local)
	if err != nil {
		return "", err
	}
	domain, err = normalizeDomain(domain)
	if err != nil {
		return "", err
	}
	// A second opinion: whatever net/mail would read as anything else than this plain address is none.
	if a, err := mail.ParseAddress(text); err != nil || a.Name != "" || a.Address != text {
		return "", errors.New("one plain address is needed, without a name, comment or quotes")
	}
	return local + "@" + domain, nil
}

func normalizeLocal(local string) (string, error) {
	if err := becomesASCII(local); err != nil {
		return "", err
	}
	folded := foldLocal(local)
	return folded, checkLocal(local)
}

// foldLocal is Unicode's toNFKC_Casefold (Unicode Standard, 3.13), which knows no language and no neighbours: ς and σ are one, as are the Cyrillic
// U+1C80 to U+1C88 with the letters that they are variants of. What it would leave out, checkLocal refuses. ß is kept: its folding ss is plain ASCII, and one
// address would pass for another; domains keep it, too (RFC 5894, section 7.2).
func foldLocal(local string) string {
	if isASCII(local) {
		return strings.ToLower(local)
	}
	fold := cases.Fold()
	cherokee := func(r rune) rune { // of which cases.Fold (x/text v0.43) makes upper of lower case and lower of upper case
		if unicode.Is(unicode.Cherokee, r) {
			return unicode.ToUpper(r)
		}
		return r
	}
	once := func(part string) string { return norm.NFKC.String(strings.Map(cherokee, fold.String(part))) }
	parts := strings.Split(strings.ReplaceAll(norm.NFKC.String(norm.NFD.String(local)), "\u1e9e", "ß"), "ß")
	for i, part := range parts {
		parts[i] = once(once(part)) // what NFKC takes apart may have a folding of its own
	}
	return norm.NFKC.String(strings.Join(parts, "ß"))
}

func isASCII(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

// checkLocal accepts RFC 5321's Dot-string with RFC 6531's non-ASCII characters, and no Quoted-string: nobody has one, and commas, colons and line ends
// hide in it.
func checkLocal(local string) error {
	if local == "" || len(local) > maxLocalBytes {
		return fmt.Errorf("what stands before the @ must have 1 to %d bytes", maxLocalBytes)
	}
	if local[0] == '.' || local[len(local)-1] == '.' || strings.Contains(local, "..") {
		return errors.New("a dot stands at the wrong place before the @")
	}
	for _, r := range local {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		if !letter && r < utf8.RuneSelf && !strings.ContainsRune(".!#$%&'*+-/=?^_`{|}~", r) {
			return fmt.Errorf("%q must not stand before the @", r)
		}
		if !visible(r) {
			return fmt.Errorf("it contains the space or invisible character %U", r)
		}
	}
	return nil
}

func normalizeDomain(domain string) (string, error) {
	if err := becomesASCII(domain); err != nil {
		return "", err
	}
	if strings.ContainsAny(domain, "\u3002\uff0e\uff61") { // dots to IDNA, but not to every mail server
		return "", errors.New("the parts of its domain must be joined by plain dots")
	}
	if strings.ContainsAny(domain, "[]:") {
		return "", errors.New("an IP address cannot be its domain")
	}
	ascii, err := idna.Lookup.ToASCII(domain)
	if err != nil || ascii == "" || len(ascii) > 253 {
		return "", errors.New("its domain is not a valid name")
	}
	labels := strings.Split(ascii, ".")
	if len(labels) < 2 {
		return "", errors.New("its domain needs a dot")
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return "", errors.New("its domain is not a valid name")
		}
	}
	if strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		return "", errors.New("an IP address cannot be its domain")
	}
	return ascii, nil
}

// visible refuses spaces, controls, format characters (zero-width, directions, tags), private and unassigned ones, and what fonts do not draw.
func visible(r rune) bool {
	return unicode.IsGraphic(r) && r != utf8.RuneError &&
		!unicode.In(r, unicode.Zs, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// becomesASCII refuses non-ASCII characters that any comparison could take for ASCII ones: by compatibility mapping or by either case mapping.
// It looks at the composed form too, because I and U+0307 compose to U+0130.
func becomesASCII(part string) error {
	for _, form := range []string{part, norm.NFC.String(part)} {
		for _, r := range form {
			if r < utf8.RuneSelf {
				continue
			}
			cased := min(unicode.ToLower(r), unicode.ToUpper(r), unicode.ToTitle(r))
			compatible := norm.NFKC.String(string(r))
			if cased < utf8.RuneSelf || strings.ContainsFunc(compatible, func(c rune) bool { return c < utf8.RuneSelf }) {
				return fmt.Errorf("%U can be mistaken for plain characters", r)
			}
		}
	}
	return nil
}
