package authworker_test

import (
	"database/sql"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/mail/catcher"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker/authworker"
)

const newPassword = "another horse, another battery"

// keyOf takes the key out of a link that leads to that page.
func keyOf(t *testing.T, m catcher.Caught, page string) string {
	t.Helper()
	link, err := url.Parse(m.Link())
	check(t, err)
	if want := "https://app.example/base" + page; !strings.HasPrefix(link.String(), want+"?key=") {
		t.Fatalf("the link leads to %s, not to %s", link, want)
	}
	return link.Query().Get("key")
}

// active makes ada a user, whose confirmation mail is out.
func (s *system) active(t *testing.T) accounts.User {
	t.Helper()
	s.register(t, ada)
	mails := s.sent(t)
	var user accounts.User
	check(t, s.db.InTx(t.Context(), func(tx *sql.Tx) (err error) {
		user, err = s.accounts.Activate(t.Context(), tx, key(t, mails[len(mails)-1]))
		return err
	}))
	return user
}

func (s *system) inTx(t *testing.T, fn func(tx *sql.Tx) error) {
	t.Helper()
	check(t, s.db.InTx(t.Context(), fn))
	s.relay.Nudge()
}

func TestTheMailedLinkResetsThePasswordOnceAndTheOwnerIsTold(t *testing.T) {
	t.Parallel()
	s := newSystem(t, nil, nil)
	s.active(t)
	s.inTx(t, func(tx *sql.Tx) error { return s.accounts.RequestReset(t.Context(), tx, ada) })
	mails := s.sent(t)
	if len(mails) != 2 || mails[1].To[0] != ada || mails[1].Malformed != nil || mails[1].HTML == "" {
		t.Fatalf("want a second mail, to %s, in text and HTML, got %+v", ada, mails)
	}
	k := keyOf(t, mails[1], "/reset")
	reset := func(key string) error {
		return s.db.InTx(t.Context(), func(tx *sql.Tx) error {
			_, err := s.accounts.ResetPassword(t.Context(), tx, key, newPassword)
			return err
		})
	}
	check(t, reset(k))
	s.relay.Nudge()
	if err := reset(k); !errors.Is(err, accounts.ErrUnknownToken) {
		t.Errorf("the key again: got %v", err)
	}
	if _, err := s.accounts.Authenticate(t.Context(), ada, newPassword); err != nil {
		t.Errorf("log in: %v", err)
	}
	if mails = s.sent(t); len(mails) != 3 || !strings.Contains(mails[2].Text, "was changed on") {
		t.Errorf("the owner should be told, got %+v", mails)
	}
	if err := s.activate(t, k); !errors.Is(err, accounts.ErrUnknownKey) {
		t.Errorf("a key to reset activates: %v", err)
	}
}

// asked asks for a link for ada, which is answered in the same transaction.
func (s *system) asked(t *testing.T, tx *sql.Tx) error {
	t.Helper()
	if err := s.accounts.RequestReset(t.Context(), tx, ada); err != nil {
		return err
	}
	var id, payload string
	if err := tx.QueryRowContext(t.Context(), "SELECT id FROM owner_requests").Scan(&id); err != nil {
		return err
	}
	if err := tx.QueryRowContext(t.Context(), "SELECT payload FROM outbox WHERE kind = 'users:answer'").Scan(&payload); err != nil {
		return err
	}
	if want := `{"request_id":"` + id + `"}`; payload != want {
		t.Errorf("the payload is %s, want %s", payload, want)
	}
	return s.accounts.Answer(t.Context(), tx, id)
}

func TestALinkThatWasUsedBeforeItsMailLeavesIsNotMailed(t *testing.T) {
	t.Parallel()
	s := newSystem(t, nil, nil)
	user := s.active(t)
	proof, err := s.accounts.Prove(t.Context(), user.ID, password)
	check(t, err)
	s.inTx(t, func(tx *sql.Tx) error {
		if err := s.asked(t, tx); err != nil {
			return err
		}
		_, err := s.accounts.ChangePassword(t.Context(), tx, proof, newPassword) // ends every link
		return err
	})
	if mails := s.sent(t); len(mails) != 2 || !strings.Contains(mails[1].Text, "was changed on") {
		t.Errorf("want the confirmation and the notice, got %+v", mails)
	}
}

