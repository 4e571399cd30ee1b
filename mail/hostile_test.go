package mail_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/mail/catcher"
)

// patience lets a test of silence end soon, and every other test run on a busy machine.
func patience(reply string) mail.Timeouts {
	if reply != silence {
		return mail.Timeouts{}
	}
	return mail.Timeouts{Command: 500 * time.Millisecond, Answer: 500 * time.Millisecond}
}

func TestEveryStageAndEveryKindOfAnswer(t *testing.T) {
	t.Parallel()
	const permanent, temporary, ambiguous, configuration = mail.OutcomePermanent, mail.OutcomeTemporary, mail.OutcomeAmbiguous, mail.OutcomeConfiguration
	for verb, stage := range map[string]struct {
		stage   mail.Stage
		replies map[string]failure // Outcome alone matters; no outcome: delivered
	}{
		"": {mail.StageGreeting, map[string]failure{
			"554 not today": {Code: 554, Outcome: configuration},
			"421 busy":      {Code: 421, Outcome: temporary},
			"hello":         {Outcome: configuration},
			cut:             {Outcome: configuration},
			silence:         {Outcome: configuration},
		}},
		"EHLO": {mail.StageHello, map[string]failure{
			"550 go away": {}, // HELO is accepted then
			"421 busy":    {}, // likewise
			cut:           {Outcome: configuration},
			silence:       {Outcome: configuration},
		}},
		"MAIL": {mail.StageMail, map[string]failure{
			"530 log in first": {Code: 530, Outcome: configuration},
			"553 not yours":    {Code: 553, Outcome: configuration},
			"451 later":        {Code: 451, Outcome: temporary},
			"hello":            {Outcome: configuration},
			cut:                {Outcome: configuration},
			silence:            {Outcome: configuration},
		}},
		"RCPT": {mail.StageRcpt, map[string]failure{
			"251 will forward": {},
			"550 unknown":      {Code: 550, Outcome: permanent},
			"530 log in first": {Code: 530, Outcome: configuration},
			"421 busy":         {Code: 421, Outcome: temporary},
			"hello":            {Outcome: temporary},
			cut:                {Outcome: temporary},
			silence:            {Outcome: temporary},
		}},
		"DATA": {mail.StageData, map[string]failure{
			"554 no valid recipients": {Code: 554, Outcome: permanent},
			"451 later":               {Code: 451, Outcome: temporary},
			"250 what is there to go": {Code: 250, Outcome: temporary},
			cut:                       {Outcome: temporary},
			silence:                   {Outcome: temporary},
		}},
		".": {mail.StageAnswer, map[string]failure{
			"250 queued as 5 of 4": {}, // the text never counts
			"251 odd but accepted": {},
			"550 no":               {Code: 550, Outcome: permanent},
			"421 closing":          {Code: 421, Outcome: temporary},
			"354 what else":        {Code: 354, Outcome: ambiguous},
			"hello":                {Outcome: ambiguous},
			"2":                    {Outcome: ambiguous},
			cut:                    {Outcome: ambiguous},
			silence:                {Outcome: ambiguous},
		}},
		"QUIT": {"", map[string]failure{
			"500 what": {},
			cut:        {},
			silence:    {},
		}},
	} {
		for reply, want := range stage.replies {
			t.Run(verb+" answered by "+reply, func(t *testing.T) {
				t.Parallel()
				s := startScripted(t, map[string]string{verb: reply})
				sender := newSender(t, mail.Config{URL: s.url("tls=none"), Timeouts: patience(reply)})
				answer, err := sender.Send(bounded(t), message(), nil)
				if want.Outcome == "" {
					if err != nil || answer.Code/100 != 2 {
						t.Errorf("want a delivery, got %v and %v", answer, err)
					}
					return
				}
				want.Stage = stage.stage
				if diff := cmp.Diff(want, failureOf(t, err)); diff != "" {
					t.Errorf("%v\n%s", err, diff)
				}
			})
		}
	}
}

func TestTotalCutsEveryStageShort(t *testing.T) {
	t.Parallel()
	s := startScripted(t, map[string]string{".": silence})
	sender := newSender(t, mail.Config{URL: s.url("tls=none"), Timeouts: mail.Timeouts{Total: 500 * time.Millisecond}})
	_, err := sender.Send(bounded(t), message(), nil)
	if diff := cmp.Diff(failure{mail.StageAnswer, 0, mail.OutcomeAmbiguous}, failureOf(t, err)); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(err.Error(), "the time for the whole delivery is over") {
		t.Errorf("the error does not say why: %v", err)
	}
}

func TestAServerThatNeverEndsItsReply(t *testing.T) {
	t.Parallel()
	endless := strings.Repeat("250-and more and more and more and more\n", 1<<15) // 1.25 MiB
	s := startScripted(t, map[string]string{"RCPT": endless + "250 done"})
	_, err := newSender(t, mail.Config{URL: s.url("tls=none")}).Send(bounded(t), message(), nil)
	if diff := cmp.Diff(failure{mail.StageRcpt, 0, mail.OutcomeTemporary}, failureOf(t, err)); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(err.Error(), "1 MiB") {
		t.Errorf("the error does not say why: %v", err)
	}
}

