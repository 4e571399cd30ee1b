package mail

import (
	"encoding/base64"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// TLSMode says how a connection to the server is protected.
type TLSMode string

// The TLS modes of an SMTP URL, and the port that each one means when the URL names none.
const (
	TLSStartTLS TLSMode = "starttls" // clear until STARTTLS, which must succeed before anything else is sent; port 587
	TLSImplicit TLSMode = "implicit" // TLS from the first byte; port 465
	TLSNone     TLSMode = "none"     // clear; loopback only, unless insecure=yes; port 25
)

// Bounds of the timeout parameter.
const (
	minTimeout = time.Second
	maxTimeout = time.Hour
)

const maxConnections = 100

// URL is where and how mail is handed over. It holds the credentials but never shows them: String, and with it every verb of fmt,
// leaves them out.
type URL struct {
	Host     string        // name or IP address
	Port     int           // 1 to 65535
	TLS      TLSMode       // never empty
	Insecure bool          // insecure=yes: TLSNone towards another machine was asked for explicitly
	Helo     string        // the name this client greets with; empty: the machine's host name
	Timeout  time.Duration // bound of one whole delivery; 0: the default, see Timeouts.Total
	Auth     Auth          // how to log in; empty: AuthAuto
	// Connections is how many there are at most; 0: the default, see Config.MaxConns.
	Connections int

	login login // nil: no authentication
}

// login gives the credentials out. It is a function because there is no verb with which fmt, or an encoder, would look into one, not
// even in an unexported field of somebody else's struct.
type login func() (user, password string)

// URLError names the part of an SMTP URL that cannot be used. It repeats no value, because a misplaced character can make any part
// of the URL a piece of the password.
type URLError struct {
	Part    string // "scheme", "host", "port", "user", "password", "url", or the name of a parameter
	Problem string
}

func (e *URLError) Error() string { return "smtp url: " + e.Part + ": " + e.Problem }

// ParseURL reads smtp://user:password@host:port?tls=starttls|implicit|none with the further parameters
//
//	auth=auto|plain|login|scram-sha-1|scram-sha-1-plus|scram-sha-256|scram-sha-256-plus|xoauth2    see Auth
//	connections=N        1 to 100, see Config.MaxConns
//	helo=NAME            the name to greet with
//	timeout=DURATION     1s to 1h, see Timeouts.Total
//	insecure=yes         goes with tls=none: in clear over a network
//
// User and password are percent-encoded and may be left out together. Unknown and repeated parameters are refused. The error is always
// a *URLError.
func ParseURL(text string) (URL, error) {
	parsed, err := url.Parse(text)
	if err != nil { // its text repeats the URL, password included
		return URL{}, &URLError{"url", "cannot be read; write smtp://user:password@host:587?tls=starttls with user and password percent-encoded"}
	}
	if parsed.Scheme != "smtp" {
		return URL{}, &URLError{"scheme", "must be smtp (for TLS from the first byte write smtp://…?tls=implicit)"}
	}
	// An unencoded / ? # or @ in the password ends the host part early. These come before any check that would name something.
	if parsed.Opaque != "" || parsed.Path != "" || parsed.Fragment != "" || strings.ContainsAny(text, "#") || strings.Contains(parsed.RawQuery, "@") {
		return URL{}, &URLError{"url", "has something behind host and port that is no parameter; percent-encode / ? # @ in user and password (%2F %3F %23 %40)"}
	}

	var u URL
	if u.login, err = parseLogin(parsed.User); err != nil {
		return URL{}, err
	}
	if u.Host = parsed.Hostname(); !validHost(u.Host) {
		return URL{}, &URLError{"host", "must be a host name in ASCII or an IP address"}
	}
	if err := parseParameters(&u, parsed.RawQuery); err != nil {
		return URL{}, err
	}
	if u.Port, err = parsePort(parsed.Port(), u.TLS); err != nil {
		return URL{}, err
	}
	if u.TLS == TLSNone && !u.Insecure && !u.loopback() {
		return URL{}, &URLError{"tls", "none is for a server on this machine; add insecure=yes to send in clear over a network"}
	}
	return u, nil
}

func parseLogin(info *url.Userinfo) (login, error) {
	if info == nil {
		return nil, nil
	}
	password, has := info.Password()
	switch {
	case info.Username() == "":
		return nil, &URLError{"user", "is empty; leave out the @ for a server without authentication"}
	case hasControl(info.Username()):
		return nil, &URLError{"user", "has control characters or is not UTF-8"}
	case !has || password == "":
		return nil, &URLError{"password", "is missing; write user:password@"}
	case hasControl(password):
		return nil, &URLError{"password", "has control characters or is not UTF-8"}
	}
	return func() (string, string) { return info.Username(), password }, nil
}

func parseParameters(u *URL, query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return &URLError{"url", "has a parameter that is not percent-encoded as it should be"}
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names) // so that of two mistakes the same one is reported every time
	for _, name := range names {
		if !slices.Contains([]string{"tls", "auth", "connections", "helo", "timeout", "insecure"}, name) {
			return &URLError{strconv.QuoteToASCII(name), "is no parameter; there are tls, auth, connections, helo, timeout and insecure"}
		}
		if len(values[name]) > 1 {
			return &URLError{name, "is given more than once"}
		}
	}

	u.TLS = TLSStartTLS
	if values.Has("tls") {
		u.TLS = TLSMode(values.Get("tls"))
		if !slices.Contains([]TLSMode{TLSStartTLS, TLSImplicit, TLSNone}, u.TLS) {
			return &URLError{"tls", "must be starttls, implicit or none"}
		}
	}
	if values.Has("helo") {
		if u.Helo = values.Get("helo"); !validHelo(u.Helo) {
			return &URLError{"helo", "must be a host name in ASCII or an address literal such as [192.0.2.1]"}
		}
	}
	if values.Has("timeout") {
		u.Timeout, err = time.ParseDuration(values.Get("timeout"))
		if err != nil || u.Timeout < minTimeout || u.Timeout > maxTimeout {
			return &URLError{"timeout", "must be a duration from 1s to 1h, such as 90s or 12m"}
		}
	}
	if values.Has("connections") {
		u.Connections, err = strconv.Atoi(values.Get("connections"))
		if err != nil || u.Connections < 1 || u.Connections > maxConnections {
			return &URLError{"connections", "must be a number from 1 to 100"}
		}
	}
	if values.Has("auth") {
		u.Auth = Auth(values.Get("auth"))
		switch {
		case !slices.Contains(auths(), u.Auth):
			return &URLError{"auth", "must be auto, plain, login, scram-sha-1, scram-sha-1-plus, scram-sha-256, scram-sha-256-plus or xoauth2"}
		case u.login == nil:
			return &URLError{"auth", "goes with a user and a password"}
		case strings.HasSuffix(string(u.Auth), "-plus") && u.TLS == TLSNone:
			return &URLError{"auth", "is bound to TLS; with tls=none leave -plus out"}
		}
	}
	if values.Has("insecure") {
		if values.Get("insecure") != "yes" {
			return &URLError{"insecure", "must be yes, or left out"}
		}
		if u.TLS != TLSNone {
			return &URLError{"insecure", "goes with tls=none only; certificates are always verified"}
		}
		u.Insecure = true
	}
	return nil
}

