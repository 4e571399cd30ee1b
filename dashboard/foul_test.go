package dashboard_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/dashboard"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/sweep"
	"github.com/sealq/sealq/operators"
)

// foul is a database whose every text is an attacker's. It notes what is done, and can fail.
type foul struct {
	text string
	fail error
	did  *[]string
}

func (f foul) done(what ...string) error {
	*f.did = append(*f.did, strings.Join(what, " "))
	return f.fail
}

func (f foul) Schedules(context.Context) ([]dashboard.Schedule, error) {
	s := dashboard.Schedule{NextAt: time.Now(), Trouble: f.text, Detail: f.text}
	s.Name, s.Cron, s.Zone, s.Kind, s.Args, s.CatchUp, s.Source = f.text, f.text, f.text, jobs.Kind(f.text), f.text, jobs.CatchUp(f.text), jobs.ScheduleSource(f.text)
	s.LastOutcome = jobs.RowState(f.text)
	plain := s
	plain.Name = "night"
	return []dashboard.Schedule{s, plain}, f.fail
}

func (f foul) TickHistory(context.Context, string, int) ([]jobs.TickInfo, error) {
	return []jobs.TickInfo{{RowID: f.text, Outcome: jobs.RowState(f.text), Cause: f.text}}, f.fail
}

func (f foul) SweepProgress(context.Context, string) (sweep.Progress, error) {
	return sweep.Progress{Holder: f.text, Tick: f.text, Part: sweep.Part(f.text), LeaseUntil: time.Now().Add(time.Hour), Done: 1, Due: -1}, f.fail
}

func (f foul) SetPaused(_ context.Context, actor, schedule string, paused bool) (bool, error) {
	return true, f.done(actor, "paused", schedule, fmt.Sprint(paused))
}

func (f foul) RunNow(_ context.Context, actor, schedule string) (string, error) {
	return "row", f.done(actor, "ran", schedule)
}

func (f foul) Explain(context.Context, string) (dashboard.Story, error) {
	return dashboard.Story{
		Email: f.text, Status: accounts.Standing(f.text), AccountID: "id", Redis: f.text, Missing: f.text, Advice: "do `" + f.text + "`",
		Steps: []dashboard.Step{{At: time.Now(), Step: f.text, Text: f.text, Row: f.text, MessageID: f.text}},
	}, f.fail
}

func (f foul) AccountAddress(context.Context, string) (string, error) { return ada, f.fail }

func (f foul) SetLock(_ context.Context, actor, email string, length time.Duration) error {
	return f.done(actor, "locked", email, length.String())
}

func (f foul) history() authjobs.MailHistory {
	return authjobs.MailHistory{
		Row: jobs.RowInfo{
			ID: "row", Kind: jobs.Kind("mail:" + f.text), Queue: f.text, State: jobs.RowDead, Attempt: 1, Cause: f.text, ExpiresAt: time.Now().Add(time.Hour),
		}, AccountID: f.text, MessageID: f.text, HeldBy: authjobs.Hold(f.text), HeldUntil: time.Now(),
	}
}

func (f foul) try() authjobs.MailAttempt {
	return authjobs.MailAttempt{Try: 1, EndedAt: time.Now(), Server: f.text, Stage: f.text, Outcome: authjobs.MailOutcome(f.text), SMTPCode: 550, SMTPReply: f.text, Cause: f.text}
}

func (f foul) RecentMails(context.Context, int) ([]authjobs.MailGlance, error) {
	outage := f.try()
	outage.Outcome, outage.SMTPCode, outage.EndedAt = authjobs.MailConfiguration, 0, time.Now().Add(time.Hour)
	return []authjobs.MailGlance{
		{ID: f.text, Kind: jobs.Kind(f.text), State: jobs.RowState(f.text), MessageID: f.text, HeldBy: authjobs.Hold(f.text), Last: f.try()},
		{ID: "2", Kind: "k", Last: outage},
	}, f.fail
}

func (f foul) MailOf(context.Context, string) (authjobs.MailHistory, error) {
	return f.history(), f.fail
}

func (f foul) AttemptsOf(context.Context, string) ([]authjobs.MailAttempt, error) {
	return []authjobs.MailAttempt{f.try()}, f.fail
}

func (f foul) MailBacklog(context.Context, int) ([]jobs.Backlog, bool, error) {
	return []jobs.Backlog{{Kind: jobs.Kind(f.text), Queue: f.text, State: jobs.RowState(f.text), Rows: 1}}, true, f.fail
}

func (f foul) MailUse(context.Context) (authjobs.MailUse, error) { return authjobs.MailUse{}, f.fail }

