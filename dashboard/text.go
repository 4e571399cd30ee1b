package dashboard

import (
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Bounds of what a page shows of one text, in bytes.
const (
	maxName  = 200
	maxError = 2 << 10
	maxBlock = 64 << 10
)

// mostMarks is how many marks may stand on one letter: Vietnamese needs two, Hebrew with its accents, Thai and Tibetan up to four.
const mostMarks = 4

// clean is the one way by which a text that anybody may have chosen comes to a page: cut to at most that many bytes between two
// characters, and with everything visible that could deceive – control characters, those that turn the direction of text or show
// nothing, spaces that a page would drop or that only look like one, bytes that are no UTF-8. lines keeps line ends, tabs and spaces. Joiners stay where
// scripts and emojis need them. Of marks that stand on the letter before them so many are drawn as scripts need, as more are piled up over neighbouring lines. Markup stays too: templates escape it.
func clean(s string, most int, lines bool) string { return cleanOf(s, most, lines, 0) }

// cleanOf is clean of a text of which that many bytes were cut already.
func cleanOf(s string, most int, lines bool, more int) string {
	if len(s) > most {
		end := most
		for end > 0 && end > most-utf8.UTFMax && !utf8.RuneStart(s[end]) {
			end--
		}
		s, more = s[:end], more+len(s)-end
	}
	var b strings.Builder
	before := ' ' // as if a space were before the first
	marks := 0    // how many stand on the letter before
	for i, r := range s {
		_, size := utf8.DecodeRuneInString(s[i:])
		after, _ := utf8.DecodeRuneInString(s[i+size:])
		switch {
		case unicode.Is(unicode.M, r):
			marks++
		case !joins(before, r, after): // which end no pile
			marks = 0
		}
		switch {
		case marks > mostMarks && unicode.Is(unicode.M, r):
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		case r == ' ' && !lines && (before == ' ' || i == len(s)-1):
			b.WriteRune('␠')
		case r == '\t' && lines, r == '\n' && lines:
			b.WriteRune(r)
		case r < ' ':
			b.WriteRune('␀' + r)
		case r == 0x7f:
			b.WriteRune('␡')
		case joins(before, r, after):
			b.WriteRune(r)
		case r != ' ' && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Z, unicode.Co, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point), r == 0x2800:
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		default:
			b.WriteRune(r) // U+FFFD for a byte that is no UTF-8
		}
		before = r
	}
	if more > 0 {
		fmt.Fprintf(&b, "… (%d more bytes)", more)
	}
	return b.String()
}

// joins says whether r shows nothing and is needed where it stands: between two letters of a script that joins them, or two parts of an emoji, or behind
// a symbol that has two looks. Anywhere else two names would look the same for it.
func joins(before, r, after rune) bool {
	needs := func(r rune) bool {
		return r > unicode.MaxLatin1 && r != utf8.RuneError && !unicode.In(r, unicode.Latin, unicode.Cyrillic, unicode.Greek, unicode.Zs, unicode.Cf)
	}
	switch r {
	case 0x200c, 0x200d:
		return needs(before) && needs(after)
	case 0xfe0e, 0xfe0f:
		return unicode.Is(unicode.So, before)
	}
	return false
}

// maxLinked bounds what a link or a form of a page names, in bytes: a page is asked for in 8 KiB at most.
const maxLinked = 1 << 10

// linked is what a link may name: "" for what is too long for one, and for what may be somebody's address. Links are kept by proxies,
// browsers and logs.
func linked(id string) string {
	if len(id) > maxLinked || strings.Contains(id, "@") {
		return ""
	}
	return id
}

// formed is what a form's field names, to be read by named; "" for what is too long.
func formed(name string) string {
	if len(name) > maxLinked {
		return ""
	}
	return url.QueryEscape(name)
}

// label is a name on one line.
func label(s string) string { return clean(s, maxName, false) }

// moment is a time as pages show it: to programs, to people without a script, and how long ago or ahead it is.
type moment struct {
	Machine string // "": there is none
	Person  string
	Ago     string
}

func (d *Dashboard) at(t time.Time) moment {
	if t.IsZero() {
		return moment{}
	}
	return moment{Machine: t.UTC().Format(time.RFC3339), Person: t.UTC().Format("2 Jan 2006, 15:04:05 UTC"), Ago: ago(d.cfg.Now().Sub(t))}
}

func ago(d time.Duration) string {
	switch {
	case d < 0:
		return "in " + long(-d)
	case d < time.Second:
		return "now"
	}
	return long(d) + " ago"
}

// long rounds a duration for people.
func long(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	case d >= time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	case d >= time.Minute:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	}
	return fmt.Sprintf("%d s", int(d.Seconds()))
}

func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
