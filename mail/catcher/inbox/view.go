package inbox

import (
	"fmt"
	"maps"
	"mime"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"

	"github.com/sealq/sealq/mail/catcher"
)

// Bounds of what one page shows, in bytes where nothing else is said. What is longer is cut, and said to be; the source can be downloaded whole.
const (
	maxListed  = 100 // mails
	maxLine    = 300
	maxPeople  = 10 // recipients
	maxHeaders = 100
	maxHeader  = 2 << 10
	maxText    = 256 << 10
	maxHTML    = 1 << 20
	maxSource  = 64 << 10
	maxLinks   = 50
	maxLink    = 2 << 10 // a longer one is left out: cut, it would lead elsewhere
)

// excerpt is a text that may have been cut.
type excerpt struct {
	Text string
	More int // bytes that are not shown
}

// cut cuts s to at most that many bytes, between two characters.
func cut(s string, most int) excerpt {
	if len(s) <= most {
		return excerpt{Text: s}
	}
	end := most
	for end > 0 && end > most-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return excerpt{Text: s[:end], More: len(s) - end}
}

// line is a text on one line.
func line(s string, most int) string {
	e := cut(s, most)
	e.Text = visible(e.Text, false)
	if e.More > 0 {
		e.Text += "…"
	}
	return e.Text
}

// block is a text of several lines.
func block(s string, most int) excerpt {
	e := cut(strings.ReplaceAll(s, "\r\n", "\n"), most)
	e.Text = visible(e.Text, true)
	return e
}

// visible replaces what could deceive: control characters, those that turn the direction of text or show nothing at all, and bytes that are no
// UTF-8. Joiners stay, scripts and emojis need them.
func visible(s string, lines bool) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\t', r == '\n' && lines:
			b.WriteRune(r)
		case r < ' ':
			b.WriteRune('␀' + r)
		case r == 0x7f:
			b.WriteRune('␡')
		case r == 0x200c, r == 0x200d:
			b.WriteRune(r)
		case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co):
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		default:
			b.WriteRune(r) // U+FFFD for a byte that is no UTF-8
		}
	}
	return b.String()
}

// moment is a time as pages show it.
type moment struct{ Machine, Person string }

func at(t time.Time, zone *time.Location) moment {
	return moment{Machine: t.UTC().Format(time.RFC3339), Person: t.In(zone).Format("2 Jan 2006, 15:04:05 MST")}
}

// list is the first page.
type list struct {
	Title string
	Live  bool // it is read again by itself
	All   int  // mails that are kept
	Mails []entry
	Older uint64 // the page of older ones begins before this ID; 0: there are none
}

// entry is a mail in the list.
type entry struct {
	ID                uint64
	Subject, From, To string
	At                moment
}

func listed(all []catcher.Caught, before uint64, zone *time.Location) list {
	v := list{Title: "Inbox", All: len(all)}
	for _, m := range slices.Backward(all) {
		if before != 0 && m.ID >= before {
			continue
		}
		if len(v.Mails) == maxListed {
			v.Older = v.Mails[maxListed-1].ID
			break
		}
		v.Mails = append(v.Mails, entry{ID: m.ID, Subject: subject(m), From: line(m.From, maxLine), To: people(m.To), At: at(m.ReceivedAt, zone)})
	}
	return v
}

func subject(m catcher.Caught) string {
	for _, s := range []string{m.Subject, m.Header.Get("Subject")} { // the second, where it cannot be decoded
		if s = line(s, maxLine); strings.TrimSpace(s) != "" {
			return s
		}
	}
	return "(no subject)"
}

func people(to []string) string {
	shown := make([]string, 0, maxPeople)
	for _, address := range to[:min(len(to), maxPeople)] {
		shown = append(shown, line(address, maxLine))
	}
	if more := len(to) - len(shown); more > 0 {
		shown = append(shown, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(shown, ", ")
}

// open is the page of one mail.
type open struct {
	Title, From, To, Broken string // Broken says what could not be read of it
	ID                      uint64
	At                      moment
	Links                   []link
	Headers                 []field
	MoreHeaders             int
	Text                    excerpt
	HTML                    bool
	MoreHTML                int
	Source                  excerpt
}

type field struct{ Name, Value string }

// link is where it leads, and what a person sees of that.
type link struct{ To, Shown string }

func opened(m catcher.Caught, zone *time.Location) open {
	v := open{
		Title: subject(m), ID: m.ID, From: line(m.From, maxLine), To: people(m.To), At: at(m.ReceivedAt, zone), Links: links(m),
		Text: block(m.Text, maxText), HTML: m.HTML != "", MoreHTML: cut(m.HTML, maxHTML).More, Source: block(string(m.Data), maxSource),
	}
	if m.Malformed != nil {
		v.Broken = line(m.Malformed.Error(), maxLine)
	}
	var decoder mime.WordDecoder
	for _, name := range slices.Sorted(maps.Keys(m.Header)) {
		for _, value := range m.Header[name] {
			if len(v.Headers) == maxHeaders {
				v.MoreHeaders++
				continue
			}
			if decoded, err := decoder.DecodeHeader(cut(value, maxHeader).Text); err == nil && len(value) <= maxHeader {
				value = decoded
			}
			v.Headers = append(v.Headers, field{Name: line(name, maxLine), Value: line(value, maxHeader)})
		}
	}
	return v
}

// links are those of the text part, then those of the HTML part that it lacks.
func links(m catcher.Caught) []link {
	var found []link
	seen := make(map[string]bool)
	add := func(to string) bool {
		if !seen[to] && len(to) <= maxLink {
			seen[to] = true
			found = append(found, link{To: to, Shown: line(to, maxLink)})
		}
		return len(found) < maxLinks
	}
	m.Text = cut(m.Text, maxText).Text
	for to := range m.Links() {
		if !add(to) {
			return found
		}
	}
	tokens := html.NewTokenizer(strings.NewReader(cut(m.HTML, maxHTML).Text))
	for tokens.Next() != html.ErrorToken {
		for _, a := range tokens.Token().Attr {
			to := strings.TrimSpace(a.Val)
			if a.Key == "href" && (strings.HasPrefix(to, "https://") || strings.HasPrefix(to, "http://")) && !add(to) {
				return found
			}
		}
	}
	return found
}
