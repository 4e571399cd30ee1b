package instance

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strconv"
)

// Ports are taken from below the range that kernels give to outgoing
// connections (32768 and up on Linux, 49152 and up elsewhere). A port inside it
// could go to some client's socket while a test has its server stopped, and the
// server could not come back.
const (
	lowestPort  = 15000
	highestPort = 32000
)

// Port is a TCP port number of the loopback interface that stays reserved
// among all users of this package, in whatever process, until Release.
//
// A server must bind the TCP port itself, and may be stopped for a while, so
// what holds the reservation is the UDP port of the same number: the kernel
// gives it to one holder and takes it back when that process dies.
type Port struct {
	number int
	lock   net.PacketConn
}

// ReservePort finds a port number that nobody listens on.
func ReservePort(ctx context.Context) (*Port, error) {
	var lc net.ListenConfig
	var causes []error
	for range 100 {
		offset, err := rand.Int(rand.Reader, big.NewInt(highestPort-lowestPort))
		if err != nil {
			return nil, fmt.Errorf("reserve port: %w", err)
		}
		p := &Port{number: lowestPort + int(offset.Int64())}
		if p.lock, err = lc.ListenPacket(ctx, "udp4", p.Addr()); err != nil {
			causes = append(causes, err)
			continue
		}
		listener, err := lc.Listen(ctx, "tcp4", p.Addr())
		if err == nil {
			if err = listener.Close(); err == nil {
				return p, nil
			}
		}
		causes = append(causes, err, p.Release())
	}
	return nil, fmt.Errorf("reserve port: no free one found between %d and %d: %w",
		lowestPort, highestPort, errors.Join(causes...))
}

// Number returns the port's number.
func (p *Port) Number() int { return p.number }

// Addr returns the port as an address to dial, 127.0.0.1:NUMBER.
func (p *Port) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.number)) }

// Release lets the number go.
func (p *Port) Release() error {
	if err := p.lock.Close(); err != nil {
		return fmt.Errorf("release port %d: %w", p.number, err)
	}
	return nil
}
