package mail

import (
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// maxColumns is what RFC 5322, section 2.1.1, asks of a line.
const maxColumns = 78

// wrap breaks lines at blanks where they are longer than that, and leaves what has no blank whole. Blank lines are not doubled: a
// template's actions leave such behind.
func wrap(text string) string {
	var out []string
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		line = strings.TrimRightFunc(line, unicode.IsSpace)
		if line == "" && len(out) > 0 && out[len(out)-1] == "" {
			continue
		}
		out = append(out, wrapLine(line)...)
	}
	return strings.Join(out, "\n") + "\n"
}

func wrapLine(line string) []string {
	if columns(line) <= maxColumns {
		return []string{line}
	}
	var lines []string
	now := ""
	for word := range strings.FieldsSeq(line) {
		if now != "" && columns(now)+1+columns(word) > maxColumns {
			lines, now = append(lines, now), ""
		}
		if now != "" {
			now += " "
		}
		now += word
	}
	return append(lines, now)
}

// columns is how wide a terminal shows the text.
func columns(text string) int {
	n := 0
	for _, r := range text {
		switch kind := width.LookupRune(r).Kind(); {
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		case kind == width.EastAsianWide || kind == width.EastAsianFullwidth:
			n += 2
		default:
			n++
		}
	}
	return n
}
