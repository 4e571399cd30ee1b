package mail_test

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	netmail "net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// turn is one line of a client that a hostile server decides about.
type turn struct {
	Session int    // counts connections, from 1
	Verb    string // "" is the connection itself; "." the end of a message
	Nth     int    // how often the verb came in this session, from 1
	Total   int    // and in all
	Open    int    // connections now, this one included
}

// misdeed is what it does instead of its duty. The zero value: its duty.
type misdeed struct {
	answer string // instead of go-smtp's
	cut    bool   // closes the connection; after answer, where there is one
	stall  bool   // says nothing until the client goes
	pause  bool   // does its duty, and reads nothing more
	slow   bool   // does its duty, and reads ten lines a millisecond
	after  bool   // does its duty first, and keeps the answer to itself: the message was taken
}

// hostile is a server built on go-smtp that misbehaves line by line as it is told, and counts what it took by Message-ID.
type hostile struct {
	server   *smtp.Server
	listener net.Listener
	behave   func(turn) misdeed
	served   sync.WaitGroup
	ended    chan struct{} // closed with the test

	mu       sync.Mutex
	sessions int
	open     int
	most     int // connections at once
	totals   map[string]int
	copies   map[string]int // by Message-ID
	lines    []string
	current  map[*meddler]struct{}
}

func startHostile(t *testing.T, behave func(turn) misdeed) *hostile {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &hostile{listener: listener, behave: behave, ended: make(chan struct{}), totals: map[string]int{}, copies: map[string]int{}, current: map[*meddler]struct{}{}}
	h.server = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &hostileSession{h}, nil }))
	h.server.Domain = "hostile.localhost"
	h.server.ErrorLog = nobody{}
	h.served.Go(func() { _ = h.server.Serve(h) })
	t.Cleanup(func() {
		close(h.ended)
		_ = h.server.Close()
		h.served.Wait()
	})
	return h
}

func (h *hostile) url() string { return "smtp://" + h.listener.Addr().String() + "?tls=none&helo=test" }

// taken is how many copies of each message were taken.
func (h *hostile) taken() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.copies)
}

// verbs is what all clients said, without the arguments.
func (h *hostile) verbs() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.lines, " ")
}

// endSessions ends every session from the server's side, between two messages.
func (h *hostile) endSessions(done misdeed) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.current {
		if done.answer != "" {
			fmt.Fprintf(c.Conn, "%s\r\n", done.answer)
		}
		_ = c.Conn.Close()
	}
}

// Accept lets nobody in whom behave refuses.
func (h *hostile) Accept() (net.Conn, error) {
	for {
		conn, err := h.listener.Accept()
		if err != nil {
			return nil, err
		}
		h.mu.Lock()
		h.sessions++
		h.open++
		c := &meddler{Conn: conn, hostile: h, session: h.sessions, reader: bufio.NewReader(conn), seen: map[string]int{}}
		h.mu.Unlock()
		done := c.judge("")
		if done.answer != "" {
			fmt.Fprintf(conn, "%s\r\n", done.answer)
		}
		switch {
		case done.stall:
			h.served.Go(func() { _, _ = io.Copy(io.Discard, conn); _ = c.Close() })
		case done.cut || done.answer != "":
			_ = c.Close()
		default:
			h.mu.Lock()
			h.most = max(h.most, h.open)
			h.current[c] = struct{}{}
			h.mu.Unlock()
			return c, nil
		}
	}
}

// Close and Addr are the listener's.
func (h *hostile) Close() error   { return h.listener.Close() }
func (h *hostile) Addr() net.Addr { return h.listener.Addr() }

// meddler stands between go-smtp and a client.
type meddler struct {
	net.Conn

	hostile *hostile
	session int
	reader  *bufio.Reader
	seen    map[string]int
	content bool   // the client sends a message
	rest    []byte // of a line that go-smtp has not read yet
	paused  bool   // reads nothing more
	slow    bool   // reads a message slowly
	lines   int    // of it
	mute    bool   // what go-smtp answers goes nowhere
	closed  sync.Once
}

func (c *meddler) judge(verb string) misdeed {
	h := c.hostile
	c.seen[verb]++
	h.mu.Lock()
	h.totals[verb]++
	if verb != "" && verb != "." {
		h.lines = append(h.lines, verb)
	}
	t := turn{c.session, verb, c.seen[verb], h.totals[verb], h.open}
	h.mu.Unlock()
	if h.behave == nil {
		return misdeed{}
	}
	return h.behave(t)
}

func (c *meddler) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		if c.mute { // go-smtp has answered what was to be kept from the client
			_ = c.Conn.Close()
			return 0, io.EOF
		}
		if c.paused {
			<-c.hostile.ended
			return 0, io.EOF
		}
		line, err := c.reader.ReadString('\n')
		if err != nil {
			return 0, err
		}
		verb, _, _ := strings.Cut(strings.ToUpper(strings.TrimRight(line, "\r\n")), " ")
		if c.content && verb != "." {
			if c.lines++; c.slow && c.lines%10 == 0 {
				<-time.After(time.Millisecond)
			}
			c.rest = []byte(line)
			break
		}
		done := c.judge(verb)
		switch {
		case done.after:
			c.mute = true
		case done.stall:
			_, _ = io.Copy(io.Discard, c.reader)
			return 0, io.EOF
		case done.answer != "" && verb == ".": // the message is not taken, and go-smtp's own answer not shown
			fmt.Fprintf(c.Conn, "%s\r\n", done.answer)
			_ = c.Conn.Close()
			return 0, io.EOF
		case done.answer != "":
			fmt.Fprintf(c.Conn, "%s\r\n", strings.ReplaceAll(done.answer, "\n", "\r\n"))
			if done.cut {
				return 0, io.EOF
			}
			continue
		case done.cut:
			_ = c.Conn.Close()
			return 0, io.EOF
		}
		c.content, c.paused, c.slow = verb == "DATA", done.pause, done.slow
		c.rest = []byte(line)
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *meddler) Write(p []byte) (int, error) {
	if c.mute {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (c *meddler) Close() error {
	c.closed.Do(func() {
		c.hostile.mu.Lock()
		c.hostile.open--
		delete(c.hostile.current, c)
		c.hostile.mu.Unlock()
	})
	return c.Conn.Close()
}

type hostileSession struct{ hostile *hostile }

func (*hostileSession) Mail(string, *smtp.MailOptions) error { return nil }
func (*hostileSession) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (*hostileSession) Reset()                               {}
func (*hostileSession) Logout() error                        { return nil }

func (s *hostileSession) Data(r io.Reader) error {
	m, err := netmail.ReadMessage(r)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, m.Body); err != nil {
		return err
	}
	s.hostile.mu.Lock()
	defer s.hostile.mu.Unlock()
	s.hostile.copies[strings.Trim(m.Header.Get("Message-ID"), "<>")]++
	return nil
}

type nobody struct{}

func (nobody) Printf(string, ...any) {}
func (nobody) Println(...any)        {}
