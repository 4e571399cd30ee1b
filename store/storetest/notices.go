package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs/authjobs"
)

func isAny(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// newNotice tells a user that his address has changed, for a day.
func newNotice(userID string) accounts.NewNotice {
	return accounts.NewNotice{
		UserID: userID, Mail: accounts.MailEmailChange, Email: "Old@example.org", Stage: accounts.StageChanged, Detail: "n***@example.org", TTL: 24 * time.Hour,
	}
}

func (s suite[Tx]) tryNotice(n accounts.NewNotice) (saved accounts.SavedToken, err error) {
	s.Helper()
	err = s.DB.InTx(s.Context(), func(tx Tx) (err error) {
		saved, err = s.DB.SaveNotice(s.Context(), tx, n)
		return err
	})
	return saved, err
}

func (s suite[Tx]) notice(n accounts.NewNotice) accounts.SavedToken {
	s.Helper()
	saved, err := s.tryNotice(n)
	must(s, err)
	return saved
}

func noticeTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"notices are numbered with the user's links, and none takes another's place", func(s suite[Tx]) {
			user := s.user(newPending("da@example.org"))
			equal(s, "link", 1, s.token(newReset(someone)).Generation)
			before := s.now()
			first := s.notice(newNotice(user.ID))
			near(s, "expires_at", before.Add(24*time.Hour), s.now().Add(24*time.Hour), first.ExpiresAt)
			equal(s, "notice", accounts.SavedToken{UserID: user.ID, Purpose: accounts.MailEmailChange, Generation: 2, ExpiresAt: first.ExpiresAt}, first)
			equal(s, "second notice", 3, s.notice(newNotice(user.ID)).Generation)
			equal(s, "notices", "2", s.scalar("SELECT count(*) FROM user_notices"))
		}},
		{"a notice deletes those of the user that are over", func(s suite[Tx]) {
			user, other := s.user(newPending("da@example.org")), s.user(newPending("lan@example.org"))
			s.notice(newNotice(user.ID))
			s.notice(newNotice(other.ID))
			s.backdate(24 * time.Hour)
			s.notice(newNotice(user.ID))
			equal(s, "of the user", "1", s.scalar("SELECT count(*) FROM user_notices WHERE user_id = '"+user.ID+"'"))
			equal(s, "of the other", "1", s.scalar("SELECT count(*) FROM user_notices WHERE user_id = '"+other.ID+"'"))
		}},
		{"nobody is told of nothing", func(s suite[Tx]) {
			for _, id := range []string{newPending("").ID, "", "no UUID"} {
				_, err := s.tryNotice(newNotice(id))
				want(s, err, accounts.ErrNoSuchUser)
			}
		}},
		{"the same is not told again within a while, something else is, and the transaction stays usable", func(s suite[Tx]) {
			user := s.user(newPending("da@example.org"))
			n := newNotice(user.ID)
			n.NotWithin = time.Hour
			before := s.now()
			s.notice(n)
			after := s.now()
			s.tx(func(tx Tx) error {
				_, err := s.DB.SaveNotice(s.Context(), tx, n)
				throttled, ok := errors.AsType[*accounts.ThrottledError](err)
				if !ok {
					s.Fatalf("want a *ThrottledError, got %v", err)
				}
				near(s, "retry at", before.Add(time.Hour), after.Add(time.Hour), throttled.RetryAt)
				n := n
				n.Mail = accounts.MailAccountExists
				_, err = s.DB.SaveNotice(s.Context(), tx, n)
				return err
			})
			s.backdate(time.Hour)
			s.notice(n)
			outcomes := race(20, func(int) error {
				n := n
				n.Mail = accounts.MailLockoutNotice
				_, err := s.tryNotice(n)
				return err
			})
			won, _ := tally(s, outcomes, accounts.ErrThrottled)
			equal(s, "told", 1, won)
		}},
		{"a change of an account is in the record if, and only if, its transaction commits", func(s suite[Tx]) {
			change := accounts.Change{Actor: "cli:ada", Action: "account.disabled", Subject: "user/1", Detail: map[string]string{"why": "spam"}}
			want(s, s.DB.InTx(s.Context(), func(tx Tx) error {
				must(s, s.DB.RecordChange(s.Context(), tx, change))
				return errRollback
			}), errRollback)
			equal(s, "entries", "0", s.scalar("SELECT count(*) FROM audit_log"))
			s.tx(func(tx Tx) error { return s.DB.RecordChange(s.Context(), tx, change) })
			_, err := s.DB.ChainAudit(s.Context(), 10)
			must(s, err)
			links, err := s.DB.AuditLinks(s.Context(), 0, 10)
			must(s, err)
			e := links[0].Entry
			equal(s, "entry", fmt.Sprint(change), fmt.Sprint(accounts.Change{Actor: e.Actor, Action: e.Action, Subject: e.Subject, Detail: e.Detail}))
		}},
	}
}

// accountClaim asks for the mail "mail-1" of a link or notice, for a minute.
func accountClaim(t accounts.SavedToken) authjobs.MailClaim {
	return authjobs.MailClaim{
		MailID: "mail-1", UserID: t.UserID, Mail: string(t.Purpose), Generation: t.Generation, MessageID: "first@example.org", Lease: time.Minute,
	}
}

func (s suite[Tx]) claimAccountMail(c authjobs.MailClaim) authjobs.MailDraft {
	s.Helper()
	d, err := s.DB.ClaimAccountMail(s.Context(), c)
	must(s, err)
	return d
}

func accountMailTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"a link goes to the user's address, or, where it changes, to the new one", func(s suite[Tx]) {
			p := newPending("da@example.org")
			s.user(p)
			reset := s.token(newReset(someone))
			d := s.claimAccountMail(accountClaim(reset))
			equal(s, "to", p.Email, d.To)
			equal(s, "nonce", 16, len(d.Nonce))
			equal(s, "expires_at", reset.ExpiresAt, d.ExpiresAt)
			equal(s, "kid", "", d.KID)
			equal(s, "account", p.ID, d.AccountID())
			s.bindToken(boundKID, reset, "key")
			s.backdate(time.Minute)
			equal(s, "kid in a later draft", boundKID, s.claimAccountMail(accountClaim(reset)).KID)
			change := accountClaim(s.token(newChange(someone, "ew@example.org")))
			change.MailID, change.MessageID = "mail-2", "second@example.org"
			equal(s, "to the new address", "New@example.org", s.claimAccountMail(change).To)
		}},
		{"a notice goes to the address that it was written for, with what it says, and has no link", func(s suite[Tx]) {
			user := s.user(newPending("da@example.org"))
			before := s.now()
			saved := s.notice(newNotice(user.ID))
			d := s.claimAccountMail(accountClaim(saved))
			equal(s, "to", "Old@example.org", d.To)
			equal(s, "what", accounts.StageChanged+" n***@example.org", d.Stage+" "+d.Detail)
			near(s, "at", before, s.now(), d.At)
			equal(s, "no nonce", true, d.Nonce == nil)
		}},
		{"a mail is not wanted of nobody, of another number or name, after its time, or for a link that was used or is a disabled user's", func(s suite[Tx]) {
			user := s.user(newPending("da@example.org"))
			reset := s.token(newReset(someone))
			refuse := func(t accounts.SavedToken) {
				s.Helper()
				_, err := s.DB.ClaimAccountMail(s.Context(), accountClaim(t))
				want(s, err, authjobs.ErrNotWanted)
				want(s, s.DB.AccountMailWanted(s.Context(), tokenDraft(t)), authjobs.ErrNotWanted)
			}
			for _, t := range []accounts.SavedToken{
				{UserID: newPending("").ID, Purpose: reset.Purpose, Generation: 1},
				{UserID: "no UUID", Purpose: reset.Purpose, Generation: 1},
				{UserID: user.ID, Purpose: accounts.MailEmailChange, Generation: 1},
				{UserID: user.ID, Purpose: "\x00\xff", Generation: 1},
				{UserID: user.ID, Purpose: reset.Purpose, Generation: 2},
				{UserID: user.ID, Purpose: reset.Purpose, Generation: 1 << 63},
			} {
				refuse(t)
			}
			equal(s, "mails", "0", s.scalar("SELECT count(*) FROM mails"))
			d := s.claimAccountMail(accountClaim(reset))
			must(s, s.DB.AccountMailWanted(s.Context(), d))
			other := d
			other.LeaseToken = "another"
			want(s, s.DB.AccountMailWanted(s.Context(), other), authjobs.ErrLeaseLost)
			s.bindToken(boundKID, reset, "key")
			_, err := s.resetPassword("key", otherHash())
			must(s, err)
			want(s, s.DB.AccountMailWanted(s.Context(), d), authjobs.ErrNotWanted)
			s.exec("DELETE FROM mails")
			refuse(reset)
			notice := s.notice(newNotice(user.ID))
			again := s.token(newReset(someone))
			s.disable(user.ID)
			refuse(again)
			must(s, s.DB.AccountMailWanted(s.Context(), s.claimAccountMail(authjobs.MailClaim{
				MailID: "mail-2", UserID: user.ID, Mail: string(notice.Purpose), Generation: notice.Generation, MessageID: "second@example.org", Lease: time.Minute,
			})))
			s.backdate(24 * time.Hour)
			refuse(notice)
		}},
		{"of twenty claims at once one gets the lease, and what was sent is not sent again", func(s suite[Tx]) {
			s.user(newPending("da@example.org"))
			claim := accountClaim(s.token(newReset(someone)))
			drafts := make([]authjobs.MailDraft, 20)
			won := -1
			for i, err := range race(20, func(i int) (err error) {
				drafts[i], err = s.DB.ClaimAccountMail(s.Context(), claim)
				return err
			}) {
				_, lost := errors.AsType[*authjobs.LeasedError](err)
				switch {
				case err == nil && won < 0:
					won = i
				case !lost:
					s.Errorf("a racer ended with %v", err)
				}
			}
			s.mailSent(drafts[won])
			_, err := s.DB.ClaimAccountMail(s.Context(), claim)
			want(s, err, authjobs.ErrSent)
			equal(s, "sent_at of the token", "1", s.scalar("SELECT count(*) FROM user_tokens WHERE sent_at IS NOT NULL"))
		}},
		{"a token's key is bound once: the same again is no error, another is another run's", func(s suite[Tx]) {
			s.user(newPending("da@example.org"))
			saved := s.token(newReset(someone))
			s.bindToken(boundKID, saved, "key")
			s.bindToken(boundKID, saved, "key")
			d := tokenDraft(saved)
			want(s, s.DB.BindTokenKey(s.Context(), d, boundKID, accounts.KeyHash("another")), authjobs.ErrLeaseLost)
			d.Mail = string(accounts.MailEmailChange)
			want(s, s.DB.BindTokenKey(s.Context(), d, boundKID, accounts.KeyHash("key")), authjobs.ErrNotWanted)
		}},
	}
}
