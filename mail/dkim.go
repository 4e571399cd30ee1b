package mail

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// DKIM signs every message (RFC 6376), so that the recipient's server can hold the sender's domain to it. The zero value signs nothing.
//
// A signature depends on the message alone: its time is the message's Date, and both algorithms are deterministic. A second attempt
// sends the same bytes.
type DKIM struct {
	Domain   string // whose DNS publishes the key (d=), for DMARC the sender's own or one above it
	Selector string // the key's name there: SELECTOR._domainkey.DOMAIN
	// Key is the private key in PEM: RSA of 2,048 bits or more (PKCS #1 or #8), or Ed25519 (PKCS #8), which fewer servers verify.
	Key []byte
	// Headers are those that are signed, From among them. Empty: From, To, Subject, Date, Message-ID, MIME-Version, Content-Type,
	// Content-Transfer-Encoding, Auto-Submitted.
	Headers []string
}

// minRSA is what RFC 8301, section 3.2, advises; verifiers may refuse less.
const minRSA = 2048 // bits

// String leaves the key out.
func (d DKIM) String() string {
	if d.zero() {
		return "no DKIM"
	}
	return "DKIM " + d.Selector + "._domainkey." + d.Domain
}

// GoString keeps %#v from showing the key.
func (d DKIM) GoString() string { return d.String() }

// LogValue keeps the key out of logs.
func (d DKIM) LogValue() slog.Value { return slog.StringValue(d.String()) }

// MarshalText keeps encoders from showing the key.
func (d DKIM) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

func (d DKIM) zero() bool {
	return d.Domain == "" && d.Selector == "" && len(d.Key) == 0 && len(d.Headers) == 0
}

// DKIMError names the field of DKIM that cannot be used. It repeats nothing of the key.
type DKIMError struct {
	Field   string // "Domain", "Selector", "Key", "Headers"
	Problem string
}

func (e *DKIMError) Error() string { return "dkim: " + e.Field + " " + e.Problem }

// signer makes the DKIM-Signature of a message, with its line end. It is a function for the reason that login is one.
type signer func(message []byte, date time.Time) (string, error)

