package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/wneessen/go-mail/smtp"
)

// maxSession bounds what a server may say in one session, so that an endless reply ends before memory does.
const maxSession = 1 << 20 // bytes

var (
	errNoStartTLS = errors.New("the server offers no STARTTLS, and nothing is sent in clear")
	errNoAuth     = errors.New("the server offers neither AUTH PLAIN nor AUTH LOGIN on this connection")
	errNoUTF8     = errors.New("the server does not carry addresses beyond ASCII (SMTPUTF8)")
	errTooMuch    = errors.New("the server said more than 1 MiB")
)

// conn is one session with the server. It drives go-mail's protocol client command by command, and not its Client: only so is the
// stage of a failure known, can a check stand right before DATA, and is a socket closed when logging in fails.
type conn struct {
	sender *Sender
	socket net.Conn // below TLS; closing it ends whatever the session waits for
	client *smtp.Client
	broken bool // the server has gone silent or away: no QUIT
}

// open connects and logs in. The error is a *SendError.
func (s *Sender) open(ctx context.Context) (*conn, error) {
	c := &conn{sender: s}
	if err := c.start(ctx); err != nil {
		c.close(ctx)
		return nil, err
	}
	return c, nil
}

func (c *conn) start(ctx context.Context) error {
	s := c.sender
	if err := c.dial(ctx); err != nil {
		return err
	}
	stream := c.socket
	if s.url.TLS == TLSImplicit {
		secured := tls.Client(c.socket, s.tls)
		if err := c.step(ctx, StageTLS, s.timeouts.Command, func() error { return secured.HandshakeContext(ctx) }); err != nil {
			return err
		}
		stream = secured
	}
	greet := func() (err error) {
		if c.client, err = smtp.NewClient(stream, s.url.Host); err != nil {
			return fmt.Errorf("greeting: %w", err)
		}
		return nil
	}
	if err := c.step(ctx, StageGreeting, s.timeouts.Command, greet); err != nil {
		return err
	}
	if err := c.step(ctx, StageHello, s.timeouts.Command, func() error { return c.client.Hello(s.helo) }); err != nil {
		return err
	}
	if s.url.TLS == TLSStartTLS {
		if err := c.step(ctx, StageTLS, s.timeouts.Command, c.startTLS); err != nil {
			return err
		}
	}
	if s.url.login == nil {
		return nil
	}
	return c.step(ctx, StageAuth, s.timeouts.Command, c.login)
}

func (c *conn) startTLS() error {
	if offered, _ := c.client.Extension("STARTTLS"); !offered {
		return errNoStartTLS
	}
	if err := c.client.StartTLS(c.sender.tls); err != nil {
		return fmt.Errorf("start tls: %w", err)
	}
	return nil
}

func (c *conn) dial(ctx context.Context) error {
	dialing, cancel := context.WithTimeoutCause(ctx, c.sender.timeouts.Dial, errStageTimeout)
	defer cancel()
	var dialer net.Dialer
	socket, err := dialer.DialContext(dialing, "tcp", c.sender.url.address())
	if err != nil {
		return newSendError(StageDial, ended(dialing, err), nil)
	}
	c.socket = &boundedConn{Conn: socket, left: maxSession}
	return nil
}

// login prefers PLAIN: one round trip, and no weaker than LOGIN. Without TLS it only comes here towards this machine or after an
// explicit insecure=yes.
func (c *conn) login() error {
	u := c.sender.url
	_, offered := c.client.Extension("AUTH")
	mechanisms := strings.Fields(strings.ToUpper(offered))
	clear := u.TLS == TLSNone
	user, password := u.login()
	switch {
	case slices.Contains(mechanisms, "PLAIN"):
		return c.client.Auth(smtp.PlainAuth("", user, password, u.Host, clear)) //nolint:wrapcheck // step wraps it
	case slices.Contains(mechanisms, "LOGIN"):
		return c.client.Auth(smtp.LoginAuth(user, password, u.Host, clear)) //nolint:wrapcheck // step wraps it
	default:
		return errNoAuth
	}
}

