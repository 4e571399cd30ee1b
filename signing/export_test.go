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
	s.sortNames(t.Headers)
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
