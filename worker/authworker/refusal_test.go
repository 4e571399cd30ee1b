package authworker_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/mail/catcher"
)

// over runs what waits for its retry until every outbox row has ended.
func (s *system) over(t *testing.T) {
	t.Helper()
	s.retrying(t, "every outbox row ends", func() bool { return s.unfinished(t) == 0 })
}

// retrying runs what waits for its retry until something holds.
func (s *system) retrying(t *testing.T, what string, holds func() bool) {
	t.Helper()
	check(t, s.redis.SAdd(t.Context(), "asynq:queues", jobs.QueueMail).Err()) // nothing may have come yet
	inspector := asynq.NewInspectorFromRedisClient(s.redis)
	eventually(t, what, func() bool {
		_, err := inspector.RunAllRetryTasks(jobs.QueueMail)
		check(t, err)
		return holds()
	})
}

func (s *system) unfinished(t *testing.T) (n int64) {
	t.Helper()
	unfinished, _, err := s.db.OutboxDepth(t.Context())
	check(t, err)
	for _, rows := range unfinished {
		n += rows
	}
	return n
}

// failures are the tries that the waiting mails have used up.
func (s *system) failures(t *testing.T) (n int) {
	t.Helper()
	tasks, err := asynq.NewInspectorFromRedisClient(s.redis).ListRetryTasks(jobs.QueueMail, asynq.PageSize(100))
	check(t, err)
	for _, task := range tasks {
		n += task.Retried
	}
	return n
}

// waiting waits until the breaker is open and so many mails wait for their retry, so that no run is under way.
func (s *system) waiting(t *testing.T, n int) {
	t.Helper()
	inspector := asynq.NewInspectorFromRedisClient(s.redis)
	eventually(t, "the breaker opens, and all mails wait", func() bool {
		tasks, err := inspector.ListRetryTasks(jobs.QueueMail, asynq.PageSize(100))
		return err == nil && len(tasks) == n && s.breaker.Open() != nil
	})
}

func (s *system) suppressed(t *testing.T) (addresses []string) {
	t.Helper()
	list, err := s.db.Suppressions(t.Context(), 100)
	check(t, err)
	for _, entry := range list {
		addresses = append(addresses, entry.Address)
	}
	return addresses
}

func (s *system) registerMany(t *testing.T, n int, domain string) {
	t.Helper()
	for i := range n {
		s.register(t, fmt.Sprintf("user%02d@%s", i, domain))
	}
}

// refusal answers as a server does that puts its checks of sender and user off until RCPT.
func refusal(code int, enhanced smtp.EnhancedCode) error {
	return &smtp.SMTPError{Code: code, EnhancedCode: enhanced, Message: "refused"}
}

func TestARefusalOfOurSenderAtRcptStopsTheMailsAndBlamesNobody(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]error{
		"relay access denied":        refusal(554, smtp.EnhancedCode{5, 7, 1}),
		"the sender is not the user": refusal(553, smtp.EnhancedCode{5, 7, 1}),
		"the sender's domain":        refusal(550, smtp.EnhancedCode{5, 1, 8}),
		"the sender's mailbox":       refusal(553, smtp.EnhancedCode{5, 1, 7}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mended atomic.Bool
			s := newSystem(t, func(_ context.Context, step catcher.Step) error {
				if step.Stage == catcher.StageRcpt && !mended.Load() {
					return answer
				}
				return nil
			}, nil)
			s.registerMany(t, 10, "example.org")
			s.waiting(t, 10)
			if err := s.breaker.Open(); !strings.Contains(err.Error(), "check that the server lets this user send from this sender address") {
				t.Errorf("/readyz says %v", err)
			}
			if n := s.failures(t); n != 0 || s.unfinished(t) != 10 {
				t.Errorf("%d tries are used up, and %d of 10 mails wait", n, s.unfinished(t))
			}
			mended.Store(true)
			s.ahead.Store(int64(time.Hour))
			s.over(t)
			if n := len(s.mails.Messages()); n != 10 || len(s.suppressed(t)) != 0 {
				t.Errorf("%d of 10 mails are sent, suppressed are %q", n, s.suppressed(t))
			}
		})
	}
}

// Such servers say 550 and no more to whoever may not relay, or has sent too much.
func TestARefusalThatDoesNotSayWhomBlamesNobodyUntilTheServerTakesAnother(t *testing.T) {
	t.Parallel()
	var mended atomic.Bool
	s := newSystem(t, func(_ context.Context, step catcher.Step) error {
		if step.Stage == catcher.StageRcpt && (!mended.Load() || strings.HasPrefix(step.To[0], "nobody@")) {
			return refusal(550, smtp.NoEnhancedCode)
		}
		return nil
	}, nil)
	s.registerMany(t, 5, "example.org")
	s.register(t, "nobody@example.org")
	s.retrying(t, "each has been refused twice", func() bool { return s.outcomes.all()[authjobs.MailTemporary] >= 12 })
	if s.outcomes.all()[authjobs.MailPermanent] > 0 || s.unfinished(t) != 6 {
		t.Errorf("mails are over: %v", s.outcomes.all())
	}
	mended.Store(true)
	s.over(t)
	if diff := cmp.Diff([]int32{5, 1}, []int32{s.outcomes.all()[authjobs.MailDelivered], s.outcomes.all()[authjobs.MailPermanent]}); diff != "" || len(s.suppressed(t)) != 0 {
		t.Errorf("delivered and over (-want +got):\n%s\nsuppressed: %q", diff, s.suppressed(t))
	}
}

