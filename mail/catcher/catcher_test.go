package catcher_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/smtp"
	"net/textproto"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/sealq/sealq/mail/catcher"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The client of these tests is net/smtp, so that the catcher is not only tested by the package that it tests.

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func start(t *testing.T, o catcher.Options) *catcher.Catcher {
	t.Helper()
	c, err := catcher.StartWith("127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

func raw(subject, text string) []byte {
	return []byte("Message-ID: <1@example.com>\r\nSubject: " + subject + "\r\n\r\n" + strings.ReplaceAll(text, "\n", "\r\n"))
}

func send(c *catcher.Catcher, to string, data []byte) error {
	return smtp.SendMail(c.Addr(), nil, "no-reply@example.com", []string{to}, data)
}

func TestWhatIsSentIsCaught(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 29, 1, 30, 0, 0, time.UTC)
	c := start(t, catcher.Options{Now: func() time.Time { return now }})
	if diff := cmp.Diff("smtp://"+c.Addr()+"?tls=none", c.URL()); diff != "" {
		t.Error(diff)
	}
	data := raw("=?utf-8?q?Gr=C3=BC=C3=9Fe?=", ".\n..\nOpen https://example.com/a?b=c.\n")
	if err := smtp.SendMail(c.Addr(), nil, "no-reply@example.com", []string{"ann@example.org", "bob@example.org"}, data); err != nil {
		t.Fatal(err)
	}
	got, err := c.Wait(bounded(t), func(m catcher.Caught) bool { return m.Subject == "Grüße" })
	if err != nil {
		t.Fatal(err)
	}
	got.Header = nil
	want := catcher.Caught{
		ID: 1, From: "no-reply@example.com", To: []string{"ann@example.org", "bob@example.org"}, Data: data, ReceivedAt: now,
		Subject: "Grüße", MessageID: "1@example.com", Text: ".\n..\nOpen https://example.com/a?b=c.\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("https://example.com/a?b=c", got.Link()); diff != "" {
		t.Error(diff)
	}
}

func TestWaitWaits(t *testing.T) {
	t.Parallel()
	c := start(t, catcher.Options{})
	found := make(chan error, 1)
	go func() {
		_, err := c.Wait(t.Context(), func(m catcher.Caught) bool { return m.To[0] == "second@example.org" })
		found <- err
	}()
	for _, to := range []string{"first@example.org", "second@example.org"} {
		if err := send(c, to, raw("x", "y")); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-found; err != nil {
		t.Error(err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Wait(ctx, func(catcher.Caught) bool { return false })
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "2 mails") {
		t.Errorf("want the context's error and the number of mails, got %v", err)
	}
}

func TestTheHookAnswers(t *testing.T) {
	t.Parallel()
	for sentence, tt := range map[string]struct {
		stage catcher.Stage
		err   error
		code  int // 0: the connection was cut
		kept  int
	}{
		"refused at the greeting":            {catcher.StageHello, catcher.Answer(421, "busy"), 421, 0},
		"refused at MAIL":                    {catcher.StageMail, catcher.Answer(550, "no"), 550, 0},
		"refused at RCPT":                    {catcher.StageRcpt, catcher.Answer(450, "later"), 450, 0},
		"refused after the message":          {catcher.StageData, catcher.Answer(554, "spam"), 554, 0},
		"accepted in another way":            {catcher.StageData, catcher.Answer(251, "well"), 251, 1},
		"cut at the greeting":                {catcher.StageHello, catcher.ErrDrop, 0, 0},
		"cut at MAIL":                        {catcher.StageMail, catcher.ErrDrop, 0, 0},
		"cut at RCPT":                        {catcher.StageRcpt, catcher.ErrDrop, 0, 0},
		"cut after the message, which is no": {catcher.StageData, catcher.ErrDrop, 0, 0},
		"cut after the message, which stays": {catcher.StageData, catcher.ErrKeepAndDrop, 0, 1},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			c := start(t, catcher.Options{Hook: func(_ context.Context, s catcher.Step) error {
				if s.Stage != tt.stage {
					return nil
				}
				return tt.err
			}})
			err := send(c, "ann@example.org", raw("x", "y"))
			answer, answered := errors.AsType[*textproto.Error](err)
			switch {
			case err == nil:
				t.Error("want a refusal, got none")
			case tt.code == 0 && answered:
				t.Errorf("want no answer, got %v", err)
			case tt.code != 0 && (!answered || answer.Code != tt.code):
				t.Errorf("want %d, got %v", tt.code, err)
			}
			if diff := cmp.Diff(tt.kept, len(c.Messages())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheHookSeesTheStep(t *testing.T) {
	t.Parallel()
	steps := make(chan catcher.Step, 10)
	c := start(t, catcher.Options{Hook: func(_ context.Context, s catcher.Step) error {
		steps <- s
		return nil
	}})
	data := raw("x", "y\n")
	if err := send(c, "ann@example.org", data); err != nil {
		t.Fatal(err)
	}
	close(steps)
	var got []catcher.Step
	for s := range steps {
		got = append(got, s)
	}
	from, to := "no-reply@example.com", []string{"ann@example.org"}
	want := []catcher.Step{
		{Session: 1, Stage: catcher.StageHello},
		{Session: 1, Stage: catcher.StageMail, From: from},
		{Session: 1, Stage: catcher.StageRcpt, From: from, To: to},
		{Session: 1, Stage: catcher.StageData, From: from, To: to, Data: data},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(1, c.Sessions()); diff != "" {
		t.Error(diff)
	}
}

func TestItGoesAwayAndComesBack(t *testing.T) {
	t.Parallel()
	c := start(t, catcher.Options{})
	before := c.Addr()
	if err := send(c, "first@example.org", raw("x", "y")); err != nil {
		t.Fatal(err)
	}
	if err := c.Restart(); err == nil {
		t.Error("it started twice")
	}

	open, err := (&net.Dialer{}).DialContext(bounded(t), "tcp", before)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	reader := bufio.NewReader(open)
	if greeting, err := reader.ReadString('\n'); err != nil || !strings.HasPrefix(greeting, "220 ") {
		t.Fatalf("want a greeting, got %q and %v", greeting, err)
	}
	for range 2 {
		if err := c.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if err := open.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.ReadString('\n'); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("an open connection outlived the server: %v", err)
	}
	if err := send(c, "second@example.org", raw("x", "y")); err == nil {
		t.Error("it took a mail while it was away")
	}

	if err := c.Restart(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, c.Addr()); diff != "" {
		t.Error(diff)
	}
	if err := send(c, "third@example.org", raw("x", "y")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(2, len(c.Messages())); diff != "" {
		t.Error(diff)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Restart(); err == nil {
		t.Error("it came back after it was closed")
	}
}

func TestStopEndsAHookThatWaits(t *testing.T) {
	t.Parallel()
	waiting := make(chan struct{})
	c := start(t, catcher.Options{Hook: func(ctx context.Context, s catcher.Step) error {
		if s.Stage == catcher.StageData {
			close(waiting)
			<-ctx.Done()
		}
		return nil
	}})
	sent := make(chan error, 1)
	go func() { sent <- send(c, "ann@example.org", raw("x", "y")) }()
	<-waiting
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	if err := <-sent; err == nil {
		t.Error("a mail was accepted by a server that went away")
	}
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	taken := start(t, catcher.Options{})
	for sentence, tt := range map[string]struct {
		addr    string
		options catcher.Options
	}{
		"every interface":          {"0.0.0.0:0", catcher.Options{}},
		"every interface, unnamed": {":0", catcher.Options{}},
		"another machine":          {"192.0.2.1:25", catcher.Options{}},
		"a name":                   {"mail.example.com:25", catcher.Options{}},
		"no port":                  {"127.0.0.1", catcher.Options{}},
		"a port that is taken":     {taken.Addr(), catcher.Options{}},
		"implicit TLS without TLS": {"127.0.0.1:0", catcher.Options{ImplicitTLS: true}},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			c, err := catcher.StartWith(tt.addr, tt.options)
			if err == nil {
				c.Close()
				t.Error("want an error, got none")
			}
		})
	}
}

func TestCredentialsAreDemanded(t *testing.T) {
	t.Parallel()
	c := start(t, catcher.Options{User: "ann@example.com", Password: "p@ss"})
	if diff := cmp.Diff("smtp://ann%40example.com:p%40ss@"+c.Addr()+"?tls=none", c.URL()); diff != "" {
		t.Error(diff)
	}
	for sentence, tt := range map[string]struct {
		auth smtp.Auth
		code int
	}{
		"nobody logs in": {nil, 530},
		"wrong password": {smtp.PlainAuth("", "ann@example.com", "pass", "127.0.0.1"), 535},
		"wrong user":     {smtp.PlainAuth("", "bob@example.com", "p@ss", "127.0.0.1"), 535},
		"right":          {smtp.PlainAuth("", "ann@example.com", "p@ss", "127.0.0.1"), 0},
	} {
		err := smtp.SendMail(c.Addr(), tt.auth, "no-reply@example.com", []string{"ann@example.org"}, raw("x", "y"))
		answer, _ := errors.AsType[*textproto.Error](err)
		if (tt.code == 0 && err != nil) || (tt.code != 0 && (answer == nil || answer.Code != tt.code)) {
			t.Errorf("%s: want %d, got %v", sentence, tt.code, err)
		}
	}
	if diff := cmp.Diff(1, len(c.Messages())); diff != "" {
		t.Error(diff)
	}
}

func TestAnUnfinishedMessageIsNotKept(t *testing.T) {
	t.Parallel()
	c := start(t, catcher.Options{})
	client, err := smtp.Dial(c.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(client.Mail("no-reply@example.com"), client.Rcpt("ann@example.org")); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Data(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Text.W.WriteString("Subject: x\r\n\r\nhalf of it"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(client.Text.W.Flush(), client.Close()); err != nil {
		t.Fatal(err)
	}
	if err := c.Stop(); err != nil { // waits until the session has ended
		t.Fatal(err)
	}
	if diff := cmp.Diff(0, len(c.Messages())); diff != "" {
		t.Error(diff)
	}
}

func TestARefusedRecipientIsNotOneOfTheMail(t *testing.T) {
	t.Parallel()
	c := start(t, catcher.Options{Hook: func(_ context.Context, s catcher.Step) error {
		if s.Stage == catcher.StageRcpt && s.To[len(s.To)-1] == "nobody@example.org" {
			return catcher.Answer(550, "unknown")
		}
		return nil
	}})
	client, err := smtp.Dial(c.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Mail("no-reply@example.com"); err != nil {
		t.Fatal(err)
	}
	if err := client.Rcpt("nobody@example.org"); err == nil {
		t.Error("the refused recipient was taken")
	}
	if err := client.Rcpt("ann@example.org"); err != nil {
		t.Fatal(err)
	}
	body, err := client.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := body.Write(raw("x", "y")); err != nil {
		t.Fatal(err)
	}
	if err := body.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"ann@example.org"}, c.Messages()[0].To); diff != "" {
		t.Error(diff)
	}
}
