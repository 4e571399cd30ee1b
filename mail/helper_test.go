package mail_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"

	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/mail/catcher"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const from = "Example <no-reply@example.com>"

func message() mail.Message {
	return mail.Message{
		ID:      "0199c0de-7000-7000-8000-000000000001.1@example.com",
		To:      "ann@example.org",
		Subject: "Confirm your address",
		Text:    "Open https://example.com/confirm?key=abc\n",
		HTML:    "<p><a href=\"https://example.com/confirm?key=abc\">Confirm</a></p>\n",
		Date:    time.Date(2026, 3, 29, 1, 30, 0, 0, time.UTC),
	}
}

// bounded ends a test that would otherwise hang.
func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func startCatcher(t *testing.T, o catcher.Options) *catcher.Catcher {
	t.Helper()
	c, err := catcher.StartWith("127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close the catcher: %v", err)
		}
	})
	return c
}

func newSender(t *testing.T, c mail.Config) *mail.Sender {
	t.Helper()
	if c.From == "" {
		c.From = from
	}
	s, err := mail.NewSender(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// authority makes a certificate for 127.0.0.1 and the pool that trusts it.
func authority(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(certificate)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func unverified() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

// What a scripted server can do other than answer.
const (
	cut     = "cut"     // close the connection
	silence = "silence" // answer nothing until the client goes
)

// scripted is an SMTP server that says what the test wrote down: it goes where a decent server, such as the catcher, does not.
type scripted struct {
	listener net.Listener
	replies  map[string]string // by verb; "" is the greeting, "." the end of a message
	done     sync.WaitGroup

	mu    sync.Mutex
	lines []string
}

// startScripted answers with replies, and decently where there is none.
func startScripted(t *testing.T, replies map[string]string) *scripted {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{listener: listener, replies: replies}
	s.done.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.done.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		s.done.Wait()
	})
	return s
}

func (s *scripted) url(rest string) string {
	return "smtp://" + s.listener.Addr().String() + "?" + rest
}

// heard is every line the clients sent, without the lines of messages.
func (s *scripted) heard() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.lines...)
}

func (s *scripted) serve(conn net.Conn) {
	defer conn.Close()
	reader := bufio.NewReader(conn)
	if !s.say(conn, reader, "") {
		return
	}
	inMessage := false
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		if inMessage && line != "." {
			continue
		}
		s.mu.Lock()
		s.lines = append(s.lines, line)
		s.mu.Unlock()
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		if !s.say(conn, reader, verb) {
			return
		}
		inMessage = verb == "DATA" && strings.HasPrefix(s.reply("DATA"), "354")
	}
}

func (s *scripted) reply(verb string) string {
	if reply, ok := s.replies[verb]; ok {
		return reply
	}
	switch verb {
	case "":
		return "220 scripted"
	case "EHLO":
		return "250 scripted"
	case "DATA":
		return "354 go on"
	case "QUIT":
		return "221 bye"
	default:
		return "250 fine"
	}
}

func (s *scripted) say(conn net.Conn, reader *bufio.Reader, verb string) bool {
	switch reply := s.reply(verb); reply {
	case cut:
		return false
	case silence:
		_, _ = reader.ReadByte() // returns when the client goes
		return false
	default:
		_, err := conn.Write([]byte(strings.ReplaceAll(reply, "\n", "\r\n") + "\r\n"))
		return err == nil
	}
}

func ownTemplates() fstest.MapFS {
	return fstest.MapFS{
		"en/confirmation/subject.txt": {Data: []byte("Welcome to {{.Product}}")},
		"en/confirmation/body.txt":    {Data: []byte("Welcome!")},
		"en/confirmation/body.html":   {Data: []byte(`<a href="{{.Link}}">{{.Link}}</a>`)},
	}
}
