package explain_test

import (
	"database/sql"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/cmd/sealq/internal/explain"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/signing"
)

const (
	away      = "cannot reach Redis at 127.0.0.1:1"
	reissue   = "`sealq tasks reissue mail ROW`"
	stuckTask = "docs/runbooks/stuck-task.md"
)

// history is what happened, and what is told of it.
type history struct {
	happened func(p *person)
	told     told
}

func TestTheFirstMissingStepIsToldAndWhatToDo(t *testing.T) {
	t.Parallel()
	for name, test := range merged(onTheWay(), atTheMailServer(), refusals(), ofAccounts()) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPerson(t)
			test.happened(p)
			if diff := cmp.Diff(test.told, p.told()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func merged(groups ...map[string]history) map[string]history {
	all := make(map[string]history)
	for _, group := range groups {
		maps.Copy(all, group)
	}
	return all
}

// onTheWay is what becomes of a job before a worker has it.
func onTheWay() map[string]history {
	return map[string]history{
		"no relay runs: the row is still queued": {(*person).register, told{
			"pending", "answered", "registered recorded", "signed",
			"no relay has put it into Redis since TIME (AGE): see that a worker runs, `sealq doctor`",
		}},
		"a relay could not sign it": {func(p *person) {
			p.register()
			p.sql(`UPDATE outbox SET cause = 'no active key'`)
		}, told{
			"pending", "answered", "registered recorded", "signed",
			"no relay has put it into Redis since TIME (AGE): see that a worker runs, `sealq doctor`; what went wrong last: no active key",
		}},
		"it is for later": {func(p *person) {
			p.register()
			p.sql(`UPDATE outbox SET not_before = not_before + 1000 * (expires_at - created_at)`)
		}, told{"pending", "answered", "registered recorded", "signed", "it is not due before TIME"}},
		"Redis is away, and the row queued": {func(p *person) {
			p.register()
			p.away = away
		}, told{
			"pending", away, "registered recorded", "signed",
			"Redis does not answer: " + away + ". Nothing is lost: it waits in the outbox until TIME",
		}},
		"Redis is away, and the task was there": {func(p *person) {
			p.register()
			p.relay()
			p.away = away
		}, told{
			"pending", away, "registered recorded signed", "sent",
			"Redis does not answer: " + away + ". The database knows that the task was put there at TIME, and of no try since",
		}},
		"Redis went away while it was asked": {func(p *person) {
			p.register()
			p.client = redis.NewClient(p.client.Options())
			p.check(p.client.Close())
		}, told{
			"pending", "read the queue: redis: client is closed", "registered recorded", "signed",
			"Redis does not answer: read the queue: redis: client is closed. Nothing is lost: it waits in the outbox until TIME",
		}},
		"no worker serves the queue": {func(p *person) {
			p.register()
			p.relay()
		}, told{
			"pending", "answered", "registered recorded signed", "sent",
			"its task is pending in queue mail: see that a worker serves the queue, `sealq doctor`; `sealq tasks show mail ROW.1` says whether it verifies; " + stuckTask,
		}},
		"Redis has lost the task": {func(p *person) {
			p.register()
			p.relay()
			p.check(p.client.FlushDB(p.Context()).Err())
		}, told{
			"pending", "answered", "registered recorded signed", "sent",
			"Redis does not have its task ROW.1: a worker restores it within --overdue by itself, " + reissue + " at once; " + stuckTask,
		}},
		"asynq has archived the task": {func(p *person) {
			p.register()
			p.relay()
			p.archive()
		}, told{
			"pending", "answered", "registered recorded signed", "sent",
			"its task is archived, so that no worker takes it: a worker restores it within --overdue by itself, " + reissue + " at once; " + stuckTask,
		}},
		"nothing was recorded": {func(p *person) {
			p.register()
			p.sql(`DELETE FROM outbox`)
		}, told{
			"pending", "not needed", "registered", "recorded",
			"no job of the outbox mails its link: `sealq enqueue mail:confirmation --args '{\"pending_id\":\"ACCOUNT\",\"generation\":1}' --outbox`",
		}},
		"the row has expired, and the registration has not": {func(p *person) {
			p.register()
			p.sql(`UPDATE outbox SET state = 'expired', ended_at = created_at, expires_at = created_at`)
		}, told{"pending", "not needed", "registered recorded ended", "sent", "it was not done before TIME: it must be asked for anew"}},
	}
}

// atTheMailServer is what becomes of a mail.
func atTheMailServer() map[string]history {
	waits := "the link waits to be used until TIME: have the mail looked for, among spam too, and by its Message-ID in the mail server's log"
	return map[string]history{
		"the mail was sent, and nobody has used its link": {(*person).mailed, told{
			"pending", "not needed", "registered recorded signed tried sent", "activated", waits,
		}},
		"a worker was quicker than the relay's mark": {func(p *person) {
			p.mailed()
			p.sql(`UPDATE outbox SET signed_at = signed_at + (expires_at - created_at) / 100`)
		}, told{"pending", "not needed", "registered recorded signed tried sent", "activated", waits}},
		"a later attempt was signed after the first try": {func(p *person) {
			p.mailed()
			p.sql(`UPDATE outbox SET attempts = 2, signed_at = signed_at + (expires_at - created_at) / 100`)
		}, told{"pending", "not needed", "registered recorded tried sent signed", "activated", waits}},
		"a worker is sending it": {func(p *person) {
			p.register()
			p.relay()
			p.work()
		}, told{"pending", "answered", "registered recorded signed tried", "sent", "a worker is sending it"}},
		"the mail server asks for patience": {func(p *person) {
			p.failed(451, "greylisted", "smtp rcpt: the server answered 451 (temporary)")
		}, told{
			"pending", "answered", "registered recorded signed tried answered", "sent",
			"no mail server has taken it since TIME (AGE): smtp rcpt: the server answered 451 (temporary): 451 \"greylisted\". It is tried again by itself until TIME; " +
				"`sealq doctor` looks at the mail server",
		}},
		"the mail server refused it for good": {func(p *person) {
			p.failed(550, "no such user", "smtp rcpt: the server answered 550 (permanent)")
			p.tick()
			p.check(p.db.RowDead(p.Context(), p.ref(), "smtp rcpt: the server answered 550 (permanent)"))
			p.archive()
		}, told{
			"pending", "not needed", "registered recorded signed tried answered ended", "sent",
			"the mail server refused it for good: 550 \"no such user\": mend the address, or what the server has against the sender, then " + reissue + "; " + stuckTask,
		}},
		"its first try said that no other could help": {func(p *person) {
			p.failed(0, "", "smtp message: the subject is empty (permanent)")
			p.tick()
			p.check(p.db.RowDead(p.Context(), p.ref(), "smtp message: the subject is empty (permanent)"))
			p.archive()
		}, told{
			"pending", "not needed", "registered recorded signed tried answered ended", "sent",
			"it was given up, since another try could not help: mend what went wrong (smtp message: the subject is empty (permanent)), then " + reissue + "; " + stuckTask,
		}},
		"the job is out of tries": {func(p *person) {
			p.failed(0, "", "smtp dial: connection refused")
			p.sql("UPDATE outbox SET failures = retries + 1")
			p.tick()
			p.check(p.db.RowDead(p.Context(), p.ref(), "smtp dial: connection refused"))
			p.archive()
		}, told{
			"pending", "not needed", "registered recorded signed tried answered ended", "sent",
			"it is out of tries: mend what went wrong last (smtp dial: connection refused), then " + reissue + "; " + stuckTask,
		}},
		"a limit has no room for it": {func(p *person) {
			p.limited(time.Hour)
		}, told{
			"pending", "answered", "registered recorded signed", "sent",
			"the limit of mails is reached (--mail-hourly-cap): this one is due at TIME, and it is sent by itself then; other mails of the deployment have used it up",
		}},
		"a limit had no room for it, and Redis has lost its task since": {func(p *person) {
			p.limited(time.Hour)
			p.check(p.client.FlushDB(p.Context()).Err())
		}, told{
			"pending", "answered", "registered recorded signed", "sent",
			"Redis does not have its task ROW.1: a worker restores it within --overdue by itself, " + reissue + " at once; " + stuckTask,
		}},
		"the mail server knows no such address": {func(p *person) {
			p.bounced()
		}, told{
			"pending", "not needed", "registered recorded signed tried answered ended", "sent",
			"nothing is sent to ada@example.com since TIME, because a mail server refused the address for good: 550 \"5.1.1 no such user\". " +
				"If it is right after all: `sealq mail suppressions remove ada@example.com`, then have the mail asked for anew",
		}},
		"a later mail is not sent because of that": {func(p *person) {
			p.bounced()
			p.withheld()
		}, told{
			"pending", "not needed", "registered recorded signed tried answered ended registered recorded signed ended", "sent",
			"nothing is sent to ada@example.com since TIME, because a mail server refused the address for good: 550 \"5.1.1 no such user\". " +
				"If it is right after all: `sealq mail suppressions remove ada@example.com`, then have the mail asked for anew",
		}},
		"the address was taken off the list since": {func(p *person) {
			p.bounced()
			p.withheld()
			p.sql(`DELETE FROM suppressions`)
		}, told{
			"pending", "not needed", "registered recorded signed tried answered ended registered recorded signed ended", "sent",
			"it was not sent while the address was suppressed: mails go there again, have it asked for anew",
		}},
		"a worker ended in the middle, and the next one was refused": {func(p *person) {
			p.register()
			p.relay()
			p.work()
			p.sql(`UPDATE mails SET lease_until = 0`)
			p.work()
			p.check(p.db.MailFailed(p.Context(), p.draft, authjobs.MailAnswer{Code: 451, Reply: "later", Outcome: authjobs.MailTemporary}, "busy"))
		}, told{
			"pending", "answered", "registered recorded signed tried answered", "sent",
			"no mail server has taken it since TIME (AGE): busy: 451 \"later\". It is tried again by itself until TIME; `sealq doctor` looks at the mail server",
		}},
		"a worker found it not wanted any more": {func(p *person) {
			p.register()
			p.relay()
			p.tick()
			p.check(p.db.RowDone(p.Context(), p.ref()))
		}, told{
			"pending", "not needed", "registered recorded signed ended", "sent",
			"a worker found that it was not wanted any more, and sent nothing: the link was used or replaced, its time was over, or the account disabled",
		}},
		"the mail of an older link is asked about": {func(p *person) {
			p.mailed()
			p.asked = p.row.TaskID()
			p.register()
		}, told{
			"pending", "not needed", "registered recorded signed tried sent registered recorded", "activated",
			"the address was registered again, so that this mail's link is dead: `sealq explain Ada@example.com` tells of the newest",
		}},
		"nobody mails the newest link, and an older one was mailed": {func(p *person) {
			p.mailed()
			p.register()
			p.sql(`DELETE FROM outbox WHERE id = ?`, p.row.ID)
		}, told{
			"pending", "not needed", "registered recorded signed tried sent registered", "recorded",
			"no job of the outbox mails its link: `sealq enqueue mail:confirmation --args '{\"pending_id\":\"ACCOUNT\",\"generation\":2}' --outbox`",
		}},
		"the newest link counts, and not an older one": {func(p *person) {
			p.mailed()
			p.register()
		}, told{
			"pending", "answered", "registered recorded signed tried sent registered recorded", "signed",
			"no relay has put it into Redis since TIME (AGE): see that a worker runs, `sealq doctor`",
		}},
	}
}

// refusals are tasks in quarantine.
func refusals() map[string]history {
	waits := "the link waits to be used until TIME: have the mail looked for, among spam too, and by its Message-ID in the mail server's log"
	return map[string]history{
		"a forged copy was refused beside the true one": {func(p *person) {
			p.mailed()
			p.refuse(signing.ReasonBadSignature, false)
		}, told{"pending", "not needed", "registered recorded signed tried sent refused", "activated", waits}},
		"a worker refused its task": {func(p *person) {
			p.register()
			p.relay()
			p.refuse(signing.ReasonBadPayload, true)
		}, told{
			"pending", "not needed", "registered recorded signed refused ended", "sent",
			"its task was refused (bad_payload): `sealq quarantine show ENTRY-1`, and once the cause is mended `sealq quarantine release ENTRY-1`; docs/runbooks/quarantine.md",
		}},
		"a forged copy is not taken for the cause of a refusal": {func(p *person) {
			p.register()
			p.relay()
			p.refuse(signing.ReasonBadPayload, true)
			p.refuse(signing.ReasonBadSignature, false)
		}, told{
			"pending", "not needed", "registered recorded signed refused refused ended", "sent",
			"its task was refused (bad_payload): `sealq quarantine show ENTRY-1`, and once the cause is mended `sealq quarantine release ENTRY-1`; docs/runbooks/quarantine.md",
		}},
		"a relay refused to sign it": {func(p *person) {
			p.register()
			p.sql(`UPDATE outbox SET state = 'refused', cause = 'it has no generation', ended_at = created_at`)
		}, told{
			"pending", "not needed", "registered recorded ended", "sent",
			"see why it could not be signed (it has no generation), then " + reissue + "; " + stuckTask,
		}},
	}
}

// ofAccounts is what becomes of registrations and accounts.
func ofAccounts() map[string]history {
	const active = "registered recorded signed tried sent activated"
	return map[string]history{
		"the account is active: nothing is missing": {(*person).activated, told{"active", "not needed", active, "", ""}},
		"what became of its link's mails does not matter to an active account": {func(p *person) {
			p.activated()
			p.sql(`UPDATE outbox SET state = 'dead'`)
		}, told{"active", "not needed", active, "", ""}},
		"the account was disabled": {func(p *person) {
			p.activated()
			p.operator(func(eve accounts.Operator[*sql.Tx], tx *sql.Tx) error { return eve.Disable(p.Context(), tx, p.id) })
		}, told{
			"disabled", "not needed", active + " changed", "",
			"the account is disabled: `sealq accounts enable --email Ada@example.com` opens it",
		}},
		"the account is locked after failures": {func(p *person) {
			p.activated()
			p.guess(3)
		}, told{
			"locked", "not needed", active, "",
			"it is locked until TIME after 3 failed logins: `sealq accounts unlock --email Ada@example.com` lifts that",
		}},
		"an operator has locked the account": {func(p *person) {
			p.activated()
			p.operator(func(eve accounts.Operator[*sql.Tx], tx *sql.Tx) error {
				return eve.Lock(p.Context(), tx, ada, time.Hour)
			})
		}, told{
			"locked", "not needed", active + " changed", "",
			"an operator locked it until TIME: `sealq accounts unlock --email Ada@example.com` lifts that",
		}},
		"an operator has locked a disabled account": {func(p *person) {
			p.activated()
			p.operator(func(eve accounts.Operator[*sql.Tx], tx *sql.Tx) error {
				return errors.Join(eve.Disable(p.Context(), tx, p.id), eve.Lock(p.Context(), tx, ada, time.Hour))
			})
		}, told{
			"disabled", "not needed", active + " changed changed", "",
			"the account is disabled: `sealq accounts enable --email Ada@example.com` opens it; " +
				"an operator locked it until TIME: `sealq accounts unlock --email Ada@example.com` lifts that",
		}},
		"an operator has locked an address that waits for its confirmation": {func(p *person) {
			p.mailed()
			p.operator(func(eve accounts.Operator[*sql.Tx], tx *sql.Tx) error {
				return eve.Lock(p.Context(), tx, ada, time.Hour)
			})
		}, told{
			"pending", "not needed", "registered recorded signed tried sent changed", "activated",
			"the link waits to be used until TIME: have the mail looked for, among spam too, and by its Message-ID in the mail server's log; " +
				"an operator locked the address, which has no account, until TIME: `sealq accounts unlock --email Ada@example.com` lifts that",
		}},
		"an operator has locked an address that nobody has": {func(p *person) {
			p.operator(func(eve accounts.Operator[*sql.Tx], tx *sql.Tx) error {
				return eve.Lock(p.Context(), tx, ada, time.Hour)
			})
		}, told{
			"none", "not needed", "changed", "",
			"an operator locked the address, which has no account, until TIME: `sealq accounts unlock --email Ada@example.com` lifts that",
		}},
		"an address that nobody has is locked after failures": {func(p *person) { p.guess(3) }, told{
			"none", "not needed", "", "",
			"the address, which has no account, is locked until TIME after 3 failed logins: `sealq accounts unlock --email Ada@example.com` lifts that",
		}},
		"the newest mail of a disabled account lacks something too": {func(p *person) {
			p.activated()
			p.inTx(func(tx *sql.Tx) error {
				return p.accounts.RequestReset(p.Context(), tx, ada)
			})
			p.operator(func(eve accounts.Operator[*sql.Tx], tx *sql.Tx) error { return eve.Disable(p.Context(), tx, p.id) })
		}, told{
			"disabled", "answered", active + " recorded changed", "signed",
			"no relay has put it into Redis since TIME (AGE): see that a worker runs, `sealq doctor`; " +
				"the account is disabled: `sealq accounts enable --email Ada@example.com` opens it",
		}},
		"nobody used the link in time": {func(p *person) {
			p.mailed()
			p.sql(`UPDATE pending_users SET expires_at = created_at`)
		}, told{
			"none", "not needed", "registered recorded signed tried sent", "activated",
			"nobody used the link before TIME: register the address again",
		}},
		"the mail was not sent in time": {func(p *person) {
			p.register()
			p.sql(`UPDATE pending_users SET expires_at = created_at`)
			p.sql(`UPDATE outbox SET state = 'expired', ended_at = created_at, expires_at = created_at`)
		}, told{
			"none", "not needed", "registered recorded ended", "sent",
			"it was not done before TIME: it must be asked for anew; the registration is over, or was deleted: register the address again",
		}},
		"the registration was swept": {func(p *person) {
			p.mailed()
			p.asked = p.id
			p.sql(`DELETE FROM pending_users`)
		}, told{
			"none", "not needed", "registered recorded signed tried sent", "",
			"the registration is over, or was deleted: register the address again",
		}},
		"a shell would run a part of the address": {func(p *person) {
			p.activated()
			p.sql(`UPDATE users SET email = ?, disabled_at = created_at`, "a`id`'b@example.com")
		}, told{
			"disabled", "not needed", active, "",
			`the account is disabled: ` + "`sealq accounts enable --email 'a`id`'\\''b@example.com'` opens it",
		}},
	}
}

func TestWhatWasAskedForByAnAddressThatNobodyHasIsTold(t *testing.T) {
	t.Parallel()
	p := newPerson(t)
	p.asked = "bob@example.com"
	p.inTx(func(tx *sql.Tx) error { return p.accounts.RequestReset(p.Context(), tx, p.asked) })
	want := told{"none", "answered", "recorded", "signed", "no relay has put it into Redis since TIME (AGE): see that a worker runs, `sealq doctor`"}
	if diff := cmp.Diff(want, p.told()); diff != "" {
		t.Errorf("before a worker answers, -want +got:\n%s", diff)
	}
	p.sql(`UPDATE outbox SET state = 'done', ended_at = created_at`)
	want = told{"none", "not needed", "recorded ended", "", "nobody has an account with this address, so that the answer to what was asked for by it was none: " +
		"is it the address that was registered?"}
	if diff := cmp.Diff(want, p.told()); diff != "" {
		t.Errorf("after it, -want +got:\n%s", diff)
	}
}

func TestNothingIsKnownOfAnAddressOrID(t *testing.T) {
	t.Parallel()
	p := newPerson(t)
	p.mailed()
	p.guess(2) // a locked address without an account is one of which nothing is known
	for _, asked := range []string{"bob@example.com", "0199a1b2-0000-7000-8000-000000000009", "no ID", "", "\x1b[2J\u202e"} {
		story, err := explain.Explain(t.Context(), p.config(), asked)
		if !errors.Is(err, explain.ErrUnknown) || story.Status != accounts.StandingNone || len(story.Steps) > 0 || story.Missing+story.Advice != "" {
			t.Errorf("%q: want %v, got %v and %+v", asked, explain.ErrUnknown, err, story)
		}
		wantPlain(t, story)
	}
}

func TestAStoryIsFoundByAllItsNames(t *testing.T) {
	t.Parallel()
	p := newPerson(t)
	p.mailed()
	want := p.told()
	for _, asked := range []string{
		"ada@EXAMPLE.com", p.id, strings.ToUpper(p.id), p.row.ID, p.row.TaskID(), p.row.ID + "@example.com", "<" + p.row.ID + "@example.com>",
	} {
		p.asked = asked
		if diff := cmp.Diff(want, p.told()); diff != "" {
			t.Errorf("%s: -want +got:\n%s", asked, diff)
		}
	}
}

// Other programs read these.
func TestTheKeysOfAStoryStay(t *testing.T) {
	t.Parallel()
	p := newPerson(t)
	p.mailed()
	story, err := explain.Explain(t.Context(), p.config(), ada)
	p.check(err)
	text, err := json.Marshal(story)
	p.check(err)
	var whole map[string]any
	p.check(json.Unmarshal(text, &whole))
	if diff := cmp.Diff([]string{"account_id", "advice", "asked", "email", "missing", "redis", "status", "steps"}, slices.Sorted(maps.Keys(whole))); diff != "" {
		t.Errorf("of a story: -want +got:\n%s", diff)
	}
	steps := make(map[string]any)
	for _, s := range whole["steps"].([]any) {
		maps.Copy(steps, s.(map[string]any))
	}
	if diff := cmp.Diff([]string{"age", "at", "kid", "kind", "message_id", "row", "smtp_code", "smtp_reply", "step", "text"}, slices.Sorted(maps.Keys(steps))); diff != "" {
		t.Errorf("of its steps: -want +got:\n%s", diff)
	}
	sent := story.Steps[len(story.Steps)-1]
	if sent.SMTPCode != 250 || sent.SMTPReply != "2.0.0 queued as 4711" || sent.MessageID != p.row.ID+"@example.com" || story.Steps[2].KID != kid {
		t.Errorf("the facts: got %+v", story.Steps)
	}
}

// hostile is what would clear a terminal, and turn the direction of what follows.
const hostile = "x\x1b[2J\u202e\u2066\x00\u0085y"

func TestNothingIsToldThatATerminalWouldObey(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(p *person){
		"the mail server's reply": func(p *person) { p.failed(451, hostile, hostile) },
		"the address":             func(p *person) { p.mailed(); p.sql(`UPDATE pending_users SET email = ?`, hostile) },
		"the row": func(p *person) {
			p.failed(550, hostile, hostile)
			p.sql(`UPDATE outbox SET queue = ?, cause = ?, kid = ?, state = 'dead', ended_at = created_at`, hostile, hostile, hostile)
		},
		"the Message-ID": func(p *person) { p.mailed(); p.sql(`UPDATE mails SET message_id = ?`, hostile) },
		"the audit log": func(p *person) {
			p.mailed()
			p.inTx(func(tx *sql.Tx) error {
				return p.db.AppendAudit(p.Context(), tx, audit.Entry{
					Actor: hostile, Action: "account." + hostile, Subject: "pending/" + p.id, Detail: map[string]string{"role": hostile},
				})
			})
		},
		"the quarantine": func(p *person) {
			p.mailed()
			p.check(p.db.Keep(p.Context(), jobs.Refused{ID: hostile, TaskID: p.row.TaskID(), Reason: signing.Reason(hostile), KID: hostile}))
		},
		"what Redis says": func(p *person) { p.register(); p.away = hostile },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPerson(t)
			harm(p)
			story, err := explain.Explain(t.Context(), p.config(), p.asked)
			p.check(err)
			text := wantPlain(t, story)
			if !strings.Contains(text, "[2J") {
				t.Errorf("what was harmed is not told at all:\n%s", text)
			}
		})
	}
}

func wantPlain(t *testing.T, story explain.Story) string {
	t.Helper()
	var all strings.Builder
	for _, s := range append(story.Steps, explain.Step{Text: story.Asked + story.Email + story.AccountID + story.Redis + story.Missing + story.Advice}) {
		all.WriteString(s.Text + s.Row + string(s.Kind) + s.KID + s.MessageID + s.SMTPReply + s.Step)
	}
	if i := strings.IndexFunc(all.String(), func(r rune) bool { return !strconv.IsPrint(r) }); i >= 0 {
		t.Errorf("not printable, at byte %d: %q", i, all.String())
	}
	return all.String()
}
