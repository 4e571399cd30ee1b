package mail_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/mail/catcher"
)

func TestSendDeliversWhatRenderShows(t *testing.T) {
	t.Parallel()
	c := startCatcher(t, catcher.Options{})
	sender := newSender(t, mail.Config{URL: c.URL()})
	m := message()
	m.Text = "Grüße\n.\n..two dots\nOpen https://example.com/confirm?key=abc.\n"
	want, err := sender.Render(m)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := sender.Send(bounded(t), m, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(mail.Answer{Code: 250, Reply: "2.0.0 OK: queued"}, answer); diff != "" {
		t.Error(diff)
	}
	got := c.Messages()
	if len(got) != 1 {
		t.Fatalf("want one mail, got %d", len(got))
	}
	if diff := cmp.Diff(string(want), string(got[0].Data)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"no-reply@example.com", "ann@example.org"}, append([]string{got[0].From}, got[0].To...)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{m.ID, m.Subject, m.Text, m.HTML}, []string{got[0].MessageID, got[0].Subject, got[0].Text, got[0].HTML}); diff != "" {
		t.Error(diff)
	}
}

func TestSendAgainIsTheSameBytes(t *testing.T) {
	t.Parallel()
	c := startCatcher(t, catcher.Options{})
	for range 2 {
		if _, err := newSender(t, mail.Config{URL: c.URL()}).Send(bounded(t), message(), nil); err != nil {
			t.Fatal(err)
		}
	}
	got := c.Messages()
	if len(got) != 2 {
		t.Fatalf("want two mails, got %d", len(got))
	}
	if diff := cmp.Diff(string(got[0].Data), string(got[1].Data)); diff != "" {
		t.Error(diff)
	}
}

// failure is what a test compares of a SendError.
type failure struct {
	Stage   mail.Stage
	Code    int
	Outcome mail.Outcome
}

func failureOf(t *testing.T, err error) failure {
	t.Helper()
	failed, ok := errors.AsType[*mail.SendError](err)
	if !ok {
		t.Fatalf("want a *SendError, got %v", err)
	}
	return failure{failed.Stage, failed.Code, failed.Outcome}
}

