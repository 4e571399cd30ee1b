package authworker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/mail/catcher"
)

// A mail that is not wanted any more never comes to the mail server: its end does not say that the server is back.
func TestAWithdrawnMailDoesNotCloseTheBreaker(t *testing.T) {
	t.Parallel()
	s := newSystem(t, func(_ context.Context, step catcher.Step) error {
		if step.Stage == catcher.StageMail {
			return catcher.Answer(535, "no")
		}
		return nil
	}, nil)
	s.registerMany(t, 4, "example.org")
	s.waiting(t, 4)
	s.sql(t, `DELETE FROM pending_users`)
	sessions := s.mails.Sessions()
	s.ahead.Store(int64(time.Hour))
	s.over(t)
	if s.breaker.Open() == nil || s.mails.Sessions() != sessions {
		t.Errorf("nobody asked the server (%d of %d sessions), and the breaker is closed", s.mails.Sessions(), sessions)
	}
}

// A server that refuses each recipient has answered each: it is not down.
func TestAServerThatRefusesRecipientsIsNotDown(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]int{"for good": 550, "for now": 450} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var back atomic.Bool
			s := newSystem(t, func(_ context.Context, step catcher.Step) error {
				switch {
				case step.Stage == catcher.StageMail && !back.Load():
					return catcher.Answer(535, "no")
				case step.Stage == catcher.StageRcpt:
					return catcher.Answer(answer, "not him")
				}
				return nil
			}, nil)
			s.registerMany(t, 3, "example.org")
			s.waiting(t, 3)
			back.Store(true)
			s.ahead.Store(int64(time.Hour))
			s.retrying(t, "all are answered", func() bool {
				return s.outcomes.all()[authjobs.MailPermanent]+s.outcomes.all()[authjobs.MailTemporary] >= 3
			})
			eventually(t, "the breaker closes", func() bool { return s.breaker.Open() == nil })
		})
	}
}
