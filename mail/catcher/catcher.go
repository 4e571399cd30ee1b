// Package catcher is a mail server that delivers nothing: it keeps what it is given, in memory, for people and tests to look at.
//
// It speaks real SMTP over a real socket, so that what is tested against it is what production does, and it can be told to refuse,
// to stall, to cut the connection, and to go away and come back. It refuses to listen anywhere but on loopback: what it keeps holds
// working links.
package catcher

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

// Limits of what is kept and of how long a silent client is listened to.
const (
	defaultKeep      = 1000
	defaultKeepBytes = 64 << 20
	maxBytes         = 10 << 20 // of one mail

	readTimeout  = 10 * time.Minute
	writeTimeout = time.Minute
)

// Options tell a catcher to behave other than well. The zero value takes every mail, in clear, from anybody.
type Options struct {
	// TLS offers STARTTLS with this configuration, or, with ImplicitTLS, speaks TLS from the first byte. Nil: no TLS.
	TLS         *tls.Config
	ImplicitTLS bool
	// User and Password are demanded through AUTH PLAIN; with TLS, only behind it. Empty User: nobody has to log in.
	User, Password string
	// WithoutUTF8 does not offer SMTPUTF8. False: it is offered.
	WithoutUTF8 bool
	// Hook decides at every stage of every session. Nil: everything is accepted. See Hook.
	Hook Hook
	// Keep is how many mails are kept; the oldest go first. 0: 1,000.
	Keep int
	// KeepBytes is how much memory they may take, about; the oldest go first, and the newest stays whatever its size. 0: 64 MiB.
	KeepBytes int
	// Now tells the time at which a mail came. Nil: time.Now.
	Now func() time.Time
}

// Catcher is a running server. It is safe for concurrent use.
type Catcher struct {
	options Options
	addr    string // fixed by the first listen, so that Restart finds the same place

	mu       sync.Mutex
	caught   []Caught
	bytes    int           // of what is in caught
	last     uint64        // ID that was given
	changed  chan struct{} // closed and replaced whenever a mail comes
	sessions int
	running  *running // nil while stopped
	closed   bool
}

// running is one life of the server, from Start or Restart to Stop.
type running struct {
	server   *smtp.Server
	listener *listener
	cancel   context.CancelFunc
	served   chan struct{} // closed when the accepting loop has ended
}

// Start listens on a loopback address, such as "127.0.0.1:0" for a free port, and takes every mail.
func Start(addr string) (*Catcher, error) { return StartWith(addr, Options{}) }

// StartWith is Start with options.
func StartWith(addr string, o Options) (*Catcher, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("catcher: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("catcher: %s is not a loopback address; what is caught holds working links", addr)
	}
	if o.ImplicitTLS && o.TLS == nil {
		return nil, errors.New("catcher: ImplicitTLS needs TLS")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Keep <= 0 {
		o.Keep = defaultKeep
	}
	if o.KeepBytes <= 0 {
		o.KeepBytes = defaultKeepBytes
	}
	c := &Catcher{options: o, addr: addr, changed: make(chan struct{})}
	if err := c.Restart(); err != nil {
		return nil, err
	}
	return c, nil
}

// Restart listens again after Stop, on the same address, with the mails that were caught before.
func (c *Catcher) Restart() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return errors.New("catcher: closed")
	case c.running != nil:
		return errors.New("catcher: is running")
	}
	ctx, cancel := context.WithCancel(context.Background())
	var config net.ListenConfig
	inner, err := config.Listen(ctx, "tcp", c.addr)
	if err != nil {
		cancel()
		return fmt.Errorf("catcher: %w", err)
	}
	c.addr = inner.Addr().String()
	r := &running{listener: &listener{Listener: inner, conns: map[*tracked]struct{}{}}, cancel: cancel, served: make(chan struct{})}
	r.server = c.newServer(ctx)
	c.running = r

	var accepting net.Listener = r.listener
	if c.options.ImplicitTLS {
		accepting = tls.NewListener(r.listener, c.options.TLS)
	}
	go func() { // ended by Stop, which waits for served
		defer close(r.served)
		_ = r.server.Serve(accepting) // it ends with the error of the closed listener
	}()
	return nil
}

