package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// Source is the layer that a value came from.
type Source string

// The layers, the strongest first.
const (
	FromFlag        Source = "flag"
	FromEnvironment Source = "environment"
	FromFile        Source = "file"
	FromDefault     Source = "default"
)

// delim joins nested keys. No option is nested: a name with a dot is an unknown one.
const delim = "."

// layer is what one source says. A name that it does not mention, or mentions without a value, is left to the
// weaker layers.
type layer struct {
	source Source
	values map[string]string // by Option.Key
	// schedules are the entries of SchedulesKey, which stands in files alone.
	schedules []any
}

// spelling is how people write o where the layer is.
func (l layer) spelling(o Option) string {
	switch l.source {
	case FromEnvironment:
		return o.Env()
	case FromFile:
		return o.Key()
	default:
		return o.Flag()
	}
}

// flagLayer takes the flags that were given. An empty one is refused: it is an unset variable of a shell, and
// falling back to another layer would hide that.
func flagLayer(flags *pflag.FlagSet) (layer, error) {
	known := make(map[string]Option)
	for _, o := range expanded() {
		known[o.Name] = o
	}
	ko, empty := koanf.New(delim), ""
	err := ko.Load(posflag.ProviderWithFlag(flags, delim, nil, func(f *pflag.Flag) (string, any) {
		o, ok := known[f.Name]
		if ok && f.Changed && f.Value.String() == "" {
			empty = o.Flag()
		}
		return o.Key(), f.Value.String()
	}), nil)
	if err != nil {
		return layer{}, fmt.Errorf("read flags: %w", err)
	}
	if empty != "" {
		return layer{}, refuse(empty + " is empty: give it a value, or leave it out")
	}
	return layer{source: FromFlag, values: texts(ko)}, nil
}

// envLayer takes the variables SEALQ_*, and returns the names of those that mean nothing.
func envLayer(environ []string) (l layer, unknown []string, err error) {
	known := map[string]string{}
	for _, o := range expanded() {
		known[o.Env()] = o.Key()
	}
	ko := koanf.New(delim)
	err = ko.Load(env.Provider(delim, env.Opt{
		Prefix: envPrefix, EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, value string) (string, any) {
			key, ok := known[name]
			if !ok && name != envPrefix+"CONFIG" && !strings.HasPrefix(name, envTestPrefix) {
				unknown = append(unknown, name)
			}
			return key, value
		},
	}), nil)
	if err != nil {
		return layer{}, nil, fmt.Errorf("read environment: %w", err)
	}
	slices.Sort(unknown)
	return layer{source: FromEnvironment, values: texts(ko)}, unknown, nil
}

// fileLayer reads the YAML file, "" for none.
func fileLayer(path string) (layer, error) {
	if path == "" {
		return layer{source: FromFile}, nil
	}
	ko := koanf.New(delim)
	if err := ko.Load(file.Provider(path), yaml.Parser()); err != nil {
		return layer{}, fileError(path, err)
	}
	schedules, err := scheduleEntries(path, ko)
	if err != nil {
		return layer{}, err
	}
	known := map[string]Option{}
	for _, o := range expanded() {
		known[o.Key()] = o
	}
	for _, name := range ko.Keys() {
		if _, ok := known[name]; ok {
			continue
		}
		if top, _, nested := strings.Cut(name, delim); nested && known[top].Name != "" {
			return layer{}, refuse(fmt.Sprintf("%s (--%s): %s takes one value, as %s does on the command line", path, FileFlag, top, known[top].Flag()))
		}
		return layer{}, refuse(fmt.Sprintf("%s (--%s): unknown key %q: did you mean %s?", path, FileFlag, name, nearest(name, keysOf(known))))
	}
	for name, value := range ko.All() {
		switch value.(type) {
		case nil, string, bool, int, int64, uint64, float64:
		default:
			return layer{}, refuse(fmt.Sprintf("%s (--%s): %s takes one value, as %s does on the command line", path, FileFlag, name, known[name].Flag()))
		}
	}
	return layer{source: FromFile, values: texts(ko), schedules: schedules}, nil
}

// fileError explains why the file cannot be read. The parser's own text is not repeated, it may quote a secret.
func fileError(path string, err error) error {
	if cause, ok := errors.AsType[*fs.PathError](err); ok {
		return refuse(fmt.Sprintf("--%s %s cannot be read: %v", FileFlag, path, cause.Err))
	}
	where := ""
	if line := regexp.MustCompile(`line \d+`).FindString(err.Error()); line != "" {
		where = ", " + line
	}
	return refuse(fmt.Sprintf("--%s %s%s is not YAML of the form `redis_url: …`: put values with special characters in quotes", FileFlag, path, where))
}

// texts are the layer's values. An empty one counts as not given.
func texts(ko *koanf.Koanf) map[string]string {
	values := make(map[string]string)
	for key, value := range ko.All() {
		if text := fmt.Sprint(value); value != nil && text != "" {
			values[key] = text
		}
	}
	return values
}

func keysOf(m map[string]Option) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// readSecret reads a file that holds one value, with at most one line end after it.
func readSecret(o Option, path string) (string, error) {
	data, err := os.ReadFile(path) //nolint:gosec // the path is the operator's
	if err != nil {
		if cause, ok := errors.AsType[*fs.PathError](err); ok {
			err = cause.Err
		}
		return "", refuse(fmt.Sprintf("%s-file %s cannot be read: %v", o.Flag(), path, err))
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if text == "" {
		return "", refuse(fmt.Sprintf("%s-file %s is empty: put the value of %s into it", o.Flag(), path, o.Flag()))
	}
	return text, nil
}
