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
	"time"

	"github.com/wneessen/go-mail/smtp"
)

// maxSession bounds what a server may say while it takes one message, so that an endless reply ends before memory does.
const maxSession = 1 << 20 // bytes

// Courtesies, whose answers decide about a session and never about a message, and how long an answer may take.
const (
	stageQuit  Stage = "quit"
	stageReset Stage = "rset"
	stageNoop  Stage = "noop"

	quitTimeout = 5 * time.Second
	noopTimeout = 5 * time.Second
)

var (
	errNoStartTLS = errors.New("the server offers no STARTTLS, and nothing is sent in clear")
	errNoUTF8     = errors.New("the server does not carry addresses beyond ASCII (SMTPUTF8)")
	errTooMuch    = errors.New("the server said more than 1 MiB")
)

// conn is one session with the server. It drives go-mail's protocol client command by command, and not its Client: only so is the
// stage of a failure known, can a check stand right before DATA, and is a socket closed when logging in fails.
//
// One goroutine has it at a time. After a message whose content was answered the server has nothing left of it (RFC 5321, section
// 4.1.1.4), and the next one begins with its MAIL; only after a message that ended earlier does RSET come first.
type conn struct {
	sender *Sender
	socket *boundedConn // below TLS; closing it ends whatever the session waits for
	client *smtp.Client
	broken bool // the server has gone silent or away: no QUIT

	messages  int       // begun in this session
	keep      bool      // the session is fit for a further message
	dirty     bool      // a message was begun and not ended: RSET comes before the next one
	idleSince time.Time // of an idle one
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
	var stream net.Conn = c.socket
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
		err = clean(stage, ended(ctx, err), c.sender.url.login)
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
		if err := c.step(ctx, stageQuit, min(quitTimeout, c.sender.timeouts.Command), c.client.Quit); err != nil {
			c.sender.log.LogAttrs(ctx, slog.LevelDebug, "smtp server did not answer quit", slog.String("server", c.sender.url.address()))
		}
	}
	_ = c.socket.Close()
}

// deliver sends one message, whose time ends at until, and says whether the session is fit for another.
func (c *conn) deliver(ctx context.Context, until time.Time, msg rendered, beforeData func(ctx context.Context) error) (Answer, error) {
	c.keep = false
	c.messages++
	answer, err := c.transact(ctx, until, msg, beforeData)
	c.keep = c.stays(err)
	return answer, err
}

func (c *conn) transact(ctx context.Context, until time.Time, msg rendered, beforeData func(ctx context.Context) error) (Answer, error) {
	if err := c.envelope(ctx, c.sender.from, msg.to); err != nil {
		return Answer{}, err
	}
	if beforeData != nil {
		if err := beforeData(ctx); err != nil {
			return Answer{}, fmt.Errorf("mail: not sent, withdrawn before DATA: %w", err)
		}
	}
	if until.Sub(c.sender.pool.now()) < c.sender.timeouts.reserve() {
		return Answer{}, newSendError(StageData, errTooLate, nil)
	}
	return c.content(ctx, msg.data)
}

// stays decides whether the session outlives what became of a message. What leaves any doubt ends it.
func (c *conn) stays(err error) bool {
	failed, sent := errors.AsType[*SendError](err)
	switch {
	case c.broken || c.messages >= c.sender.maxMessages:
		return false
	case err == nil || errors.Is(err, errNoUTF8): // of the latter the server heard nothing
		return true
	case !sent || errors.Is(err, errTooLate): // withdrawn
		c.dirty = true
		return true
	case failed.Code == codeClosing:
		c.broken = true // there is nobody to take leave of
		return false
	case failed.Stage == StageMail || loginCode(failed.Code) || (failed.Code/100 != 4 && failed.Code/100 != 5):
		return false // about the session, not the recipient; or no answer to what was asked
	default:
		c.dirty = true
		return true
	}
}

// codeClosing is the server's word that it ends the session (RFC 5321, section 3.8).
const codeClosing = 421

// stale reports whether the session, and not the message, may be what failed: a server can end an idle session at any time, and says
// so in the middle of the next message, or not at all. Nothing of the message's content has been sent then.
func (c *conn) stale(ctx context.Context, err error) bool {
	failed, ok := errors.AsType[*SendError](err)
	switch {
	case !ok || c.messages < 2 || ctx.Err() != nil || errors.Is(err, errNoUTF8) || errors.Is(err, errTooLate):
		return false
	case failed.Stage == StageMail:
		return true // whatever was answered: no recipient was named
	case failed.Stage == StageRcpt || failed.Stage == StageData:
		return failed.Code == 0 || failed.Code == codeClosing
	default:
		return false
	}
}

// fit looks whether an idle session can be used. It costs a round trip only after a message that ended early, or a long time.
func (c *conn) fit(ctx context.Context) bool {
	age := c.sender.pool.now().Sub(c.idleSince)
	switch {
	case age >= c.sender.pool.idle:
		return false
	case c.client.Text.R.Buffered() > 0 || !quiet(c.socket.Conn): // the server ended it, or is about to
		c.broken = true
		return false
	}
	c.socket.left = maxSession
	limit := min(noopTimeout, c.sender.timeouts.Command)
	switch {
	case c.dirty:
		if err := c.step(ctx, stageReset, limit, c.client.Reset); err != nil {
			return false
		}
		c.dirty = false
	case age >= noopAfter:
		return c.step(ctx, stageNoop, limit, c.client.Noop) == nil
	}
	return true
}

// abandon closes the socket without a word.
func (c *conn) abandon() { _ = c.socket.Close() }

// boundedConn ends a message in which the server talks without end.
type boundedConn struct {
	net.Conn

	left int // bytes
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
