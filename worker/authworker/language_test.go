package authworker_test

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/worker"
	"github.com/sealq/sealq/worker/authworker"
)

func TestMailsAreInTheLanguageOfTheirReader(t *testing.T) {
	t.Parallel()
	s := newSystem(t, nil, nil)
	s.inTx(t, func(tx *sql.Tx) error {
		_, err := s.accounts.Register(t.Context(), tx, accounts.Registration{Email: ada, Password: password, Language: "de-AT"})
		return err
	})
	mails := s.sent(t)
	if len(mails) != 1 || mails[0].Subject != "Bestätigen Sie Ihre Adresse für App" {
		t.Fatalf("the confirmation: %+v", mails)
	}
	var user accounts.User
	s.inTx(t, func(tx *sql.Tx) (err error) {
		user, err = s.accounts.Activate(t.Context(), tx, key(t, mails[0]))
		return err
	})
	s.inTx(t, func(tx *sql.Tx) error { return s.accounts.RequestReset(t.Context(), tx, ada) })
	if mails = s.sent(t); len(mails) != 2 || mails[1].Subject != "Ein neues Passwort für App" {
		t.Fatalf("the link: %+v", mails)
	}
	s.inTx(t, func(tx *sql.Tx) error { return s.accounts.SetLanguage(t.Context(), tx, user.ID, "en") })
	s.inTx(t, func(tx *sql.Tx) error {
		_, err := s.accounts.ResetPassword(t.Context(), tx, keyOf(t, mails[1], "/reset"), newPassword)
		return err
	})
	if mails = s.sent(t); len(mails) != 3 || mails[2].Subject != "Your password for App was changed" {
		t.Fatalf("the notice: %+v", mails)
	}
}

func TestAProductThatFitsInNoMailIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	s := newSystem(t, nil, nil)
	sender, err := mail.NewSender(mail.Config{URL: s.mails.URL(), From: "no-reply@app.example"})
	check(t, err)
	err = authworker.Register(worker.NewHandlers(worker.HandlersConfig{}), backend(s.db), s.accounts, authworker.Config{
		Keys: s.keys, Sender: sender, BaseURL: "https://app.example", Product: strings.Repeat("x", 201),
	})
	if err == nil || !strings.Contains(err.Error(), "Product: is longer than 200 bytes") {
		t.Errorf("got %v", err)
	}
}