// A policy against one recipient, from a server that takes others.
func TestAPolicyAgainstOneRecipientStopsNobodyElse(t *testing.T) {
	t.Parallel()
	s := newSystem(t, func(_ context.Context, step catcher.Step) error {
		if step.Stage == catcher.StageRcpt && strings.HasSuffix(step.To[0], "@blocked.example") {
			return refusal(550, smtp.EnhancedCode{5, 7, 1})
		}
		return nil
	}, nil)
	s.register(t, ada)
	s.settled(t)
	s.registerMany(t, 10, "blocked.example")
	s.retrying(t, "each has been refused", func() bool { return s.outcomes.all()[authjobs.MailTemporary] >= 10 })
	if err := s.breaker.Open(); err != nil || s.outcomes.all()[authjobs.MailConfiguration] > 0 {
		t.Errorf("it is no outage: %v, %v", err, s.outcomes.all())
	}
	s.register(t, "bob@example.org")
	s.over(t)
	want := map[authjobs.MailOutcome]int32{authjobs.MailDelivered: 2, authjobs.MailPermanent: 10, authjobs.MailTemporary: s.outcomes.all()[authjobs.MailTemporary]}
	if diff := cmp.Diff(want, s.outcomes.all()); diff != "" || len(s.suppressed(t)) != 0 {
		t.Errorf("-want +got:\n%s\nsuppressed: %q", diff, s.suppressed(t))
	}
}

// Whoever registers addresses to which the relay says 421 must not stop the mails of all.
func TestA421OfOneRecipientStopsNobodyElse(t *testing.T) {
	t.Parallel()
	for name, stage := range map[string]catcher.Stage{"at RCPT": catcher.StageRcpt, "after DATA": catcher.StageData} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, func(_ context.Context, step catcher.Step) error {
				if step.Stage == stage && strings.HasSuffix(step.To[0], "@evil.example") {
					return catcher.Answer(421, "try later")
				}
				return nil
			}, nil)
			s.registerMany(t, 20, "evil.example")
			eventually(t, "they are refused", func() bool { return s.outcomes.all()[authjobs.MailTemporary] == 20 })
			s.register(t, ada)
			eventually(t, "another's mail goes", func() bool { return s.outcomes.all()[authjobs.MailDelivered] == 1 })
			if err := s.breaker.Open(); err != nil || s.failures(t) != 20 {
				t.Errorf("each has used up a try: %d, and the server is not down: %v", s.failures(t), err)
			}
		})
	}
}

// What a server says before a recipient is named it says to all.
func TestA4xxBeforeRcptLeavesTheServerAloneAndUsesUpNoTry(t *testing.T) {
	t.Parallel()
	var mended atomic.Bool
	s := newSystem(t, func(_ context.Context, step catcher.Step) error {
		if step.Stage == catcher.StageMail && !mended.Load() {
			return catcher.Answer(454, "Temporary authentication failure")
		}
		return nil
	}, nil)
	s.registerMany(t, 10, "example.org")
	s.waiting(t, 10)
	if n := s.failures(t); n != 0 {
		t.Errorf("%d tries are used up", n)
	}
	if asked := s.outcomes.all()[authjobs.MailTemporary]; asked < 3 || asked > 7 {
		t.Errorf("%d mails found that out", asked)
	}
	mended.Store(true)
	s.ahead.Store(int64(time.Hour))
	s.over(t)
	if n := len(s.mails.Messages()); n != 10 {
		t.Errorf("%d of 10 mails are sent", n)
	}
}

func TestARefusalOfAnotherSpellingSuppressesNobody(t *testing.T) {
	t.Parallel()
	for name, spelling := range map[string]string{"in capitals": "ADA@example.org", "decomposed": "ada.me\u0301@example.org"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, func(_ context.Context, step catcher.Step) error {
				if step.Stage == catcher.StageRcpt && step.To[0] == spelling {
					return catcher.Answer(550, "no such mailbox")
				}
				return nil
			}, nil)
			s.register(t, spelling)
			s.over(t)
			if diff := cmp.Diff(map[authjobs.MailOutcome]int32{authjobs.MailPermanent: 1}, s.outcomes.all()); diff != "" || len(s.suppressed(t)) != 0 {
				t.Errorf("-want +got:\n%s\nsuppressed: %q", diff, s.suppressed(t))
			}
		})
	}
}
