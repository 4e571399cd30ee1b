package mail

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/wneessen/go-mail/smtp"
)

// Auth is how to log in (RFC 4954), the auth parameter of an SMTP URL.
type Auth string

// The ways to log in. One that is named is used, or none: never a weaker one.
const (
	// AuthAuto takes the strongest that the server offers, in the order scram-sha-256-plus, scram-sha-1-plus, scram-sha-256,
	// scram-sha-1, plain, login.
	AuthAuto  Auth = "auto"
	AuthPlain Auth = "plain" // RFC 4616: the password, protected by TLS alone
	AuthLogin Auth = "login" // the same in two pieces
	// AuthSCRAM1 and AuthSCRAM256 prove the password without sending it, and have the server prove that it knows it, too (RFC 5802,
	// RFC 7677). With -plus the proof holds for this TLS connection alone.
	AuthSCRAM1       Auth = "scram-sha-1"
	AuthSCRAM1Plus   Auth = "scram-sha-1-plus"
	AuthSCRAM256     Auth = "scram-sha-256"
	AuthSCRAM256Plus Auth = "scram-sha-256-plus"
	// AuthXOAuth2 takes the password for an OAuth 2.0 access token. It is never chosen by itself.
	AuthXOAuth2 Auth = "xoauth2"
)

// strongest are the ways to log in with a password, strongest first.
func strongest() []Auth {
	return []Auth{AuthSCRAM256Plus, AuthSCRAM1Plus, AuthSCRAM256, AuthSCRAM1, AuthPlain, AuthLogin}
}

func auths() []Auth { return append(strongest(), AuthXOAuth2, AuthAuto) }

// The iterations of SCRAM that are put up with: fewer make a stolen exchange cheap to search (RFC 7677, section 4), more would keep
// this machine busy at the server's will.
const (
	minIterations = 4096
	maxIterations = 600_000
)

var (
	errNoAuth     = errors.New("the server does not offer a way to log in that the auth parameter of the SMTP URL allows on this connection")
	errUnproven   = errors.New("the server did not prove that it knows the password")
	errIterations = errors.New("the server asks for fewer than 4,096 or more than 600,000 iterations of SCRAM")
)

// login logs in. A password goes over a connection in clear only towards this machine, or after an explicit insecure=yes: ParseURL
// sees to that.
func (c *conn) login() error {
	u := c.sender.url
	_, text := c.client.Extension("AUTH")
	offered := strings.Fields(strings.ToLower(text))
	allowed := []Auth{u.Auth}
	if u.Auth == "" || u.Auth == AuthAuto {
		allowed = strongest()
	}
	state, err := c.client.GetTLSConnectionState()
	if err != nil { // there is none to bind to
		allowed = slices.DeleteFunc(allowed, func(a Auth) bool { return strings.HasSuffix(string(a), "-plus") })
	}
	for _, way := range allowed {
		if slices.Contains(offered, string(way)) {
			return c.client.Auth(u.mechanism(way, state)) //nolint:wrapcheck // step wraps it
		}
	}
	return errNoAuth
}

func (u URL) mechanism(way Auth, state *tls.ConnectionState) smtp.Auth {
	user, password := u.login()
	clear := u.TLS == TLSNone
	switch way {
	case AuthSCRAM256Plus:
		return &scram{Auth: smtp.ScramSHA256PlusAuth(user, password, state)}
	case AuthSCRAM1Plus:
		return &scram{Auth: smtp.ScramSHA1PlusAuth(user, password, state)}
	case AuthSCRAM256:
		return &scram{Auth: smtp.ScramSHA256Auth(user, password)}
	case AuthSCRAM1:
		return &scram{Auth: smtp.ScramSHA1Auth(user, password)}
	case AuthXOAuth2:
		return smtp.XOAuth2Auth(user, password)
	case AuthLogin:
		return smtp.LoginAuth(user, password, u.Host, clear)
	case AuthPlain, AuthAuto:
	}
	return smtp.PlainAuth("", user, password, u.Host, clear)
}

// xoauth2 is what a login with a token sends, base64 aside.
func xoauth2(user, token string) string {
	return "user=" + user + "\x01auth=Bearer " + token + "\x01\x01"
}

// scram asks of the server what go-mail leaves open: a bearable number of iterations, and its own proof before it is believed.
type scram struct {
	smtp.Auth

	challenged bool // the server's first message was answered: only from then on there is something to prove
	proven     bool
}

// Next answers a challenge.
func (s *scram) Next(fromServer []byte, more bool) ([]byte, error) {
	if !more {
		if !s.proven {
			return nil, errUnproven
		}
		return nil, nil
	}
	for field := range bytes.SplitSeq(fromServer, []byte(",")) {
		if text, ok := bytes.CutPrefix(field, []byte("i=")); ok {
			if n, err := strconv.Atoi(string(text)); err != nil || n < minIterations || n > maxIterations {
				return nil, errIterations
			}
		}
	}
	answer, err := s.Auth.Next(fromServer, more)
	if err != nil {
		return nil, fmt.Errorf("scram: %w", err)
	}
	s.proven = s.challenged && bytes.HasPrefix(fromServer, []byte("v=")) // go-mail has compared it
	s.challenged = bytes.HasPrefix(fromServer, []byte("r="))
	return answer, nil
}
