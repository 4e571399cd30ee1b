package jobs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxArgsDepth bounds the nesting of arguments: deeper ones are an attack on the decoder, not data.
const maxArgsDepth = 32

// MaxArgsBytes is the size over which arguments are refused when a job is made. It is the payload limit of
// the verifier, so that nothing is enqueued that no worker would take.
const MaxArgsBytes = 1 << 20

// ErrInvalidArgs is the cause of every refusal to encode or decode a job's arguments.
var ErrInvalidArgs = errors.New("invalid arguments")

func encodeArgs[A any](args A) ([]byte, error) {
	payload, err := json.Marshal(&args, json.Deterministic(true)) // a pointer, or it would be copied to the heap twice
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidArgs, err)
	}
	return payload, checkExtent(payload)
}

// decodeArgs is strict: unknown or duplicate names, names in another case, invalid UTF-8, trailing bytes,
// wrong types, null where the arguments are a struct, excess depth or size are refused. Within the arguments,
// null is the zero value, as a missing name is.
func decodeArgs[A any](payload []byte) (A, error) {
	var args, none A
	if err := checkExtent(payload); err != nil {
		return none, err
	}
	if reflect.TypeFor[A]().Kind() == reflect.Struct && jsontext.Value(payload).Kind() == 'n' {
		return none, fmt.Errorf("%w: null is no object", ErrInvalidArgs)
	}
	if err := json.Unmarshal(payload, &args, json.RejectUnknownMembers(true)); err != nil {
		return none, fmt.Errorf("%w: %w", ErrInvalidArgs, err)
	}
	return args, nil
}

// checkExtent refuses excess size and depth.
func checkExtent(payload []byte) error {
	if len(payload) > MaxArgsBytes {
		return fmt.Errorf("%w: %d bytes are more than %d", ErrInvalidArgs, len(payload), MaxArgsBytes)
	}
	if bytes.Count(payload, []byte{'{'})+bytes.Count(payload, []byte{'['}) <= maxArgsDepth {
		return nil // too few to be nested too deep: most arguments are not read twice
	}
	dec := jsontext.NewDecoder(bytes.NewReader(payload))
	for {
		_, err := dec.ReadToken()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("%w: %w", ErrInvalidArgs, err)
		case dec.StackDepth() > maxArgsDepth:
			return fmt.Errorf("%w: nested deeper than %d", ErrInvalidArgs, maxArgsDepth)
		}
	}
}
