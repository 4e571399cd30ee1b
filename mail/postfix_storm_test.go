package mail_test

import (
	"bufio"
	"bytes"
	"context"
	"net"
	netmail "net/mail"
	"strings"
	"sync"
	"testing"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/mail"
)

func TestTenWorkersOnADecentServerOfTheFieldLoseNothingAndDoubleNothingUnexplained(t *testing.T) {
	t.Parallel()
	const messages = 60
	for sentence, tt := range map[string]struct {
		settings []string
		cut      func(reply string, nth int) cutting // decides about every 354, and every answer to a message
		nobodies int                                 // mails to a recipient that there is not
		doubled  bool
		says421  bool
	}{
		"the connection ends at DATA": {
			cut: func(reply string, nth int) cutting { return cutting{now: reply == "354" && nth%5 == 2} },
		},
		"the connection ends in the middle of the content": {
			cut: func(reply string, nth int) cutting { return cutting{content: reply == "354" && nth%5 == 2} },
		},
		"the connection ends after DATA, and the mail is taken": {
			cut:     func(reply string, nth int) cutting { return cutting{now: reply == "250" && nth%5 == 2} },
			doubled: true,
		},
		"it takes three connections, and says so by 421": {
			settings: []string{"smtpd_client_connection_count_limit = 3", "smtpd_client_event_limit_exceptions ="}, says421: true,
		},
		"it says 421 in mid-session, for too many errors": {
			settings: []string{"smtpd_hard_error_limit = 2", "smtpd_soft_error_limit = 1", "smtpd_error_sleep_time = 0"}, nobodies: 40, says421: true,
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			postfix, there := testservers.NewPostfix(t, testservers.PostfixConfig{Limit: 100_000, Mailboxes: []string{"ann"}, Settings: tt.settings})
			if !there {
				t.Log("Postfix is not to be had; what it shows is shown with go-smtp by the other tests")
				return
			}
			tap := startTap(t, postfix.Addr(), tt.cut)
			sender := newSender(t, mail.Config{URL: "smtp://" + tap.listener.Addr().String() + "?tls=none&helo=test"})
			var others sync.WaitGroup
			others.Go(func() {
				for n := range tt.nobodies {
					m := numbered(1000 + n)
					m.To = "nobody@example.org"
					if _, err := sender.Send(bounded(t), m, func(context.Context) error { return nil }); err == nil {
						t.Error("a mail to nobody was taken")
					}
				}
			})
			ambiguous := storm(t, sender, messages)
			others.Wait()

			accepted := tap.count("250")
			eventually(t, "delivery of all that was accepted", func() bool { return len(postfix.Mails(t, "ann")) >= accepted })
			taken := make(map[string]int)
			for _, data := range postfix.Mails(t, "ann") {
				m, err := netmail.ReadMessage(bytes.NewReader(data))
				if err != nil {
					t.Fatal(err)
				}
				taken[strings.Trim(m.Header.Get("Message-ID"), "<>")]++
			}
			doubled := 0
			for id := range once(messages) {
				switch copies := taken[id]; {
				case copies == 0:
					t.Errorf("%s is lost", id)
				case copies > 1+ambiguous[id]:
					t.Errorf("%s was taken %d times, and %d attempts at it are in doubt", id, copies, ambiguous[id])
				case copies > 1:
					doubled++
				}
			}
			if (doubled > 0) != tt.doubled || len(taken) != messages {
				t.Errorf("%d messages were taken, %d of them twice", len(taken), doubled)
			}
			if said := tap.count("421") > 0; said != tt.says421 {
				t.Errorf("the server said 421: %v", said)
			}
			if got := sender.Stats(); got.Open != got.Idle || got.Waiting != 0 {
				t.Errorf("something is left over: %+v", got)
			}
		})
	}
}

// cutting is how a connection ends.
type cutting struct {
	now     bool // the reply does not come
	content bool // it does, and half of the content's first piece goes on
}

// tap stands between clients and a server that it does not change, counts what that answers, and cuts connections.
type tap struct {
	listener net.Listener
	server   string
	cut      func(reply string, nth int) cutting

	mu     sync.Mutex
	counts map[string]int // "354", "250" to a message, and "421"
}

func startTap(t *testing.T, server string, cut func(string, int) cutting) *tap {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{listener: listener, server: server, cut: cut, counts: make(map[string]int)}
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	t.Cleanup(func() {
		stop()
		listener.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			upstream, err := (&net.Dialer{}).DialContext(ctx, "tcp", server)
			if err != nil {
				client.Close()
				continue
			}
			c := &tapped{tap: p, client: client, server: upstream}
			ended := context.AfterFunc(ctx, c.close)
			all.Go(c.toServer)
			all.Go(func() { defer ended(); c.toClient() })
		}
	})
	return p
}

func (p *tap) count(what string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts[what]
}

// decide counts a reply, and says what becomes of the connection.
func (p *tap) decide(reply string) cutting {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts[reply]++
	if p.cut == nil {
		return cutting{}
	}
	return p.cut(reply, p.counts[reply])
}

// tapped is one connection.
type tapped struct {
	tap            *tap
	client, server net.Conn

	mu    sync.Mutex
	halve bool // the next piece
}

func (c *tapped) close() { c.client.Close(); c.server.Close() }

func (c *tapped) toServer() {
	defer c.close()
	for buf := make([]byte, 64<<10); ; {
		n, err := c.client.Read(buf)
		if err != nil {
			return
		}
		c.mu.Lock()
		halve := c.halve
		c.mu.Unlock()
		if halve {
			n /= 2
		}
		if _, err := c.server.Write(buf[:n]); err != nil || halve {
			return
		}
	}
}

func (c *tapped) toClient() {
	defer c.close()
	content := false // the client sends a message
	for lines := bufio.NewReader(c.server); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		var done cutting
		switch reply := line[:min(3, len(line))]; {
		case reply == "354":
			done, content = c.tap.decide(reply), true
		case reply == "421", content && reply == "250":
			done, content = c.tap.decide(reply), false
		case content:
			content = false
		}
		if done.now {
			return
		}
		c.mu.Lock()
		c.halve = done.content
		c.mu.Unlock()
		if _, err := c.client.Write([]byte(line)); err != nil {
			return
		}
	}
}