func (f foul) Suppressions(context.Context, int) ([]authjobs.Suppression, error) {
	return []authjobs.Suppression{{Address: f.text, Reason: f.text, SMTPCode: 550, SMTPReply: f.text, MailID: f.text, Since: time.Now()}}, f.fail
}

func (f foul) SuppressedUpTo(context.Context, int) (int64, error) { return 1, f.fail }

func (f foul) Unsuppress(_ context.Context, actor string, email accounts.Email) error {
	return f.done(actor, "took off", email.Given())
}

func (f foul) Reissue(_ context.Context, actor string, row jobs.RowInfo) error {
	return f.done(actor, "sent again", row.ID)
}

const ada = "ada.lovelace@example.com"

// fouled is a dashboard over it.
func fouled(t *testing.T, f foul, change ...func(*dashboard.Config)) *world {
	t.Helper()
	return open(t, append([]func(*dashboard.Config){func(c *dashboard.Config) { c.Schedules, c.Accounts, c.Mails = f, f, f }}, change...)...)
}

func TestHostileSchedulesAccountsAndMailsAreShownHarmless(t *testing.T) {
	t.Parallel()
	const evil = "</title></td><script>alert(1)</script>\" onload='x' `rm` \x1b[31m\x00\r\n\u202e\u200b\xff gpj.exe "
	for _, text := range []string{evil, evil + strings.Repeat("<b>x@y ", 1_500_000), evil + strings.Repeat("<i>xy ", 1_500_000)} { // of 10 MB
		w := fouled(t, foul{text: text, did: new([]string)})
		for _, role := range []operators.Role{operators.RoleViewer, operators.RoleOperator} {
			b := w.as(role)
			for _, target := range []string{"/schedules", "/schedule?name=night", "/accounts?id=id", "/mails", "/mail?id=row", "/suppressions"} {
				began := time.Now()
				a := b.page(target)
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("%s took %v", target, took)
				}
				if got := texts(a.doc, "script"); !cmp.Equal(got, []string{""}) { // the page's own, which is a file
					t.Errorf("%s has the scripts %.300q", target, got)
				}
				if i := strings.IndexAny(a.text, "\x00\x1b\r\u202e\u200b"); i >= 0 {
					t.Errorf("%s shows what deceives: %q", target, a.text[max(0, i-50):i+10])
				}
				if len(a.text) > 200<<10 {
					t.Errorf("%s has %d bytes", target, len(a.text))
				}
				if !strings.Contains(textOf(a.doc), "⟨U+202E⟩") && (role == operators.RoleOperator || !strings.HasPrefix(target, "/accounts")) {
					t.Errorf("%s does not make it visible", target)
				}
			}
		}
	}
}

// deeds are what these pages can change, and what is done then.
func deeds() map[string]struct {
	form []string
	did  string
} {
	address := url.QueryEscape(ada)
	return map[string]struct {
		form []string
		did  string
	}{
		"run":           {[]string{"/schedule", "name", "night", "do", "run"}, "ran night"},
		"pause":         {[]string{"/schedule", "name", "night", "do", "pause"}, "paused night true"},
		"resume":        {[]string{"/schedule", "name", "night", "do", "resume"}, "paused night false"},
		"lock":          {[]string{"/accounts/lock", "email", address, "do", "lock", "for", "1h"}, "locked " + ada + " 1h0m0s"},
		"lock by ID":    {[]string{"/accounts/lock", "id", "id", "do", "lock", "for", "15m"}, "locked " + ada + " 15m0s"},
		"unlock":        {[]string{"/accounts/lock", "email", address, "do", "unlock"}, "locked " + ada + " 0s"},
		"send again":    {[]string{"/mail", "id", "row"}, "sent again row"},
		"take off":      {[]string{"/suppressions", "address", address}, "took off " + ada},
		"with a length": {[]string{"/accounts/lock", "email", address, "do", "unlock", "for", "1h"}, "locked " + ada + " 0s"},
	}
}

