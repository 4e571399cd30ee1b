package testservers

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/testservers/instance"
)

// dialer opens a connection to the server behind a proxy.
type dialer func(ctx context.Context) (net.Conn, error)

// proxy passes bytes between a port of its own and a server that a test may not
// stop. Cut and Restore make the server look stopped and started.
type proxy struct {
	port *instance.Port
	dial dialer

	mu       sync.Mutex
	listener net.Listener // nil while cut
	conns    map[net.Conn]struct{}
	strands  []*atomic.Bool // of the connections since Restore: set where nothing passes any more
	cancel   context.CancelFunc
	wg       sync.WaitGroup // of all goroutines since Restore
}

func newProxy(ctx context.Context, dial dialer) (*proxy, error) {
	port, err := instance.ReservePort(ctx)
	if err != nil {
		return nil, fmt.Errorf("new proxy: %w", err)
	}
	return &proxy{port: port, dial: dial, conns: map[net.Conn]struct{}{}}, nil
}

// Addr returns the proxy's address, the same after each Restore.
func (p *proxy) Addr() string { return p.port.Addr() }

// Restore makes the proxy accept connections.
func (p *proxy) Restore(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		return errors.New("start the connection: it is up already")
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp4", p.Addr())
	if err != nil {
		return fmt.Errorf("start the connection: %w", err)
	}
	// The connections outlive the call: Cut ends them.
	ctx, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	p.listener = listener
	p.wg.Go(func() { p.accept(ctx, listener) })
	return nil
}

// Cut breaks every connection, refuses new ones, and returns when nothing more
// passes.
func (p *proxy) Cut() error {
	p.mu.Lock()
	if p.listener == nil {
		p.mu.Unlock()
		return nil
	}
	err := p.listener.Close()
	p.listener, p.strands = nil, nil
	p.cancel()
	for conn := range p.conns {
		_ = conn.Close() // broken on purpose
	}
	p.mu.Unlock()
	p.wg.Wait()
	if err != nil {
		return fmt.Errorf("cut the connection: %w", err)
	}
	return nil
}

// Close cuts, and gives the port back.
func (p *proxy) Close() error { return errors.Join(p.Cut(), p.port.Release()) }

func (p *proxy) accept(ctx context.Context, listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return // closed by Cut
		}
		if !p.track(listener, client) {
			return
		}
		p.wg.Go(func() {
			defer p.forget(client)
			p.serve(ctx, listener, client)
		})
	}
}

func (p *proxy) serve(ctx context.Context, listener net.Listener, client net.Conn) {
	server, err := p.dial(ctx)
	if err != nil || !p.track(listener, server) {
		return // the client sees a closed connection, as from a server that is not there
	}
	defer p.forget(server)
	stranded := p.strand()
	var wg sync.WaitGroup
	wg.Go(func() { pass(ctx, server, client, stranded) })
	pass(ctx, client, server, stranded)
	wg.Wait()
}

// strand is a connection's own.
func (p *proxy) strand() *atomic.Bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	stranded := new(atomic.Bool)
	p.strands = append(p.strands, stranded)
	return stranded
}

// Strand lets nothing pass over the connections that are open now, which stay open: as where a host has vanished, or something on
// the way has forgotten them. New ones work.
func (p *proxy) Strand() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, stranded := range p.strands {
		stranded.Store(true)
	}
	p.strands = nil
}

// pass copies until one side ends, and then ends both: Redis and PostgreSQL do
// not use half-closed connections. Of a stranded one no side sees how the other ends.
func pass(ctx context.Context, to, from net.Conn, stranded *atomic.Bool) {
	_, _ = io.Copy(perhaps{to, stranded}, from) // whatever ends it, both sides see a closed connection
	if stranded.Load() {
		<-ctx.Done()
	}
	_ = to.Close()
	_ = from.Close()
}

// perhaps writes to a connection, or nowhere once that is stranded.
type perhaps struct {
	net.Conn

	stranded *atomic.Bool
}

func (p perhaps) Write(b []byte) (int, error) {
	if p.stranded.Load() {
		return len(b), nil
	}
	return p.Conn.Write(b)
}

// track notes conn for Cut, or closes it where listener has been cut already.
func (p *proxy) track(listener net.Listener, conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != listener {
		_ = conn.Close()
		return false
	}
	p.conns[conn] = struct{}{}
	return true
}

func (p *proxy) forget(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
	_ = conn.Close()
}

// dialTo returns a dialer for addr, over TLS where config is not nil.
func dialTo(network, addr string, config *tls.Config) dialer {
	return func(ctx context.Context) (net.Conn, error) {
		if config != nil {
			return (&tls.Dialer{Config: config}).DialContext(ctx, network, addr)
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
}

// redisURL names database number behind the proxy at addr, with the
// credentials of the server behind it. The proxy takes TLS off.
func redisURL(options *redis.Options, addr string, number int) string {
	u := url.URL{Scheme: "redis", Host: addr, Path: "/" + strconv.Itoa(number)}
	if options.Username != "" || options.Password != "" {
		u.User = url.UserPassword(options.Username, options.Password)
	}
	return u.String()
}
