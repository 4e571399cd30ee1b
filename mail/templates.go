package mail

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/language"
)

// The templates that come with the package: a folder per language, in it one per kind, in it a file per part.
//
//go:embed templates
var builtin embed.FS

// DefaultLanguage is what mails are in unless somebody says otherwise. All kinds are there in it.
const DefaultLanguage = "en"

const (
	maxProduct    = 200       // bytes, so that a subject with it stays below 500
	maxTemplate   = 256 << 10 // bytes of one file
	partSubject   = "subject.txt"
	partPreheader = "preheader.txt"
	partText      = "body.txt"
	partHTML      = "body.html"
)

// ErrNoLanguage says that there are no templates in the language that is to be the default.
var ErrNoLanguage = errors.New("there are no mail templates in this language")

// Content is what a template makes: the three fields of a Message that a reader sees.
type Content struct {
	Subject  string
	Text     string // lines of at most 78 columns, but for what has no blank, such as a link
	HTML     string
	Language string // the BCP 47 tag of the templates that made it
}

// ConfirmationData is what the mail that asks to confirm an address tells. Every field but Language is required.
type ConfirmationData struct {
	Product   string    // the application's name, one line of at most 200 bytes
	Link      string    // absolute http or https URL that confirms the address
	ExpiresAt time.Time // when the link stops working; the templates write it in UTC
	Language  string    // the reader's, a BCP 47 tag; zero, or no tag: the templates' default
}

// AccountData is what the mails to owners of accounts tell.
type AccountData struct {
	Product   string    // the application's name, one line of at most 200 bytes
	Link      string    // absolute http or https URL: what the mail is about, or, in a notice, the app
	ExpiresAt time.Time // of a mail with a link: when it stops working; the templates write it in UTC
	At        time.Time // of a notice: when it happened
	Address   string    // of email_notice: the new address, in a form that gives little away
	Done      bool      // of email_notice: the new address has been confirmed
	Language  string    // the reader's, a BCP 47 tag; zero, or no tag: the templates' default
}

// TemplateError names the template, or the data, that cannot be used, and says what to do.
type TemplateError struct {
	Language string // "" where it is about data, or about all languages
	Kind     string // a Kind; "" for what all kinds share
	Part     string // "subject.txt", "preheader.txt", "body.txt", "body.html", "layout.html", "layout.txt" or "date.txt"; for data the field
	File     string // the path in the folder; "" for data
	Line     int    // from 1; 0 where it is about no line
	Cause    error
}

func (e *TemplateError) Error() string {
	switch {
	case e.File == "":
		return fmt.Sprintf("mail template %s: %s: %v", e.Kind, e.Part, e.Cause)
	case e.Line > 0:
		return fmt.Sprintf("mail template %s, line %d: %v", e.File, e.Line, e.Cause)
	}
	return fmt.Sprintf("mail template %s: %v", e.File, e.Cause)
}

// Unwrap gives the cause.
func (e *TemplateError) Unwrap() error { return e.Cause }

// TemplatesConfig says which templates mails are made of.
type TemplatesConfig struct {
	// Folder has an app's own: <language>/<kind>/<part>, <language>/date.txt, and layout.html and layout.txt beside them or in a
	// language. What it lacks is the package's own. Zero: all are.
	Folder fs.FS
	// Language is what a mail is in when there are no templates in its reader's. Zero: DefaultLanguage.
	Language string
}

// Templates turn data into content, in the language of whoever reads it. They are immutable and safe for concurrent use.
type Templates struct {
	sets    map[string]map[Kind]*templateSet // by language
	tags    []language.Tag                   // the default first
	matcher language.Matcher
	own     []string
}

// DefaultTemplates are the ones that come with the package, in English and German.
func DefaultTemplates() (*Templates, error) { return NewTemplates(TemplatesConfig{}) }

// ParseTemplates are the templates of an app's folder over the package's own.
func ParseTemplates(folder fs.FS) (*Templates, error) {
	return NewTemplates(TemplatesConfig{Folder: folder})
}

// NewTemplates reads the folder, and tries every kind in every language with made-up data. What is missing, does not parse, names a
// variable that its kind does not have, leaves the link out or loads anything from elsewhere is a *TemplateError now, and not when the
// first mail is due. Text parts are text/template, HTML parts are html/template.
func NewTemplates(c TemplatesConfig) (*Templates, error) {
	preferred := DefaultLanguage
	if c.Language != "" {
		tag, err := language.Parse(c.Language)
		if err != nil {
			return nil, fmt.Errorf("%w: it is no tag of BCP 47, such as de or pt-BR", ErrNoLanguage)
		}
		preferred = tag.String()
	}
	shelf, err := newShelf(c.Folder)
	if err != nil {
		return nil, err
	}
	t := &Templates{sets: make(map[string]map[Kind]*templateSet), own: shelf.own}
	for _, tag := range shelf.languages() {
		sets, err := shelf.sets(tag)
		if err != nil {
			return nil, err
		}
		if len(sets) > 0 {
			t.sets[tag.String()], t.tags = sets, append(t.tags, tag)
		}
	}
	i := slices.IndexFunc(t.tags, func(tag language.Tag) bool { return tag.String() == preferred })
	if i < 0 {
		return nil, fmt.Errorf("%w: there are %s", ErrNoLanguage, strings.Join(t.Languages(), ", "))
	}
	first := t.tags[i]
	t.tags = slices.Insert(slices.Delete(t.tags, i, i+1), 0, first)
	t.matcher = language.NewMatcher(t.tags)
	return t, t.try()
}

