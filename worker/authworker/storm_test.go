package authworker_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/mail/catcher"
	"github.com/sealq/sealq/worker/authworker"
)

// at does it to every so many of a stage's steps.
func at(stage catcher.Stage, every int32, do func(ctx context.Context) error) catcher.Hook {
	var n atomic.Int32
	return func(ctx context.Context, s catcher.Step) error {
		if s.Stage == stage && n.Add(1)%every == 1 {
			return do(ctx)
		}
		return nil
	}
}

func stall(ctx context.Context) error { <-ctx.Done(); return catcher.ErrDrop }

func says(err error) func(context.Context) error { return func(context.Context) error { return err } }

func TestTenWorkersOnOneOutboxAndAHostileServerSendEachMailOnceOrExplainTheSecondCopy(t *testing.T) {
	t.Parallel()
	const people, gone = 15, 3 // those who are gone are refused for good, where that is the case
	for name, test := range map[string]struct {
		hook    catcher.Hook
		doubles bool
		refuses bool
	}{
		"it stalls at EHLO":              {hook: at(catcher.StageHello, 10, stall)},
		"it stalls at MAIL":              {hook: at(catcher.StageMail, 10, stall)},
		"it stalls at RCPT":              {hook: at(catcher.StageRcpt, 10, stall)},
		"it stalls after the message":    {hook: at(catcher.StageData, 10, stall)},
		"it answers 4xx to recipients":   {hook: at(catcher.StageRcpt, 4, says(catcher.Answer(451, "later")))},
		"it answers 4xx to messages":     {hook: at(catcher.StageData, 4, says(catcher.Answer(452, "disk full")))},
		"it drops the message":           {hook: at(catcher.StageData, 4, says(catcher.ErrDrop))},
		"it takes the message and drops": {hook: at(catcher.StageData, 4, says(catcher.ErrKeepAndDrop)), doubles: true},
		"it says 421 in mid-session":     {hook: at(catcher.StageMail, 5, says(catcher.Answer(421, "closing")))},
		"it answers 5xx to some": {refuses: true, hook: func(_ context.Context, s catcher.Step) error {
			if s.Stage == catcher.StageRcpt && strings.HasPrefix(s.To[len(s.To)-1], "gone") {
				return catcher.Answer(550, "no such user")
			}
			return nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newIdleSystem(t, test.hook)
			s.tweaks = append(s.tweaks, func(c *authworker.Config) {
				sender, err := mail.NewSender(mail.Config{
					URL: s.smtp, From: "no-reply@app.example", Timeouts: mail.Timeouts{Command: 500 * time.Millisecond, Answer: 500 * time.Millisecond},
				})
				check(t, err)
				t.Cleanup(sender.Close)
				c.Sender = sender
			})
			addresses := make([]string, people)
			for n := range addresses {
				addresses[n] = fmt.Sprintf("user%02d@example.org", n)
				if test.refuses && n < gone {
					addresses[n] = fmt.Sprintf("gone%02d@example.org", n)
				}
				s.register(t, addresses[n])
			}
			for range 10 {
				s.serve(t, s.db)
			}
			inspector := asynq.NewInspectorFromRedisClient(s.redis)
			eventually(t, "every outbox row ends", func() bool {
				s.ahead.Add(int64(time.Minute)) // what waits for the server goes again
				_, err := inspector.RunAllRetryTasks(jobs.QueueMail)
				check(t, err)
				unfinished, _, err := s.db.OutboxDepth(t.Context())
				check(t, err)
				return unfinished[jobs.RowQueued]+unfinished[jobs.RowClaimed]+unfinished[jobs.RowEnqueued] == 0
			})
			copies := make(map[string][]string) // Message-IDs, by recipient
			for _, m := range s.mails.Messages() {
				copies[m.To[0]] = append(copies[m.To[0]], m.MessageID)
			}
			doubled := false
			for n, address := range addresses {
				h, ambiguous := s.history(t, address)
				got := copies[address]
				switch {
				case test.refuses && n < gone:
					if len(got) != 0 || h.Row.State != jobs.RowDead {
						t.Errorf("%s is refused, has %d mails, and its row is %s", address, len(got), h.Row.State)
					}
				case len(got) == 0 || h.SentAt.IsZero() || h.Row.State != jobs.RowDone:
					t.Errorf("%s has %d mails, its row is %s", address, len(got), h.Row.State)
				case len(got) > 1+ambiguous:
					t.Errorf("%s has %d copies, and %d tries are in doubt", address, len(got), ambiguous)
				}
				doubled = doubled || len(got) > 1
				for _, id := range got {
					if id != h.MessageID {
						t.Errorf("%s has a mail %s, want %s", address, id, h.MessageID)
					}
				}
			}
			if doubled != test.doubles {
				t.Errorf("some have two copies: %v", doubled)
			}
		})
	}
}

// history is that of the address's one mail, and how many of its tries ended with nobody knowing.
func (s *system) history(t *testing.T, address string) (h authjobs.MailHistory, ambiguous int) {
	t.Helper()
	state, err := s.db.AccountState(t.Context(), address)
	check(t, err)
	mails, err := s.db.MailsOf(t.Context(), state.Pending.ID, 10)
	check(t, err)
	if len(mails) != 1 {
		t.Fatalf("%s has %d mails", address, len(mails))
	}
	tries, err := s.db.AttemptsOf(t.Context(), mails[0].Row.ID)
	check(t, err)
	for _, try := range tries {
		if try.Outcome == authjobs.MailAmbiguous {
			ambiguous++
		}
	}
	return mails[0], ambiguous
}
