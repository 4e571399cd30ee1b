package mail_test

import (
	"context"
	"testing"

	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/mail/catcher"
)

func TestWhetherTheSenderIsTakenIsAskedWithoutSendingAnything(t *testing.T) {
	t.Parallel()
	refuses := false
	var recipients int
	c, err := catcher.StartWith("127.0.0.1:0", catcher.Options{Hook: func(_ context.Context, s catcher.Step) error {
		switch {
		case s.Stage == catcher.StageRcpt:
			recipients++
		case s.Stage == catcher.StageMail && refuses:
			return catcher.Answer(550, "not yours")
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	sender := newSender(t, mail.Config{URL: c.URL(), From: "no-reply@example.com"})
	if err := sender.PingFrom(bounded(t)); err != nil {
		t.Error(err)
	}
	refuses = true
	if got := failureOf(t, sender.PingFrom(bounded(t))); got.Stage != mail.StageMail || got.Code != 550 {
		t.Errorf("refused: %v", got)
	}
	if recipients != 0 || len(c.Messages()) != 0 {
		t.Errorf("%d recipients were named, %d mails kept", recipients, len(c.Messages()))
	}
}
