package signing

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"sync"
)

// Labels of key derivation and of the messages that are authenticated. Each keeps one use of a key apart from the others.
const (
	infoKID      = "sealq/v1/kid"
	infoPrefix   = "sealq/v1/"
	labelTask    = "sealq.v1.task\x00"
	labelCheck   = "sealq.v1.check\x00"
	labelEncrypt = "sealq.v1.encrypt\x00"
	labelToken   = "sealq.v1.token\x00" //nolint:gosec // a label, no credential
)

type purpose string

const (
	purposeMAC     purpose = "mac"
	purposeEncrypt purpose = "encrypt"
	purposeToken   purpose = "token"
)

// kidOf derives a secret's key ID.
func kidOf(s Secret) (KID, error) {
	out, err := hkdf.Key(sha256.New, s.bytes()[:], nil, infoKID, len(KID{}))
	if err != nil {
		return KID{}, fmt.Errorf("derive the key ID: %w", err)
	}
	return KID(out), nil
}

// subkey derives the key of one purpose in one deployment (RFC 5869 with SHA-256 and no salt).
func subkey(s Secret, p purpose, audience string) ([]byte, error) {
	info := appendString([]byte(infoPrefix+string(p)+"/"), audience)
	out, err := hkdf.Key(sha256.New, s.bytes()[:], nil, string(info), sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("derive the %s key: %w", p, err)
	}
	return out, nil
}

// appendString appends L(s): its length as u32, then its bytes.
func appendString(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(s))) //nolint:gosec // lengths are limited to far less than 4 GiB before
	return append(dst, s...)
}

// appendBytes appends L(b).
func appendBytes(dst, b []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(b))) //nolint:gosec // see appendString
	return append(dst, b...)
}

// keyedMAC hands out HMAC-SHA256 states that are keyed already. Keying anew costs two compressions and six allocations a
// task; a state whose Reset ran once restores a snapshot instead.
type keyedMAC struct {
	pool sync.Pool
}

type macState struct {
	hash hash.Hash
	out  [sha256.Size]byte // here, so that what is handed to the hash need not move to the heap
}

func newKeyedMAC(key []byte) *keyedMAC {
	m := new(keyedMAC)
	m.pool.New = func() any {
		h := hmac.New(sha256.New, key)
		h.Reset() // takes the snapshot that later calls of Reset restore
		return &macState{hash: h}
	}
	return m
}

func (m *keyedMAC) get() *macState {
	st, _ := m.pool.Get().(*macState)
	return st
}

func (m *keyedMAC) put(st *macState) { m.pool.Put(st) }

// sum writes the MAC of a ‖ b to out. It allocates nothing once the pool is warm.
func (m *keyedMAC) sum(out *[sha256.Size]byte, a, b []byte) {
	st := m.get()
	st.sum(out, a, b)
	m.put(st)
}

// sum writes the MAC of a ‖ b to out.
func (st *macState) sum(out *[sha256.Size]byte, a, b []byte) {
	st.hash.Reset()
	_, _ = st.hash.Write(a) // a hash never fails
	if len(b) > 0 {
		_, _ = st.hash.Write(b)
	}
	st.hash.Sum(st.out[:0])
	*out = st.out
}

// derivedKey is a ring's key made ready for one deployment.
type derivedKey struct {
	info    KeyInfo
	mac     *keyedMAC // nil without a secret
	encrypt *keyedMAC
	token   *keyedMAC
	check   [16]byte
}

func deriveKey(k key, audience string) (*derivedKey, error) {
	d := &derivedKey{info: k.KeyInfo}
	if k.secret.IsZero() {
		return d, nil
	}
	for p, into := range map[purpose]**keyedMAC{purposeMAC: &d.mac, purposeEncrypt: &d.encrypt, purposeToken: &d.token} {
		sub, err := subkey(k.secret, p, audience)
		if err != nil {
			return nil, err
		}
		*into = newKeyedMAC(sub)
	}
	var full [sha256.Size]byte
	d.mac.sum(&full, appendString([]byte(labelCheck), audience), nil)
	d.check = [16]byte(full[:16])
	return d, nil
}

// derivedRing is a ring made ready for one deployment. It is immutable: [Keys] swaps whole ones.
type derivedRing struct {
	ring   *Ring
	byKID  map[KID]*derivedKey
	active *derivedKey
}

func deriveRing(r *Ring, audience string) (*derivedRing, error) {
	d := &derivedRing{ring: r, byKID: make(map[KID]*derivedKey, len(r.keys))}
	for _, k := range r.keys {
		dk, err := deriveKey(k, audience)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", k.KID, err)
		}
		d.byKID[k.KID] = dk
		if k.State == Active {
			d.active = dk
		}
	}
	return d, nil
}
