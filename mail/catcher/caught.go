package catcher

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"slices"
	"strings"
	"time"
)

// Caught is a mail as it came, and what a reader would see of it.
type Caught struct {
	ID         uint64    // counts mails from 1, and is given to no other
	From       string    // of the envelope
	To         []string  // of the envelope
	Data       []byte    // the bytes that were sent, without the doubled dots of the protocol
	ReceivedAt time.Time // when the whole message had come

	Header    mail.Header
	Subject   string // decoded
	MessageID string // without angle brackets
	Text      string // the first text/plain part, decoded, lines ending in \n
	HTML      string // the first text/html part, likewise
	Malformed error  // why some of the fields above are empty; nil: the message could be read
}

// maxDepth bounds multiparts within multiparts.
const maxDepth = 5

func parse(from string, to []string, data []byte, now time.Time) Caught {
	c := Caught{From: from, To: slices.Clone(to), Data: data, ReceivedAt: now}
	message, err := mail.ReadMessage(bytes.NewReader(data))
	if err != nil {
		c.Malformed = fmt.Errorf("catcher: header: %w", err)
		return c
	}
	c.Header = message.Header
	c.MessageID = strings.Trim(strings.TrimSpace(message.Header.Get("Message-ID")), "<>")
	var decoder mime.WordDecoder
	if c.Subject, err = decoder.DecodeHeader(message.Header.Get("Subject")); err != nil {
		c.Malformed = fmt.Errorf("catcher: subject: %w", err)
	}
	if err := readBody(&c, message.Header, message.Body, maxDepth); err != nil && c.Malformed == nil {
		c.Malformed = fmt.Errorf("catcher: body: %w", err)
	}
	return c
}

// header is what a message's header and a part's have in common.
type header interface{ Get(name string) string }

// readBody fills in what a body, or a part of one, has to show.
func readBody(c *Caught, h header, r io.Reader, depth int) error {
	kind, parameters := "text/plain", map[string]string(nil) // RFC 2045, section 5.2
	if value := h.Get("Content-Type"); value != "" {
		var err error
		if kind, parameters, err = mime.ParseMediaType(value); err != nil {
			return fmt.Errorf("content type: %w", err)
		}
	}
	if strings.HasPrefix(kind, "multipart/") {
		return readParts(c, multipart.NewReader(r, parameters["boundary"]), depth)
	}
	switch strings.ToLower(h.Get("Content-Transfer-Encoding")) {
	case "quoted-printable":
		r = quotedprintable.NewReader(r)
	case "base64":
		r = base64.NewDecoder(base64.StdEncoding, r)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("%s part: %w", kind, err)
	}
	text := strings.ReplaceAll(string(content), "\r\n", "\n")
	switch {
	case kind == "text/plain" && c.Text == "":
		c.Text = text
	case kind == "text/html" && c.HTML == "":
		c.HTML = text
	}
	return nil
}

func readParts(c *Caught, r *multipart.Reader, depth int) error {
	if depth == 0 {
		return errors.New("parts are nested too deep")
	}
	for {
		part, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("next part: %w", err)
		}
		if err := readBody(c, part.Header, part, depth-1); err != nil {
			return err
		}
	}
}

// size is about what it takes of memory.
func (c Caught) size() int { return 2*len(c.Data) + len(c.Text) + len(c.HTML) } // the header is a copy, too

// Link is the first http or https URL of the text part, or "".
func (c Caught) Link() string {
	for link := range c.Links() {
		return link
	}
	return ""
}

// Links are the http and https URLs of the text part, in their order.
func (c Caught) Links() iter.Seq[string] {
	return func(yield func(string) bool) {
		for text := c.Text; ; {
			start := strings.Index(text, "http")
			if start < 0 {
				return
			}
			text = text[start:]
			end := strings.IndexFunc(text, func(r rune) bool { return r <= ' ' || strings.ContainsRune(`<>"`, r) })
			if end < 0 {
				end = len(text)
			}
			if word := text[:end]; !isLink(word) {
				end = len("http")
			} else if !yield(strings.TrimRight(word, ".,;:!?)")) { // what ends a sentence is not the link's
				return
			}
			text = text[end:]
		}
	}
}

func isLink(word string) bool {
	for _, scheme := range []string{"https://", "http://"} {
		if strings.HasPrefix(word, scheme) && len(word) > len(scheme) {
			return true
		}
	}
	return false
}
