package attack

import (
	"strings"

	"github.com/sealq/sealq/signing"
)

// muxCases give the task a kind that a handler's pattern may match, or that a person may take for another: once changed after
// it was signed, and once signed so by whoever holds the key.
func muxCases() []Case {
	var cases []Case
	for _, c := range []struct {
		name string
		kind func(kind string) string
	}{
		{"has more behind a colon", func(k string) string { return k + ":evil" }},
		{"has more behind a slash", func(k string) string { return k + "/evil" }},
		{"has more letters", func(k string) string { return k + "s" }},
		{"has a NUL at its end", func(k string) string { return k + "\x00" }},
		{"has a space at its end", func(k string) string { return k + " " }},
		{"has a space before it", func(k string) string { return " " + k }},
		{"has a newline at its end", func(k string) string { return k + "\n" }},
		{"is written large", strings.ToUpper},
		{"lacks its end", func(k string) string { return k[:len(k)-1] }},
		{"is only its beginning", func(k string) string { head, _, _ := strings.Cut(k, ":"); return head + ":" }},
		{"has a letter that only looks the same", lookAlike},
		{"has a letter that nobody sees", func(k string) string { return k[:1] + "\u200b" + k[1:] }},
		{"has another one before it", func(k string) string { return "other:" + k }},
		{"is a pattern", func(string) string { return "*" }},
	} {
		spoil := func(g *forgery) { g.task.Kind = c.kind(g.task.Kind) }
		cases = append(cases,
			Case{
				Name: "its kind " + c.name + " since it was signed", Class: Mux, NeedsKeys: true,
				Want: signing.ReasonBadSignature, after: spoil,
			},
			Case{
				Name: "its kind " + c.name + " and a holder of the key signed it", Class: Mux, NeedsKeys: true,
				Want: signing.ReasonKindNotAllowed, before: spoil,
			})
	}
	return cases
}

// lookAlike puts a Cyrillic letter for a Latin one, or a dotless i, or a full-width colon.
func lookAlike(kind string) string {
	for _, pair := range [][2]string{{"a", "а"}, {"e", "е"}, {"o", "о"}, {"c", "с"}, {"p", "р"}, {"i", "ı"}, {":", "："}} {
		if strings.Contains(kind, pair[0]) {
			return strings.Replace(kind, pair[0], pair[1], 1)
		}
	}
	return kind + "\u0301"
}
