package attack

import (
	"fmt"
	"slices"

	"github.com/sealq/sealq/signing"
)

// Cases returns the table: the same cases in the same order at every call.
func Cases() []Case {
	return slices.Concat(
		formCases(), headerCases(), keyCases(), boundaryCases(), payloadCases(), timeCases(), keyStateCases(), replayCases(),
		muxCases(), copyCases(),
	)
}

// part is a field of the signature.
type part struct {
	name     string
	from, to int // bytes, to excluded
}

func parts() []part {
	return []part{
		{"version", 0, 1},
		{"flags", 1, 2},
		{"kid", 2, 6},
		{"issue", 6, 14},
		{"due time", 14, 22},
		{"expiry", 22, 30},
		{"nonce", 30, tagOffset},
		{"tag", tagOffset, tagOffset + tagSize},
	}
}

// Bits returns a case for each of the 624 bits of a signature, flipped alone. They need the forge for what they expect: an
// issue that moves to before the key signed is refused for that.
func (f *Forge) Bits() []Case {
	var cases []Case
	iat := millis(f.config.Now())
	from := millis(f.active.SignFrom.Add(-f.config.Skew))
	for _, p := range parts() {
		for bit := p.from * 8; bit < p.to*8; bit++ {
			c := flipped(p, bit)
			if p.name == "issue" {
				c.Want = signing.ReasonBadSignature
				if iat^(1<<(63-(bit-p.from*8))) < from {
					c.Want = signing.ReasonKeyNotValid
				}
			}
			cases = append(cases, c)
		}
	}
	return cases
}

// flipped flips one bit, counted from the first and highest.
func flipped(p part, bit int) Case {
	c := Case{
		Name:  fmt.Sprintf("in its %s the bit %d of %d is flipped", p.name, bit-p.from*8+1, (p.to-p.from)*8),
		Class: Header, Want: signing.ReasonBadSignature, NeedsKeys: true,
		raw: func(b []byte) { b[bit/8] ^= 0x80 >> (bit % 8) },
	}
	switch {
	case p.name == "version", p.name == "flags" && bit != p.to*8-1:
		c.Want = signing.ReasonUnsupportedVersion
	case p.name == "kid":
		c.Want, c.Deferred = signing.ReasonUnknownKey, true
	}
	return c
}

func headerCases() []Case {
	cases := []Case{
		{
			Name: "its version is 0", Want: signing.ReasonUnsupportedVersion,
			before: func(g *forgery) { g.envelope.version = 0 },
		},
		{
			Name: "its version is 2", Want: signing.ReasonUnsupportedVersion,
			before: func(g *forgery) { g.envelope.version = 2 },
		},
		{
			Name: "its version is the digit 1", Want: signing.ReasonUnsupportedVersion,
			before: func(g *forgery) { g.envelope.version = '1' },
		},
		{
			Name: "its flags hold one of the future", Want: signing.ReasonUnsupportedVersion,
			before: func(g *forgery) { g.envelope.flags = 2 },
		},
		{
			Name: "its flags hold the highest one beside the known one", Want: signing.ReasonUnsupportedVersion,
			before: func(g *forgery) { g.envelope.flags = 0x81 },
		},
		{
			Name: "its signature is 78 zero bytes", Want: signing.ReasonUnsupportedVersion,
			raw: func(b []byte) { clear(b) },
		},
		{
			Name: "its signature is all ones", Want: signing.ReasonUnsupportedVersion,
			raw: func(b []byte) { fill(b, 0xff) },
		},
		{
			Name: "its flags call it encrypted after it was signed", NeedsKeys: true, Want: signing.ReasonBadSignature,
			raw: func(b []byte) { b[1] ^= 1 },
		},
		{
			Name: "its flags call it readable after it was encrypted", NeedsKeys: true, Want: signing.ReasonBadSignature,
			before: (*forgery).encrypt, raw: func(b []byte) { b[1] ^= 1 },
		},
		{
			Name: "its expiry is put off by a millisecond", NeedsKeys: true, Want: signing.ReasonBadSignature,
			raw: func(b []byte) { addTo(b[22:30], 1) },
		},
		{
			Name: "its due time is put off by a minute", NeedsKeys: true, Want: signing.ReasonBadSignature,
			raw: func(b []byte) { addTo(b[14:22], 60_000) },
		},
		{
			Name: "all of its times are moved by a day", NeedsKeys: true, Want: signing.ReasonBadSignature,
			raw: func(b []byte) {
				for at := 6; at < 30; at += 8 {
					addTo(b[at:at+8], 86_400_000)
				}
			},
		},
		{
			Name: "its due time and its expiry are swapped", NeedsKeys: true, Want: signing.ReasonBadSignature,
			raw: func(b []byte) { swap(b[14:22], b[22:30]) },
		},
		{
			Name: "its nonce is zero", NeedsKeys: true, Want: signing.ReasonBadSignature,
			raw: func(b []byte) { clear(b[30:tagOffset]) },
		},
	}
	for _, p := range parts() {
		if first := flipped(p, p.from*8); p.name != "issue" { // whose first bit is years ahead
			cases = append(cases, first)
		}
		cases = append(cases, flipped(p, p.to*8-1))
	}
	return ofClass(Header, cases)
}

func ofClass(class Class, cases []Case) []Case {
	for i := range cases {
		cases[i].Class = class
	}
	return cases
}

func fill(b []byte, with byte) {
	for i := range b {
		b[i] = with
	}
}

func swap(a, b []byte) {
	for i := range a {
		a[i], b[i] = b[i], a[i]
	}
}

// addTo adds n to a big-endian number.
func addTo(b []byte, n uint64) {
	for i := len(b) - 1; i >= 0; i-- {
		n += uint64(b[i])
		b[i] = byte(n) //nolint:gosec // the low byte is what is wanted
		n >>= 8
	}
}
