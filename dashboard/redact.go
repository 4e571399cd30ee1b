package dashboard

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/sealq/sealq/accounts"
)

// redactor takes addresses out of texts, for those who may not see them.
type redactor struct {
	// addressLike is whatever looks like an address in a text, generously: one that is cut too much tells less, and one that is missed tells
	// somebody's.
	addressLike *regexp.Regexp
	// replied is what a mail server said, as `sealq explain` quotes it: its words may repeat an address in any shape.
	replied *regexp.Regexp
	// enhanced is the status that mail servers put before their words (RFC 3463).
	enhanced *regexp.Regexp
	// tail is what may be the begin of an address, at the end of a text that was cut.
	tail *regexp.Regexp
}

func newRedactor() *redactor {
	return &redactor{
		addressLike: regexp.MustCompile("[^\\s<>\"'`,;:()\\[\\]=]+@[^\\s<>\"'`,;:()\\[\\]]+"),
		replied:     regexp.MustCompile(`\b([2-5]\d\d) "((?:[245]\.\d{1,3}\.\d{1,3})?)[^"]*("|$)`), // also one that was cut
		enhanced:    regexp.MustCompile(`^[245]\.\d{1,3}\.\d{1,3}\b`),
		tail:        regexp.MustCompile("[^\\s<>\"'`,;:()\\[\\]=]*$"),
	}
}

// text leaves of addresses what the audit log has of them: the first character and the domain. known is one that is known to be there.
// Message-IDs that are UUIDs stay, which say nothing of anybody, and so do the codes of mail servers, without their words.
func (r *redactor) text(text, known string) string {
	if email, err := accounts.ParseEmail(known); err == nil {
		hidden := email.LogValue().String()
		for _, form := range []string{email.Given(), email.Norm()} {
			text = regexp.MustCompile("(?i)"+regexp.QuoteMeta(form)).ReplaceAllLiteralString(text, hidden)
		}
	}
	text = r.replied.ReplaceAllString(text, `$1 "$2 …"`)
	return r.addressLike.ReplaceAllStringFunc(text, func(found string) string {
		local, domain, _ := strings.Cut(found, "@")
		if _, err := uuid.Parse(local); err == nil || strings.HasSuffix(local, "***") {
			return found
		}
		_, size := utf8.DecodeRuneInString(local)
		return local[:size] + "***@" + domain
	})
}

// margin is how much more of a text is looked through than is shown of it, in bytes: what is taken out may be longer than what takes its place.
const margin = 4 << 10

// shown is a text on one line of at most that many bytes, with its addresses or without. Of a text of any length no more is looked through
// than may be shown.
func (r *redactor) shown(text, known string, most int, whole bool) string {
	if whole {
		return clean(text, most, false)
	}
	more := 0
	if end := most + margin; len(text) > end {
		text, more = text[:end], len(text)-end
	}
	text = r.text(text, known)
	if more > 0 {
		text = r.tail.ReplaceAllLiteralString(text, "")
	}
	return cleanOf(text, most, false, more)
}

// address is one on one line.
func (r *redactor) address(text string, whole bool) string {
	return r.shown(text, text, maxName, whole)
}

// reply is what a mail server said: of it no more than its status, unless all of it may be seen.
func (r *redactor) reply(text string, whole bool) string {
	switch {
	case whole || text == "":
		return clean(text, maxError, false)
	case r.enhanced.MatchString(text):
		return r.enhanced.FindString(text) + " …"
	}
	return "…"
}

// cause is what went wrong, in words of ours around others'.
func (r *redactor) cause(text string, whole bool) string { return r.shown(text, "", maxError, whole) }
