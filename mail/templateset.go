package mail

import (
	"errors"
	"fmt"
	"html"
	htmltemplate "html/template"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	texttemplate "text/template"
	"text/template/parse"
	"time"

	"golang.org/x/text/language"
)

// contentName is what a layout calls the part that it stands around.
const contentName = "content"

// templateSet is the mail of one kind in one language.
type templateSet struct {
	language  string
	direction string
	kind      Kind
	files     map[string]source // by part, layouts among them
	subject   *texttemplate.Template
	preheader *texttemplate.Template // nil: there is none
	text      *texttemplate.Template
	html      *htmltemplate.Template
}

// buttonData is what the layouts' template "button" gets.
type buttonData struct{ Link, Label, Instead string }

// builder makes one set.
type builder struct {
	tag   language.Tag
	kind  Kind
	dates dateFormat
}

func (b builder) funcs() map[string]any {
	return map[string]any{
		"date": func(at time.Time) string { return b.dates.inUTC(at) },
		// A button with its label, and the words before the plain link below it.
		"button": func(link, label, instead string) buttonData { return buttonData{link, label, instead} },
	}
}

// build parses the parts and puts them into the layouts, of which the later ones replace what they have of the earlier.
func (b builder) build(parts map[string]source, layoutsHTML, layoutsText []source) (*templateSet, error) {
	s := &templateSet{language: b.tag.String(), direction: direction(b.tag), kind: b.kind, files: maps.Clone(parts)}
	s.files[fileLayoutHTML], s.files[fileLayoutText] = layoutsHTML[len(layoutsHTML)-1], layoutsText[len(layoutsText)-1]
	var err error
	if s.subject, err = b.parse(parts[partSubject], b.kind.Variables()); err != nil {
		return nil, err
	}
	if file, ok := parts[partPreheader]; ok {
		if s.preheader, err = b.parse(file, b.kind.Variables()); err != nil {
			return nil, err
		}
	}
	trees, err := b.compose(parts[partText], layoutsText)
	if err != nil {
		return nil, err
	}
	s.text = texttemplate.New(fileLayoutText).Funcs(b.funcs()).Option("missingkey=error")
	for name, tree := range trees {
		if _, err := s.text.AddParseTree(name, tree); err != nil {
			return nil, s.failed(partText, err)
		}
	}
	if trees, err = b.compose(parts[partHTML], layoutsHTML); err != nil {
		return nil, err
	}
	s.html = htmltemplate.New(fileLayoutHTML).Funcs(b.funcs()).Option("missingkey=error")
	for name, tree := range trees {
		if _, err := s.html.AddParseTree(name, tree); err != nil {
			return nil, s.failed(partHTML, err)
		}
	}
	return s, nil
}

// compose parses a part and its layouts into trees by name: the outermost layout's is its file's, the part's is "content".
func (b builder) compose(part source, layouts []source) (map[string]*parse.Tree, error) {
	trees := make(map[string]*parse.Tree)
	add := func(file source, as string, variables []string) error {
		parsed, err := b.parse(file, variables)
		if err != nil {
			return err
		}
		for _, t := range parsed.Templates() {
			switch name := t.Name(); {
			case name != file.path:
				trees[name] = t.Tree
			case as != contentName && parse.IsEmptyTree(t.Root): // only pieces: the frame stays the one below
			default:
				trees[as] = t.Tree
			}
		}
		return nil
	}
	frame := fileLayoutText
	if strings.HasSuffix(part.path, ".html") {
		frame = fileLayoutHTML
	}
	for _, layout := range layouts {
		if err := add(layout, frame, LayoutVariables()); err != nil {
			return nil, err
		}
	}
	if tree := trees[frame]; tree == nil || !strings.Contains(tree.Root.String(), `{{template "`+contentName+`" .}}`) {
		return nil, odd(layouts[len(layouts)-1].path, "has no {{template %q .}}: write it where the mail's own part belongs", contentName)
	}
	return trees, add(part, contentName, b.kind.Variables())
}

// parse parses one file and looks at its variables and, in HTML, at what it loads.
func (b builder) parse(file source, variables []string) (*texttemplate.Template, error) {
	t, err := texttemplate.New(file.path).Funcs(b.funcs()).Option("missingkey=error").Parse(file.text)
	if err != nil {
		return nil, located(file.path, err)
	}
	if t.Tree != nil {
		if name, at := unknownVariable(t.Root, true, variables); name != "" {
			e := odd(file.path, "there is no {{.%s}} here: there are {{.%s}}", name, strings.Join(variables, "}}, {{."))
			e.Line = 1 + strings.Count(file.text[:min(int(at), len(file.text))], "\n")
			return nil, e
		}
	}
	if strings.HasSuffix(file.path, ".html") {
		if problem, line := foreign(blank(file.text)); problem != "" {
			e := odd(file.path, "%s", problem)
			e.Line = line
			return nil, e
		}
	}
	return t, nil
}