func TestSendTellsWhatTheServerMeant(t *testing.T) {
	t.Parallel()
	at := func(stage catcher.Stage, answer error) catcher.Hook {
		return func(_ context.Context, s catcher.Step) error {
			if s.Stage == stage {
				return answer
			}
			return nil
		}
	}
	for sentence, tt := range map[string]struct {
		hook catcher.Hook
		want failure
		kept int
	}{
		"550 at RCPT ends the mail": {
			at(catcher.StageRcpt, catcher.Answer(550, "no such user")), failure{mail.StageRcpt, 550, mail.OutcomePermanent}, 0,
		},
		"450 at RCPT is tried again": {
			at(catcher.StageRcpt, catcher.Answer(450, "greylisted")), failure{mail.StageRcpt, 450, mail.OutcomeTemporary}, 0,
		},
		"554 after DATA ends the mail": {
			at(catcher.StageData, catcher.Answer(554, "looks like spam")), failure{mail.StageAnswer, 554, mail.OutcomePermanent}, 0,
		},
		"452 after DATA is tried again": {
			at(catcher.StageData, catcher.Answer(452, "disk full")), failure{mail.StageAnswer, 452, mail.OutcomeTemporary}, 0,
		},
		"550 at MAIL is about us": {
			at(catcher.StageMail, catcher.Answer(550, "not your address")), failure{mail.StageMail, 550, mail.OutcomeConfiguration}, 0,
		},
		"a connection cut at RCPT is tried again": {
			at(catcher.StageRcpt, catcher.ErrDrop), failure{mail.StageRcpt, 0, mail.OutcomeTemporary}, 0,
		},
		"a connection cut after DATA, the mail lost, is ambiguous": {
			at(catcher.StageData, catcher.ErrDrop), failure{mail.StageAnswer, 0, mail.OutcomeAmbiguous}, 0,
		},
		"a connection cut after DATA, the mail kept, is ambiguous": {
			at(catcher.StageData, catcher.ErrKeepAndDrop), failure{mail.StageAnswer, 0, mail.OutcomeAmbiguous}, 1,
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			c := startCatcher(t, catcher.Options{Hook: tt.hook})
			answer, err := newSender(t, mail.Config{URL: c.URL()}).Send(bounded(t), message(), nil)
			if diff := cmp.Diff(tt.want, failureOf(t, err)); diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
			if diff := cmp.Diff(mail.Answer{}, answer); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.kept, len(c.Messages())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSendErrorKeepsTheReplyOutOfItsText(t *testing.T) {
	t.Parallel()
	c := startCatcher(t, catcher.Options{Hook: func(_ context.Context, s catcher.Step) error {
		if s.Stage == catcher.StageRcpt {
			return catcher.Answer(550, "<ann@example.org>: unknown\x00\nsee https://example.net/help "+strings.Repeat("ä", 600))
		}
		return nil
	}})
	_, err := newSender(t, mail.Config{URL: c.URL()}).Send(bounded(t), message(), nil)
	if diff := cmp.Diff("smtp rcpt: the server answered 550 (permanent)", err.Error()); diff != "" {
		t.Error(diff)
	}
	failed, _ := errors.AsType[*mail.SendError](err)
	if !strings.HasPrefix(failed.Reply, "<ann@example.org>: unknown  5.0.0 see https://example.net/help ") || len(failed.Reply) > 1000 {
		t.Errorf("the reply is not kept as one bounded line: %d bytes, %q", len(failed.Reply), failed.Reply)
	}
}

func TestBeforeDataIsAskedWhenTheRecipientIsAccepted(t *testing.T) {
	t.Parallel()
	withdrawn := errors.New("confirmed in the meantime")
	s := startScripted(t, nil)
	sender := newSender(t, mail.Config{URL: s.url("tls=none&helo=test")})
	var heard []string
	_, err := sender.Send(bounded(t), message(), func(context.Context) error {
		heard = s.heard()
		return withdrawn
	})
	if !errors.Is(err, withdrawn) {
		t.Errorf("want the caller's own error, got %v", err)
	}
	if failed, ok := errors.AsType[*mail.SendError](err); ok {
		t.Errorf("a withdrawn mail is no failure of the server: %v", failed)
	}
	envelope := []string{"EHLO test", "MAIL FROM:<no-reply@example.com>", "RCPT TO:<ann@example.org>"}
	if diff := cmp.Diff(envelope, heard); diff != "" {
		t.Error(diff)
	}
	sender.Close()
	if diff := cmp.Diff(append(envelope, "QUIT"), s.heard()); diff != "" {
		t.Error(diff)
	}
}

func TestSendWhenNobodyListens(t *testing.T) {
	t.Parallel()
	c := startCatcher(t, catcher.Options{})
	sender := newSender(t, mail.Config{URL: c.URL()})
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	_, err := sender.Send(bounded(t), message(), nil)
	if diff := cmp.Diff(failure{mail.StageDial, 0, mail.OutcomeConfiguration}, failureOf(t, err)); diff != "" {
		t.Error(diff)
	}
	if _, ok := errors.AsType[*net.OpError](err); !ok {
		t.Errorf("the cause is gone: %v", err)
	}
	if err := sender.Ping(bounded(t)); err == nil {
		t.Error("the ping found a server that is away")
	}
	if err := c.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := sender.Ping(bounded(t)); err != nil {
		t.Error(err)
	}
	if _, err := sender.Send(bounded(t), message(), nil); err != nil {
		t.Error(err)
	}
}

func TestSendStopsWithItsContext(t *testing.T) {
	t.Parallel()
	for sentence, tt := range map[string]struct {
		stage catcher.Stage
		want  failure
	}{
		"before the envelope nothing is lost":         {catcher.StageHello, failure{mail.StageHello, 0, mail.OutcomeTemporary}},
		"in the envelope nothing is lost":             {catcher.StageRcpt, failure{mail.StageRcpt, 0, mail.OutcomeTemporary}},
		"after the message nobody knows":              {catcher.StageData, failure{mail.StageAnswer, 0, mail.OutcomeAmbiguous}},
		"before the connection nothing was even said": {"", failure{mail.StageDial, 0, mail.OutcomeTemporary}},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancelCause(bounded(t))
			stopping := errors.New("the process is stopping")
			c := startCatcher(t, catcher.Options{Hook: func(stopped context.Context, s catcher.Step) error {
				if s.Stage == tt.stage {
					cancel(stopping)
					<-stopped.Done()
				}
				return nil
			}})
			if tt.stage == "" {
				cancel(stopping)
			}
			_, err := newSender(t, mail.Config{URL: c.URL()}).Send(ctx, message(), nil)
			if diff := cmp.Diff(tt.want, failureOf(t, err)); diff != "" {
				t.Error(diff)
			}
			if !errors.Is(err, context.Canceled) || !errors.Is(err, stopping) {
				t.Errorf("want the context's error and cause, got %v", err)
			}
		})
	}
}

func TestAddressesBeyondASCII(t *testing.T) {
	t.Parallel()
	for sentence, tt := range map[string]struct {
		options catcher.Options
		from    string
		to      string
		want    []string // the envelope; nil: refused
		failed  failure
	}{
		"a domain is written in ASCII": {
			catcher.Options{WithoutUTF8: true},
			"no-reply@bücher.example", "ann@Bücher.example",
			[]string{"no-reply@xn--bcher-kva.example", "ann@xn--bcher-kva.example"},
			failure{},
		},
		"a local part goes through a server that carries it": {
			catcher.Options{},
			"no-reply@example.com", "jürgen@example.org",
			[]string{"no-reply@example.com", "jürgen@example.org"},
			failure{},
		},
		"a local part cannot go through one that does not": {
			catcher.Options{WithoutUTF8: true},
			"no-reply@example.com", "jürgen@example.org",
			nil,
			failure{mail.StageRcpt, 0, mail.OutcomePermanent},
		},
		"a sender's local part is a matter of configuration": {
			catcher.Options{WithoutUTF8: true},
			"grüße@example.com", "ann@example.org",
			nil,
			failure{mail.StageMail, 0, mail.OutcomeConfiguration},
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			c := startCatcher(t, tt.options)
			m := message()
			m.To = tt.to
			_, err := newSender(t, mail.Config{URL: c.URL(), From: tt.from}).Send(bounded(t), m, nil)
			if tt.want == nil {
				if diff := cmp.Diff(tt.failed, failureOf(t, err)); diff != "" {
					t.Error(diff)
				}
				if got := len(c.Messages()); got != 0 {
					t.Errorf("%d mails came nevertheless", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := c.Messages()[0]
			if diff := cmp.Diff(tt.want, append([]string{got.From}, got.To...)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSMTPUTF8IsAskedForOnlyWhenNeeded(t *testing.T) {
	t.Parallel()
	s := startScripted(t, map[string]string{"EHLO": "250-scripted\n250 SMTPUTF8"})
	sender := newSender(t, mail.Config{URL: s.url("tls=none")})
	for _, to := range []string{"ann@bücher.example", "jürgen@example.org"} {
		m := message()
		m.To = to
		if _, err := sender.Send(bounded(t), m, nil); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, line := range s.heard() {
		if strings.HasPrefix(line, "MAIL") {
			got = append(got, line)
		}
	}
	if diff := cmp.Diff([]string{"MAIL FROM:<no-reply@example.com>", "MAIL FROM:<no-reply@example.com> SMTPUTF8"}, got); diff != "" {
		t.Error(diff)
	}
}