// envelope names sender and recipient, or the sender alone.
func (c *conn) envelope(ctx context.Context, from, to mailbox) error {
	limit := c.sender.timeouts.Command
	needed := from.utf8 || to.utf8
	if offered, _ := c.client.Extension("SMTPUTF8"); needed && !offered {
		e := newSendError(StageRcpt, errNoUTF8, nil)
		e.Outcome = OutcomePermanent
		if from.utf8 {
			e.Stage, e.Outcome = StageMail, OutcomeConfiguration
		}
		return e
	}
	// Asked for without need, it would make a message undeliverable behind the first server that lacks it.
	c.client.SkipSMTPUTF8(!needed)
	if err := c.step(ctx, StageMail, limit, func() error { return c.client.Mail("<" + from.address + ">") }); err != nil {
		return err
	}
	if to.address == "" {
		return nil
	}
	return c.step(ctx, StageRcpt, limit, func() error { return c.client.Rcpt("<" + to.address + ">") })
}

// content sends the message and takes the answer to it.
func (c *conn) content(ctx context.Context, data []byte) (Answer, error) {
	limit := c.sender.timeouts.Command
	var body io.WriteCloser
	begin := func() (err error) {
		if body, err = c.client.Data(); err != nil {
			return fmt.Errorf("begin: %w", err)
		}
		return nil
	}
	if err := c.step(ctx, StageData, limit, begin); err != nil {
		return Answer{}, err
	}
	write := func() error {
		if _, err := body.Write(data); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		return nil
	}
	if err := c.step(ctx, StageContent, limit, write); err != nil {
		return Answer{}, err
	}
	err := c.step(ctx, StageAnswer, c.sender.timeouts.Answer, body.Close)
	failed, _ := errors.AsType[*SendError](err)
	switch {
	case err == nil:
		reply := ""
		if closer, ok := body.(*smtp.DataCloser); ok {
			reply = closer.ServerResponse()
		}
		return Answer{Code: 250, Reply: oneLine(reply)}, nil
	case failed != nil && failed.Code/100 == 2: // RFC 5321, section 4.2.1: every 2xx is an acceptance
		return Answer{Code: failed.Code, Reply: failed.Reply}, nil
	default:
		return Answer{}, err
	}
}

// step runs one exchange within its own limit. When the limit or ctx ends first, it closes the socket, which ends the exchange.
func (c *conn) step(ctx context.Context, stage Stage, limit time.Duration, exchange func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errStageTimeout)
	defer cancel()
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		_ = c.socket.Close()
	})
	err := exchange()
	if !stop() {
		<-closed
		c.broken = true
	}
	if err == nil {
		return nil
	}
	if _, replied := errors.AsType[*textproto.Error](err); !replied {
		c.broken = true // also in the middle of the content, where a QUIT would be a line of the message
		err = ended(ctx, err)
	}
	return newSendError(stage, err, c.sender.url.login)
}

// ended is why ctx ended, if it did, and err otherwise: a socket closed under a session says nothing by itself.
func ended(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	switch {
	case cause == nil:
		return err
	case errors.Is(ctx.Err(), context.Canceled) && !errors.Is(cause, context.Canceled): // a caller's own cause
		return fmt.Errorf("%w: %w", context.Canceled, cause)
	default:
		return fmt.Errorf("gave up: %w", cause)
	}
}

// close takes leave if there is still somebody to take leave of, and closes the socket.
func (c *conn) close(ctx context.Context) {
	if c.socket == nil {
		return
	}
	if c.client != nil && c.client.HasConnection() && !c.broken && ctx.Err() == nil {
		if err := c.step(ctx, "quit", min(quitTimeout, c.sender.timeouts.Command), c.client.Quit); err != nil {
			c.sender.log.LogAttrs(ctx, slog.LevelDebug, "smtp server did not answer quit", slog.String("server", c.sender.url.address()))
		}
	}
	_ = c.socket.Close()
}

// boundedConn ends a session in which the server talks without end.
type boundedConn struct {
	net.Conn

	left int
}

// Read counts what the server says.
func (b *boundedConn) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooMuch
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err //nolint:wrapcheck // a Conn passes errors on as they are: io.EOF must stay io.EOF
}
