package mail_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/mail"
)

// storm has ten workers send the messages of one outbox over one sender: each message until it is accepted, as a queue does it. It
// returns how many attempts at each ended with nobody knowing.
func storm(t *testing.T, sender *mail.Sender, messages int) map[string]int {
	t.Helper()
	outbox := make(chan mail.Message, messages)
	for i := range messages {
		outbox <- numbered(i)
	}
	close(outbox)
	var mu sync.Mutex
	ambiguous := make(map[string]int)
	var workers sync.WaitGroup
	for range 10 {
		workers.Go(func() {
			for m := range outbox {
				for attempt := 0; ; attempt++ {
					_, err := sender.Send(bounded(t), m, func(context.Context) error { return nil })
					if err == nil {
						break
					}
					failed, ok := errors.AsType[*mail.SendError](err)
					if !ok || failed.Outcome == mail.OutcomePermanent || attempt > 100 {
						t.Errorf("%s, attempt %d: %v", m.ID, attempt, err)
						break
					}
					if failed.Outcome == mail.OutcomeAmbiguous {
						mu.Lock()
						ambiguous[m.ID]++
						mu.Unlock()
					}
				}
			}
		})
	}
	workers.Wait()
	return ambiguous
}

// every does it to one command in n of those that are called verb.
func every(verb string, n int, done misdeed) func(turn) misdeed {
	return func(of turn) misdeed {
		if of.Verb == verb && of.Total%n == n/2 {
			return done
		}
		return misdeed{}
	}
}

func TestTenWorkersOnOneHostileServerLoseNothingAndDoubleNothingUnexplained(t *testing.T) {
	t.Parallel()
	const messages = 120
	quick := mail.Timeouts{Command: 300 * time.Millisecond, Answer: 300 * time.Millisecond}
	for sentence, tt := range map[string]struct {
		behave   func(turn) misdeed
		timeouts mail.Timeouts
		doubled  bool // some message is taken twice
	}{
		"it behaves":                                {nil, mail.Timeouts{}, false},
		"it stalls at the greeting":                 {every("", 3, misdeed{stall: true}), quick, false},
		"it stalls at EHLO":                         {every("EHLO", 3, misdeed{stall: true}), quick, false},
		"it stalls at MAIL":                         {every("MAIL", 15, misdeed{stall: true}), quick, false},
		"it stalls at RCPT":                         {every("RCPT", 15, misdeed{stall: true}), quick, false},
		"it stalls at DATA":                         {every("DATA", 15, misdeed{stall: true}), quick, false},
		"it stalls after the message":               {every(".", 15, misdeed{stall: true}), quick, false},
		"it takes the message and says nothing":     {every(".", 15, misdeed{after: true}), quick, true},
		"it answers 4xx to recipients":              {every("RCPT", 4, misdeed{answer: "450 greylisted"}), mail.Timeouts{}, false},
		"it answers 4xx to messages":                {every(".", 6, misdeed{answer: "452 disk full"}), mail.Timeouts{}, false},
		"it drops the connection at MAIL":           {every("MAIL", 5, misdeed{cut: true}), mail.Timeouts{}, false},
		"it drops the connection at RCPT":           {every("RCPT", 5, misdeed{cut: true}), mail.Timeouts{}, false},
		"it drops the connection after DATA":        {every("DATA", 5, misdeed{cut: true}), mail.Timeouts{}, false},
		"it drops the connection before it answers": {every(".", 5, misdeed{cut: true}), mail.Timeouts{}, false},
		"it reads every message slowly":             {every("DATA", 1, misdeed{slow: true}), mail.Timeouts{}, false},
		"it fails every RSET": {func(of turn) misdeed {
			switch {
			case of.Verb == "RSET":
				return misdeed{answer: "502 what", cut: of.Total%2 == 0}
			case of.Verb == "RCPT" && of.Total%5 == 0:
				return misdeed{answer: "450 greylisted"}
			}
			return misdeed{}
		}, mail.Timeouts{}, false},
		"it says 421 in mid-session": {every("MAIL", 4, misdeed{answer: "421 closing", cut: true}), mail.Timeouts{}, false},
		"it says 421 to recipients":  {every("RCPT", 4, misdeed{answer: "421 closing", cut: true}), mail.Timeouts{}, false},
		"it wants three connections, and says so by 421": {func(of turn) misdeed {
			if of.Verb == "" && of.Open > 3 {
				return misdeed{answer: "421 too many connections from you"}
			}
			return misdeed{}
		}, mail.Timeouts{}, false},
		"it does all of that": {func(of turn) misdeed {
			for i, done := range []misdeed{{answer: "421 closing", cut: true}, {cut: true}, {answer: "451 later"}, {stall: true}} {
				for at, verb := range []string{"", "EHLO", "MAIL", "RCPT", "DATA", ".", "RSET", "NOOP", "QUIT"} {
					if of.Verb == verb && of.Total%31 == 7*i+at {
						return done
					}
				}
			}
			return misdeed{after: of.Verb == "." && of.Total%17 == 0}
		}, quick, true},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			h := startHostile(t, tt.behave)
			sender := newSender(t, mail.Config{URL: h.url(), Timeouts: tt.timeouts})
			ambiguous := storm(t, sender, messages)
			doubled := 0
			taken := h.taken()
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
			if (doubled > 0) != tt.doubled {
				t.Errorf("%d messages were taken twice", doubled)
			}
			if diff := cmp.Diff(messages, len(taken)); diff != "" {
				t.Error(diff)
			}
			if got := sender.Stats(); got.Open != got.Idle || got.Waiting != 0 {
				t.Errorf("something is left over: %+v", got)
			}
		})
	}
}

func TestAServerThatReadsNothingOfALargeMessageGetsNothingOfIt(t *testing.T) {
	t.Parallel()
	h := startHostile(t, func(of turn) misdeed { return misdeed{pause: of.Verb == "DATA"} })
	sender := newSender(t, mail.Config{URL: h.url(), Timeouts: mail.Timeouts{Command: time.Second}})
	m := numbered(0)
	m.Text, m.HTML = strings.Repeat("\x01", 1<<20), strings.Repeat("\x01", 1<<20) // 6 MiB on the way
	_, err := sender.Send(bounded(t), m, nil)
	if diff := cmp.Diff(failure{mail.StageContent, 0, mail.OutcomeTemporary}, failureOf(t, err)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]int{}, h.taken()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(mail.Stats{Dialled: 1}, sender.Stats()); diff != "" {
		t.Error(diff)
	}
}

func TestAServerThatReadsALargeMessageSlowlyGetsItOnce(t *testing.T) {
	t.Parallel()
	h := startHostile(t, func(of turn) misdeed { return misdeed{slow: of.Verb == "DATA"} })
	sender := newSender(t, mail.Config{URL: h.url()})
	m := numbered(0)
	m.Text, m.HTML = strings.Repeat("\x01", 100_000), strings.Repeat("\x01", 100_000) // more on the way than sockets hold
	for range 2 {
		if _, err := sender.Send(bounded(t), m, nil); err != nil {
			t.Fatal(err)
		}
		m.ID = numbered(1).ID
	}
	if diff := cmp.Diff(once(2), h.taken()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(mail.Stats{Open: 1, Idle: 1, Dialled: 1, Reused: 1}, sender.Stats()); diff != "" {
		t.Error(diff)
	}
}
