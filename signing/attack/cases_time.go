package attack

import (
	"math"
	"time"

	"github.com/sealq/sealq/signing"
)

// timeCases are signed by a holder of the key: no forger gets this far.
func timeCases() []Case {
	var cases []Case
	add := func(name string, want signing.Reason, before func(g *forgery)) {
		cases = append(cases, Case{Name: name, Class: Time, NeedsKeys: true, Want: want, Deferred: want == signing.ReasonNotYetDue, before: before})
	}
	add("it ended long ago", signing.ReasonExpired, func(g *forgery) { g.times(-2*time.Hour, -2*time.Hour, -2*time.Hour+g.life()) })
	add("it ended just beyond the skew", signing.ReasonExpired, func(g *forgery) {
		end := -g.config.Skew - time.Millisecond
		g.times(end-g.life(), end-g.life(), end)
	})
	add("it is not due for a while", signing.ReasonNotYetDue, func(g *forgery) { g.times(0, 25*time.Minute, 25*time.Minute+g.life()) })
	add("it was issued in the future", signing.ReasonIssuedInFuture, func(g *forgery) { g.times(2*time.Hour, 2*time.Hour, 2*time.Hour+g.life()) })
	add("it was issued at the end of time", signing.ReasonIssuedInFuture, func(g *forgery) {
		g.envelope.iat, g.envelope.nbf, g.envelope.exp = math.MaxUint64, math.MaxUint64, math.MaxUint64
	})
	add("it ends before it is due", signing.ReasonLifetimeExceeded, func(g *forgery) { g.times(0, 10*time.Minute, 10*time.Minute-time.Millisecond) })
	add("it is due before it was issued", signing.ReasonLifetimeExceeded, func(g *forgery) { g.times(0, -time.Millisecond, g.life()) })
	add("it has been due since 1970", signing.ReasonLifetimeExceeded, func(g *forgery) { g.envelope.nbf = 0 })
	add("it lives a millisecond longer than its kind may", signing.ReasonLifetimeExceeded, func(g *forgery) {
		g.times(0, 0, g.config.MaxAge+time.Millisecond)
	})
	add("it lives a millisecond longer than its ring allows", signing.ReasonLifetimeExceeded, func(g *forgery) {
		end := g.config.Ring.MaxLifetime() + time.Millisecond
		g.times(0, end-g.life(), end)
	})
	add("it never ends", signing.ReasonLifetimeExceeded, func(g *forgery) { g.envelope.exp = math.MaxInt64 })
	add("it ends beyond what 63 bits hold", signing.ReasonLifetimeExceeded, func(g *forgery) { g.envelope.exp = math.MaxUint64 })
	return cases
}