func TestWhatChangesSchedulesAccountsAndMailsIsDoneByWhoMayAndMeansItAlone(t *testing.T) {
	t.Parallel()
	var did []string
	w := fouled(t, foul{text: "x", did: &did})
	readOnly := fouled(t, foul{text: "x", did: &did}, func(c *dashboard.Config) { c.ReadOnly = true })
	viewer, operator, stranger, watched := w.as(operators.RoleViewer), w.as(operators.RoleOperator), w.browser(), readOnly.as(operators.RoleAdmin)
	for sentence, d := range deeds() {
		target, form := d.form[0], d.form[1:]
		sure := append(slices.Clip(form), "sure", "yes")
		for who, b := range map[string]*browser{"a viewer": viewer, "an admin with --read-only": watched} {
			if a := b.post(target, sure...); a.StatusCode != http.StatusForbidden {
				t.Errorf("%s: %s is answered %d", sentence, who, a.StatusCode)
			}
		}
		if a := stranger.post(target, sure...); !strings.HasPrefix(a.Header.Get("Location"), "/login") {
			t.Errorf("%s: a stranger is answered %d", sentence, a.StatusCode)
		}
		for _, unsure := range []string{"", "no", "1"} {
			a := operator.post(target, append(slices.Clip(form), "sure", unsure)...)
			if a.StatusCode != http.StatusOK || len(texts(a.doc, "h1")) != 1 || texts(a.doc, "h1")[0] != "Are you sure?" {
				t.Errorf("%s: with sure=%q it is answered %d", sentence, unsure, a.StatusCode)
			}
		}
		if len(did) > 0 {
			t.Fatalf("%s: it was done: %q", sentence, did)
		}
		if a := operator.post(target, sure...); a.StatusCode >= 400 {
			t.Errorf("%s: the operator is answered %d", sentence, a.StatusCode)
		}
		if diff := cmp.Diff([]string{"operator:operator " + d.did}, did); diff != "" {
			t.Errorf("%s: (-want +got):\n%s", sentence, diff)
		}
		did = nil
	}
}

func TestAnAddressStandsInNoLinkAndInNoLog(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	var did []string
	f := foul{text: ada, did: &did}
	for _, fail := range []error{nil, errors.New("the database is gone")} {
		f.fail = fail
		w := fouled(t, f, func(c *dashboard.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		b := w.as(operators.RoleOperator)
		look := func(what string, a answer) {
			t.Helper()
			if to := a.Header.Get("Location"); strings.Contains(to, "lovelace") {
				t.Errorf("%s leads to %s", what, to)
			}
			if got := a.Header.Get("Referrer-Policy"); got != "same-origin" {
				t.Errorf("%s: Referrer-Policy %q", what, got)
			}
			for n := range a.doc.Descendants() {
				for _, at := range n.Attr {
					// A field of a form that is sent by POST may have it; a link may not.
					if value, _ := url.QueryUnescape(at.Val); (at.Key == "href" || at.Key == "action" || at.Key == "src") && strings.Contains(value, "lovelace") {
						t.Errorf("%s has a link %s", what, at.Val)
					}
				}
			}
			for _, title := range texts(a.doc, "title") {
				if strings.Contains(title, "lovelace") { // it is kept in the browser's history
					t.Errorf("%s has the title %s", what, title)
				}
			}
		}
		look("asking", b.post("/accounts", "asked", ada))
		for sentence, d := range deeds() {
			look(sentence, b.post(d.form[0], d.form[1:]...))
			look(sentence+", sure", b.post(d.form[0], append(slices.Clip(d.form[1:]), "sure", "yes")...))
		}
		for _, target := range []string{"/schedules", "/schedule?name=night", "/accounts", "/accounts?id=id", "/mails", "/mail?id=row", "/suppressions"} {
			look(target, b.get(target))
		}
		if a := b.get("/accounts?id=" + url.QueryEscape(ada)); a.StatusCode != http.StatusBadRequest {
			t.Errorf("an address in a link is answered %d", a.StatusCode)
		}
	}
	if !strings.Contains(log.String(), "a page could not be made") || strings.Contains(log.String(), "lovelace") {
		t.Errorf("the log: %s", log.String())
	}
}

func TestAnAddressAtWhichATextIsCutIsNotShownToAViewer(t *testing.T) {
	t.Parallel()
	for cut := range 12 {
		// Much is taken out of what stands before it, so that what is left comes to where a longer text is looked through no more.
		text := strings.Repeat(strings.Repeat("z", 60)+"@e.x ", 94)
		text += strings.Repeat("y", 6<<10-len(text)-cut-1) + " " + ada + strings.Repeat(" y", 5000)
		w := fouled(t, foul{text: text, did: new([]string)})
		for _, target := range []string{"/mails", "/mail?id=row", "/suppressions", "/accounts?id=id"} {
			a := w.as(operators.RoleViewer).page(target)
			if strings.Contains(a.text, "ada") || !strings.Contains(a.text, "z***@e.x") {
				t.Errorf("%s, %d bytes of it: %.4000s", target, cut, textOf(a.doc))
			}
		}
	}
}

func TestACapIsToldWhereThereIsOne(t *testing.T) {
	t.Parallel()
	w := fouled(t, foul{}, func(c *dashboard.Config) { c.MailLimits.Daily = 7 })
	if got := textOf(w.as(operators.RoleViewer).page("/mails").doc); !strings.Contains(got, "Taken in 60 minutes 0; no cap is set here") || !strings.Contains(got, "Taken in 24 hours 0; the cap: 7") {
		t.Errorf("the page says %s", got)
	}
}
