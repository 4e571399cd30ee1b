package doctor_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/sealq/sealq/cmd/sealq/internal/doctor"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/mail/catcher"
	"github.com/sealq/sealq/signing"
)

func TestWhatIsWrongWithTheKeysIsTold(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	report := func(t *testing.T, p *patient, process, audience string) signing.Report {
		t.Helper()
		return p.open(t, audience).Report(process)
	}
	for sentence, test := range map[string]struct {
		ago             time.Duration
		harm            func(t *testing.T, p *patient)
		check           string
		status          doctor.Status
		message, advice string
	}{
		"a ring in order":                      {day, nil, "ring", doctor.OK, "version 1 with 1 key", ""},
		"an active key in its years":           {day, nil, "active key", doctor.OK, "has signed for", ""},
		"others may read it":                   {day, func(t *testing.T, p *patient) { t.Helper(); check(t, os.Chmod(p.ring, 0o644)) }, "ring", doctor.Problem, "", "docs/runbooks/leak.md"},
		"it is gone":                           {day, func(t *testing.T, p *patient) { t.Helper(); check(t, os.Remove(p.ring)) }, "ring", doctor.Problem, "there is no key ring", "sealq keys init"},
		"it is gone, and nobody asked for one": {day, func(t *testing.T, p *patient) { t.Helper(); check(t, os.Remove(p.ring)); p.Keys.Given = false }, "ring", doctor.Skipped, "no key ring is named (--keys)", ""},
		"it is damaged":                        {day, func(t *testing.T, p *patient) { t.Helper(); check(t, os.WriteFile(p.ring, []byte("{}"), 0o600)) }, "ring", doctor.Problem, "", "docs/runbooks/lost-ring.md"},
		"its key is old":                       {40 * day, nil, "active key", doctor.Warning, "has signed for 40 days, longer than --rotate-every", "sealq keys rotate"},
		"its key is not yet":                   {-time.Hour, nil, "active key", doctor.Problem, "in the future", "clock"},
		"no audience":                          {day, func(_ *testing.T, p *patient) { p.Keys.Audience = "" }, "audience", doctor.Warning, "no audience is named", "--audience"},
		"an audience that cannot be":           {day, func(_ *testing.T, p *patient) { p.Keys.Audience = "two words" }, "audience", doctor.Problem, "--audience cannot be used", "in a word"},
		"an audience":                          {day, nil, "audience", doctor.OK, "what is signed is for test", ""},
		"nobody else":                          {day, nil, "agreement", doctor.OK, "nobody to disagree", ""},
		"another process agrees": {day, func(t *testing.T, p *patient) {
			t.Helper()
			check(t, p.db.ReportRing(t.Context(), report(t, p, "host/1", "test")))
		}, "agreement", doctor.OK, "all processes that reported agree (1 ", ""},
		"another audience elsewhere": {day, func(t *testing.T, p *patient) {
			t.Helper()
			check(t, p.db.ReportRing(t.Context(), report(t, p, "host/1", "other")))
		}, "agreement", doctor.Problem, "host/1", "sealq keys check"},
		"a newer ring elsewhere": {day, func(t *testing.T, p *patient) {
			t.Helper()
			r := report(t, p, "host/1", "test")
			r.Version = 9
			check(t, p.db.ReportRing(t.Context(), r))
		}, "agreement", doctor.Problem, "this host's ring is version 1, and version 9 has been seen", "docs/runbooks/rotation.md"},
		"an older ring elsewhere": {day, func(t *testing.T, p *patient) {
			t.Helper()
			check(t, p.db.ReportRing(t.Context(), report(t, p, "host/1", "test")))
			_, err := signing.NewFile(p.ring).Update(t.Context(), func(r *signing.Ring) (*signing.Ring, error) { return r.Rotate(time.Now(), []string{"*"}) })
			check(t, err)
		}, "agreement", doctor.Warning, "these processes have an older ring than this host: host/1", "before the next step"},
		"no database to meet in": {day, func(_ *testing.T, p *patient) { p.Database = nil }, "agreement", doctor.Skipped, "no connection to a database", ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			p := onSQLite(t).withRing(t, test.ago)
			if test.harm != nil {
				test.harm(t, p)
			}
			says(t, p.finds(t, "keys", test.check), test.status, test.message, test.advice)
		})
	}
}

// What cannot be read must not be taken for what is not there, and no text of a ring is shown.
func TestARingInADatabaseThatIsAwayIsNotCalledBroken(t *testing.T) {
	t.Parallel()
	p := &patient{Config: doctor.Config{Keys: &doctor.Keys{KEKFile: "none", Given: true, Audience: "test"}}}
	says(t, p.finds(t, "keys", "ring"), doctor.Skipped, "the key ring is in a database", "")
}

