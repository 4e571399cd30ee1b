package authworker

import (
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"github.com/sealq/sealq/mail"
)

// paths are the pages that links lead to.
type paths struct{ confirm, reset, email string }

// of is the page of a mail with a link, "" of a notice, which has none of its own.
func (p paths) of(kind mail.Kind) string {
	switch kind {
	case mail.KindConfirmation:
		return p.confirm
	case mail.KindPasswordReset:
		return p.reset
	case mail.KindEmailChange:
		return p.email
	case mail.KindAccountExists, mail.KindPasswordChanged, mail.KindEmailNotice, mail.KindLockoutNotice:
	}
	return ""
}

// Link is where the mails of a kind lead, with that key: to the kind's page, or to the app itself where the kind's link takes no key. Of the
// configuration BaseURL and the paths are enough. The error is that of a BaseURL that cannot be used.
func (c Config) Link(kind mail.Kind, key string) (string, error) {
	app, _, err := parseApp(c.BaseURL)
	if err != nil {
		return "", err
	}
	return linkTo(app, c.paths().of(kind), key), nil
}

func linkTo(app url.URL, path, key string) string {
	if path == "" {
		return app.String()
	}
	link := app.JoinPath(path)
	link.RawQuery = url.Values{"key": {key}}.Encode()
	return link.String()
}

// parseApp reads a base URL, and gives its host as it is written there. In the URL that comes back a host beyond ASCII is as the net has it (RFC
// 5891): percent-encoded, as package url does it, some readers' programs do not open it.
func parseApp(base string) (app url.URL, host string, err error) {
	parsed, err := url.Parse(base)
	if err != nil || parsed.Host == "" || (parsed.Scheme != "http" && parsed.Scheme != "https") {
		return app, "", fmt.Errorf("base URL %q: it must be http:// or https:// with a host", base)
	}
	app, host = *parsed, parsed.Hostname()
	if !strings.ContainsFunc(host, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return app, host, nil
	}
	if app.Host, err = idna.Lookup.ToASCII(host); err != nil {
		return app, "", fmt.Errorf("base URL %q: its host is no domain: %w", base, err)
	}
	if port := parsed.Port(); port != "" {
		app.Host += ":" + port
	}
	return app, host, nil
}
