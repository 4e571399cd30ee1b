package jobs

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Argument is one of the arguments of a kind, as it is called in JSON.
type Argument struct {
	Name string
	// Required says that it must be given where a person writes the arguments: its field is no pointer, has neither omitzero nor
	// omitempty in its tag json, and no tag sealq:"optional". A decoder takes its absence for the zero value all the same.
	Required bool
}

// Arguments are the arguments of the kind, in the order of A's fields; nil where A is no struct.
func (d Def[A]) Arguments() []Argument {
	t := reflect.TypeFor[A]()
	if t.Kind() != reflect.Struct {
		return nil
	}
	return argumentsOf(t)
}

func argumentsOf(t reflect.Type) []Argument {
	var all []Argument
	for field := range t.Fields() {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case name == "-" && options == "":
			continue
		case field.Anonymous && name == "" && field.Type.Kind() == reflect.Struct:
			all = append(all, argumentsOf(field.Type)...)
			continue
		case !field.IsExported():
			continue
		case name == "":
			name = field.Name
		}
		may := field.Tag.Get("sealq") == "optional" || strings.Contains(options, "omitzero") || strings.Contains(options, "omitempty") || field.Type.Kind() == reflect.Pointer
		all = append(all, Argument{Name: name, Required: !may})
	}
	return all
}

// Missing names the required arguments of the kind that args, an object in JSON, does not give. What is no object is left to Parse.
func Missing(d Definition, args []byte) ([]string, error) {
	var given map[string]jsontext.Value
	if err := json.Unmarshal(args, &given); err != nil {
		return nil, nil //nolint:nilerr // Parse tells
	}
	var missing []string
	for _, a := range d.Arguments() {
		if _, ok := given[a.Name]; a.Required && !ok {
			missing = append(missing, a.Name)
		}
	}
	if len(missing) > 0 {
		return missing, fmt.Errorf("%w: %s requires %s", ErrInvalidArgs, d.Kind(), strings.Join(missing, ", "))
	}
	return nil, nil
}
