package mail

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/language"
)

const (
	fileLayoutHTML = "layout.html"
	fileLayoutText = "layout.txt"
	fileDate       = "date.txt"
)

// source is one file.
type source struct {
	path string
	text string
	own  bool // the app's
}

// shelf is all files, the app's and the package's.
type shelf struct {
	app, builtin map[string]source // by path
	tags         []language.Tag
	own          []string
}

// newShelf reads the app's folder, nil for none, and refuses whatever in it has no meaning: a file that nobody reads is a typo.
func newShelf(folder fs.FS) (*shelf, error) {
	s := &shelf{app: make(map[string]source), builtin: make(map[string]source)}
	own, err := fs.Sub(builtin, "templates")
	if err != nil {
		return nil, fmt.Errorf("mail templates: %w", err)
	}
	if err := s.read(own, s.builtin, false); err != nil {
		return nil, err
	}
	if folder == nil {
		return s, nil
	}
	if err := s.read(folder, s.app, true); err != nil {
		return nil, err
	}
	for name := range s.app {
		s.own = append(s.own, name)
	}
	slices.Sort(s.own)
	return s, nil
}

// read takes the files of a folder: layouts at the top, languages below.
func (s *shelf) read(folder fs.FS, into map[string]source, own bool) error {
	return each(folder, ".", func(name string, isFolder bool) error {
		switch {
		case !isFolder && (name == fileLayoutHTML || name == fileLayoutText):
			return take(folder, name, into, own)
		case !isFolder:
			return odd(name, "is a file that means nothing here: there are folders of languages, such as en, and beside them %s and %s", fileLayoutHTML, fileLayoutText)
		case slices.Contains(Kinds(), Kind(name)):
			return odd(name, "is a kind: put it into the folder of its language, such as %s/%s", DefaultLanguage, name)
		}
		tag, err := language.Parse(name)
		base, _, _ := tag.Raw()
		switch {
		case err != nil, base.String() == "und":
			return odd(name, "is no language tag of BCP 47: name the folder after its language, such as de or pt-BR")
		case tag.String() != name:
			return odd(name, "is not how this language tag is written: rename the folder to %s", tag)
		}
		s.addTag(tag)
		return readLanguage(folder, name, into, own)
	})
}

func (s *shelf) addTag(tag language.Tag) {
	if !slices.Contains(s.tags, tag) {
		s.tags = append(s.tags, tag)
	}
}

func readLanguage(folder fs.FS, tag string, into map[string]source, own bool) error {
	return each(folder, tag, func(name string, isFolder bool) error {
		file := path.Join(tag, name)
		switch {
		case !isFolder && slices.Contains([]string{fileLayoutHTML, fileLayoutText, fileDate}, name):
			return take(folder, file, into, own)
		case !isFolder:
			return odd(file, "is a file that means nothing here: there are folders of kinds, and beside them %s, %s and %s", fileLayoutHTML, fileLayoutText, fileDate)
		case !slices.Contains(Kinds(), Kind(name)):
			return odd(file, "is no kind of mail: there are %s", kindNames())
		}
		return each(folder, file, func(name string, isFolder bool) error {
			part := path.Join(file, name)
			if isFolder || !slices.Contains([]string{partSubject, partPreheader, partText, partHTML}, name) {
				return odd(part, "is no part of a mail: there are %s, %s, %s and %s", partSubject, partPreheader, partText, partHTML)
			}
			return take(folder, part, into, own)
		})
	})
}

func kindNames() string {
	var names []string
	for _, kind := range Kinds() {
		names = append(names, string(kind))
	}
	return strings.Join(names, ", ")
}

// each visits what is in a folder, but for hidden files and Markdown. It follows links, of which mounted volumes are made.
func each(folder fs.FS, dir string, visit func(name string, isFolder bool) error) error {
	entries, err := fs.ReadDir(folder, dir)
	if err != nil {
		return &TemplateError{File: dir, Cause: fmt.Errorf("cannot be read: %w", pathCause(err))}
	}
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasPrefix(name, ".") || path.Ext(name) == ".md" {
			continue
		}
		info, err := fs.Stat(folder, path.Join(dir, name))
		if err != nil {
			return &TemplateError{File: path.Join(dir, name), Cause: fmt.Errorf("cannot be read: %w", pathCause(err))}
		}
		if err := visit(name, info.IsDir()); err != nil {
			return err
		}
	}
	return nil
}

