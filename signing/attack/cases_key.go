package attack

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/sealq/sealq/signing"
)

func keyCases() []Case {
	cases := []Case{
		{
			Name: "a stranger's key signed it just now", stranger: true,
			Want: signing.ReasonUnknownKey, Deferred: true, // the key may be on its way
		},
		{
			Name: "a stranger's key signed it longer ago than keys are on their way", stranger: true, Want: signing.ReasonUnknownKey,
			before: func(g *forgery) { g.times(-2*time.Hour, -2*time.Hour, time.Hour) },
		},
		{
			Name: "a stranger's key signed it in the future, to be deferred until then", stranger: true, Want: signing.ReasonUnknownKey,
			before: func(g *forgery) { g.times(24*time.Hour, 24*time.Hour, 25*time.Hour) },
		},
		{
			Name: "a stranger's key signed it at the end of time", stranger: true, Want: signing.ReasonUnknownKey,
			before: func(g *forgery) {
				g.envelope.iat, g.envelope.nbf, g.envelope.exp = math.MaxUint64, math.MaxUint64, math.MaxUint64
			},
		},
		{
			Name: "it names the key 00000000", stranger: true, Want: signing.ReasonUnknownKey, Deferred: true,
			before: func(g *forgery) { g.envelope.kid = signing.KID{} },
		},
		{
			Name: "it names the key ffffffff", stranger: true, Want: signing.ReasonUnknownKey, Deferred: true,
			before: func(g *forgery) { g.envelope.kid = signing.KID{0xff, 0xff, 0xff, 0xff} },
		},
		{
			Name: "the key of the published test vectors signed it", stranger: true, Want: signing.ReasonUnknownKey, Deferred: true,
			before: func(g *forgery) {
				counting := make([]byte, secretSize)
				for i := range counting {
					counting[i] = byte(i)
				}
				g.err = g.use(counting)
			},
		},
	}
	for name, tag := range forgedTags() {
		cases = append(cases, Case{Name: name, NeedsKeys: true, Want: signing.ReasonBadSignature, tag: tag})
	}
	slices.SortStableFunc(cases[7:], func(a, b Case) int { return strings.Compare(a.Name, b.Name) })
	return ofClass(Key, append(cases, Case{
		Name: "a stranger's key signed it under the key's own name", NeedsKeys: true, Want: signing.ReasonBadSignature,
		before: func(g *forgery) {
			kid := g.envelope.kid
			g.err = g.useStranger()
			g.envelope.kid = kid
		},
	}, Case{
		Name: "its key signed it for another deployment", NeedsKeys: true, Want: signing.ReasonBadSignature,
		before: func(g *forgery) { g.audience += "-staging" },
	}, Case{
		Name: "its key signed it for no deployment", NeedsKeys: true, Want: signing.ReasonBadSignature,
		before: func(g *forgery) { g.audience = "" },
	}))
}

// forgedTags make tags over the right bytes in wrong ways, or with wrong parts of the right key.
func forgedTags() map[string]func(g *forgery) []byte {
	with := func(h func() hash.Hash, key, message []byte) []byte {
		m := hmac.New(h, key)
		_, _ = m.Write(message) // a hash never fails
		return m.Sum(nil)
	}
	return map[string]func(g *forgery) []byte{
		"its tag is zero":                         func(*forgery) []byte { return make([]byte, tagSize) },
		"its tag is all ones":                     func(*forgery) []byte { return slices.Repeat([]byte{0xff}, tagSize) },
		"its tag is made with the root secret":    func(g *forgery) []byte { return mac(g.secret, g.message()) },
		"its tag is made with the encryption key": func(g *forgery) []byte { return mac(g.subkey("encrypt"), g.message()) },
		"its tag is made with the tokens' key":    func(g *forgery) []byte { return mac(g.subkey("token"), g.message()) },
		"its tag is made with the key without a deployment": func(g *forgery) []byte {
			return mac(g.derive("sealq/v1/mac/"), g.message())
		},
		"its tag is made with the deployment's name in the key without its length": func(g *forgery) []byte {
			return mac(g.derive("sealq/v1/mac/"+g.audience), g.message())
		},
		"its tag is made with an empty key":   func(g *forgery) []byte { return mac(nil, g.message()) },
		"its tag is made with its kid as key": func(g *forgery) []byte { return mac(g.envelope.kid[:], g.message()) },
		"its tag is a hash without a key":     func(g *forgery) []byte { h := sha256.Sum256(g.message()); return h[:] },
		"its tag is made with SHA-512/256":    func(g *forgery) []byte { return with(sha512.New512_256, g.subkey("mac"), g.message()) },
		"its tag is half right":               func(g *forgery) []byte { return append(g.genuineTag()[:tagSize/2], make([]byte, tagSize/2)...) },
		"its tag is right but for its last":   func(g *forgery) []byte { t := g.genuineTag(); t[tagSize-1] ^= 1; return t },
		"its tag is the right one backwards":  func(g *forgery) []byte { t := g.genuineTag(); slices.Reverse(t); return t },
		"its tag begins with the check value": func(g *forgery) []byte { return append(g.checkValue(), make([]byte, tagSize/2)...) },
		"its tag leaves the payload out":      func(g *forgery) []byte { return mac(g.subkey("mac"), g.context()) },
		"its tag leaves the label out":        func(g *forgery) []byte { return mac(g.subkey("mac"), g.message()[len(labelTask):]) },
		"its tag is made for a check value":   func(g *forgery) []byte { return g.labelled("sealq.v1.check\x00") },
		"its tag is made for another version": func(g *forgery) []byte { return g.labelled("sealq.v2.task\x00") },
		"its tag leaves the payload's size out": func(g *forgery) []byte {
			return mac(g.subkey("mac"), append(g.context(), g.task.Payload...))
		},
		"its tag takes the headers in another order": func(g *forgery) []byte {
			names := g.names()
			slices.Reverse(names)
			return mac(g.subkey("mac"), l(g.contextOf(labelTask, names), string(g.task.Payload)))
		},
		"its tag is that of an empty task": func(g *forgery) []byte {
			empty := *g
			empty.task = signing.Task{}
			return empty.genuineTag()
		},
	}
}

func (g *forgery) labelled(label string) []byte {
	return mac(g.subkey("mac"), l(g.contextOf(label, g.names()), string(g.task.Payload)))
}

// checkValue is what every process publishes of a key.
func (g *forgery) checkValue() []byte {
	return mac(g.subkey("mac"), l([]byte("sealq.v1.check\x00"), g.audience))[:16]
}