func TestWhatIsWrongWithTheMailServerIsTold(t *testing.T) {
	t.Parallel()
	refuse := func(at catcher.Stage) catcher.Hook {
		return func(_ context.Context, s catcher.Step) error {
			if s.Stage == at {
				return catcher.Answer(550, "no")
			}
			return nil
		}
	}
	for sentence, test := range map[string]struct {
		make            func(t *testing.T, p *patient)
		status          doctor.Status
		message, advice string
	}{
		"it takes the sender": {func(t *testing.T, p *patient) { t.Helper(); p.withMail(t, catcher.Options{}) }, doctor.OK, "takes mail from the sender; nothing was sent", ""},
		"there is none":       {func(*testing.T, *patient) {}, doctor.Skipped, "no mail server is named", ""},
		"it is not there":     {func(t *testing.T, p *patient) { t.Helper(); p.mailAt(t, "smtp://"+closedPort(t)+"?tls=none") }, doctor.Problem, "cannot use the mail server", "start it, or correct host and port"},
		"it does not take the sender": {func(t *testing.T, p *patient) {
			t.Helper()
			p.withMail(t, catcher.Options{Hook: refuse(catcher.StageMail)})
		}, doctor.Problem, "does not take the sender: smtp mail: the server answered 550", "--mail-from"},
		"it offers no TLS": {func(t *testing.T, p *patient) { t.Helper(); p.withMail(t, catcher.Options{}); p.tls(t) }, doctor.Problem, "there is no TLS", "tls=starttls or tls=implicit"},
		"it does not let the user in": {func(t *testing.T, p *patient) {
			t.Helper()
			c, err := catcher.StartWith("127.0.0.1:0", catcher.Options{User: "ada", Password: "right"})
			check(t, err)
			t.Cleanup(func() { check(t, c.Close()) })
			p.mailAt(t, "smtp://ada:hunter2@"+c.Addr()+"?tls=none")
		}, doctor.Problem, "does not let this user in", "user and password"},
		"it is far, and in the clear": {func(t *testing.T, p *patient) { t.Helper(); p.withMail(t, catcher.Options{}); p.Mail.Local = false }, doctor.Warning, "in the clear", "tls=starttls"},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			p := &patient{}
			test.make(t, p)
			f := p.finds(t, "mail", "mail server")
			says(t, f, test.status, test.message, test.advice)
			if contains(f.Message+f.Advice, "hunter") {
				t.Errorf("a password is shown: %+v", f)
			}
		})
	}
}

// tls wants TLS of the server in the clear.
func (p *patient) tls(t *testing.T) {
	t.Helper()
	c, err := catcher.Start("127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { check(t, c.Close()) })
	p.mailAt(t, "smtp://"+c.Addr()+"?tls=starttls")
}

// Whatever hangs, the answer comes, and says what hangs.
func TestServersThatHangHoldNothingUp(t *testing.T) {
	t.Parallel()
	frozen := testservers.Redis(t)
	p := (&patient{}).withRing(t, time.Hour)
	p.lookAt(t, frozen.URL())
	p.named("postgres://nobody@" + silence(t) + "/x")
	p.mailAt(t, "smtp://"+silence(t)+"?tls=none")
	frozen.Freeze(t)
	t.Cleanup(func() { frozen.Thaw(t) })
	p.Reach, p.Look = time.Second, 2*time.Second
	began := time.Now()
	r := p.run(t)
	if took := time.Since(began); took > p.Reach+p.Look+2*doctor.Closing+5*time.Second {
		t.Errorf("it took %v", took)
	}
	if all := doctor.DefaultReach + doctor.DefaultLook + 2*doctor.Closing; all > 15*time.Second {
		t.Errorf("by default it may take %v", all)
	}
	says(t, findIn(t, r, "redis", "connection"), doctor.Problem, "no answer in time", "start it")
	says(t, findIn(t, r, "database", "connection"), doctor.Problem, "no answer in time", "start it")
	says(t, findIn(t, r, "mail", "mail server"), doctor.Problem, "cannot use the mail server", "start it")
	says(t, findIn(t, r, "keys", "ring"), doctor.OK, "version 1", "")
	if r.OK || r.Problems != 3 {
		t.Errorf("problems: %d, ok: %v", r.Problems, r.OK)
	}
}

// One that freezes between two questions hides nothing of the others.
func TestOneServerThatHangsHidesNoOther(t *testing.T) {
	t.Parallel()
	frozen := testservers.Redis(t)
	p := onSQLite(t).withMail(t, catcher.Options{})
	p.lookAt(t, frozen.URL())
	frozen.Freeze(t)
	t.Cleanup(func() { frozen.Thaw(t) })
	p.Reach, p.Look = 5*time.Second, time.Minute
	r := p.run(t)
	says(t, findIn(t, r, "redis", "connection"), doctor.Problem, "no answer in time", "")
	says(t, findIn(t, r, "database", "migrations"), doctor.OK, "", "")
	says(t, findIn(t, r, "mail", "mail server"), doctor.OK, "", "")
}

func TestWhatAServerSaysDoesNotReachTheTerminalRaw(t *testing.T) {
	t.Parallel()
	got := doctor.OneLine("no \x1b[2J\r\nlevel=INFO\u009b1m \xff such\tuser")
	if want := "no [2J level=INFO 1m \uFFFD such user"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