func pathCause(err error) error {
	if cause, ok := errors.AsType[*fs.PathError](err); ok {
		return cause.Err
	}
	return err
}

// take reads one file.
func take(folder fs.FS, name string, into map[string]source, own bool) error {
	data, err := fs.ReadFile(folder, name)
	if err != nil {
		return odd(name, "cannot be read: %w", pathCause(err))
	}
	data = bytes.ReplaceAll(bytes.TrimPrefix(data, []byte("\ufeff")), []byte("\r\n"), []byte("\n"))
	switch {
	case len(data) > maxTemplate:
		return odd(name, "is larger than 256 KiB, and most servers of mail cut what is larger than 100")
	case !utf8.Valid(data):
		return odd(name, "is not UTF-8: save it as such")
	}
	into[name] = source{path: name, text: string(data), own: own}
	return nil
}

// odd is an error about a file. Its path tells language, kind and part.
func odd(file, format string, args ...any) *TemplateError {
	e := &TemplateError{File: file, Cause: fmt.Errorf(format, args...)}
	switch parts := strings.Split(file, "/"); len(parts) {
	case 1:
		e.Part = parts[0]
	case 2:
		e.Language, e.Part = parts[0], parts[1]
		if slices.Contains(Kinds(), Kind(parts[1])) {
			e.Kind, e.Part = parts[1], ""
		}
	default:
		e.Language, e.Kind, e.Part = parts[0], parts[1], parts[2]
	}
	return e
}

// languages are those of either folder.
func (s *shelf) languages() []language.Tag {
	tags := slices.Clone(s.tags)
	slices.SortFunc(tags, func(a, b language.Tag) int { return strings.Compare(a.String(), b.String()) })
	return tags
}

// chain is a language and those that it is a variety of: de-AT, de.
func chain(tag language.Tag) []string {
	var tags []string
	for tag != language.Und {
		tags = append(tags, tag.String())
		tag = tag.Parent()
	}
	return tags
}

// find takes the file of the nearest language, and of the app rather than ours.
func (s *shelf) find(tag language.Tag, name string) (source, bool) {
	for _, t := range chain(tag) {
		for _, files := range []map[string]source{s.app, s.builtin} {
			if file, ok := files[path.Join(t, name)]; ok {
				return file, true
			}
		}
	}
	return source{}, false
}

// layouts are the package's and, if there is one, the app's over it.
func (s *shelf) layouts(tag language.Tag, name string) []source {
	all := []source{s.builtin[name]}
	if file, ok := s.find(tag, name); ok {
		return append(all, file)
	}
	if file, ok := s.app[name]; ok {
		return append(all, file)
	}
	return all
}

// sets builds the kinds of a language. A kind that it has no part of is left out; one that it has only some parts of is refused.
func (s *shelf) sets(tag language.Tag) (map[Kind]*templateSet, error) {
	dates, err := s.dates(tag)
	if err != nil {
		return nil, err
	}
	sets := make(map[Kind]*templateSet)
	for _, kind := range Kinds() {
		files, missing := make(map[string]source), ""
		for _, part := range []string{partSubject, partPreheader, partText, partHTML} {
			file, ok := s.find(tag, path.Join(string(kind), part))
			if ok {
				files[part] = file
			} else if part != partPreheader && missing == "" {
				missing = part
			}
		}
		if len(files) == 0 {
			continue
		}
		if missing != "" {
			folder := path.Join(tag.String(), string(kind))
			return nil, odd(path.Join(folder, missing), "is missing: write it, or remove the folder %s, and these mails are in the default language", folder)
		}
		b := builder{tag: tag, kind: kind, dates: dates}
		if sets[kind], err = b.build(files, s.layouts(tag, fileLayoutHTML), s.layouts(tag, fileLayoutText)); err != nil {
			return nil, err
		}
	}
	return sets, nil
}

func (s *shelf) dates(tag language.Tag) (dateFormat, error) {
	file, ok := s.find(tag, fileDate)
	if !ok {
		return dateFormat{before: "2006-01-02, 15:04 UTC"}, nil
	}
	return parseDates(file)
}
