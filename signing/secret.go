package signing

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"strings"
)

const (
	secretSize     = 32
	secretPrefix   = "sealq1_"
	secretTextSize = len(secretPrefix) + 48 // base64url of secret ‖ CRC-32: 36 bytes
	redacted       = "[redacted]"
)

// ErrInvalidSecret is the cause of every refusal of [ParseSecret].
var ErrInvalidSecret = errors.New("not a key's secret")

// Secret is a key's root secret: exactly 32 bytes from the system's random source. It is never itself a MAC or cipher key.
// Every way of printing, logging or marshalling it gives "[redacted]"; [Secret.RevealText] is the only way out. The zero
// Secret holds nothing.
type Secret struct {
	// A function, because fmt prints an address for it even where it reaches a Secret in somebody's unexported field and
	// cannot call its methods. Through a pointer it would print the bytes for a verb that does not fit, like %s.
	bytes func() *[secretSize]byte
}

func secretOf(b [secretSize]byte) Secret {
	return Secret{bytes: func() *[secretSize]byte { return &b }}
}

// NewSecret makes a secret from the system's random source.
func NewSecret() Secret {
	var b [secretSize]byte
	_, _ = rand.Read(b[:]) // never fails: the process ends instead
	return secretOf(b)
}

// ParseSecret reads the text form: "sealq1_" and the base64url, without padding, of the secret and its CRC-32. The errors
// say what is wrong and never repeat the text.
func ParseSecret(text string) (Secret, error) {
	encoded, ok := strings.CutPrefix(text, secretPrefix)
	if !ok {
		return Secret{}, fmt.Errorf("%w: it does not begin with %s", ErrInvalidSecret, secretPrefix)
	}
	if len(text) != secretTextSize {
		return Secret{}, fmt.Errorf("%w: it has %d characters instead of %d", ErrInvalidSecret, len(text), secretTextSize)
	}
	var raw [secretSize + crc32.Size]byte
	// Go's decoder skips CR and LF, strict or not; a text with them decodes to fewer bytes.
	n, err := base64.RawURLEncoding.Strict().Decode(raw[:], []byte(encoded))
	if err != nil || n != len(raw) {
		return Secret{}, fmt.Errorf("%w: it has characters outside the base64url alphabet", ErrInvalidSecret)
	}
	if crc32.ChecksumIEEE(raw[:secretSize]) != binary.BigEndian.Uint32(raw[secretSize:]) {
		return Secret{}, fmt.Errorf("%w: its checksum differs, so it was mistyped or cut", ErrInvalidSecret)
	}
	return secretOf([secretSize]byte(raw[:secretSize])), nil
}

// RevealText returns the secret's text form, which [ParseSecret] reads. Whoever sees it can sign. It is empty for the zero
// Secret.
func (s Secret) RevealText() string {
	if s.bytes == nil {
		return ""
	}
	raw := make([]byte, 0, secretSize+crc32.Size)
	raw = append(raw, s.bytes()[:]...)
	raw = binary.BigEndian.AppendUint32(raw, crc32.ChecksumIEEE(raw))
	return secretPrefix + base64.RawURLEncoding.EncodeToString(raw)
}

// IsZero reports whether s holds nothing, as a destroyed key's does.
func (s Secret) IsZero() bool { return s.bytes == nil }

// Equal compares two secrets in constant time.
func (s Secret) Equal(other Secret) bool {
	if s.bytes == nil || other.bytes == nil {
		return s.IsZero() && other.IsZero()
	}
	return subtle.ConstantTimeCompare(s.bytes()[:], other.bytes()[:]) == 1
}

// String returns "[redacted]".
func (Secret) String() string { return redacted }

// GoString returns "[redacted]".
func (Secret) GoString() string { return redacted }

// Format writes "[redacted]" for every verb, the numeric ones too.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns "[redacted]".
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[redacted]", so that JSON, XML and text encoders never carry the secret.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
