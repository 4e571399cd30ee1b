package postgres

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// maxCause bounds what is kept of an error's text or a mail server's reply.
const maxCause = 2048

// uuidOf is the UUID that s spells in its one canonical form, else NULL, which equals no row's ID.
func uuidOf(s string) *string {
	id, err := uuid.Parse(s)
	if err != nil || id.String() != s {
		return nil
	}
	return &s
}

// name is s as text that PostgreSQL can hold: itself, or quoted where it has a NUL or is no UTF-8.
func name(s string) string {
	if strings.IndexByte(s, 0) < 0 && utf8.ValidString(s) {
		return s
	}
	return strconv.QuoteToASCII(s)
}

// nameOrNull is NULL for "".
func nameOrNull(s string) *string {
	if s == "" {
		return nil
	}
	s = name(s)
	return &s
}

// prose is text for people to read: made storable, and cut.
func prose(s string) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\uFFFD"), "\uFFFD")
	if len(s) <= maxCause {
		return s
	}
	end := maxCause
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

// blob is b, never NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// timeOrNull is NULL for the zero time.
func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// timeOrZero is the zero time for NULL.
func timeOrZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

// bigint is NULL, which equals nothing, where no row can have n: bigint ends at 2⁶³−1.
func bigint(n uint64) *int64 {
	if n > math.MaxInt64 {
		return nil
	}
	return new(int64(n))
}

// encodeHeaders keeps every byte of names and values, which jsonb and text would not: pairs in base64, sorted by name.
func encodeHeaders(headers map[string]string) ([]byte, error) {
	if len(headers) == 0 {
		return []byte("[]"), nil
	}
	pairs := make([][2][]byte, 0, len(headers))
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		pairs = append(pairs, [2][]byte{[]byte(name), []byte(headers[name])})
	}
	encoded, err := json.Marshal(pairs)
	if err != nil {
		return nil, fmt.Errorf("encode headers: %w", err)
	}
	return encoded, nil
}

// decodeHeaders returns nil where there are none.
func decodeHeaders(encoded []byte) (map[string]string, error) {
	var pairs [][2][]byte
	if err := json.Unmarshal(encoded, &pairs); err != nil {
		return nil, fmt.Errorf("decode headers: %w", err)
	}
	if len(pairs) == 0 {
		return nil, nil
	}
	headers := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		headers[string(pair[0])] = string(pair[1])
	}
	return headers, nil
}
