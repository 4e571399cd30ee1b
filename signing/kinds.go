package signing

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxPatterns    = 64
	maxPatternSize = 256 // bytes
)

// covers reports whether one of a key's patterns covers the kind: "*" covers all, "mail:*" what begins with "mail:" and goes
// on, anything else the kind of exactly that name.
func covers(patterns []string, kind string) bool {
	for _, p := range patterns {
		prefix, isPrefix := strings.CutSuffix(p, "*")
		switch {
		case !isPrefix && p == kind, isPrefix && len(kind) > len(prefix) && kind[:len(prefix)] == prefix:
			return true
		}
	}
	return false
}

// checkPatterns says what is wrong with a key's patterns, or nothing.
func checkPatterns(patterns []string) string {
	if len(patterns) == 0 || len(patterns) > maxPatterns {
		return `"kinds" must list 1 to 64 kinds; write ["*"] for all`
	}
	for _, p := range patterns {
		prefix, isPrefix := strings.CutSuffix(p, "*")
		switch {
		case p == "" || len(p) > maxPatternSize:
			return `a kind in "kinds" must have 1 to 256 bytes`
		case !utf8.ValidString(p) || strings.ContainsFunc(p, func(r rune) bool { return r == utf8.RuneError || unicode.IsControl(r) }):
			return `a kind in "kinds" must be UTF-8 text without control characters`
		case strings.Contains(prefix, "*"), isPrefix && prefix != "" && !strings.HasSuffix(prefix, ":"):
			return `a kind in "kinds" may use * alone or after a colon at its end, like "mail:*"`
		}
	}
	return ""
}
