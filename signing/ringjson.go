package signing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

const maxRingSize = 1 << 20 // bytes

// ringDocument and keyDocument are the ring's JSON, names and order included.
type ringDocument struct {
	Version     uint64        `json:"version"`
	MaxLifetime string        `json:"max_lifetime"`
	Keys        []keyDocument `json:"keys"`
}

type keyDocument struct {
	KeyInfo
	Secret *string `json:"secret"`
}

// Marshal writes the ring as JSON, secrets included: whoever reads it can sign. [ParseRing] reads it back to an equal ring.
func (r *Ring) Marshal() []byte {
	doc := ringDocument{Version: r.version, MaxLifetime: formatLifetime(r.maxLifetime), Keys: make([]keyDocument, len(r.keys))}
	for i, k := range r.keys {
		doc.Keys[i].KeyInfo = k.KeyInfo
		if !k.secret.IsZero() {
			doc.Keys[i].Secret = new(k.secret.RevealText())
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	// The one failure would be a year beyond 9999, which check refuses in every ring that exists.
	_ = enc.Encode(doc)
	return b.Bytes()
}

// formatLifetime writes "720h", where Duration.String would write "720h0m0s".
func formatLifetime(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// ParseRing reads a ring strictly: unknown, repeated or missing names, trailing bytes, and whatever breaks a ring's rules are
// refused with a [RingError] that names the position and never a secret.
func ParseRing(text []byte) (*Ring, error) {
	switch {
	case len(text) > maxRingSize:
		return nil, &RingError{Problem: "it is larger than 1 MiB; this is not a key ring"}
	case len(bytes.TrimSpace(text)) == 0:
		return nil, &RingError{Problem: "it is empty; restore the last good ring, or make a new one with `sealq keys init`"}
	case !utf8.Valid(text):
		return nil, &RingError{Problem: "it is not UTF-8; restore the last good ring"}
	}
	fields, err := readObject(text, "", []string{"version", "max_lifetime", "keys"}, nil)
	if err != nil {
		return nil, err
	}
	r := new(Ring)
	if err := readValue(fields["version"], &r.version, "", "version", "a whole number"); err != nil {
		return nil, err
	}
	var lifetime string
	if err := readValue(fields["max_lifetime"], &lifetime, "", "max_lifetime", `a duration like "720h"`); err != nil {
		return nil, err
	}
	if r.maxLifetime, err = time.ParseDuration(lifetime); err != nil {
		return nil, &RingError{Problem: `"max_lifetime" must be a duration like "720h"`}
	}
	var keys []json.RawMessage
	if err := readValue(fields["keys"], &keys, "", "keys", "a list"); err != nil {
		return nil, err
	}
	for i, raw := range keys {
		k, err := readKey(raw, fmt.Sprintf("keys[%d]", i))
		if err != nil {
			return nil, err
		}
		r.keys = append(r.keys, k)
	}
	return r.checked()
}

func readKey(raw json.RawMessage, at string) (key, error) {
	fields, err := readObject(raw, at,
		[]string{"kid", "state", "created_at", "sign_from", "kinds"},
		[]string{"sign_until", "verify_until", "secret"})
	if err != nil {
		return key{}, err
	}
	var (
		k    key
		text string
	)
	if err := readValue(fields["kid"], &text, at, "kid", "8 lower-case hexadecimal digits"); err != nil {
		return key{}, err
	}
	if k.KID, err = ParseKID(text); err != nil {
		return key{}, &RingError{at, `"kid" must be 8 lower-case hexadecimal digits`}
	}
	if err := errors.Join(
		readValue(fields["state"], &k.State, at, "state", "a state's name"),
		readTime(fields["created_at"], &k.CreatedAt, at, "created_at"),
		readTime(fields["sign_from"], &k.SignFrom, at, "sign_from"),
		readTimeOrNull(fields["sign_until"], &k.SignUntil, at, "sign_until"),
		readTimeOrNull(fields["verify_until"], &k.VerifyUntil, at, "verify_until"),
		readValue(fields["kinds"], &k.Kinds, at, "kinds", `a list of texts like ["*"]`),
	); err != nil {
		return key{}, firstOf(err)
	}
	if isNull(fields["secret"]) {
		return k, nil
	}
	if err := readValue(fields["secret"], &text, at, "secret", "a text"); err != nil {
		return key{}, err
	}
	if k.secret, err = ParseSecret(text); err != nil {
		return key{}, &RingError{at, fmt.Sprintf(`"secret" is %v; restore the last good ring`, err)}
	}
	return k, nil
}

// firstOf returns the first of joined errors: a person mends one thing after another.
func firstOf(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()[0]
	}
	return err
}

// readObject splits a JSON object into its fields. encoding/json alone would match names whatever their case, keep the last of
// repeated ones and take null for anything.
func readObject(text []byte, at string, required, optional []string) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil, &RingError{at, jsonProblem(dec, "is not a JSON object")}
	}
	fields := make(map[string]json.RawMessage, len(required)+len(optional))
	for dec.More() {
		token, err := dec.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return nil, &RingError{at, jsonProblem(dec, "is not valid JSON")}
		}
		if !slices.Contains(required, name) && !slices.Contains(optional, name) {
			return nil, &RingError{at, jsonProblem(dec, "has "+printableName(name)+", which is not known here; remove it")}
		}
		if _, twice := fields[name]; twice {
			return nil, &RingError{at, jsonProblem(dec, fmt.Sprintf("has %q twice; remove one", name))}
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, &RingError{at, jsonProblem(dec, "is not valid JSON")}
		}
		fields[name] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, &RingError{at, jsonProblem(dec, "is not valid JSON")}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, &RingError{at, jsonProblem(dec, "has something after its closing brace; remove it")}
	}
	for _, name := range required {
		if isNull(fields[name]) {
			return nil, &RingError{at, fmt.Sprintf("%q is missing", name)}
		}
	}
	return fields, nil
}

// jsonProblem says where reading stopped. The decoder's own messages quote what they met, which may be a secret's character.
func jsonProblem(dec *json.Decoder, problem string) string {
	return fmt.Sprintf("it %s (near its byte %d)", problem, dec.InputOffset())
}

// printableName quotes a name that looks like one. Anything else could be a secret in the wrong place.
func printableName(name string) string {
	if name == "" || len(name) > 24 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return "a name"
	}
	return `"` + name + `"`
}

func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

func readValue(raw json.RawMessage, into any, at, name, want string) error {
	if err := json.Unmarshal(raw, into); err != nil {
		return &RingError{at, fmt.Sprintf("%q must be %s", name, want)}
	}
	return nil
}

func readTime(raw json.RawMessage, into *time.Time, at, name string) error {
	if err := readValue(raw, into, at, name, `a time like "2026-01-02T15:04:05Z" (RFC 3339)`); err != nil {
		return err
	}
	*into = into.UTC()
	return nil
}

func readTimeOrNull(raw json.RawMessage, into **time.Time, at, name string) error {
	if isNull(raw) {
		return nil
	}
	*into = new(time.Time)
	return readTime(raw, *into, at, name)
}
