package attack

import (
	"maps"

	"github.com/sealq/sealq/signing"
)

// boundaryCases change what the tag covers. Where a byte moves from one part to its neighbour, all bytes that the tag covers
// are the same in the same order, and only the lengths between them tell: with a format that joined them, each would verify.
func boundaryCases() []Case {
	var cases []Case
	add := func(name string, before, after func(g *forgery)) {
		cases = append(cases, Case{
			Name: name, Class: Boundary, NeedsKeys: true, Want: signing.ReasonBadSignature, before: before, after: after,
		})
	}
	for _, c := range boundaryMoves() {
		add(c.name, nil, c.move)
	}
	add("its queue took the last byte of the deployment's name", func(g *forgery) {
		last := len(g.audience) - 1
		g.task.Queue, g.audience = g.audience[last:]+g.task.Queue, g.audience[:last]
	}, func(g *forgery) { g.task.Queue = g.task.Queue[1:] })
	add("its queue gave its first byte to the deployment's name", func(g *forgery) {
		g.audience, g.task.Queue = g.audience+g.task.Queue[:1], g.task.Queue[1:]
	}, func(g *forgery) { g.task.Queue = g.config.Queue })

	add("its queue is another one that is served", nil, func(g *forgery) { g.task.Queue = g.config.OtherQueue })
	add("its kind is another one", nil, func(g *forgery) { g.task.Kind += ":other" })
	add("its ID is another one", nil, func(g *forgery) { g.task.ID += "0" })
	add("it may be tried once more", nil, func(g *forgery) { g.task.MaxRetry++ })
	add("it may be tried no more", nil, func(g *forgery) { g.task.MaxRetry = 0 })
	add("it may be tried two thousand million times", nil, func(g *forgery) { g.task.MaxRetry = 1<<31 - 1 })
	add("its kind and its queue are swapped", nil, func(g *forgery) {
		g.task.Kind, g.task.Queue = g.task.Queue, g.task.Kind
		g.list = g.config.Queue
	})
	add("its kind and its ID are swapped", nil, func(g *forgery) { g.task.Kind, g.task.ID = g.task.ID, g.task.Kind })

	add("a header was added", nil, func(g *forgery) { g.task.Headers["x"] = "1" })
	add("a header of no name was added", nil, func(g *forgery) { g.task.Headers[""] = "" })
	add("a header was taken away", nil, func(g *forgery) { delete(g.task.Headers, "tenant") })
	add("all headers but the signature were taken away", nil, func(g *forgery) {
		maps.DeleteFunc(g.task.Headers, func(n, _ string) bool { return n != signing.SignatureHeader })
	})
	add("a header's value is another one", nil, func(g *forgery) { g.task.Headers["tenant"] = "evil" })
	add("a header's value has a space at its end", nil, func(g *forgery) { g.task.Headers["tenant"] += " " })
	add("a header's name is written large", nil, func(g *forgery) { g.rename("tenant", "Tenant") })
	add("two headers have swapped their values", nil, func(g *forgery) {
		h := g.task.Headers
		h["tenant"], h["traceparent"] = h["traceparent"], h["tenant"]
	})
	add("two headers were joined into one", nil, func(g *forgery) {
		h := g.task.Headers
		h["tenant"] += "traceparent" + h["traceparent"]
		delete(h, "traceparent")
	})
	add("a header was split into two", nil, func(g *forgery) { g.task.Headers["tenant"], g.task.Headers["tenant2"] = "ac", "me" })
	add("its effect is another one", nil, func(g *forgery) { g.task.Headers[signing.EffectHeader] += "0" })
	add("its effect was taken away, so that its ID names another", nil, func(g *forgery) { delete(g.task.Headers, signing.EffectHeader) })
	add("it has an effect that nobody signed", func(g *forgery) { delete(g.task.Headers, signing.EffectHeader) },
		func(g *forgery) { g.task.Headers[signing.EffectHeader] = "0" })
	return cases
}

type move struct {
	name string
	move func(g *forgery)
}

// boundaryMoves moves a byte over each boundary between two parts of the task, to either side.
func boundaryMoves() []move {
	return []move{
		{"its queue gave its last byte to its kind", func(g *forgery) { g.list = g.task.Queue; give(&g.task.Queue, &g.task.Kind) }},
		{"its kind gave its first byte to its queue", func(g *forgery) { g.list = g.task.Queue; take(&g.task.Queue, &g.task.Kind) }},
		{"its kind gave its last byte to its ID", func(g *forgery) { give(&g.task.Kind, &g.task.ID) }},
		{"its ID gave its first byte to its kind", func(g *forgery) { take(&g.task.Kind, &g.task.ID) }},
		{"its queue took its whole kind but a byte", func(g *forgery) {
			g.list = g.task.Queue
			for len(g.task.Kind) > 1 {
				take(&g.task.Queue, &g.task.Kind)
			}
		}},
		{"its ID lost its end", func(g *forgery) { g.task.ID = g.task.ID[:len(g.task.ID)-1] }},
		{"a header's name gave its last byte to its value", func(g *forgery) {
			name, value := "tenant", g.task.Headers["tenant"]
			delete(g.task.Headers, name)
			give(&name, &value)
			g.task.Headers[name] = value
		}},
		{"a header's value gave its first byte to its name", func(g *forgery) {
			name, value := "tenant", g.task.Headers["tenant"]
			delete(g.task.Headers, name)
			take(&name, &value)
			g.task.Headers[name] = value
		}},
		{"a header's value gave its last byte to the next one's name", func(g *forgery) {
			value, name, next := g.task.Headers["tenant"], "traceparent", g.task.Headers["traceparent"]
			delete(g.task.Headers, name)
			give(&value, &name)
			g.task.Headers["tenant"], g.task.Headers[name] = value, next
		}},
		{"a header's name gave its first byte to the value before it", func(g *forgery) {
			value, name, next := g.task.Headers["tenant"], "traceparent", g.task.Headers["traceparent"]
			delete(g.task.Headers, name)
			take(&value, &name)
			g.task.Headers["tenant"], g.task.Headers[name] = value, next
		}},
		{"the last header's value gave its last byte to the payload", func(g *forgery) {
			value, payload := g.task.Headers["traceparent"], string(g.task.Payload)
			give(&value, &payload)
			g.task.Headers["traceparent"], g.task.Payload = value, []byte(payload)
		}},
		{"its payload gave its first byte to the last header's value", func(g *forgery) {
			value, payload := g.task.Headers["traceparent"], string(g.task.Payload)
			take(&value, &payload)
			g.task.Headers["traceparent"], g.task.Payload = value, []byte(payload)
		}},
		{"its whole payload became a header", func(g *forgery) {
			g.task.Headers["traceparent"] += string(g.task.Payload)
			g.task.Payload = nil
		}},
	}
}

// give moves the last byte of a to the beginning of b, and take the first byte of b to the end of a.
func give(a, b *string) {
	last := len(*a) - 1
	*a, *b = (*a)[:last], (*a)[last:]+*b
}

func take(a, b *string) { *a, *b = *a+(*b)[:1], (*b)[1:] }

func (g *forgery) rename(from, to string) {
	g.task.Headers[to] = g.task.Headers[from]
	delete(g.task.Headers, from)
}
