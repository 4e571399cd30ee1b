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
}

func newRedactor() *redactor {
	return &redactor{
		addressLike: regexp.MustCompile("[^\\s<>\"'`,;:()\\[\\]=]+@[^\\s<>\"'`,;:()\\[\\]]+"),
		replied:     regexp.MustCompile(`\b([2-5]\d\d) "((?:[245]\.\d{1,3}\.\d{1,3})?)[^"]*"`),
		enhanced:    regexp.MustCompile(`^[245]\.\d{1,3}\.\d{1,3}\b`),
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

// address is one on one line.
func (r *redactor) address(text string, whole bool) string {
	if !whole {
		text = r.text(text, text)
	}
	return label(text)
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
func (r *redactor) cause(text string, whole bool) string {
	if !whole {
		text = r.text(text, "")
	}
	return clean(text, maxError, false)
}
