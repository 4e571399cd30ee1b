package mail

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"
)

// Timeouts bound the steps of a delivery. A zero field takes its default.
type Timeouts struct {
	Dial    time.Duration // resolving the host and connecting; 0: 10 s
	Command time.Duration // each exchange from the greeting to the content, TLS handshake included; 0: 30 s
	Answer  time.Duration // the server's answer to the whole message; 0: 10 min (RFC 5321, section 4.5.3.2.6)
	// Total bounds everything from dialling to the answer; it cuts the others short. A message of whose time less than Answer is left, or
	// less than half of Total where that is shorter, is given up before DATA. 0: the URL's timeout, else 12 min.
	Total time.Duration
	// Wait is how long a message waits for a connection while all are in use, beside Total. 0: 2 min, or Total where that is shorter.
	Wait time.Duration
}

// Config says where mail goes and who it comes from.
type Config struct {
	URL      string   // smtp://user:password@host:port?tls=…, see ParseURL; required
	From     string   // the sender, "no-reply@example.com" or "Example <no-reply@example.com>"; required
	Timeouts Timeouts // zero: the defaults, field by field
	DKIM     DKIM     // what messages are signed with; zero: they are not

	// MaxConns is how many connections to the server there are at most, idle ones included; further messages wait for one, as
	// long as Timeouts.Wait. 0: the URL's connections, else 10.
	MaxConns int
	// MaxMessages is how many messages go over one connection before it is closed; 1: each has its own. 0: 100.
	MaxMessages int
	// IdleTimeout is how long a connection is kept for the next message. It is to be shorter than the server's own. 0: 1 min.
	IdleTimeout time.Duration

	// TLSConfig is what TLS starts from, such as the roots of a private authority. Nil: the system's roots. A configuration that
	// skips verification is refused.
	TLSConfig *tls.Config
	Logger    *slog.Logger     // what is worth knowing but no error: a QUIT that fails; nil: nothing is logged
	Now       func() time.Time // how long a connection was idle, and what is left of a delivery; nil: time.Now
}

// String leaves the credentials of the URL out.
func (c Config) String() string {
	u, err := ParseURL(c.URL)
	if err != nil {
		return "mail.Config(" + err.Error() + ")"
	}
	return "mail.Config(" + u.String() + ")"
}

// GoString keeps %#v from showing the credentials.
func (c Config) GoString() string { return c.String() }

// LogValue keeps the credentials out of logs.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Sender hands messages to one server, and keeps its connections for further ones. It is safe for concurrent use: each message has a
// connection for itself while it is sent. Close it when no more is to be sent.
type Sender struct {
	url         URL
	from        mailbox
	helo        string
	timeouts    Timeouts
	maxMessages int
	tls         *tls.Config
	log         *slog.Logger
	pool        *pool
	dkim        signer // nil: nothing is signed
}

// NewSender checks the configuration; it does not connect (see Ping). The error is a *URLError, a *MessageError for From, a *DKIMError,
// or says what else is wrong.
func NewSender(c Config) (*Sender, error) {
	u, err := ParseURL(c.URL)
	if err != nil {
		return nil, err
	}
	from, err := parseSender(c.From)
	if err != nil {
		return nil, fmt.Errorf("mail: %w", err)
	}
	s := &Sender{url: u, from: from, helo: u.Helo, timeouts: c.Timeouts, log: c.Logger}
	if s.helo == "" {
		if s.helo, err = os.Hostname(); err != nil || !validHelo(s.helo) {
			s.helo = "localhost"
		}
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.timeouts.fill(u.Timeout); err != nil {
		return nil, err
	}
	if s.tls, err = tlsConfig(c.TLSConfig, u.Host); err != nil {
		return nil, err
	}
	if s.dkim, err = c.DKIM.signer(); err != nil {
		return nil, fmt.Errorf("mail: %w", err)
	}
	if c.MaxConns < 0 || c.MaxMessages < 0 || c.IdleTimeout < 0 {
		return nil, errors.New("mail: MaxConns, MaxMessages or IdleTimeout is negative; leave it zero for the default")
	}
	s.maxMessages = cmp.Or(c.MaxMessages, defaultMessages)
	s.pool = &pool{limit: cmp.Or(c.MaxConns, u.Connections, defaultConns), idle: cmp.Or(c.IdleTimeout, defaultIdle), now: c.Now}
	if s.pool.now == nil {
		s.pool.now = time.Now
	}
	return s, nil
}

func (t *Timeouts) fill(total time.Duration) error {
	if total == 0 {
		total = 12 * time.Minute
	}
	for _, field := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{{&t.Dial, 10 * time.Second}, {&t.Command, 30 * time.Second}, {&t.Answer, 10 * time.Minute}, {&t.Total, total}, {&t.Wait, 0}} {
		if *field.value < 0 {
			return errors.New("mail: a timeout is negative; leave it zero for the default")
		}
		if *field.value == 0 {
			*field.value = field.fallback
		}
	}
	if t.Wait == 0 {
		t.Wait = min(defaultWait, t.Total)
	}
	return nil
}

// reserve is how much of a message's time must be left when its content begins.
func (t *Timeouts) reserve() time.Duration { return min(t.Answer, t.Total/2) }

func tlsConfig(given *tls.Config, host string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if given != nil {
		config = given.Clone()
	}
	if config.InsecureSkipVerify {
		return nil, errors.New("mail: TLSConfig skips verification; put the server's authority into RootCAs instead")
	}
	if config.ServerName == "" {
		config.ServerName = host
	}
	if config.MinVersion < tls.VersionTLS12 {
		config.MinVersion = tls.VersionTLS12
	}
	return config, nil
}

// Domain is that of the sender's address, in ASCII: what Message-IDs are to end in, unless there is a better one.
func (s *Sender) Domain() string {
	return s.from.address[strings.LastIndexByte(s.from.address, '@')+1:]
}

// MaxConns is how many connections to the server there are at most.
func (s *Sender) MaxConns() int { return s.pool.limit }

// Timeout is the longest that Send or Ping takes, waiting for a connection included. A lease on a mail must last longer than this.
func (s *Sender) Timeout() time.Duration { return s.timeouts.Wait + s.timeouts.Total }

// Answer is how the server accepted a message.
type Answer struct {
	Code  int    // 2xx
	Reply string // one line of at most 1,000 bytes; often the server's queue ID
}

// Send hands one message over and waits for the server's answer.
//
// beforeData is asked once the server has accepted the recipient, as the last thing before DATA: the caller's moment to see that the
// message is still wanted. Its error ends the delivery with nothing sent, and is returned wrapped, not as a *SendError. Nil: not asked.
//
// A kept connection that turns out to be gone before any of the content was sent costs nothing but time: the message begins again on
// a fresh one, once, and beforeData may then be asked again.
//
// Every other error is a *SendError. A message the server accepted is never an error, whatever happens to the connection, or to ctx,
// after that. When ctx ends, the connection is cut: the outcome is then ambiguous only if the whole message was out already.
func (s *Sender) Send(ctx context.Context, m Message, beforeData func(ctx context.Context) error) (Answer, error) {
	msg, err := s.render(m)
	if err != nil {
		return Answer{}, newSendError(StageMessage, err, nil)
	}
	waiting, stop := context.WithTimeoutCause(ctx, s.timeouts.Wait, errWaitTimeout)
	defer stop()
	c, err := s.pool.take(waiting)
	if err != nil {
		return Answer{}, busy(err)
	}
	until := s.pool.now().Add(s.timeouts.Total)
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeouts.Total, errTotalTimeout)
	defer cancel()
	if c, err = s.session(ctx, waiting, c); err != nil {
		return Answer{}, err
	}
	defer func() { s.release(ctx, c) }()

	answer, err := c.deliver(ctx, until, msg, beforeData)
	if c.stale(ctx, err) {
		c.close(ctx)
		if c, err = s.dial(ctx, waiting); err != nil {
			return Answer{}, err
		}
		answer, err = c.deliver(ctx, until, msg, beforeData)
	}
	return answer, err
}

