package storetest

import (
	"strings"

	"github.com/sealq/sealq/accounts"
)

func (s suite[Tx]) setLanguage(id, language string) func(tx Tx) (bool, error) {
	return func(tx Tx) (bool, error) { return s.DB.SetLanguage(s.Context(), tx, id, language) }
}

func languageTests[Tx any]() []test[Tx] {
	speaks := func(address, language string) accounts.NewPending {
		p := newPending(address)
		p.Language = language
		return p
	}
	return []test[Tx]{
		{"a registration's language is that of its mail and then of the user", func(s suite[Tx]) {
			saved := s.save(speaks("da@example.org", "de-AT"))
			equal(s, "of the registration", "de-AT", s.state(someone).Language)
			equal(s, "of its mail", "de-AT", s.claimMail(mailClaim(saved)).Language)
			s.bind(saved, "key")
			_, err := s.activate(s.Context(), "key")
			must(s, err)
			equal(s, "of the user", "de-AT", s.state(someone).Language)
			s.user(newPending("lan@example.org"))
			equal(s, "of a user without one", "", s.state("alan@example.org").Language)
		}},
		{"whoever registers again sets the language anew", func(s suite[Tx]) {
			s.save(speaks("da@example.org", "de"))
			again := speaks("da@example.org", "")
			again.ReplaceLive = true
			s.save(again)
			equal(s, "of the registration", "", s.state(someone).Language)
		}},
		{"links and notices are in the user's language as it is when they are mailed", func(s suite[Tx]) {
			user := s.user(speaks("da@example.org", "de"))
			reset, notice := accountClaim(s.token(newReset(someone))), accountClaim(s.notice(newNotice(user.ID)))
			notice.MailID, notice.MessageID = "mail-2", "second@example.org"
			equal(s, "of the link", "de", s.claimAccountMail(reset).Language)
			s.wantChange("set", true, s.setLanguage(user.ID, "pt-BR"))
			equal(s, "of the notice", "pt-BR", s.claimAccountMail(notice).Language)
			equal(s, "of the user", "pt-BR", s.state(someone).Language)
		}},
		{"a language is set once, for a user that there is", func(s suite[Tx]) {
			user := s.user(newPending("da@example.org"))
			other := s.user(speaks("lan@example.org", "fr"))
			s.wantChange("none", false, s.setLanguage(user.ID, ""))
			s.wantChange("set", true, s.setLanguage(user.ID, "de"))
			s.wantChange("set again", false, s.setLanguage(user.ID, "de"))
			for _, id := range []string{newPending("").ID, "", "no UUID"} {
				_, err := s.changes(s.setLanguage(id, "de"))
				want(s, err, accounts.ErrNoSuchUser)
			}
			want(s, s.DB.InTx(s.Context(), func(tx Tx) error {
				_, err := s.DB.SetLanguage(s.Context(), tx, user.ID, "es")
				must(s, err)
				return errRollback
			}), errRollback)
			equal(s, "after a rollback", "de", s.state(someone).Language)
			s.wantChange("cleared", true, s.setLanguage(user.ID, ""))
			equal(s, "cleared", "", s.state(someone).Language)
			equal(s, "of "+other.Email, "fr", s.state("alan@example.org").Language)
		}},
		{"a tag of more than 35 bytes is refused by the table", func(s suite[Tx]) {
			user := s.user(newPending("da@example.org"))
			if _, err := s.changes(s.setLanguage(user.ID, strings.Repeat("a", 36))); err == nil {
				s.Error("it was written")
			}
			s.wantChange("35 bytes", true, s.setLanguage(user.ID, strings.Repeat("a", 35)))
		}},
	}
}
