package testservers

import (
	"context"
	"testing"
)

// Line is a way to a server over TCP, for one test.
type Line struct{ proxy *proxy }

// NewLine makes a line to HOST:PORT.
func NewLine(t testing.TB, addr string) *Line {
	t.Helper()
	p, err := newProxy(t.Context(), dialTo("tcp", addr, nil))
	must(t, err)
	cleanup(t, func(context.Context) error { return p.Close() })
	must(t, p.Restore(t.Context()))
	return &Line{p}
}

// Addr is HOST:PORT of the line's near end.
func (l *Line) Addr() string { return l.proxy.Addr() }

// Strand makes the connections that are open now half-open until t ends: nothing passes over them, nothing closes them. New ones
// work. It is what a host that vanishes leaves behind, or something on the way that forgets connections.
func (l *Line) Strand() { l.proxy.Strand() }
