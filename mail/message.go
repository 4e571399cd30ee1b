package mail

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	netmail "net/mail"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	gomail "github.com/wneessen/go-mail"
	"golang.org/x/net/idna"
)

// Limits of a message. The lengths of an address are RFC 5321's, section 4.5.3.1.
const (
	maxSubject = 500     // bytes
	maxID      = 250     // bytes
	maxPart    = 1 << 20 // bytes of the text and of the HTML, each
	maxLocal   = 64      // bytes before the @
	maxAddress = 254     // bytes
)

// Message is one mail to one recipient. The same values always make the same bytes.
type Message struct {
	ID      string    // the Message-ID without its angle brackets, left@right in ASCII; fixed for every attempt at one mail
	To      string    // one address, without a display name; letters beyond ASCII are allowed
	Subject string    // one line of UTF-8, at most 500 bytes
	Text    string    // the text part; required, at most 1 MiB
	HTML    string    // the HTML part, at most 1 MiB; empty: the mail is text only
	Date    time.Time // the Date header, fixed for every attempt and written in UTC; required
}

// MessageError names the field that keeps a message, or a sender address, from being used. It does not repeat the value.
type MessageError struct {
	Field   string // "ID", "To", "From", "Subject", "Text", "HTML", "Date"
	Problem string
}

func (e *MessageError) Error() string { return e.Field + " " + e.Problem }

// mailbox is an address that was checked: safe in a header and in a command.
type mailbox struct {
	name    string // display name; senders only
	address string // local part as given, domain in ASCII (A-labels)
	utf8    bool   // the local part needs SMTPUTF8 (RFC 6531)
}

// rendered is a message as it goes over the wire.
type rendered struct {
	to   mailbox
	data []byte
}

// Render returns the bytes that Send would send, with CRLF line ends. A refusal is a *SendError of StageMessage.
func (s *Sender) Render(m Message) ([]byte, error) {
	r, err := s.render(m)
	if err != nil {
		return nil, newSendError(StageMessage, err, nil)
	}
	return r.data, nil
}

func (s *Sender) render(m Message) (rendered, error) {
	to, err := m.check()
	if err != nil {
		return rendered{}, err
	}
	msg := gomail.NewMsg(gomail.WithBoundary(m.boundary()), gomail.WithNoDefaultUserAgent())
	msg.FromMailAddress(&netmail.Address{Name: s.from.name, Address: s.from.address})
	msg.ToMailAddress(&netmail.Address{Address: to.address})
	msg.SetMessageIDWithValue(m.ID)
	msg.SetDateWithValue(m.Date.UTC())
	msg.Subject(m.Subject)
	// RFC 3834, section 5: keeps vacation responders from answering.
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	if m.HTML != "" {
		msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	}
	var data bytes.Buffer
	if _, err := msg.WriteTo(&data); err != nil {
		return rendered{}, fmt.Errorf("render: %w", err)
	}
	if s.dkim == nil {
		return rendered{to: to, data: data.Bytes()}, nil
	}
	signature, err := s.dkim(data.Bytes(), m.Date)
	if err != nil {
		return rendered{}, err
	}
	return rendered{to: to, data: append([]byte(signature), data.Bytes()...)}, nil
}

// boundary is derived from the message, so that a message is the same every time, and no part can contain it other than by chance.
func (m Message) boundary() string {
	sum := sha256.Sum256([]byte(m.ID + "\x00" + m.Text + "\x00" + m.HTML))
	return "sealq-" + hex.EncodeToString(sum[:20])
}