func (c *Catcher) newServer(ctx context.Context) *smtp.Server {
	server := smtp.NewServer(smtp.BackendFunc(func(peer *smtp.Conn) (smtp.Session, error) { return c.newSession(ctx, peer) }))
	server.Domain = "catcher.localhost"
	server.MaxMessageBytes = maxBytes
	server.ReadTimeout = readTimeout
	server.WriteTimeout = writeTimeout
	server.EnableSMTPUTF8 = !c.options.WithoutUTF8
	server.AllowInsecureAuth = c.options.TLS == nil
	server.ErrorLog = silence{}
	if !c.options.ImplicitTLS {
		server.TLSConfig = c.options.TLS
	}
	return server
}

// Stop goes away like a server that crashed: it stops listening, cuts every connection, and waits until nothing of it runs any more.
// What was caught stays. Stopping twice is the same as once.
func (c *Catcher) Stop() error {
	c.mu.Lock()
	r := c.running
	c.running = nil
	c.mu.Unlock()
	if r == nil {
		return nil
	}
	err := r.listener.Close()
	<-r.served // from here on no connection is added
	r.listener.cut()
	r.cancel() // after the cut: what a waiting hook decides now reaches nobody
	if waited := r.server.Shutdown(context.Background()); waited != nil && !errors.Is(waited, net.ErrClosed) {
		err = errors.Join(err, waited)
	}
	if err != nil {
		return fmt.Errorf("catcher: stop: %w", err)
	}
	return nil
}

// Close is Stop for good.
func (c *Catcher) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	return c.Stop()
}

// Addr is host:port, the same after every Restart.
func (c *Catcher) Addr() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.addr
}

// URL is where to send mail to, with the mode of TLS and the credentials that the options demand.
func (c *Catcher) URL() string {
	u := url.URL{Scheme: "smtp", Host: c.Addr(), RawQuery: "tls=none"}
	switch {
	case c.options.ImplicitTLS:
		u.RawQuery = "tls=implicit"
	case c.options.TLS != nil:
		u.RawQuery = "tls=starttls"
	}
	if c.options.User != "" {
		u.User = url.UserPassword(c.options.User, c.options.Password)
	}
	return u.String()
}

// Messages are the mails that were caught, oldest first.
func (c *Catcher) Messages() []Caught {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.caught)
}

// Sessions counts the greetings (EHLO or HELO) since Start; a session with STARTTLS greets twice.
func (c *Catcher) Sessions() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sessions
}

// Wait returns the oldest mail that matches, at once or when it comes; nil matches every mail. It ends with ctx.
func (c *Catcher) Wait(ctx context.Context, match func(Caught) bool) (Caught, error) {
	for {
		c.mu.Lock()
		mails, changed := slices.Clone(c.caught), c.changed
		c.mu.Unlock()
		for _, mail := range mails {
			if match == nil || match(mail) {
				return mail, nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Caught{}, fmt.Errorf("catcher: none of the %d mails caught is the one waited for: %w", len(mails), ctx.Err())
		}
	}
}

// Forget forgets all mails that were caught so far.
func (c *Catcher) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.caught, c.bytes = nil, 0
}

func (c *Catcher) keep(mail Caught) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	mail.ID = c.last
	c.caught = append(c.caught, mail)
	c.bytes += mail.size()
	for len(c.caught) > 1 && (len(c.caught) > c.options.Keep || c.bytes > c.options.KeepBytes) {
		c.bytes -= c.caught[0].size()
		c.caught = slices.Delete(c.caught, 0, 1)
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// listener remembers its open connections, because go-smtp can either cut them or wait for them, not both.
type listener struct {
	net.Listener

	mu    sync.Mutex
	conns map[*tracked]struct{}
}

// tracked is a connection that its listener can cut.
type tracked struct {
	net.Conn

	owner *listener
}

// Accept remembers the connection.
func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err //nolint:wrapcheck // a Listener passes errors on as they are: go-smtp looks at them
	}
	t := &tracked{Conn: conn, owner: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[t] = struct{}{}
	return t, nil
}

// Close forgets the connection.
func (t *tracked) Close() error {
	t.owner.mu.Lock()
	delete(t.owner.conns, t)
	t.owner.mu.Unlock()
	return t.Conn.Close() //nolint:wrapcheck // a Conn passes errors on as they are
}

// cut closes the sockets below TLS and below the sessions, which then end by themselves.
func (l *listener) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for t := range l.conns {
		_ = t.Conn.Close()
	}
}

// silence is a go-smtp logger: what a misbehaving client does is its own error, which it reports itself.
type silence struct{}

// Printf does nothing.
func (silence) Printf(string, ...any) {}

// Println does nothing.
func (silence) Println(...any) {}
