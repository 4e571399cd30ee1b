package sqlite

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxProse bounds what is kept of an error's text or a mail server's reply, in bytes.
const maxProse = 2048

// prose is text for people to read: made printable as UTF-8, and cut.
func prose(s string) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\uFFFD"), "\uFFFD")
	if len(s) <= maxProse {
		return s
	}
	end := maxProse
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

// notNil keeps an empty BLOB from becoming NULL.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// packHeaders writes task headers as a JSON list of pairs, name and value in base64, sorted by name. A JSON object
// would not keep every byte: a refused task's headers need not be UTF-8.
func packHeaders(headers map[string]string) (string, error) {
	pairs := make([][2][]byte, 0, len(headers))
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		pairs = append(pairs, [2][]byte{[]byte(name), []byte(headers[name])})
	}
	packed, err := json.Marshal(pairs)
	if err != nil {
		return "", fmt.Errorf("pack headers: %w", err)
	}
	return string(packed), nil
}

// unpackHeaders returns nil where there are none.
func unpackHeaders(packed string) (map[string]string, error) {
	var pairs [][2][]byte
	if err := json.Unmarshal([]byte(packed), &pairs); err != nil {
		return nil, fmt.Errorf("unpack headers: %w", err)
	}
	if len(pairs) == 0 {
		return nil, nil //nolint:nilnil // a nil map is a map without entries
	}
	headers := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		headers[string(pair[0])] = string(pair[1])
	}
	return headers, nil
}

// integer is NULL, which equals nothing, where no row can have n: INTEGER ends at 2⁶³−1.
func integer(n uint64) any {
	if n > math.MaxInt64 {
		return nil
	}
	return int64(n)
}
