package mail

import (
	"embed"
	"errors"
	"fmt"
	"html"
	htmltemplate "html/template"
	"io"
	"io/fs"
	"net/url"
	"path"
	"strings"
	texttemplate "text/template"
	"time"
)

// The templates that come with the package: a folder per kind, a file per part.
//
//go:embed templates
var builtin embed.FS

// The parts that every kind has.
const (
	partSubject = "subject.txt"
	partText    = "body.txt"
	partHTML    = "body.html"
)

// Content is what a template makes: the three fields of a Message that a reader sees.
type Content struct {
	Subject string
	Text    string
	HTML    string
}

// ConfirmationData is what the templates of the kind confirmation may name. Every field is required.
type ConfirmationData struct {
	Product   string    // the application's name, one line
	Link      string    // absolute http or https URL that confirms the address
	ExpiresAt time.Time // when the link stops working; the templates write it in UTC
}

// TemplateError names the template, or the data, that cannot be used.
type TemplateError struct {
	Kind  string // "confirmation", or a Kind
	Part  string // "subject.txt", "body.txt" or "body.html"; for data the field
	Cause error
}

func (e *TemplateError) Error() string {
	return fmt.Sprintf("mail template %s: %s: %v", e.Kind, e.Part, e.Cause)
}

// Unwrap gives the cause.
func (e *TemplateError) Unwrap() error { return e.Cause }

// Templates turn data into content. They are immutable and safe for concurrent use.
type Templates struct {
	confirmation templateSet
	accounts     map[Kind]templateSet
}

// DefaultTemplates are the ones that come with the package, in English.
func DefaultTemplates() (*Templates, error) {
	folder, err := fs.Sub(builtin, "templates")
	if err != nil {
		return nil, fmt.Errorf("mail templates: %w", err)
	}
	return ParseTemplates(folder)
}

// ParseTemplates reads a folder with a sub-folder per kind, confirmation/{subject.txt,body.txt,body.html}, and tries each with sample
// data. For a [Kind] whose sub-folder is not there, it takes the package's own. What is missing, does not parse, names a variable that its kind does not have, or leaves the link out is a *TemplateError now
// and not when the first mail is due. The text parts are text/template, the HTML part is html/template.
func ParseTemplates(folder fs.FS) (*Templates, error) {
	confirmation, err := parseSet(folder, "confirmation")
	if err != nil {
		return nil, err
	}
	sample := ConfirmationData{
		Product:   "Example",
		Link:      "https://example.com/confirm?key=a-b_c",
		ExpiresAt: time.Date(2006, 1, 2, 15, 4, 5, 0, time.UTC),
	}
	if err := confirmation.try(sample, sample.Link); err != nil {
		return nil, err
	}
	accounts, err := parseAccounts(folder)
	if err != nil {
		return nil, err
	}
	return &Templates{confirmation: confirmation, accounts: accounts}, nil
}

// Confirmation renders the mail that asks somebody to confirm an address.
func (t *Templates) Confirmation(d ConfirmationData) (Content, error) {
	if err := d.check(); err != nil {
		return Content{}, err
	}
	return t.confirmation.render(d)
}

func (d ConfirmationData) check() error {
	if err := checkData("confirmation", d.Product, d.Link); err != nil {
		return err
	}
	if d.ExpiresAt.IsZero() {
		return &TemplateError{Kind: "confirmation", Part: "ExpiresAt", Cause: errors.New("is missing")}
	}
	return nil
}

// checkData holds what every mail has: the name of the application, and a link.
func checkData(kind, product, address string) error {
	problem := func(field, text string) error {
		return &TemplateError{Kind: kind, Part: field, Cause: errors.New(text)}
	}
	if strings.TrimSpace(product) == "" || hasControl(product) {
		return problem("Product", "is empty, or more than one line")
	}
	link, err := url.Parse(address)
	if err != nil || (link.Scheme != "http" && link.Scheme != "https") || link.Host == "" || strings.ContainsAny(address, " <>\"") {
		return problem("Link", "is no absolute http or https URL") // the link itself is a secret and is not repeated
	}
	return nil
}

// templateSet is the three parts of one kind.
type templateSet struct {
	kind    string
	subject *texttemplate.Template
	text    *texttemplate.Template
	html    *htmltemplate.Template
}

func parseSet(folder fs.FS, kind string) (templateSet, error) {
	set := templateSet{kind: kind}
	sources := map[string]string{}
	for _, part := range []string{partSubject, partText, partHTML} {
		source, err := fs.ReadFile(folder, path.Join(kind, part))
		if err != nil {
			return set, &TemplateError{kind, part, err}
		}
		sources[part] = string(source)
	}
	var err error
	if set.subject, err = texttemplate.New(partSubject).Option("missingkey=error").Parse(sources[partSubject]); err != nil {
		return set, &TemplateError{kind, partSubject, err}
	}
	if set.text, err = texttemplate.New(partText).Option("missingkey=error").Parse(sources[partText]); err != nil {
		return set, &TemplateError{kind, partText, err}
	}
	if set.html, err = htmltemplate.New(partHTML).Option("missingkey=error").Parse(sources[partHTML]); err != nil {
		return set, &TemplateError{kind, partHTML, err}
	}
	return set, nil
}

// try renders sample data and looks for the link in both bodies; an empty link is not looked for.
func (s templateSet) try(data any, link string) error {
	content, err := s.render(data)
	if err != nil {
		return err
	}
	if !strings.Contains(content.Text, link) {
		return &TemplateError{s.kind, partText, errors.New("does not show the link ({{.Link}})")}
	}
	if !strings.Contains(html.UnescapeString(content.HTML), link) {
		return &TemplateError{s.kind, partHTML, errors.New("does not show the link ({{.Link}})")}
	}
	return nil
}

func (s templateSet) render(data any) (Content, error) {
	subject, err := s.part(partSubject, s.subject, data)
	if err != nil {
		return Content{}, err
	}
	if subject = strings.TrimSpace(subject); hasControl(subject) {
		return Content{}, &TemplateError{s.kind, partSubject, errors.New("makes more than one line")}
	}
	text, err := s.part(partText, s.text, data)
	if err != nil {
		return Content{}, err
	}
	body, err := s.part(partHTML, s.html, data)
	if err != nil {
		return Content{}, err
	}
	return Content{Subject: strings.Join(strings.Fields(subject), " "), Text: text, HTML: body}, nil
}

// executor is what text/template and html/template have in common.
type executor interface {
	Execute(w io.Writer, data any) error
}

func (s templateSet) part(name string, t executor, data any) (string, error) {
	var out strings.Builder
	if err := t.Execute(&out, data); err != nil {
		return "", &TemplateError{s.kind, name, err}
	}
	if strings.TrimSpace(out.String()) == "" {
		return "", &TemplateError{s.kind, name, errors.New("makes nothing")}
	}
	return out.String(), nil
}
