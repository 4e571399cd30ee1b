package attack

import (
	"crypto/rand"
	"time"

	"github.com/sealq/sealq/signing"
)

func replayCases() []Case {
	replay := func(name string, want signing.Reason, after func(g *forgery)) Case {
		return Case{Name: name, Class: Replay, NeedsKeys: true, Want: want, original: true, after: after}
	}
	again := func(name string, raw func(b []byte)) Case {
		return Case{Name: name, Class: Replay, NeedsKeys: true, Want: signing.ReasonBadSignature, raw: raw}
	}
	other := replay("it runs once more under the signature of another task", signing.ReasonBadSignature, func(g *forgery) {
		g.envelope.nonce[0] ^= 1
		g.task.Headers[signing.SignatureHeader] = encode(append(g.envelope.bytes(), mac(g.subkey("mac"), []byte("another"))...))
	})
	return []Case{
		replay("it is stored once more after it ran", "", nil),
		replay("it runs once more under another ID", signing.ReasonBadSignature, func(g *forgery) { g.task.ID += "1" }),
		replay("it runs once more for another effect", signing.ReasonBadSignature, func(g *forgery) { g.task.Headers[signing.EffectHeader] += "1" }),
		replay("it runs once more without naming its effect", signing.ReasonBadSignature, func(g *forgery) { delete(g.task.Headers, signing.EffectHeader) }),
		replay("it runs once more with more retries", signing.ReasonBadSignature, func(g *forgery) { g.task.MaxRetry += 25 }),
		other,
		again("it runs once more under another nonce", func(b []byte) { _, _ = rand.Read(b[30:tagOffset]) }),
		again("it runs once more as if issued later", func(b []byte) { addTo(b[6:14], 1000) }),
		{
			Name: "it is stored once more after its end", Class: Replay, NeedsKeys: true, Want: signing.ReasonExpired,
			before: func(g *forgery) { g.times(-2*time.Hour, -2*time.Hour, g.life()-2*time.Hour) },
		},
		{
			Name: "a holder of the key signs it anew for the same effect", Class: Replay, NeedsKeys: true, original: true,
			after: func(g *forgery) {
				g.task.ID += ".2"
				_, _ = rand.Read(g.envelope.nonce[:])
				g.task.Headers[signing.SignatureHeader] = encode(append(g.envelope.bytes(), g.genuineTag()...))
			},
		},
	}
}

// copyCases put a genuine message where it does not belong. The message's own words verify, wherever it lies: what ends it is
// that its effect is done, that its queue is not served, or that somebody made it fit its new place.
func copyCases() []Case {
	ran := func(name string, want signing.Reason, after func(g *forgery)) Case {
		return Case{Name: name, Class: Copy, NeedsKeys: true, Want: want, original: true, after: after}
	}
	return []Case{
		ran("it is copied under another key of its list", "", func(g *forgery) { g.id = g.task.ID + "-copy" }),
		ran("it is copied into another list", "", func(g *forgery) { g.list = g.config.OtherQueue }),
		ran("it is copied into another list under another key", "", func(g *forgery) { g.list, g.id = g.config.OtherQueue, g.task.ID+"-copy" }),
		ran("it is copied under another key, and its ID made to fit", signing.ReasonBadSignature, func(g *forgery) { g.task.ID += "-copy" }),
		ran("it is copied into another list, and its queue made to fit", signing.ReasonBadSignature, func(g *forgery) { g.task.Queue = g.config.OtherQueue }),
		{
			Name: "it is copied from a queue that is not served here", Class: Copy, NeedsKeys: true, Want: signing.ReasonWrongQueue,
			before: func(g *forgery) { g.task.Queue = g.config.UnservedQueue }, after: func(g *forgery) { g.list = g.config.Queue },
		},
		{
			Name: "it is copied from a queue whose name only begins like one that is served", Class: Copy, NeedsKeys: true,
			Want:   signing.ReasonWrongQueue,
			before: func(g *forgery) { g.task.Queue += "\x00" }, after: func(g *forgery) { g.list = g.config.Queue },
		},
		{
			Name: "it is copied under the key of another task after its end", Class: Copy, NeedsKeys: true, Want: signing.ReasonExpired,
			before: func(g *forgery) { g.times(-2*time.Hour, -2*time.Hour, g.life()-2*time.Hour) },
			after:  func(g *forgery) { g.id = g.task.ID + "-copy" },
		},
	}
}
