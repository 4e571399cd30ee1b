package signing

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// ErrInvalidSource says that a text names no source of a key ring.
var ErrInvalidSource = errors.New("the key ring's source must be file:PATH or env:NAME")

// Source is where a key ring comes from.
type Source interface {
	// Load reads the ring as it is now. It returns soon after ctx ends.
	Load(ctx context.Context) (*Ring, error)
	// String names the source. It is printed and logged, so it holds no secret.
	String() string
}

// ParseSource reads "file:PATH" or "env:NAME". The error does not repeat the text, which may be a ring in the wrong place.
func ParseSource(text string) (Source, error) {
	scheme, rest, _ := strings.Cut(text, ":")
	switch {
	case rest == "":
		return nil, ErrInvalidSource
	case scheme == "file":
		return NewFile(rest), nil
	case scheme == "env":
		return Env(rest), nil
	default:
		return nil, ErrInvalidSource
	}
}

// Env is a source for development: the environment variable of that name holds the ring's JSON. Every process and crash
// report of the same environment sees the secrets, and a running process never sees a rotation.
type Env string

// Load parses the variable.
func (e Env) Load(context.Context) (*Ring, error) {
	text, ok := os.LookupEnv(string(e))
	if !ok || text == "" {
		return nil, fmt.Errorf("%s: %w: the variable is not set; set it to a key ring's JSON, or use file:PATH", e, ErrNoRing)
	}
	r, err := ParseRing([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e, err)
	}
	return r, nil
}

// String returns "env:NAME".
func (e Env) String() string { return "env:" + string(e) }
