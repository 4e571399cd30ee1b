package attack

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/sealq/sealq/signing"
)

const (
	secretSize = 32
	tagSize    = 32
	tagOffset  = 46
	labelTask  = "sealq.v1.task\x00"
)

// envelope is a signature before its tag. Times are Unix milliseconds.
type envelope struct {
	version, flags byte
	kid            signing.KID
	iat, nbf, exp  uint64
	nonce          [16]byte
}

func (e envelope) bytes() []byte {
	b := append([]byte{e.version, e.flags}, e.kid[:]...)
	b = binary.BigEndian.AppendUint64(b, e.iat)
	b = binary.BigEndian.AppendUint64(b, e.nbf)
	b = binary.BigEndian.AppendUint64(b, e.exp)
	return append(b, e.nonce[:]...)
}

func encode(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

// l appends the length of s in four bytes, and s.
func l(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...) //nolint:gosec // nothing here has 4 GiB
}

// names returns the names of the headers that are signed, sorted.
func (g *forgery) names() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(g.task.Headers)), func(n string) bool { return n == signing.SignatureHeader })
}

// context is what the tag covers before the payload.
func (g *forgery) context() []byte { return g.contextOf(labelTask, g.names()) }

func (g *forgery) contextOf(label string, names []string) []byte {
	b := append([]byte(label), g.envelope.bytes()...)
	for _, s := range []string{g.audience, g.task.Queue, g.task.Kind, g.task.ID} {
		b = l(b, s)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(g.task.MaxRetry)) //nolint:gosec // a negative number wraps, as in the queue
	b = binary.BigEndian.AppendUint16(b, uint16(len(names)))      //nolint:gosec // a few dozen
	for _, n := range names {
		b = l(l(b, n), g.task.Headers[n])
	}
	return b
}

// message is all that the tag covers.
func (g *forgery) message() []byte { return l(g.context(), string(g.task.Payload)) }

// genuineTag is the tag as the format says, with whatever key and for whatever audience.
func (g *forgery) genuineTag() []byte { return mac(g.subkey("mac"), g.message()) }

func (g *forgery) subkey(purpose string) []byte {
	return g.derive(string(l([]byte("sealq/v1/"+purpose+"/"), g.audience)))
}

func (g *forgery) derive(info string) []byte {
	key, err := hkdf.Key(sha256.New, g.secret, nil, info, sha256.Size)
	if err != nil && g.err == nil {
		g.err = fmt.Errorf("derive a key: %w", err)
	}
	return key
}

func mac(key, message []byte) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write(message) // a hash never fails
	return h.Sum(nil)
}

// encrypt encrypts the payload as the format says, and flags it.
func (g *forgery) encrypt() {
	g.envelope.flags = 1
	key := mac(g.subkey("encrypt"), append([]byte("sealq.v1.encrypt\x00"), g.envelope.nonce[:]...))
	block, err := aes.NewCipher(key)
	if err != nil {
		g.err = fmt.Errorf("encrypt: %w", err)
		return
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		g.err = fmt.Errorf("encrypt: %w", err)
		return
	}
	g.task.Payload = aead.Seal(nil, nil, g.task.Payload, g.context()) //nolint:gosec // no nonce is given: the cipher draws its own
}

func kidOf(secret []byte) (signing.KID, error) {
	kid, err := hkdf.Key(sha256.New, secret, nil, "sealq/v1/kid", len(signing.KID{}))
	if err != nil {
		return signing.KID{}, fmt.Errorf("derive a key ID: %w", err)
	}
	return signing.KID(kid), nil
}

// secretsOf reads the secrets of a ring's keys.
func secretsOf(r *signing.Ring) (map[signing.KID][]byte, error) {
	var doc struct {
		Keys []struct {
			KID    signing.KID `json:"kid"`
			Secret string      `json:"secret"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(r.Marshal(), &doc); err != nil {
		return nil, fmt.Errorf("read the ring's keys: %w", err)
	}
	secrets := make(map[signing.KID][]byte, len(doc.Keys))
	for _, k := range doc.Keys {
		if k.Secret == "" {
			continue // destroyed
		}
		raw, err := base64.RawURLEncoding.DecodeString(k.Secret[len("sealq1_"):])
		if err != nil {
			return nil, fmt.Errorf("read the ring's keys: key %s is unreadable", k.KID)
		}
		secrets[k.KID] = raw[:secretSize]
	}
	return secrets, nil
}
