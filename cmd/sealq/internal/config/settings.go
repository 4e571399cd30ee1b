package config

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// Settings are the options' values as the layers together give them.
type Settings struct {
	values map[string]value // by Option.Name
	// Warnings are for a person: variables that look like settings and are none.
	Warnings  []string
	schedules []any
}

// value is what won for one option: the value itself, or the path of a file that holds it.
type value struct {
	source Source
	text   string
	path   string
}

// Load reads the layers. It checks names and shape; values are checked by whoever asks for them, so that a
// command fails only for what it uses. environ is as os.Environ gives it.
func Load(flags *pflag.FlagSet, environ []string) (*Settings, error) {
	flagged, err := flagLayer(flags)
	if err != nil {
		return nil, err
	}
	env, unknown, err := envLayer(environ)
	if err != nil {
		return nil, err
	}
	path, err := filePath(flags, environ)
	if err != nil {
		return nil, err
	}
	filed, err := fileLayer(path)
	if err != nil {
		return nil, err
	}
	s := &Settings{values: make(map[string]value), schedules: filed.schedules}
	for _, o := range Options() {
		if s.values[o.Name], err = resolve(o, flagged, env, filed); err != nil {
			return nil, err
		}
	}
	s.warn(unknown)
	return s, nil
}

// resolve takes the strongest layer that gives the option, in whichever form.
func resolve(o Option, layers ...layer) (value, error) {
	for _, l := range layers {
		text, direct := l.values[o.Key()]
		path, inFile := "", false
		if o.Secret {
			path, inFile = l.values[o.inFile().Key()]
		}
		if direct && inFile {
			return value{}, refuse(fmt.Sprintf("both %s and %s are given: keep one", l.spelling(o), l.spelling(o.inFile())))
		}
		if direct || inFile {
			return value{source: l.source, text: text, path: path}, nil
		}
	}
	return value{source: FromDefault, text: o.Default}, nil
}

// filePath is the file of settings: --config, else SEALQ_CONFIG, else none.
func filePath(flags *pflag.FlagSet, environ []string) (string, error) {
	if f := flags.Lookup(FileFlag); f != nil && f.Changed {
		if f.Value.String() == "" {
			return "", refuse("--" + FileFlag + " is empty: name a YAML file, or leave it out")
		}
		return f.Value.String(), nil
	}
	path := ""
	for _, variable := range environ {
		if text, ok := strings.CutPrefix(variable, envPrefix+"CONFIG="); ok {
			path = text // the last one counts, as in os/exec
		}
	}
	return path, nil
}

func (s *Settings) warn(unknown []string) {
	var known []string
	for _, o := range expanded() {
		known = append(known, o.Env())
	}
	ring, _ := strings.CutPrefix(s.values["keys"].text, "env:")
	for _, name := range unknown {
		if name == ring {
			continue
		}
		s.Warnings = append(s.Warnings, fmt.Sprintf("the environment variable %s is no setting and is ignored: did you mean %s?", name, nearest(name, known)))
	}
}

// Text is the option's value, "" where it has none.
func (s *Settings) Text(name string) (string, error) {
	o, v := lookup(name), s.values[name]
	if v.path != "" {
		return readSecret(o, v.path)
	}
	return v.text, nil
}

// Given says whether a layer gives the option, so that its value is more than a default.
func (s *Settings) Given(name string) bool { return s.values[lookup(name).Name].source != FromDefault }

// Required is the option's value. hint tells what to give where there is none.
func (s *Settings) Required(name, hint string) (string, error) {
	text, err := s.Text(name)
	if err == nil && text == "" {
		err = refuse(fmt.Sprintf("%s is required: %s", lookup(name).Flag(), hint))
	}
	return text, err
}

// Shown is an option as people and programs may see it.
type Shown struct {
	Name   string `json:"name"`
	Env    string `json:"env"`
	Flag   string `json:"flag"`
	Value  string `json:"value"`
	Source Source `json:"source"`
	Secret bool   `json:"secret"`
	Usage  string `json:"usage"`
}

// Show lists every option, the …-file forms too, with its value and source. Secrets are redacted.
func (s *Settings) Show() ([]Shown, error) {
	var all []Shown
	for _, o := range Options() {
		text, err := s.Text(o.Name)
		if err != nil {
			return nil, err
		}
		if o.Secret {
			text = Redact(text)
		}
		v := s.values[o.Name]
		all = append(all, shown(o, text, v.source))
		if !o.Secret {
			continue
		}
		source := FromDefault
		if v.path != "" {
			source = v.source
		}
		all = append(all, shown(o.inFile(), v.path, source))
	}
	return all, nil
}

func shown(o Option, text string, source Source) Shown {
	return Shown{Name: o.Key(), Env: o.Env(), Flag: o.Flag(), Value: text, Source: source, Secret: o.Secret, Usage: o.Usage}
}