// signer is nil where nothing is to be signed.
func (d DKIM) signer() (signer, error) {
	if d.zero() {
		return nil, nil
	}
	for _, name := range []struct{ field, value string }{{"Domain", d.Domain}, {"Selector", d.Selector}} {
		if name.value == "" {
			return nil, &DKIMError{name.field, "is missing; domain, selector and key go together"}
		}
		if !validHost(name.value) || strings.HasPrefix(name.value, ".") || strings.HasSuffix(name.value, ".") || strings.Contains(name.value, "..") {
			return nil, &DKIMError{name.field, "must be a name in ASCII, such as mail or example.com"}
		}
	}
	headers := slices.Clone(d.Headers)
	if len(headers) == 0 {
		headers = []string{"From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Auto-Submitted"}
	}
	if !slices.ContainsFunc(headers, func(h string) bool { return strings.EqualFold(h, "From") }) {
		return nil, &DKIMError{"Headers", "must have From among them (RFC 6376, section 5.4)"}
	}
	if slices.ContainsFunc(headers, func(h string) bool {
		return h == "" || strings.ContainsFunc(h, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' || r == ';' })
	}) {
		return nil, &DKIMError{"Headers", "must be names of headers"}
	}
	key, err := parseDKIMKey(d.Key)
	if err != nil {
		return nil, err
	}
	// Some are named once more than they are there, so that nobody can add another one in front (RFC 6376, section 8.15).
	headers = append(headers, "From", "To", "Subject", "Date", "Message-ID")
	return func(message []byte, date time.Time) (string, error) { return d.sign(key(), headers, message, date) }, nil
}

// sign is RFC 6376, section 3.7, relaxed both ways. go-mail's signer folds within the names of h= and so breaks its own signature once
// there are more than some ten of them; go-msgauth's has the time from the clock.
func (d DKIM) sign(key crypto.Signer, headers []string, message []byte, date time.Time) (string, error) {
	head, body, ok := bytes.Cut(message, []byte("\r\n\r\n"))
	if !ok {
		return "", errors.New("the message has no body")
	}
	algorithm, options := "rsa-sha256", crypto.SignerOpts(crypto.SHA256)
	if _, ok := key.(ed25519.PrivateKey); ok {
		algorithm, options = "ed25519-sha256", crypto.Hash(0) // RFC 8463, section 3: the hash is signed as it is
	}
	sum := sha256.Sum256(relaxedBody(body))
	unsigned := "DKIM-Signature: v=1; a=" + algorithm + "; c=relaxed/relaxed; t=" + strconv.FormatInt(date.Unix(), 10) +
		";\r\n d=" + d.Domain + ";\r\n s=" + d.Selector +
		";\r\n h=" + strings.Join(headers, ":\r\n  ") +
		";\r\n bh=" + base64.StdEncoding.EncodeToString(sum[:]) + ";\r\n b="

	fields := relaxedFields(head)
	hash := sha256.New()
	for _, name := range headers {
		name = strings.ToLower(name)
		if at := len(fields[name]) - 1; at >= 0 { // of several the last one first; of one that is not there, nothing
			hash.Write([]byte(fields[name][at] + "\r\n"))
			fields[name] = fields[name][:at]
		}
	}
	hash.Write([]byte(relaxedField(unsigned)))
	signature, err := key.Sign(rand.Reader, hash.Sum(nil), options)
	if err != nil {
		return "", fmt.Errorf("dkim: %w", err)
	}
	folded := bytes.Join(slices.Collect(slices.Chunk([]byte(base64.StdEncoding.EncodeToString(signature)), 72)), []byte("\r\n "))
	return unsigned + string(folded) + "\r\n", nil
}

// relaxedFields are the fields by name in lower case, each as section 3.4.2 has it.
func relaxedFields(head []byte) map[string][]string {
	fields := make(map[string][]string)
	unfolded := strings.NewReplacer("\r\n ", " ", "\r\n\t", " ").Replace(string(head))
	for field := range strings.SplitSeq(unfolded, "\r\n") {
		field = relaxedField(field)
		name, _, _ := strings.Cut(field, ":")
		fields[name] = append(fields[name], field)
	}
	return fields
}

func relaxedField(field string) string {
	name, value, _ := strings.Cut(field, ":")
	return strings.ToLower(strings.TrimSpace(name)) + ":" + strings.Join(strings.Fields(value), " ")
}

// relaxedBody is section 3.4.4: blanks in a row count as one, those at the end of a line and empty lines at the end do not count.
func relaxedBody(body []byte) []byte {
	var out bytes.Buffer
	empty := 0
	for line := range bytes.SplitSeq(bytes.TrimSuffix(body, []byte("\r\n")), []byte("\r\n")) {
		line = bytes.TrimRight(line, " \t")
		if len(line) == 0 {
			empty++
			continue
		}
		for ; empty > 0; empty-- {
			out.WriteString("\r\n")
		}
		blank := false
		for _, b := range line {
			if b == ' ' || b == '\t' {
				blank = true
				continue
			}
			if blank {
				out.WriteByte(' ')
				blank = false
			}
			out.WriteByte(b)
		}
		out.WriteString("\r\n")
	}
	return out.Bytes()
}

func parseDKIMKey(text []byte) (func() crypto.Signer, error) {
	if len(text) == 0 {
		return nil, &DKIMError{"Key", "is missing; domain, selector and key go together"}
	}
	key, err := gomail.PrivKeyFromPEM(text)
	if err != nil { // its text may repeat parts of what it read
		return nil, &DKIMError{"Key", "must be a private key in PEM: RSA (PKCS #1 or #8) or Ed25519 (PKCS #8), not encrypted"}
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if key.N.BitLen() < minRSA {
			return nil, &DKIMError{"Key", fmt.Sprintf("has %d bits; use an RSA key of %d or more", key.N.BitLen(), minRSA)}
		}
	case ed25519.PrivateKey:
	default:
		return nil, &DKIMError{"Key", "must be RSA or Ed25519"}
	}
	return func() crypto.Signer { return key }, nil
}
