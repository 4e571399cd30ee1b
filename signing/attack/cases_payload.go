package attack

import (
	"crypto/rand"
	"fmt"

	"github.com/sealq/sealq/signing"
)

// payloadCases change the payload after it was signed, or sign an encrypted one that does not decrypt.
func payloadCases() []Case {
	var cases []Case
	for _, c := range []struct {
		name  string
		spoil func(p []byte) []byte
	}{
		{"its payload's first bit is flipped", func(p []byte) []byte { p[0] ^= 0x80; return p }},
		{"its payload's last bit is flipped", func(p []byte) []byte { p[len(p)-1] ^= 1; return p }},
		{"its payload is a byte longer", func(p []byte) []byte { return append(p, '0') }},
		{"its payload has a NUL more", func(p []byte) []byte { return append(p, 0) }},
		{"its payload has a space more", func(p []byte) []byte { return append(p, ' ') }},
		{"its payload begins with a byte order mark", func(p []byte) []byte { return append([]byte("\ufeff"), p...) }},
		{"its payload lacks its last byte", func(p []byte) []byte { return p[:len(p)-1] }},
		{"its payload is empty", func([]byte) []byte { return nil }},
		{"its payload is null", func([]byte) []byte { return []byte("null") }},
		{"its payload stands there twice", func(p []byte) []byte { return append(p, p...) }},
		{"its payload is another one of the same size", func(p []byte) []byte { _, _ = rand.Read(p); return p }},
	} {
		cases = append(cases, Case{
			Name: c.name, NeedsKeys: true, Want: signing.ReasonBadSignature,
			after: func(g *forgery) { g.task.Payload = c.spoil(g.task.Payload) },
		})
	}
	for _, c := range []struct {
		name  string
		spoil func(p []byte)
	}{
		{"its ciphertext's nonce is changed", func(p []byte) { p[0] ^= 1 }},
		{"a bit of its ciphertext is flipped", func(p []byte) { p[12] ^= 1 }},
		{"its ciphertext's tag is changed", func(p []byte) { p[len(p)-1] ^= 1 }},
	} {
		cases = append(cases, Case{
			Name: c.name, NeedsKeys: true, Want: signing.ReasonBadSignature,
			before: (*forgery).encrypt, after: func(g *forgery) { c.spoil(g.task.Payload) },
		}, Case{
			Name: c.name + " and a holder of the key signed that", NeedsKeys: true, Want: signing.ReasonBadPayload,
			before: func(g *forgery) {
				g.encrypt()
				c.spoil(g.task.Payload)
			},
		})
	}
	return ofClass(Payload, append(cases, Case{
		Name: "it calls itself encrypted and is readable", NeedsKeys: true, Want: signing.ReasonBadPayload,
		before: func(g *forgery) { g.envelope.flags = 1 },
	}, Case{
		Name: "it calls itself encrypted and is empty", NeedsKeys: true, Want: signing.ReasonBadPayload,
		before: func(g *forgery) { g.envelope.flags, g.task.Payload = 1, nil },
	}, Case{
		Name: "its ciphertext is that of a task of another ID", NeedsKeys: true, Want: signing.ReasonBadPayload,
		before: func(g *forgery) {
			g.encrypt()
			g.task.ID += "0"
		},
	}, Case{
		Name: "its ciphertext is that of another nonce", NeedsKeys: true, Want: signing.ReasonBadPayload,
		before: func(g *forgery) {
			g.encrypt()
			g.envelope.nonce[0] ^= 1
		},
	}, Case{
		Name: "its kind must be encrypted and it travels readable", NeedsKeys: true, Want: signing.ReasonMustBeEncrypted,
		before: func(g *forgery) {
			if g.task.Kind = g.config.EncryptedKind; g.task.Kind == "" {
				g.err = fmt.Errorf("%w: a kind that the target runs only encrypted", ErrUnsuitable)
			}
		},
	}))
}