func TestTLSIsNeverGivenUp(t *testing.T) {
	t.Parallel()
	for sentence, tt := range map[string]struct {
		replies map[string]string
		heard   []string
		want    failure
	}{
		"STARTTLS not offered": {
			nil,
			[]string{"EHLO test"},
			failure{mail.StageTLS, 0, mail.OutcomeConfiguration},
		},
		"STARTTLS offered and refused": {
			map[string]string{"EHLO": "250-scripted\n250 STARTTLS", "STARTTLS": "502 not really"},
			[]string{"EHLO test", "STARTTLS", "QUIT"},
			failure{mail.StageTLS, 502, mail.OutcomeConfiguration},
		},
		"STARTTLS not available for now": {
			map[string]string{"EHLO": "250-scripted\n250 STARTTLS", "STARTTLS": "454 later"},
			[]string{"EHLO test", "STARTTLS", "QUIT"},
			failure{mail.StageTLS, 454, mail.OutcomeTemporary},
		},
		"a server that knows no EHLO": {
			map[string]string{"EHLO": "500 what"},
			[]string{"EHLO test", "HELO test"},
			failure{mail.StageTLS, 0, mail.OutcomeConfiguration},
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			s := startScripted(t, tt.replies)
			url := strings.Replace(s.url("helo=test"), "smtp://", "smtp://ann:s3cret@", 1)
			_, err := newSender(t, mail.Config{URL: url}).Send(bounded(t), message(), nil)
			if diff := cmp.Diff(tt.want, failureOf(t, err)); diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
			if diff := cmp.Diff(tt.heard, s.heard()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTLSBothWays(t *testing.T) {
	t.Parallel()
	certificate, pool := authority(t)
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	for sentence, options := range map[string]catcher.Options{
		"STARTTLS":                 {TLS: config},
		"implicit":                 {TLS: config, ImplicitTLS: true},
		"STARTTLS and credentials": {TLS: config, User: "ann@example.com", Password: "p@ss/w?rd#"},
		"implicit and credentials": {TLS: config, ImplicitTLS: true, User: "ann", Password: "p@ss:wörd%"},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			c := startCatcher(t, options)
			trusting := newSender(t, mail.Config{URL: c.URL(), TLSConfig: &tls.Config{RootCAs: pool}})
			if err := trusting.Ping(bounded(t)); err != nil {
				t.Error(err)
			}
			if _, err := trusting.Send(bounded(t), message(), nil); err != nil {
				t.Error(err)
			}
			distrusting := newSender(t, mail.Config{URL: c.URL(), TLSConfig: &tls.Config{RootCAs: x509.NewCertPool()}})
			_, err := distrusting.Send(bounded(t), message(), nil)
			if diff := cmp.Diff(failure{mail.StageTLS, 0, mail.OutcomeConfiguration}, failureOf(t, err)); diff != "" {
				t.Error(diff)
			}
			if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
				t.Errorf("the cause is gone: %v", err)
			}
			other := newSender(t, mail.Config{URL: c.URL(), TLSConfig: &tls.Config{RootCAs: pool, ServerName: "mail.example.com"}})
			if got := failureOf(t, other.Ping(bounded(t))); got.Outcome != mail.OutcomeConfiguration {
				t.Errorf("a certificate of another name was taken: %v", got)
			}
			if diff := cmp.Diff(1, len(c.Messages())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAuthentication(t *testing.T) {
	t.Parallel()
	const ann, annsPassword = "YW5u", "czNjcmV0" // ann, s3cret
	for sentence, tt := range map[string]struct {
		replies map[string]string
		heard   []string
		want    failure
	}{
		"PLAIN before LOGIN": {
			map[string]string{"EHLO": "250-scripted\n250 AUTH LOGIN PLAIN", "AUTH": "235 welcome"},
			[]string{"EHLO test", "AUTH PLAIN AGFubgBzM2NyZXQ=", "QUIT"},
			failure{},
		},
		"LOGIN when there is no PLAIN": {
			map[string]string{"EHLO": "250-scripted\n250 AUTH CRAM-MD5 LOGIN", "AUTH": "334 VXNlcm5hbWU6", strings.ToUpper(ann): "334 UGFzc3dvcmQ6", strings.ToUpper(annsPassword): "235 welcome"},
			[]string{"EHLO test", "AUTH LOGIN", ann, annsPassword, "QUIT"},
			failure{},
		},
		"nothing we know": {
			map[string]string{"EHLO": "250-scripted\n250 AUTH CRAM-MD5"},
			[]string{"EHLO test"},
			failure{mail.StageAuth, 0, mail.OutcomeConfiguration},
		},
		"nothing at all": {
			nil,
			[]string{"EHLO test"},
			failure{mail.StageAuth, 0, mail.OutcomeConfiguration},
		},
		"a server that cannot check just now": {
			map[string]string{"EHLO": "250-scripted\n250 AUTH PLAIN", "AUTH": "454 later"},
			[]string{"EHLO test", "AUTH PLAIN AGFubgBzM2NyZXQ=", "*", "QUIT"},
			failure{mail.StageAuth, 454, mail.OutcomeTemporary},
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			s := startScripted(t, tt.replies)
			url := strings.Replace(s.url("tls=none&helo=test"), "smtp://", "smtp://ann:s3cret@", 1)
			err := newSender(t, mail.Config{URL: url}).Ping(bounded(t))
			if tt.want.Outcome == "" && err != nil {
				t.Error(err)
			}
			if tt.want.Outcome != "" {
				if diff := cmp.Diff(tt.want, failureOf(t, err)); diff != "" {
					t.Errorf("%v\n%s", err, diff)
				}
			}
			if diff := cmp.Diff(tt.heard, s.heard()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAWrongPasswordIsAMatterOfConfiguration(t *testing.T) {
	t.Parallel()
	c := startCatcher(t, catcher.Options{User: "ann", Password: "s3cret"})
	sender := newSender(t, mail.Config{URL: strings.Replace(c.URL(), "s3cret", "wr0ng", 1)})
	_, err := sender.Send(bounded(t), message(), nil)
	if diff := cmp.Diff(failure{mail.StageAuth, 535, mail.OutcomeConfiguration}, failureOf(t, err)); diff != "" {
		t.Error(diff)
	}
	if got := len(c.Messages()); got != 0 {
		t.Errorf("%d mails came nevertheless", got)
	}

	without := newSender(t, mail.Config{URL: "smtp://" + c.Addr() + "?tls=none"})
	_, err = without.Send(bounded(t), message(), nil)
	if diff := cmp.Diff(failure{mail.StageMail, 530, mail.OutcomeConfiguration}, failureOf(t, err)); diff != "" {
		t.Error(diff)
	}
}

func TestAReplyThatRepeatsTheCredentialsIsCleaned(t *testing.T) {
	t.Parallel()
	s := startScripted(t, map[string]string{
		"EHLO": "250-scripted\n250 AUTH PLAIN",
		"AUTH": "535 no: ann with s3cret, that is AUTH PLAIN AGFubgBzM2NyZXQ= or czNjcmV0",
	})
	url := strings.Replace(s.url("tls=none"), "smtp://", "smtp://ann:s3cret@", 1)
	err := newSender(t, mail.Config{URL: url}).Ping(bounded(t))
	failed, ok := errors.AsType[*mail.SendError](err)
	if !ok {
		t.Fatal(err)
	}
	if diff := cmp.Diff("no: *** with ***, that is AUTH PLAIN *** or ***", failed.Reply); diff != "" {
		t.Error(diff)
	}
	if shown := err.Error() + errors.Unwrap(err).Error(); strings.Contains(shown, "s3cret") || strings.Contains(shown, "AGFubgBzM2NyZXQ") {
		t.Errorf("the credentials are shown: %s", shown)
	}
}

func TestTheErrorSaysWhatToDo(t *testing.T) {
	t.Parallel()
	const offersPlain = "250-scripted\n250 AUTH PLAIN"
	for sentence, tt := range map[string]struct {
		replies map[string]string
		rest    string
		want    string
	}{
		"no TLS": {
			nil, "tls=starttls",
			"smtp tls: the server offers no STARTTLS, and nothing is sent in clear (configuration); check the tls parameter of the SMTP URL and the server's certificate",
		},
		"wrong credentials": {
			map[string]string{"EHLO": offersPlain, "AUTH": "535 no"},
			"tls=none",
			"smtp auth: the server answered 535 (configuration); check user and password of the SMTP URL",
		},
		"credentials missed late": {
			map[string]string{"EHLO": offersPlain, "AUTH": "235 yes", "RCPT": "530 log in first"},
			"tls=none",
			"smtp rcpt: the server answered 530 (configuration); check user and password of the SMTP URL",
		},
		"a sender that is not ours": {
			map[string]string{"EHLO": offersPlain, "AUTH": "235 yes", "MAIL": "553 not yours"},
			"tls=none",
			"smtp mail: the server answered 553 (configuration); check that the server lets this user send from this sender address",
		},
		"a server that is no mail server": {
			map[string]string{"": "hello there"},
			"tls=none",
			"smtp greeting: the server's answer is no SMTP reply (configuration); check host, port and tls of the SMTP URL, and that the server is up",
		},
		"nobody knows": {
			map[string]string{"EHLO": offersPlain, "AUTH": "235 yes", ".": cut},
			"tls=none",
			"smtp answer: the server closed the connection: EOF (ambiguous); the message may have been delivered",
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			s := startScripted(t, tt.replies)
			url := strings.Replace(s.url(tt.rest), "smtp://", "smtp://ann:s3cret@", 1)
			_, err := newSender(t, mail.Config{URL: url}).Send(bounded(t), message(), nil)
			if err == nil {
				t.Fatal("want an error, got none")
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
