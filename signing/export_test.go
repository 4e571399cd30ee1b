package signing

import (
	"io/fs"
	"time"
)

// MACKey is the derived MAC key, for the vectors.
func MACKey(s Secret, audience string) ([]byte, error) { return subkey(s, purposeMAC, audience) }

// SealAt signs a payload as it travels with times and a nonce of the vectors, and returns the context too.
func SealAt(k *Keys, t Task, encrypted bool, iat, nbf, exp int64, nonce [16]byte) (context []byte, sig string) {
	active := k.current.Load().active
	h := header{kid: active.info.KID, iat: iat, nbf: nbf, exp: exp, nonce: nonce}
	if encrypted {
		h.flags = flagEncrypted
	}
	s := k.scratch.get()
	defer k.scratch.put(s)
	if problem := s.collect(&k.opts, &t); problem != "" {
		panic(problem)
	}
	h.put(&s.raw)
	s.setContext(k.audience, &t)
	context = append(context, s.context...)
	return context, string(s.sign(nil, active.mac, t.Payload))
}

// WithSecret is Rotate with a given secret.
func WithSecret(r *Ring, s Secret, now time.Time) (*Ring, error) {
	next := r.next()
	if err := next.addSecret(s, now, Published, []string{"*"}); err != nil {
		return nil, err
	}
	return next.checked()
}

// OwnedBy is the check of a ring file's owner.
func OwnedBy(info fs.FileInfo, user int) (bool, error) { return ownedBy(info, user) }

// NewMAC returns how tags are computed with one key: the MAC of a ‖ b from a pool of keyed states.
func NewMAC(key []byte) func(a, b []byte) [32]byte {
	m := newKeyedMAC(key)
	return func(a, b []byte) (out [32]byte) {
		m.sum(&out, a, b)
		return out
	}
}

// ReadSignature reads a signature's text, and writes what was read of its header again with the same tag.
func ReadSignature(text string) (raw [78]byte, again string, ok bool) {
	var s scratch
	if !s.decode(text) {
		return raw, "", false
	}
	raw = s.raw
	s.header.read(&s.raw)
	s.header.put(&s.raw)
	s.encode()
	return raw, string(s.text[:]), true
}