// Languages are the tags of the languages that there are templates in, the default first.
func (t *Templates) Languages() []string {
	all := make([]string, len(t.tags))
	for i, tag := range t.tags {
		all[i] = tag.String()
	}
	return all
}

// Own lists the files of the app's folder, sorted. All that is not among them is the package's own.
func (t *Templates) Own() []string { return slices.Clone(t.own) }

// Gaps lists the kinds that a language of the app's folder has no templates of, as language/kind: these mails are in the default language.
func (t *Templates) Gaps() []string {
	var gaps []string
	for tag, sets := range t.sets {
		for _, kind := range Kinds() {
			if sets[kind] == nil {
				gaps = append(gaps, tag+"/"+string(kind))
			}
		}
	}
	slices.Sort(gaps)
	return gaps
}

// set finds the templates of a kind that suit the reader best. That CLDR calls languages near, such as Swiss German and German, counts.
func (t *Templates) set(kind Kind, reader string) *templateSet {
	if tag, err := language.Parse(reader); err == nil && reader != "" {
		_, i, _ := t.matcher.Match(tag)
		if set := t.sets[t.tags[i].String()][kind]; set != nil {
			return set
		}
	}
	if set := t.sets[t.tags[0].String()][kind]; set != nil {
		return set
	}
	return t.sets[DefaultLanguage][kind]
}

// Confirmation renders the mail that asks somebody to confirm an address.
func (t *Templates) Confirmation(d ConfirmationData) (Content, error) {
	return t.render(KindConfirmation, AccountData{Product: d.Product, Link: d.Link, ExpiresAt: d.ExpiresAt, Language: d.Language})
}

// Account renders a mail to the owner of an account.
func (t *Templates) Account(kind Kind, d AccountData) (Content, error) {
	if kind == KindConfirmation || !slices.Contains(Kinds(), kind) {
		return Content{}, &TemplateError{Kind: string(kind), Part: partSubject, Cause: errors.New("there is no such kind")}
	}
	return t.render(kind, d)
}

func (t *Templates) render(kind Kind, d AccountData) (Content, error) {
	if err := d.check(kind); err != nil {
		return Content{}, err
	}
	return t.set(kind, d.Language).render(d)
}

// Sample is what a preview shows.
type Sample struct {
	Product  string
	Language string    // of the reader. Zero: the templates' own
	Link     string    // where the mail leads. Zero: made up
	At       time.Time // when what the mail tells of happened, a day before its link ends. Zero: made up
	Done     bool      // of email_notice: the address has changed
}

// SampleKey is the key in a made-up link. No link has it.
const SampleKey = "a-b_c9sQvKx2ZzPpG4qk0mW7yT1uLr8nEe5hJf3dBiC"

// Preview renders a mail of that sample, and what it leaves open with made-up data.
func (t *Templates) Preview(kind Kind, s Sample) (Content, error) {
	i := slices.Index(Kinds(), kind)
	if i < 0 {
		return Content{}, &TemplateError{Kind: string(kind), Part: partSubject, Cause: errors.New("there is no such kind")}
	}
	d := kind.sample()
	d.Product, d.Language, d.Done = s.Product, s.Language, s.Done
	d.Link = cmp.Or(s.Link, d.Link)
	switch {
	case s.At.IsZero():
	case kind.linked():
		d.ExpiresAt = s.At.Add(24 * time.Hour)
	default:
		d.At = s.At
	}
	return t.render(kind, d)
}

// Files are the files that such a mail is made of, by part. Of these, the app's own are in Own.
func (t *Templates) Files(kind Kind, reader string) map[string]string {
	files := make(map[string]string)
	if slices.Contains(Kinds(), kind) {
		for part, s := range t.set(kind, reader).files {
			if files[part] = s.path; !s.own {
				files[part] = ""
			}
		}
	}
	return files
}

// Check renders every kind in every language with the name of the product: what is wrong with that is found before a mail is due.
func (t *Templates) Check(product string) error {
	for _, sets := range t.sets {
		for kind, set := range sets {
			d := kind.sample()
			d.Product = product
			if err := d.check(kind); err != nil {
				return err
			}
			if _, err := set.render(d); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *Templates) try() error {
	for _, tag := range t.Languages() {
		for _, kind := range Kinds() {
			if set := t.sets[tag][kind]; set != nil {
				if err := set.try(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (d AccountData) check(kind Kind) error {
	problem := func(field, text string) error {
		return &TemplateError{Kind: string(kind), Part: field, Cause: errors.New(text)}
	}
	switch link, err := url.Parse(d.Link); {
	case strings.TrimSpace(plain(d.Product)) == "" || hasControl(d.Product):
		return problem("Product", "is empty, or more than one line")
	case len(d.Product) > maxProduct:
		return problem("Product", "is longer than 200 bytes")
	case err != nil || (link.Scheme != "http" && link.Scheme != "https") || link.Host == "" || strings.ContainsAny(d.Link, " <>\""):
		return problem("Link", "is no absolute http or https URL") // the link itself is a secret and is not repeated
	case kind.linked() && d.ExpiresAt.IsZero():
		return problem("ExpiresAt", "is missing")
	case !kind.linked() && d.At.IsZero():
		return problem("At", "is missing")
	case kind == KindEmailNotice && (d.Address == "" || hasControl(d.Address)):
		return problem("Address", "is empty, or more than one line")
	}
	return nil
}

// plain takes out the characters that turn the direction of what stands around them: a name must not reorder a sentence.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, text)
}