func (m Message) check() (mailbox, error) {
	if err := checkID(m.ID); err != nil {
		return mailbox{}, err
	}
	to, problem := checkAddress(m.To)
	if problem != "" {
		return mailbox{}, &MessageError{"To", problem}
	}
	switch {
	case strings.TrimSpace(m.Subject) == "":
		return mailbox{}, &MessageError{"Subject", "is empty"}
	case len(m.Subject) > maxSubject:
		return mailbox{}, &MessageError{"Subject", "is longer than 500 bytes"}
	case hasControl(m.Subject):
		return mailbox{}, &MessageError{"Subject", "has line breaks or other control characters, or is not UTF-8"}
	case strings.Contains(m.Subject, "  ") || strings.TrimSpace(m.Subject) != m.Subject:
		// Folding such a header can leave a line of blanks, which some servers take for the end of the headers.
		return mailbox{}, &MessageError{"Subject", "begins or ends with a blank, or has two in a row"}
	case m.Text == "":
		return mailbox{}, &MessageError{"Text", "is empty"}
	case m.Date.IsZero() || m.Date.Year() < 1900 || m.Date.Year() > 9999: // RFC 5322, section 3.3
		return mailbox{}, &MessageError{"Date", "is missing, or outside the years 1900 to 9999"}
	}
	for _, part := range []struct{ field, content string }{{"Text", m.Text}, {"HTML", m.HTML}} {
		if len(part.content) > maxPart {
			return mailbox{}, &MessageError{part.field, "is larger than 1 MiB"}
		}
		if !utf8.ValidString(part.content) {
			return mailbox{}, &MessageError{part.field, "is not UTF-8"}
		}
	}
	return to, nil
}

// CheckID says what is wrong with the ID of a Message, so that what it is made of can be looked at before there are messages. The error is a
// *MessageError.
func CheckID(id string) error { return checkID(id) }

// checkID takes RFC 5322's dot-atom on both sides (section 3.6.4): what every server and reader takes for one and the same ID.
func checkID(id string) error {
	left, right, ok := strings.Cut(id, "@")
	switch {
	case !ok || left == "" || right == "" || strings.Contains(right, "@"):
		return &MessageError{"ID", "must have the form left@right, without angle brackets"}
	case len(id) > maxID:
		return &MessageError{"ID", "is longer than 250 bytes"}
	case strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`<>()[]\,;:"`, r) }):
		return &MessageError{"ID", "has characters that a Message-ID cannot have"}
	}
	return nil
}

// checkAddress returns a problem in words, or none. net/mail alone also takes display names, comments and invisible characters.
func checkAddress(text string) (box mailbox, problem string) {
	if hasControl(text) || strings.ContainsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) }) {
		return mailbox{}, "has blanks, control characters or invisible characters, or is not UTF-8"
	}
	parsed, err := netmail.ParseAddress(text)
	if err != nil || parsed.Name != "" || parsed.Address != text {
		return mailbox{}, "must be one plain address, such as ann@example.com"
	}
	at := strings.LastIndexByte(text, '@')
	local := text[:at]
	domain, err := idna.Lookup.ToASCII(text[at+1:])
	if err != nil || domain == "" {
		return mailbox{}, "has no valid domain behind the @"
	}
	box = mailbox{address: local + "@" + domain, utf8: strings.ContainsFunc(local, func(r rune) bool { return r >= utf8.RuneSelf })}
	if len(local) > maxLocal || len(box.address) > maxAddress {
		return mailbox{}, "is longer than mail allows (64 bytes before the @, 254 in all)"
	}
	return box, ""
}

// parseSender reads an address with an optional display name: Name <address>.
func parseSender(text string) (mailbox, error) {
	if text == "" {
		return mailbox{}, &MessageError{"From", "is empty; give the address that mail is sent from"}
	}
	if hasControl(text) {
		return mailbox{}, &MessageError{"From", "has line breaks or other control characters, or is not UTF-8"}
	}
	parsed, err := netmail.ParseAddress(text)
	if err != nil {
		return mailbox{}, &MessageError{"From", "must be an address, with a name or without: Example <no-reply@example.com>"}
	}
	box, problem := checkAddress(parsed.Address)
	if problem != "" {
		return mailbox{}, &MessageError{"From", problem}
	}
	// An encoded word can carry what the text itself was checked for.
	if hasControl(parsed.Name) {
		return mailbox{}, &MessageError{"From", "has control characters in its name"}
	}
	box.name = strings.Join(strings.Fields(parsed.Name), " ")
	return box, nil
}

// hasControl reports what may become neither a header nor a command.
func hasControl(text string) bool {
	return !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool {
		return unicode.IsControl(r) || r == '\u2028' || r == '\u2029'
	})
}
