package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"
)

// Timeouts bound the steps of a delivery. A zero field takes its default.
type Timeouts struct {
	Dial    time.Duration // resolving the host and connecting; 0: 10 s
	Command time.Duration // each exchange from the greeting to the content, TLS handshake included; 0: 30 s
	Answer  time.Duration // the server's answer to the whole message; 0: 10 min (RFC 5321, section 4.5.3.2.6)
	// Total bounds everything from dialling to the answer; it cuts the others short. 0: the URL's timeout, else 12 min.
	Total time.Duration
}

// quitTimeout bounds the courtesy of a QUIT; its answer changes nothing.
const quitTimeout = 5 * time.Second

// Config says where mail goes and who it comes from.
type Config struct {
	URL      string   // smtp://user:password@host:port?tls=…, see ParseURL; required
	From     string   // the sender, "no-reply@example.com" or "Example <no-reply@example.com>"; required
	Timeouts Timeouts // zero: the defaults, field by field
	// TLSConfig is what TLS starts from, such as the roots of a private authority. Nil: the system's roots. A configuration that
	// skips verification is refused.
	TLSConfig *tls.Config
	Logger    *slog.Logger // what is worth knowing but no error: a QUIT that fails; nil: nothing is logged
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

// Sender hands messages to one server. It is safe for concurrent use; every message has a connection of its own.
type Sender struct {
	url      URL
	from     mailbox
	helo     string
	timeouts Timeouts
	tls      *tls.Config
	log      *slog.Logger
}

// NewSender checks the configuration; it does not connect (see Ping). The error is a *URLError, a *MessageError for From, or says
// what else is wrong.
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
	return s, nil
}

func (t *Timeouts) fill(total time.Duration) error {
	if total == 0 {
		total = 12 * time.Minute
	}
	for _, field := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{{&t.Dial, 10 * time.Second}, {&t.Command, 30 * time.Second}, {&t.Answer, 10 * time.Minute}, {&t.Total, total}} {
		if *field.value < 0 {
			return errors.New("mail: a timeout is negative; leave it zero for the default")
		}
		if *field.value == 0 {
			*field.value = field.fallback
		}
	}
	return nil
}

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

// Timeout is the longest that Send or Ping takes. A lease on a mail must last longer than this.
func (s *Sender) Timeout() time.Duration { return s.timeouts.Total }

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
// Every other error is a *SendError. A message the server accepted is never an error, whatever happens to the connection, or to ctx,
// after that. When ctx ends, the connection is cut: the outcome is then ambiguous only if the whole message was out already.
func (s *Sender) Send(ctx context.Context, m Message, beforeData func(ctx context.Context) error) (Answer, error) {
	msg, err := s.render(m)
	if err != nil {
		return Answer{}, newSendError(StageMessage, err, nil)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeouts.Total, errTotalTimeout)
	defer cancel()
	c, err := s.open(ctx)
	if err != nil {
		return Answer{}, err
	}
	defer c.close(ctx)

	if err := c.envelope(ctx, s.from, msg.to); err != nil {
		return Answer{}, err
	}
	if beforeData != nil {
		if err := beforeData(ctx); err != nil {
			return Answer{}, fmt.Errorf("mail: not sent, withdrawn before DATA: %w", err)
		}
	}
	return c.content(ctx, msg.data)
}

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