// session makes what the pool gave, a connection or a slot, one to send a message over. The error is a *SendError.
func (s *Sender) session(ctx, waiting context.Context, c *conn) (*conn, error) {
	for c != nil {
		if c.fit(ctx) {
			s.pool.count(c)
			return c, nil
		}
		c.close(ctx)
		s.pool.free()
		var err error
		if c, err = s.pool.take(waiting); err != nil {
			return nil, busy(err)
		}
	}
	return s.dial(ctx, waiting)
}

// dial makes a connection in the caller's slot, or gives the slot up. Where the server wants no more of them, but has some of ours, it
// waits for one of those.
func (s *Sender) dial(ctx, waiting context.Context) (*conn, error) {
	for {
		c, err := s.open(ctx)
		if err == nil {
			s.pool.count(c)
			return c, nil
		}
		failed, _ := errors.AsType[*SendError](err)
		if failed == nil || failed.Code/100 != 4 || (failed.Stage != StageGreeting && failed.Stage != StageHello) {
			s.pool.free()
			return nil, err
		}
		c, others, waited := s.pool.refused(waiting)
		switch {
		case !others:
			s.pool.free()
			return nil, err
		case waited != nil:
			return nil, err // the server's own answer says more than that the others stayed busy
		case c == nil: // a slot
		case c.fit(ctx):
			s.pool.count(c)
			return c, nil
		default:
			c.close(ctx) // its slot is ours
		}
	}
}

// release keeps the connection where it can be used again.
func (s *Sender) release(ctx context.Context, c *conn) {
	if c == nil || (c.keep && s.pool.put(c)) {
		return
	}
	c.close(ctx)
	s.pool.free()
}

// busy is the error of a message that found no connection in time. It says nothing about server or recipient.
func busy(err error) *SendError {
	e := newSendError(StageDial, err, nil)
	e.Outcome = OutcomeTemporary
	return e
}

// Stats are the figures of the connections, for metrics.
func (s *Sender) Stats() Stats { return s.pool.stats() }

// Close takes leave of the idle connections, each within 5 seconds. It waits for no message: one that is being sent is sent to its end,
// and its connection closed then. A closed Sender still sends, and keeps no connection. Closing twice is the same as once.
func (s *Sender) Close() { s.pool.close() }

// Ping connects, starts TLS and authenticates as for a message, and leaves. Its error is a *SendError.
func (s *Sender) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeouts.Total, errTotalTimeout)
	defer cancel()
	c, err := s.open(ctx)
	if err != nil {
		return err
	}
	c.close(ctx)
	return nil
}

// PingFrom is Ping, and asks too whether the server would take a message from the sender's address. It names no recipient, and takes
// the question back: nothing is sent. The error is a *SendError.
func (s *Sender) PingFrom(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeouts.Total, errTotalTimeout)
	defer cancel()
	c, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer c.close(ctx)
	if err := c.envelope(ctx, s.from, mailbox{}); err != nil {
		return err
	}
	return c.step(ctx, StageMail, s.timeouts.Command, c.client.Reset)
}
