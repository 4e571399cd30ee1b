package explain_test

import (
	"database/sql"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/cmd/sealq/internal/explain"
	"github.com/sealq/sealq/jobs/authjobs"
)

// triesTold are the steps of the tries of her mail, without what differs from run to run.
func (p *person) triesTold() (texts []string, steps []explain.Step) {
	p.Helper()
	story, err := explain.Explain(p.Context(), p.config(), p.asked)
	p.check(err)
	for _, s := range story.Steps {
		if s.Step == explain.StepTried || s.Step == explain.StepAnswered {
			texts = append(texts, regexp.MustCompile(`, [0-9.]+m?s,`).ReplaceAllString(p.settled(s.Text), ", TOOK,"))
			steps = append(steps, s)
		}
	}
	return texts, steps
}

func TestEveryTryIsToldWithWhatTheMailServerSaidToIt(t *testing.T) {
	t.Parallel()
	p := newPerson(t)
	p.register()
	p.relay()
	p.work() // its worker is killed
	p.sql(`UPDATE mails SET lease_until = 0`)
	p.work()
	p.check(p.db.MailFailed(t.Context(), p.draft, authjobs.MailAnswer{
		Code: 450, Reply: "4.2.0 grey\x1blisted", Server: "mx.example", Stage: "rcpt", Outcome: authjobs.MailTemporary,
	}, "smtp rcpt: the server answered 450 (temporary)"))
	p.work()
	for range 2 { // the second run of one claim that was thought dead
		p.inTx(func(tx *sql.Tx) error {
			p.draft.Try++
			return p.db.MailSent(t.Context(), tx, p.draft, authjobs.MailAnswer{Code: 250, Reply: "queued", Server: "mx.example"})
		})
	}
	texts, steps := p.triesTold()
	if diff := cmp.Diff([]string{
		"a worker tried to send it, as <ROW@example.com>: 3 so far",
		"try 2 at mx.example, TOOK, temporary: smtp rcpt: the server answered 450 (temporary): 450 \"4.2.0 grey listed\"",
		"try 5 at mx.example, TOOK, delivered: it was taken again, so that its reader has two copies with one Message-ID: 250 \"queued\"",
	}, texts); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	got := steps[1]
	if diff := cmp.Diff(explain.Step{
		At: got.At, Age: got.Age, Step: "answered", Text: got.Text, Row: p.row.ID, Kind: p.row.Kind, MessageID: p.row.ID + "@example.com",
		SMTPCode: 450, SMTPReply: "4.2.0 grey listed", Try: 2, Server: "mx.example", Stage: "rcpt", Outcome: "temporary",
	}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestTriesThatLeftNoWordAreCounted(t *testing.T) {
	t.Parallel()
	p := newPerson(t)
	p.register()
	p.relay()
	p.work() // its worker is killed
	p.sql(`UPDATE mails SET lease_until = 0`)
	p.work()
	p.check(p.db.MailFailed(t.Context(), p.draft, authjobs.MailAnswer{Outcome: authjobs.MailError}, "no template"))
	p.work() // under way
	texts, _ := p.triesTold()
	if diff := cmp.Diff([]string{
		"a worker tried to send it, as <ROW@example.com>: 3 so far, of which 1 left no word: a worker ended in the middle",
		"try 2, TOOK, error: no template",
	}, texts); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	p.inTx(func(tx *sql.Tx) error {
		return p.db.MailSent(t.Context(), tx, p.draft, authjobs.MailAnswer{Code: 250, Reply: "queued"})
	})
	texts, _ = p.triesTold()
	want := "a worker tried to send it, as <ROW@example.com>: 3 so far, of which 1 left no word: a worker ended in the middle; " +
		"if the mail server had taken it by then, its reader has another copy with this Message-ID"
	if diff := cmp.Diff(want, texts[0]); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
