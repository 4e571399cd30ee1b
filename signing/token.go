package signing

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
)

const minTokenNonce = 16 // bytes

// ErrInvalidToken says that a token was asked for without what makes it unguessable and one of a kind.
var ErrInvalidToken = errors.New("a token needs a purpose, an ID and a random nonce of at least 16 bytes")

// Token makes the token of a link: it can be made again from the same row, so that only its hash needs storing. A zero kid
// means the active key; the key used is returned, to be written to the row. The nonce is random, stored with the row, and the
// generation grows whenever older links must end. A key that was revoked or destroyed makes no token, and neither does a ring
// that is not confirmed when it has to choose the key ([StaleError]).
func (k *Keys) Token(kid KID, purpose, id string, generation uint64, nonce []byte) (token string, used KID, err error) {
	if purpose == "" || id == "" || len(nonce) < minTokenNonce {
		return "", KID{}, ErrInvalidToken
	}
	ring := k.current.Load()
	dk := ring.active
	if kid.IsZero() {
		if err := k.fresh(k.opts.Now()); err != nil {
			return "", KID{}, err
		}
	} else {
		var ok bool
		if dk, ok = ring.byKID[kid]; !ok {
			return "", KID{}, fmt.Errorf("make a token with key %s: %w", kid, ErrNoSuchKey)
		}
	}
	if s := dk.info.State; s == Revoked || s == Destroyed {
		return "", KID{}, fmt.Errorf("make a token with key %s, which is %s: %w", kid, s, ErrKeyNotValid)
	}
	msg := appendString([]byte(labelToken), purpose)
	msg = appendString(msg, id)
	msg = binary.BigEndian.AppendUint64(msg, generation)
	msg = appendBytes(msg, nonce)
	var sum [sha256.Size]byte
	dk.token.sum(&sum, msg, nil)
	return base64.RawURLEncoding.EncodeToString(sum[:]), dk.info.KID, nil
}
