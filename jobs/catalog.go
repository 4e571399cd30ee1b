package jobs

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ErrUnknownKind means that no definition of a kind was given.
var ErrUnknownKind = errors.New("unknown kind")

// ErrDuplicateKind means that one kind was defined twice.
var ErrDuplicateKind = errors.New("kind defined twice")

// Catalog is the set of kinds that a process knows. It is built once, from definitions, and never changes.
type Catalog struct {
	byKind map[Kind]Definition
}

// NewCatalog refuses a faulty definition and a second one of the same kind.
func NewCatalog(defs ...Definition) (*Catalog, error) {
	c := &Catalog{byKind: make(map[Kind]Definition, len(defs))}
	for _, d := range defs {
		if err := d.Err(); err != nil {
			return nil, err
		}
		if _, twice := c.byKind[d.Kind()]; twice {
			return nil, fmt.Errorf("%w: %s", ErrDuplicateKind, d.Kind())
		}
		c.byKind[d.Kind()] = d
	}
	return c, nil
}

// Lookup finds the definition of a kind; its error names the kinds there are.
func (c *Catalog) Lookup(kind Kind) (Definition, error) {
	d, ok := c.byKind[kind]
	if !ok {
		return nil, fmt.Errorf("%w %q: known are %s", ErrUnknownKind, kind, c)
	}
	return d, nil
}

// Kinds lists the kinds in order.
func (c *Catalog) Kinds() []Kind { return slices.Sorted(maps.Keys(c.byKind)) }

// String lists the kinds, separated by commas.
func (c *Catalog) String() string {
	names := make([]string, 0, len(c.byKind))
	for _, k := range c.Kinds() {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}