// unknownVariable finds the first variable of the mail that it does not have. root: the dot is still the mail.
func unknownVariable(n parse.Node, root bool, known []string) (name string, at parse.Pos) {
	look := func(root bool, nodes ...parse.Node) (string, parse.Pos) {
		for _, n := range nodes {
			if name, at := unknownVariable(n, root, known); name != "" {
				return name, at
			}
		}
		return "", 0
	}
	branch := func(b *parse.BranchNode, inner bool) (string, parse.Pos) {
		if name, at := look(root, b.Pipe); name != "" {
			return name, at
		}
		if name, at := look(inner, b.List); name != "" || b.ElseList == nil {
			return name, at
		}
		return look(root, b.ElseList)
	}
	switch n := n.(type) {
	case *parse.ListNode:
		return look(root, n.Nodes...)
	case *parse.ActionNode:
		return look(root, n.Pipe)
	case *parse.TemplateNode:
		if n.Pipe != nil {
			return look(root, n.Pipe)
		}
	case *parse.IfNode:
		return branch(&n.BranchNode, root)
	case *parse.WithNode:
		return branch(&n.BranchNode, false)
	case *parse.RangeNode:
		return branch(&n.BranchNode, false)
	case *parse.PipeNode:
		for _, command := range n.Cmds {
			if name, at := look(root, command.Args...); name != "" {
				return name, at
			}
		}
	case *parse.ChainNode:
		return look(root, n.Node)
	case *parse.FieldNode:
		if root && !slices.Contains(known, n.Ident[0]) {
			return n.Ident[0], n.Position()
		}
	case *parse.VariableNode:
		if n.Ident[0] == "$" && len(n.Ident) > 1 && !slices.Contains(known, n.Ident[1]) {
			return n.Ident[1], n.Position()
		}
	}
	return "", 0
}

// located takes the line out of an error of the template packages, which is of the form "template: FILE:LINE: …".
func located(file string, err error) *TemplateError {
	e := odd(file, "%w", err)
	if found := regexp.MustCompile(`:(\d+)(?::\d+)?: `).FindStringSubmatch(err.Error()); found != nil {
		e.Line, _ = strconv.Atoi(found[1])
	}
	return e
}

// failed is an error of a part in this set.
func (s *templateSet) failed(part string, err error) *TemplateError {
	file := s.files[part].path
	if at := regexp.MustCompile(`template: ?([^:]+):`).FindStringSubmatch(err.Error()); at != nil {
		for name, f := range s.files {
			if f.path == at[1] || name == at[1] { // such as the layout
				file = f.path
			}
		}
	}
	e := located(file, err)
	e.Language, e.Kind, e.Part = s.language, string(s.kind), part
	return e
}

func (s *templateSet) render(d AccountData) (Content, error) {
	values := s.kind.values(d)
	subject, err := s.line(partSubject, s.subject, values)
	if err != nil {
		return Content{}, err
	}
	if subject == "" {
		return Content{}, s.failed(partSubject, errors.New("makes nothing"))
	}
	frame := maps.Clone(values)
	frame["Subject"], frame["Language"], frame["Direction"], frame["Preheader"] = subject, s.language, s.direction, ""
	if s.preheader != nil {
		if frame["Preheader"], err = s.line(partPreheader, s.preheader, values); err != nil {
			return Content{}, err
		}
	}
	text, err := s.part(partText, s.text.Lookup(fileLayoutText), frame)
	if err != nil {
		return Content{}, err
	}
	body, err := s.part(partHTML, s.html.Lookup(fileLayoutHTML), frame)
	if err != nil {
		return Content{}, err
	}
	return Content{Subject: subject, Text: wrap(text), HTML: body, Language: s.language}, nil
}

// line renders what has to be one line.
func (s *templateSet) line(part string, t executor, values map[string]any) (string, error) {
	var out strings.Builder
	if err := t.Execute(&out, values); err != nil {
		return "", s.failed(part, err)
	}
	text := strings.TrimSpace(out.String())
	if hasControl(text) {
		return "", s.failed(part, errors.New("makes more than one line"))
	}
	return strings.Join(strings.Fields(text), " "), nil
}

// executor is what text/template and html/template have in common.
type executor interface {
	Execute(w io.Writer, data any) error
}

func (s *templateSet) part(part string, t executor, values map[string]any) (string, error) {
	var out strings.Builder
	if err := t.Execute(&out, values); err != nil {
		return "", s.failed(part, err)
	}
	if strings.TrimSpace(out.String()) == "" {
		return "", s.failed(part, errors.New("makes nothing"))
	}
	return out.String(), nil
}

// try renders the samples and looks at what comes out: the link, unless the mail is not about it, and nothing from elsewhere.
func (s *templateSet) try() error {
	for _, d := range s.kind.samples() {
		content, err := s.render(d)
		if err != nil {
			return err
		}
		shown := html.UnescapeString(content.HTML)
		problem, _ := foreign(content.HTML)
		switch {
		case len(content.Subject) > maxSubject:
			return s.failed(partSubject, fmt.Errorf("makes more than %d bytes, with a product of %d", maxSubject, len(d.Product)))
		case s.kind.linked() && !strings.Contains(content.Text, d.Link):
			return s.failed(partText, errors.New("does not show the link ({{.Link}})"))
		case s.kind.linked() && !strings.Contains(shown, d.Link):
			return s.failed(partHTML, errors.New("does not show the link ({{.Link}})"))
		case problem != "":
			return s.failed(partHTML, errors.New("makes "+problem))
		case strings.Contains(content.HTML, refusedValue):
			return s.failed(partHTML, errors.New("puts a variable where html/template lets none stand, such as into a style or the scheme of a link: readers would see "+refusedValue))
		case relativeLink(content.HTML):
			return s.failed(partHTML, errors.New("makes a link that leads nowhere from within a mail: write it with https:// and the host, or {{.Link}}"))
		}
	}
	return nil
}

// direction is how the language is written, for the attribute dir.
func direction(tag language.Tag) string {
	script, _ := tag.Script()
	if slices.Contains([]string{"Arab", "Hebr", "Thaa", "Syrc", "Nkoo", "Adlm", "Rohg", "Mand", "Samr"}, script.String()) {
		return "rtl"
	}
	return "ltr"
}
