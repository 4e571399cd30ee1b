package mail_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/mail"
)

// numbered is the message with this number.
func numbered(n int) mail.Message {
	m := message()
	m.ID = fmt.Sprintf("m%d@example.com", n)
	return m
}

// once is what a server has that took n messages once each.
func once(n int) map[string]int {
	want := make(map[string]int)
	for i := range n {
		want[numbered(i).ID] = 1
	}
	return want
}

// eventually waits for what happens by itself.
func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	ctx := bounded(t)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !happened() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s did not happen", what)
		case <-tick.C:
		}
	}
}

// clock is a time that a test moves.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time        { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) pass(by time.Duration) { c.ahead.Add(int64(by)) }

func TestAConnectionIsUsedAgain(t *testing.T) {
	t.Parallel()
	h := startHostile(t, nil)
	sender := newSender(t, mail.Config{URL: h.url()})
	for i := range 3 {
		if _, err := sender.Send(bounded(t), numbered(i), nil); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff("EHLO MAIL RCPT DATA MAIL RCPT DATA MAIL RCPT DATA", h.verbs()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(mail.Stats{Open: 1, Idle: 1, Dialled: 1, Reused: 2}, sender.Stats()); diff != "" {
		t.Error(diff)
	}
	sender.Close()
	sender.Close()
	if diff := cmp.Diff("EHLO MAIL RCPT DATA MAIL RCPT DATA MAIL RCPT DATA QUIT", h.verbs()); diff != "" {
		t.Error(diff)
	}
	if _, err := sender.Send(bounded(t), numbered(3), nil); err != nil {
		t.Fatalf("a closed sender still sends: %v", err)
	}
	if diff := cmp.Diff(mail.Stats{Dialled: 2, Reused: 2}, sender.Stats()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(once(4), h.taken()); diff != "" {
		t.Error(diff)
	}
}

func TestWhatBecomesOfASession(t *testing.T) {
	t.Parallel()
	const again = "EHLO MAIL RCPT DATA MAIL RCPT DATA"
	nth := func(verb string, n int, done misdeed) func(turn) misdeed {
		return func(t turn) misdeed {
			if t.Verb == verb && t.Total == n {
				return done
			}
			return misdeed{}
		}
	}
	for sentence, tt := range map[string]struct {
		behave   func(turn) misdeed
		config   mail.Config
		first    string // its error; "": none
		heard    string // up to the end of the second message, which is always taken
		withdraw bool
	}{
		"a refused recipient costs one RSET": {
			behave: nth("RCPT", 1, misdeed{answer: "550 unknown"}),
			first:  "550", heard: "EHLO MAIL RCPT RSET MAIL RCPT DATA",
		},
		"a refused DATA costs one RSET": {
			behave: nth("DATA", 1, misdeed{answer: "451 later"}),
			first:  "451", heard: "EHLO MAIL RCPT DATA RSET MAIL RCPT DATA",
		},
		"a withdrawn message costs one RSET": {
			withdraw: true,
			first:    "withdrawn", heard: "EHLO MAIL RCPT RSET MAIL RCPT DATA",
		},
		"a refused sender ends the session": {
			behave: nth("MAIL", 1, misdeed{answer: "553 not yours"}),
			first:  "553", heard: "EHLO MAIL QUIT EHLO MAIL RCPT DATA",
		},
		"a demand to log in ends the session": {
			behave: nth("RCPT", 1, misdeed{answer: "530 log in first"}),
			first:  "530", heard: "EHLO MAIL RCPT QUIT EHLO MAIL RCPT DATA",
		},
		"421 ends the session without leave": {
			behave: nth("RCPT", 1, misdeed{answer: "421 busy"}),
			first:  "421", heard: "EHLO MAIL RCPT EHLO MAIL RCPT DATA",
		},
		"a session in which something was not understood is not used again": {
			behave: nth("DATA", 1, misdeed{answer: "250 what is there to go"}),
			first:  "250", heard: "EHLO MAIL RCPT DATA QUIT EHLO MAIL RCPT DATA",
		},
		"no session is used for more than its messages": {
			config: mail.Config{MaxMessages: 1},
			heard:  "EHLO MAIL RCPT DATA QUIT EHLO MAIL RCPT DATA QUIT",
		},
		"RSET that fails after a refusal costs a connection and nothing else": {
			behave: func(t turn) misdeed {
				switch {
				case t.Verb == "RCPT" && t.Total == 1:
					return misdeed{answer: "450 greylisted"}
				case t.Verb == "RSET":
					return misdeed{answer: "502 what"}
				}
				return misdeed{}
			},
			first: "450", heard: "EHLO MAIL RCPT RSET QUIT EHLO MAIL RCPT DATA",
		},
		"RSET that fails after an acceptance is never asked for": {
			behave: nth("RSET", 1, misdeed{cut: true}),
			heard:  again,
		},
		"a kept connection that is cut at MAIL is replaced": {
			behave: nth("MAIL", 2, misdeed{cut: true}),
			heard:  "EHLO MAIL RCPT DATA MAIL EHLO MAIL RCPT DATA",
		},
		"so it is where MAIL is refused": {
			behave: nth("MAIL", 2, misdeed{answer: "452 too many messages in this session"}),
			heard:  "EHLO MAIL RCPT DATA MAIL QUIT EHLO MAIL RCPT DATA",
		},
		"so it is at 421 to MAIL": {
			behave: nth("MAIL", 2, misdeed{answer: "421 idle for too long", cut: true}),
			heard:  "EHLO MAIL RCPT DATA MAIL EHLO MAIL RCPT DATA",
		},
		"so it is at 421 to RCPT": {
			behave: nth("RCPT", 2, misdeed{answer: "421 closing", cut: true}),
			heard:  "EHLO MAIL RCPT DATA MAIL RCPT EHLO MAIL RCPT DATA",
		},
		"so it is where DATA is cut": {
			behave: nth("DATA", 2, misdeed{cut: true}),
			heard:  "EHLO MAIL RCPT DATA MAIL RCPT DATA EHLO MAIL RCPT DATA",
		},
		"so it is where a firewall forgot the connection": {
			behave: nth("MAIL", 2, misdeed{stall: true}),
			config: mail.Config{Timeouts: mail.Timeouts{Command: 500 * time.Millisecond}},
			heard:  "EHLO MAIL RCPT DATA MAIL EHLO MAIL RCPT DATA",
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			h := startHostile(t, tt.behave)
			tt.config.URL = h.url()
			sender := newSender(t, tt.config)
			var before func(context.Context) error
			if tt.withdraw {
				before = func(context.Context) error { return errors.New("withdrawn") }
			}
			_, err := sender.Send(bounded(t), numbered(0), before)
			if (err == nil) != (tt.first == "") || err != nil && !strings.Contains(err.Error(), tt.first) {
				t.Errorf("want %q of the first message, got %v", tt.first, err)
			}
			if _, err := sender.Send(bounded(t), numbered(1), nil); err != nil {
				t.Errorf("the second message: %v", err)
			}
			if diff := cmp.Diff(tt.heard, h.verbs()); diff != "" {
				t.Error(diff)
			}
			want := once(2)
			if tt.first != "" {
				delete(want, numbered(0).ID)
			}
			if diff := cmp.Diff(want, h.taken()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatIsTriedAgainAndWhatIsNot(t *testing.T) {
	t.Parallel()
	for sentence, tt := range map[string]struct {
		behave func(turn) misdeed // of what comes after the first message
		want   failure
		heard  string // after "EHLO MAIL RCPT DATA " of the first message
	}{
		"a fresh connection that fails, too, is the end of it": {
			func(t turn) misdeed { return misdeed{cut: t.Verb == "MAIL"} },
			failure{mail.StageMail, 0, mail.OutcomeConfiguration},
			"MAIL EHLO MAIL",
		},
		"a refused recipient is refused": {
			every("RCPT", 1, misdeed{answer: "450 greylisted"}),
			failure{mail.StageRcpt, 450, mail.OutcomeTemporary},
			"MAIL RCPT",
		},
		"once the content was sent nothing is sent again": {
			func(t turn) misdeed { return misdeed{cut: t.Verb == "."} },
			failure{mail.StageAnswer, 0, mail.OutcomeAmbiguous},
			"MAIL RCPT DATA",
		},
		"nor when 421 answers it": {
			every(".", 1, misdeed{answer: "421 closing"}),
			failure{mail.StageAnswer, 421, mail.OutcomeTemporary},
			"MAIL RCPT DATA",
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			var begun atomic.Bool
			h := startHostile(t, func(of turn) misdeed {
				if !begun.Load() {
					return misdeed{}
				}
				return tt.behave(of)
			})
			sender := newSender(t, mail.Config{URL: h.url()})
			if _, err := sender.Send(bounded(t), numbered(0), nil); err != nil {
				t.Fatal(err)
			}
			begun.Store(true)
			_, err := sender.Send(bounded(t), numbered(1), nil)
			if diff := cmp.Diff(tt.want, failureOf(t, err)); diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
			if diff := cmp.Diff("EHLO MAIL RCPT DATA "+tt.heard, h.verbs()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAConnectionThatTheServerEndedIsNotEvenTried(t *testing.T) {
	t.Parallel()
	for sentence, done := range map[string]misdeed{
		"it went without a word":  {cut: true},
		"it said 421 before that": {answer: "421 idle for too long", cut: true},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			h := startHostile(t, nil)
			sender := newSender(t, mail.Config{URL: h.url()})
			if _, err := sender.Send(bounded(t), numbered(0), nil); err != nil {
				t.Fatal(err)
			}
			h.endSessions(done)
			if _, err := sender.Send(bounded(t), numbered(1), nil); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff("EHLO MAIL RCPT DATA EHLO MAIL RCPT DATA", h.verbs()); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(mail.Stats{Open: 1, Idle: 1, Dialled: 2}, sender.Stats()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAnIdleConnectionIsAskedWhenItIsOldAndClosedWhenItIsTooOld(t *testing.T) {
	t.Parallel()
	h := startHostile(t, nil)
	var c clock
	sender := newSender(t, mail.Config{URL: h.url(), Now: c.now})
	for i, age := range []time.Duration{0, 14 * time.Second, 16 * time.Second, 61 * time.Second} {
		c.pass(age)
		if _, err := sender.Send(bounded(t), numbered(i), nil); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff("EHLO MAIL RCPT DATA MAIL RCPT DATA NOOP MAIL RCPT DATA QUIT EHLO MAIL RCPT DATA", h.verbs()); diff != "" {
		t.Error(diff)
	}
}

func TestAnIdleConnectionIsClosedByItself(t *testing.T) {
	t.Parallel()
	h := startHostile(t, nil)
	sender := newSender(t, mail.Config{URL: h.url(), IdleTimeout: 50 * time.Millisecond})
	if _, err := sender.Send(bounded(t), numbered(0), nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the farewell", func() bool { return sender.Stats().Open == 0 })
	if diff := cmp.Diff("EHLO MAIL RCPT DATA QUIT", h.verbs()); diff != "" {
		t.Error(diff)
	}
}

func TestThereAreNoMoreConnectionsThanAllowed(t *testing.T) {
	t.Parallel()
	for sentence, tt := range map[string]struct {
		url    string
		config mail.Config
		server int // how many the server allows; 0: any number
		want   int
	}{
		"by the configuration":                {"", mail.Config{MaxConns: 3}, 0, 3},
		"by the URL":                          {"&connections=2", mail.Config{}, 0, 2},
		"by the configuration over the URL":   {"&connections=5", mail.Config{MaxConns: 3}, 0, 3},
		"by the server, of which nobody knew": {"", mail.Config{}, 2, 2},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			h := startHostile(t, func(of turn) misdeed {
				if tt.server > 0 && of.Verb == "" && of.Open > tt.server {
					return misdeed{answer: "421 too many connections from you"}
				}
				return misdeed{}
			})
			tt.config.URL = h.url() + tt.url
			sender := newSender(t, tt.config)
			const workers, each = 10, 10
			var all sync.WaitGroup
			for w := range workers {
				all.Go(func() {
					for i := range each {
						if _, err := sender.Send(bounded(t), numbered(w*each+i), nil); err != nil {
							t.Error(err)
						}
					}
				})
			}
			all.Wait()
			if diff := cmp.Diff(once(workers*each), h.taken()); diff != "" {
				t.Error(diff)
			}
			h.mu.Lock()
			most, refused := h.most, h.sessions
			h.mu.Unlock()
			if most > tt.want {
				t.Errorf("there were %d connections at once, want at most %d", most, tt.want)
			}
			if refused > 2*workers {
				t.Errorf("%d connections were made for %d messages", refused, workers*each)
			}
			got := sender.Stats()
			if got.Open > tt.want || got.Open != got.Idle || got.Waiting != 0 {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestAServerThatTakesNobodyIsAFailure(t *testing.T) {
	t.Parallel()
	h := startHostile(t, func(of turn) misdeed {
		if of.Verb == "" {
			return misdeed{answer: "421 too many connections"}
		}
		return misdeed{}
	})
	sender := newSender(t, mail.Config{URL: h.url()})
	var all sync.WaitGroup
	for i := range 10 {
		all.Go(func() {
			_, err := sender.Send(bounded(t), numbered(i), nil)
			if diff := cmp.Diff(failure{mail.StageGreeting, 421, mail.OutcomeTemporary}, failureOf(t, err)); diff != "" {
				t.Error(diff)
			}
		})
	}
	all.Wait()
	if diff := cmp.Diff(mail.Stats{}, sender.Stats()); diff != "" {
		t.Error(diff)
	}
}

func TestWaitingForAConnectionEndsWithTheContext(t *testing.T) {
	t.Parallel()
	h := startHostile(t, nil)
	sender := newSender(t, mail.Config{URL: h.url(), MaxConns: 1})
	sending, release := make(chan struct{}), make(chan struct{})
	var other sync.WaitGroup
	other.Go(func() {
		_, err := sender.Send(bounded(t), numbered(0), func(context.Context) error {
			close(sending)
			<-release
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-sending
	short, end := context.WithTimeout(bounded(t), 20*time.Millisecond)
	defer end()
	_, err := sender.Send(short, numbered(2), nil)
	if diff := cmp.Diff(failure{mail.StageDial, 0, mail.OutcomeTemporary}, failureOf(t, err)); diff != "" {
		t.Errorf("that others send says nothing about the server: %s", diff)
	}
	ctx, cancel := context.WithCancelCause(bounded(t))
	stopping := errors.New("the process is stopping")
	var waiting sync.WaitGroup
	waiting.Go(func() {
		_, err := sender.Send(ctx, numbered(1), nil)
		if diff := cmp.Diff(failure{mail.StageDial, 0, mail.OutcomeTemporary}, failureOf(t, err)); diff != "" {
			t.Error(diff)
		}
		if !errors.Is(err, context.Canceled) || !errors.Is(err, stopping) {
			t.Errorf("want the context's error and cause, got %v", err)
		}
	})
	eventually(t, "waiting", func() bool { return sender.Stats().Waiting == 1 })
	cancel(stopping)
	waiting.Wait()
	sender.Close() // does not wait for the message that is being sent
	close(release)
	other.Wait()
	if diff := cmp.Diff(mail.Stats{Dialled: 1}, sender.Stats()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("EHLO MAIL RCPT DATA QUIT", h.verbs()); diff != "" {
		t.Error(diff)
	}
}

func TestAMessageThatPanicsLeavesNoConnectionBehind(t *testing.T) {
	t.Parallel()
	h := startHostile(t, nil)
	sender := newSender(t, mail.Config{URL: h.url(), MaxConns: 1})
	func() {
		defer func() { _ = recover() }()
		_, _ = sender.Send(bounded(t), numbered(0), func(context.Context) error { panic("a caller's mistake") })
	}()
	if _, err := sender.Send(bounded(t), numbered(1), nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("EHLO MAIL RCPT QUIT EHLO MAIL RCPT DATA", h.verbs()); diff != "" {
		t.Error(diff)
	}
}

func TestNegativeLimitsAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []mail.Config{{MaxConns: -1}, {MaxMessages: -1}, {IdleTimeout: -1}} {
		c.URL, c.From = "smtp://127.0.0.1?tls=none", from
		if _, err := mail.NewSender(c); err == nil {
			t.Errorf("taken: %+v", c)
		}
	}
}

func TestWhatAServerMaySayIsBoundedForEachMessageAndNotForTheConnection(t *testing.T) {
	t.Parallel()
	wordy := strings.Repeat("250-and more and more and more and more\n", 1<<13) // a third of a MiB
	s := startScripted(t, map[string]string{"RCPT": wordy + "250 done"})
	sender := newSender(t, mail.Config{URL: s.url("tls=none")})
	for i := range 6 {
		if _, err := sender.Send(bounded(t), numbered(i), nil); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(mail.Stats{Open: 1, Idle: 1, Dialled: 1, Reused: 5}, sender.Stats()); diff != "" {
		t.Error(diff)
	}
}
