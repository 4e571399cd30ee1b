// Package slow puts a round trip between a benchmark and a server on the same machine.
package slow

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy is the address of a proxy that holds every byte for half of trip, in each direction.
func Proxy(b *testing.B, addr string, trip time.Duration) string {
	b.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var all sync.WaitGroup
	b.Cleanup(func() {
		_ = l.Close() // ends Accept
		all.Wait()
	})
	all.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := (&net.Dialer{}).DialContext(b.Context(), "tcp", addr)
			if err != nil {
				_ = near.Close()
				return
			}
			all.Go(func() { pass(near, far, trip/2) })
			all.Go(func() { pass(far, near, trip/2) })
		}
	})
	return l.Addr().String()
}

// pass copies from one connection to the other until either ends, each piece after delay.
func pass(from, to net.Conn, delay time.Duration) {
	type piece struct {
		bytes []byte
		due   time.Time
	}
	under := make(chan piece, 1024)
	var writing sync.WaitGroup
	writing.Go(func() {
		for p := range under {
			<-time.After(time.Until(p.due)) //nolint:forbidigo // a benchmark is about real time
			_, _ = to.Write(p.bytes)        // where it fails, reading ends too
		}
		_ = to.Close()
	})
	for {
		buf := make([]byte, 64<<10)
		n, err := from.Read(buf)
		if n > 0 {
			under <- piece{buf[:n], time.Now().Add(delay)} //nolint:forbidigo // as above
		}
		if err != nil {
			break
		}
	}
	close(under)
	writing.Wait()
	_ = from.Close()
}
