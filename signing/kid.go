package signing

import (
	"encoding/hex"
	"errors"
)

// ErrInvalidKID says that a text is no key ID.
var ErrInvalidKID = errors.New("a key ID is exactly 8 lower-case hexadecimal digits")

// KID names a key. It is derived from the key's secret and tells nothing about it.
type KID [4]byte

// ParseKID reads the 8 lower-case hexadecimal digits that [KID.String] writes.
func ParseKID(text string) (KID, error) {
	var kid KID
	if len(text) != hex.EncodedLen(len(kid)) {
		return KID{}, ErrInvalidKID
	}
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return KID{}, ErrInvalidKID
		}
	}
	if _, err := hex.Decode(kid[:], []byte(text)); err != nil {
		return KID{}, ErrInvalidKID
	}
	return kid, nil
}

// String returns the ID as 8 lower-case hexadecimal digits.
func (k KID) String() string {
	var text [2 * len(k)]byte
	hex.Encode(text[:], k[:])
	return string(text[:])
}

// IsZero reports whether this is the zero KID, which stands for "none named".
func (k KID) IsZero() bool { return k == KID{} }

// MarshalText writes the ID as [KID.String] does.
func (k KID) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the ID as [ParseKID] does.
func (k *KID) UnmarshalText(text []byte) error {
	kid, err := ParseKID(string(text))
	if err != nil {
		return err
	}
	*k = kid
	return nil
}