func TestALinksPayloadInOutboxAndQueueHoldsNoTokenAndNoAddress(t *testing.T) {
	t.Parallel()
	s := newSystem(t, nil, nil)
	user := s.active(t)
	s.inTx(t, func(tx *sql.Tx) error {
		if err := s.asked(t, tx); err != nil {
			return err
		}
		var payload string
		if err := tx.QueryRowContext(t.Context(), "SELECT payload FROM outbox WHERE kind = 'mail:password_reset'").Scan(&payload); err != nil {
			return err
		}
		if want := `{"user_id":"` + user.ID + `","generation":1}`; payload != want {
			t.Errorf("the payload is %s, want %s", payload, want)
		}
		return nil
	})
	s.settled(t)
	s.inTx(t, func(tx *sql.Tx) error {
		var bound int
		err := tx.QueryRowContext(t.Context(), "SELECT count(*) FROM user_tokens WHERE length(key_hash) = 32 AND sent_at IS NOT NULL").Scan(&bound)
		if bound != 1 {
			t.Errorf("%d tokens are bound and sent, want 1", bound)
		}
		return err
	})
}

func TestTheBreakerOfTheMailServerHoldsEveryMail(t *testing.T) {
	t.Parallel()
	kinds := map[jobs.Kind]bool{}
	for _, kind := range authworker.MailKinds() {
		kinds[kind] = true
	}
	for _, def := range authjobs.Definitions() {
		mails := def.Policy().Queue == jobs.QueueMail && def.Kind() != authjobs.KindAnswer // which mails nobody itself
		if kinds[def.Kind()] != mails {
			t.Errorf("%s: held is %v", def.Kind(), kinds[def.Kind()])
		}
	}
}

func TestATokenIsOfItsPurposeAlone(t *testing.T) {
	t.Parallel()
	s := newSystem(t, nil, nil)
	nonce := make([]byte, 16)
	tokens := map[string]string{}
	for _, purpose := range []string{"confirmation", "password_reset", "email_change"} {
		token, _, err := s.keys.Token(signing.KID{}, purpose, "0198c0de-0000-7000-8000-000000000001", 1, nonce)
		check(t, err)
		if was := tokens[token]; was != "" {
			t.Errorf("%s and %s have one token", was, purpose)
		}
		tokens[token] = purpose
	}
}

func TestAChangeOfAddressIsMailedToTheNewOneAndToldToTheOldOneTwice(t *testing.T) {
	t.Parallel()
	s := newSystem(t, nil, nil)
	user := s.active(t)
	proof, err := s.accounts.Prove(t.Context(), user.ID, password)
	check(t, err)
	s.inTx(t, func(tx *sql.Tx) error {
		return s.accounts.RequestEmailChange(t.Context(), tx, proof, "lovelace@example.net")
	})
	var link catcher.Caught
	count := func(to, words string, want int) {
		t.Helper()
		n := 0
		for _, m := range s.sent(t) {
			if m.To[0] == to && strings.Contains(m.Text, words) {
				n, link = n+1, m
			}
		}
		if n != want {
			t.Errorf("%d mails to %s with %q, want %d", n, to, words, want)
		}
	}
	count(ada, "l***@example.net", 1)
	count("lovelace@example.net", "is to have this address", 1)
	k := keyOf(t, link, "/email")
	s.inTx(t, func(tx *sql.Tx) error {
		_, err := s.accounts.ConfirmEmailChange(t.Context(), tx, k)
		return err
	})
	count(ada, "was changed to l***@example.net", 1)
	count("lovelace@example.net", "", 1)
	if _, err := s.accounts.Authenticate(t.Context(), "lovelace@example.net", password); err != nil {
		t.Error(err)
	}
}

func TestASweepOfLockoutsTellsTheOwnersAndTheRecord(t *testing.T) {
	t.Parallel()
	s := newSystem(t, nil, nil)
	s.active(t)
	once := accounts.Lockout{Limit: 1, For: time.Millisecond}
	for _, address := range []string{ada, "nobody@example.org"} {
		_, err := s.db.ChargeAttempt(t.Context(), address, once)
		check(t, err)
	}
	eventually(t, "the locks are over", func() bool {
		state, err := s.db.AccountState(t.Context(), "nobody@example.org")
		check(t, err)
		return !state.Locked
	})
	s.inTx(t, func(tx *sql.Tx) error {
		_, err := s.db.EnqueueTx(t.Context(), tx, authjobs.ResetLockouts().With(authjobs.Sweep{}))
		return err
	})
	if mails := s.sent(t); len(mails) != 2 || mails[1].To[0] != ada || !strings.Contains(mails[1].Text, "was locked for a while") {
		t.Errorf("want a notice to %s, got %+v", ada, mails)
	}
	_, err := s.db.ChainAudit(t.Context(), 100)
	check(t, err)
	links, err := s.db.AuditLinks(t.Context(), 0, 100)
	check(t, err)
	if last := links[len(links)-1].Entry; last.Action != "account.lockouts_lifted" || last.Detail["lockouts"] != "2" {
		t.Errorf("the last entry is %+v", last)
	}
}