func parsePort(text string, mode TLSMode) (int, error) {
	if text == "" {
		return map[TLSMode]int{TLSStartTLS: 587, TLSImplicit: 465, TLSNone: 25}[mode], nil
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, &URLError{"port", "must be a number from 1 to 65535"}
	}
	return int(port), nil
}

// validHost accepts what a resolver or a dialler takes and nothing that could change a line of a protocol or of a log.
func validHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return !strings.Contains(host, "%") // a zone has no place in a certificate
	}
	return host != "" && len(host) <= 253 && !strings.ContainsFunc(host, notHostRune)
}

func notHostRune(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(".-_", r)
}

// validHelo accepts a domain or an address literal (RFC 5321, section 4.1.3).
func validHelo(name string) bool {
	if inner, ok := strings.CutPrefix(name, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		_, err := netip.ParseAddr(strings.TrimPrefix(inner, "IPv6:"))
		return ok && err == nil && !strings.Contains(inner, "%")
	}
	return validHost(name)
}

func (u URL) loopback() bool {
	if strings.EqualFold(u.Host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(u.Host)
	return err == nil && addr.Unmap().IsLoopback()
}

// address is what a dialler takes.
func (u URL) address() string { return net.JoinHostPort(u.Host, strconv.Itoa(u.Port)) }

// String writes the URL without user and password; where there are some, it says so.
func (u URL) String() string {
	var text strings.Builder
	text.WriteString("smtp://")
	if u.login != nil {
		text.WriteString("REDACTED@")
	}
	text.WriteString(u.address() + "?tls=" + string(u.TLS))
	if u.Insecure {
		text.WriteString("&insecure=yes")
	}
	if u.Helo != "" {
		text.WriteString("&helo=" + url.QueryEscape(u.Helo))
	}
	if u.Auth != "" {
		text.WriteString("&auth=" + string(u.Auth))
	}
	if u.Connections != 0 {
		text.WriteString("&connections=" + strconv.Itoa(u.Connections))
	}
	if u.Timeout != 0 {
		text.WriteString("&timeout=" + u.Timeout.String())
	}
	return text.String()
}

// GoString keeps %#v from showing the credentials.
func (u URL) GoString() string { return u.String() }

// MarshalText keeps JSON and log handlers from showing the credentials.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// hide replaces the credentials in what a server answered, in clear and in the forms in which AUTH sends them.
func (l login) hide(text string) string {
	if l == nil {
		return text
	}
	user, password := l()
	for _, secret := range []string{"\x00" + user + "\x00" + password, xoauth2(user, password), password, user} {
		text = strings.ReplaceAll(text, base64.StdEncoding.EncodeToString([]byte(secret)), "***")
		text = strings.ReplaceAll(text, secret, "***")
	}
	return text
}
