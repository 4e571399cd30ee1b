package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/mail/catcher"
)

const (
	ada      = "ada@example.org"
	bob      = "bob@example.org"
	password = "correct horse battery staple"
)

func (s *story) register(ctx context.Context) (string, error) {
	p, err := s.users.Register(ctx, accounts.Registration{Email: ada, Password: password})
	if err != nil {
		return "", err
	}
	s.worker.Nudge()
	return fmt.Sprintf("%s registers: pending until %s, her mail recorded in the same transaction", ada, clock(p.ExpiresAt)), nil
}

func (s *story) mailArrives(ctx context.Context) (string, error) {
	m, err := s.mailTo(ctx, ada)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("the relay signs it with key %s, a worker verifies and sends it: %q, Message-ID %.12s…", s.activeKey(), m.Subject, m.MessageID), nil
}

func (s *story) activate(ctx context.Context) (string, error) {
	m, err := s.mailTo(ctx, ada)
	if err != nil {
		return "", err
	}
	if err := s.site.follow(ctx, m.Link()); err != nil {
		return "", err
	}
	status, err := s.users.Show(ctx, ada)
	if err != nil {
		return "", err
	}
	if status.Status != accounts.StandingActive {
		return "", fmt.Errorf("after following the link %s is %s, not active", ada, status.Status)
	}
	return fmt.Sprintf("she follows the link %.40s… and confirms: %s is %s", m.Link(), ada, status.Status), nil
}

func (s *story) logIn(ctx context.Context) (string, error) {
	u, err := s.users.Authenticate(ctx, ada, password)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("she logs in: user %s", u.ID), nil
}

func (s *story) registrationExpires(ctx context.Context) (string, error) {
	p, err := s.hasty.Register(ctx, accounts.Registration{Email: bob, Password: password})
	if err != nil {
		return "", err
	}
	s.worker.Nudge()
	m, err := s.mailTo(ctx, bob)
	if err != nil {
		return "", err
	}
	began := time.Now()
	err = eventually(ctx, "the sweep of "+bob, func() (bool, error) {
		return s.sweeps.changed(string(authjobs.KindExpirePending)) == 1, nil
	})
	if err != nil {
		return "", err
	}
	if err := s.site.follow(ctx, m.Link()); err == nil {
		return "", fmt.Errorf("the link of %s's expired registration still activates", bob)
	}
	return fmt.Sprintf("%s registers and does not confirm: over at %s, swept by users:expire_pending after %v, his link is dead",
		bob, clock(p.ExpiresAt), time.Since(began).Round(time.Millisecond)), nil
}

func (s *story) lock(ctx context.Context) (string, error) {
	for range lockoutLimit {
		if _, err := s.users.Authenticate(ctx, ada, "not her password"); !errors.Is(err, accounts.ErrRefused) {
			return "", fmt.Errorf("a wrong password answered %w", err)
		}
	}
	if _, err := s.users.Authenticate(ctx, ada, password); !errors.Is(err, accounts.ErrRefused) {
		return "", fmt.Errorf("the right password on a locked account answered %w", err)
	}
	status, err := s.users.Show(ctx, ada)
	if err != nil {
		return "", err
	}
	if status.Status != accounts.StandingLocked {
		return "", fmt.Errorf("after %d wrong passwords %s is %s, not locked", lockoutLimit, ada, status.Status)
	}
	return fmt.Sprintf("%d wrong passwords: %s is %s, the right password is refused with the same words", lockoutLimit, ada, status.Status), nil
}

func (s *story) lockLifts(ctx context.Context) (string, error) {
	err := eventually(ctx, "the end of the lock", func() (bool, error) {
		status, err := s.users.Show(ctx, ada)
		swept := s.sweeps.changed(string(authjobs.KindResetLockouts)) == 1
		return swept && status.Status == accounts.StandingActive && status.FailedAttempts == 0, err
	})
	if err != nil {
		return "", err
	}
	if _, err := s.users.Authenticate(ctx, ada, password); err != nil {
		return "", fmt.Errorf("after the lock was lifted: %w", err)
	}
	return fmt.Sprintf("the lock of %v is over and lockouts:reset has lifted it on schedule: she logs in again", lockoutFor), nil
}

// wipeQueue lets mails wait in Redis, then wipes it. The pause is wiped with everything else, so that the
// worker would take whatever is still there.
func (s *story) wipeQueue(ctx context.Context) (string, error) {
	inspector := asynq.NewInspectorFromRedisClient(s.stack.Redis)
	if err := inspector.PauseQueue(jobs.QueueMail); err != nil {
		return "", fmt.Errorf("pause the mail queue: %w", err)
	}
	people := []string{"cy@example.org", "di@example.org", "ed@example.org"}
	for _, address := range people {
		if _, err := s.users.Register(ctx, accounts.Registration{Email: address, Password: password}); err != nil {
			return "", err
		}
	}
	s.worker.Nudge()
	err := eventually(ctx, "three mails in Redis", func() (bool, error) {
		n, err := s.stack.Redis.LLen(ctx, "asynq:{mail}:pending").Result()
		return n == int64(len(people)), err //nolint:wrapcheck // eventually names what was waited for
	})
	if err != nil {
		return "", err
	}
	s.stack.Queue.FlushAll()
	for _, address := range people {
		if _, err := s.mailTo(ctx, address); err != nil {
			return "", err
		}
	}
	for _, address := range people {
		if n := s.mailsTo(address); n != 1 {
			return "", fmt.Errorf("%s got %d mails, not one", address, n)
		}
	}
	return fmt.Sprintf("%d mails wait in Redis when it is wiped (FLUSHALL): restored from the outbox, each sent once", len(people)), nil
}

func (s *story) mailTo(ctx context.Context, address string) (catcher.Caught, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	m, err := s.stack.Mail.Wait(ctx, func(c catcher.Caught) bool { return c.To[0] == address })
	if err != nil {
		return m, fmt.Errorf("no mail to %s came within %v", address, patience)
	}
	return m, nil
}

func (s *story) mailsTo(address string) int {
	n := 0
	for _, m := range s.stack.Mail.Messages() {
		if m.To[0] == address {
			n++
		}
	}
	return n
}

func (s *story) activeKey() string {
	for _, k := range s.keys.Infos() {
		if k.State == "active" {
			return k.KID.String()
		}
	}
	return "none"
}

func clock(t time.Time) string { return t.Local().Format("15:04:05 on 2 January") }

// eventually asks until the answer is yes, an error, or too late.
func eventually(ctx context.Context, what string, yes func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := yes()
		if err != nil || ok {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s did not come within %v", what, patience)
		case <-tick.C:
		}
	}
}
