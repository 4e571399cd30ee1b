package authworker_test

import (
	"context"
	"database/sql"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/mail/catcher"
)

// mailsOf are Ada's mails, the newest first.
func (s *system) mailsOf(t *testing.T) []authjobs.MailHistory {
	t.Helper()
	state, err := s.db.AccountState(t.Context(), ada)
	check(t, err)
	mails, err := s.db.MailsOf(t.Context(), state.Pending.ID, 10)
	check(t, err)
	return mails
}

// retry runs the task that waits for its retry.
func (s *system) retry(t *testing.T) {
	t.Helper()
	inspector := asynq.NewInspectorFromRedisClient(s.redis)
	eventually(t, "the task waits for its retry", func() bool {
		tasks, err := inspector.ListRetryTasks(jobs.QueueMail)
		return err == nil && len(tasks) == 1 && inspector.RunTask(jobs.QueueMail, tasks[0].ID) == nil
	})
}

func TestEveryAnswerOfTheMailServerIsKeptWithItsTry(t *testing.T) {
	t.Parallel()
	var mails, recipients atomic.Int32
	s := newSystem(t, func(_ context.Context, step catcher.Step) error {
		switch {
		case step.Stage == catcher.StageMail && mails.Add(1) == 1:
			return catcher.Answer(421, "shutting down")
		case step.Stage == catcher.StageRcpt && recipients.Add(1) == 1:
			return catcher.Answer(451, "greylisted")
		}
		return nil
	}, nil)
	s.register(t, ada)
	s.retry(t)
	s.retry(t)
	s.settled(t)
	kept, err := s.db.AttemptsOf(t.Context(), s.mailsOf(t)[0].Row.ID)
	check(t, err)
	for i := range kept {
		if took := kept[i].EndedAt.Sub(kept[i].StartedAt); took < 0 || took > patience {
			t.Errorf("try %d took %v", kept[i].Try, took)
		}
		kept[i].StartedAt, kept[i].EndedAt = time.Time{}, time.Time{}
	}
	if len(kept) == 3 {
		kept[2].SMTPReply = "" // the catcher's own
	}
	want := []authjobs.MailAttempt{
		{Try: 1, Server: "mx.app.example", Stage: "mail", Outcome: "temporary", SMTPCode: 421, SMTPReply: "4.0.0 shutting down", Cause: "smtp mail: the server answered 421 (temporary)"},
		{Try: 2, Server: "mx.app.example", Stage: "rcpt", Outcome: "temporary", SMTPCode: 451, SMTPReply: "4.0.0 greylisted", Cause: "smtp rcpt: the server answered 451 (temporary)"},
		{Try: 3, Server: "mx.app.example", Outcome: "delivered", SMTPCode: 250},
	}
	if diff := cmp.Diff(want, kept); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// The owner asks for his confirmation again, as the web page lets him.
func (s *system) resend(t *testing.T) {
	t.Helper()
	again, err := accounts.New(s.db, authjobs.NewNotifier[*sql.Tx](s.db), accounts.Config{MailEvery: -1})
	check(t, err)
	check(t, s.db.InTx(t.Context(), func(tx *sql.Tx) error {
		_, err := again.Resend(t.Context(), tx, ada)
		return err
	}))
	s.relay.Nudge()
}

func TestAnAddressThatBouncedGetsNoFurtherMailUntilItIsTakenOffTheList(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	s := newSystem(t, func(_ context.Context, step catcher.Step) error {
		if step.Stage == catcher.StageRcpt && asked.Add(1) == 1 {
			return catcher.Answer(550, "no such user")
		}
		return nil
	}, nil)
	s.register(t, ada)
	s.settled(t)
	s.resend(t)
	if n := len(s.sent(t)); n != 0 || asked.Load() != 1 {
		t.Fatalf("%d mails were sent, and the mail server was asked %d times", n, asked.Load())
	}
	mails := s.mailsOf(t)
	got := []string{string(mails[0].HeldBy), string(mails[0].Row.State), string(mails[1].Row.State)}
	if diff := cmp.Diff([]string{"suppressed", "done", "dead"}, got); diff != "" || mails[0].Row.Failures != 0 {
		t.Errorf("it is no failure (%d):\n%s", mails[0].Row.Failures, diff)
	}
	check(t, s.db.InTx(t.Context(), func(tx *sql.Tx) error { return s.db.RemoveSuppression(t.Context(), tx, ada) }))
	s.resend(t)
	if n := len(s.sent(t)); n != 1 {
		t.Errorf("want one mail, got %d", n)
	}
}

func TestAFullMailboxSuppressesNoAddress(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	s := newSystem(t, func(_ context.Context, step catcher.Step) error {
		if step.Stage == catcher.StageRcpt && asked.Add(1) == 1 {
			return catcher.Answer(552, "mailbox full")
		}
		return nil
	}, nil)
	s.register(t, ada)
	s.settled(t)
	s.resend(t)
	if n := len(s.sent(t)); n != 1 {
		t.Errorf("want one mail, got %d", n)
	}
}
