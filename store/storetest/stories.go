package storetest

import (
	"context"
	"fmt"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/signing"
)

// Histories is what an operator's tool asks of a driver who explains what happened to one person's mail.
type Histories interface {
	// AccountAddress returns the normalised address of a registration, expired ones too, or user, or accounts.ErrNoSuchUser.
	AccountAddress(ctx context.Context, id string) (emailNorm string, err error)
	// MailsOf lists up to limit mails of a registration or user, the newest first.
	MailsOf(ctx context.Context, accountID string, limit int) ([]authjobs.MailHistory, error)
	// RequestsOf lists up to limit jobs that answer what was asked for by an address, the newest first.
	RequestsOf(ctx context.Context, emailNorm string, limit int) ([]authjobs.MailHistory, error)
	// MailOf tells of the mail of an outbox row, or of a Message-ID. The row may be of any kind. jobs.ErrNoSuchRow where there is
	// none.
	MailOf(ctx context.Context, rowOrMessageID string) (authjobs.MailHistory, error)
	// AttemptsOf lists the tries of a mail that are kept, authjobs.MaxAttempts at most, the first of them first.
	AttemptsOf(ctx context.Context, mailID string) ([]authjobs.MailAttempt, error)
	// RecentMails lists up to limit mails that workers had first most lately, the newest first, and of two at the same time that with the higher ID,
	// with their newest try that is kept, whether or not the outbox has their rows.
	RecentMails(ctx context.Context, limit int) ([]authjobs.MailGlance, error)
	// MailUse says how many mails count for the hour's cap and the day's, as MailLimits.Take counts them.
	MailUse(ctx context.Context) (authjobs.MailUse, error)
	// MailBacklog counts unfinished rows of mails by kind, queue and state, as OutboxBacklog does, of up to limit that wait for a relay and up to
	// limit of any kind that are enqueued. more says that there may be others.
	MailBacklog(ctx context.Context, limit int) (backlog []jobs.Backlog, more bool, err error)
	// SuppressedUpTo counts the addresses to which nothing is sent, up to that many.
	SuppressedUpTo(ctx context.Context, most int) (int64, error)
	// Suppressions lists up to limit addresses to which nothing is sent, the newest first.
	Suppressions(ctx context.Context, limit int) ([]authjobs.Suppression, error)
	// SuppressionOf returns the suppression of a normalised address, or authjobs.ErrNotSuppressed.
	SuppressionOf(ctx context.Context, emailNorm string) (authjobs.Suppression, error)
	// RefusedOf lists up to limit entries of the quarantine whose task was, or called itself, one of the row's, the newest
	// first, without payloads.
	RefusedOf(ctx context.Context, rowID string, limit int) ([]jobs.Refused, error)
	// AuditOf lists the newest limit entries about a subject, the oldest of them first, linked or not.
	AuditOf(ctx context.Context, subject string, limit int) ([]audit.Entry, error)
}

// confirmationOf records the confirmation mail of a registration.
func (s suite[Tx]) confirmationOf(saved accounts.SavedPending) (rowID string) {
	s.Helper()
	return s.enqueue(authjobs.MailConfirmation().With(authjobs.Confirmation{PendingID: saved.ID, Generation: saved.Generation}))
}

func (s suite[Tx]) mailOf(id string) authjobs.MailHistory {
	s.Helper()
	h, err := s.DB.MailOf(s.Context(), id)
	must(s, err)
	return h
}

func storyTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"a registration and the user that it becomes are found by their ID, an expired one too", func(s suite[Tx]) {
			p := newPending("da@example.org")
			saved := s.save(p)
			address := func(id string) string {
				address, err := s.DB.AccountAddress(s.Context(), id)
				if err != nil {
					want(s, err, accounts.ErrNoSuchUser)
				}
				return address
			}
			equal(s, "pending", p.EmailNorm, address(saved.ID))
			s.backdate(2 * time.Hour)
			equal(s, "expired", p.EmailNorm, address(saved.ID))
			other := newPending("da@example.com")
			equal(s, "user", other.EmailNorm, address(s.user(other).ID))
			for _, id := range []string{newPending("").ID, "", "no UUID", "a\x00b\xff"} {
				equal(s, "nobody", "", address(id))
			}
		}},
		{"the mails of an account are its own, the newest first, with what the mail server said", func(s suite[Tx]) {
			saved, other := s.save(newPending("da@example.org")), s.save(newPending("da@example.com"))
			first, second := s.confirmationOf(saved), s.confirmationOf(saved)
			s.confirmationOf(other)
			reset := s.enqueue(authjobs.MailPasswordReset().With(authjobs.AccountMail{UserID: saved.ID, Generation: 7}))
			s.enqueue(note()) // no mail
			claim := mailClaim(saved)
			claim.MailID, claim.MessageID = first, "first@example.org"
			before := s.now()
			d := s.claimMail(claim)
			near(s, "lease", before.Add(time.Minute), s.now().Add(time.Minute), s.mailOf(first).LeaseUntil)
			must(s, s.DB.MailFailed(s.Context(), d, authjobs.MailAnswer{Code: 451, Reply: "later"}, "the server answered 451"))
			mails, err := s.DB.MailsOf(s.Context(), saved.ID, 10)
			must(s, err)
			if len(mails) != 3 {
				s.Fatalf("want 3 mails, got %+v", mails)
			}
			equal(s, "newest", reset, mails[0].Row.ID)
			equal(s, "its generation", 7, mails[0].Generation)
			equal(s, "second", second, mails[1].Row.ID)
			near(s, "first try", before, s.now(), mails[2].FirstTry)
			mails[2].FirstTry = time.Time{}
			if diff := cmp.Diff(authjobs.MailHistory{
				Row: s.info(first), AccountID: saved.ID, Generation: 1, MessageID: "first@example.org", Tries: 1, SMTPCode: 451, SMTPReply: "later",
				Cause: "the server answered 451",
			}, mails[2]); diff != "" {
				s.Errorf("-want +got:\n%s", diff)
			}
			s.backdate(time.Minute)
			before = s.now()
			s.mailSent(s.claimMail(claim))
			sent := s.mailOf(first)
			near(s, "sent", before, s.now(), sent.SentAt)
			equal(s, "answer", "250 "+accepted().Reply, fmt.Sprint(sent.SMTPCode, " ", sent.SMTPReply))
			equal(s, "tries", 2, sent.Tries)
			equal(s, "lease", true, sent.LeaseUntil.IsZero())
			mails, err = s.DB.MailsOf(s.Context(), saved.ID, 1)
			must(s, err)
			equal(s, "of one", reset, mails[0].Row.ID)
			equal(s, "mails", 1, len(mails))
			sorted := jobs.Define[struct {
				Generation uint64 `json:"generation"`
				UserID     string `json:"user_id"`
			}]("mail:password_reset", jobs.Policy{MaxAge: time.Hour}) // as whoever enqueues by hand may write it
			args, err := sorted.Parse(fmt.Appendf(nil, `{"generation": 8, "user_id": %q}`, saved.ID))
			must(s, err)
			otherwise := s.enqueue(args)
			mails, err = s.DB.MailsOf(s.Context(), saved.ID, 10)
			must(s, err)
			equal(s, "written otherwise", otherwise, mails[0].Row.ID)
			equal(s, "mails with it", 4, len(mails))
			for _, id := range []string{newPending("").ID, "", "no UUID", "mail", "a\x00b\xff"} {
				mails, err := s.DB.MailsOf(s.Context(), id, 10)
				must(s, err)
				equal(s, "mails of nobody", 0, len(mails))
			}
		}},
		{"what was asked for by an address is listed by its job, the newest first, and nobody else's", func(s suite[Tx]) {
			ask := func(email string) (rowID string) {
				s.Helper()
				s.tx(func(tx Tx) error {
					saved, err := s.DB.SaveRequest(s.Context(), tx, newRequest(email))
					must(s, err)
					rowID, err = s.DB.EnqueueTx(s.Context(), tx, authjobs.Answer().With(authjobs.Request{RequestID: saved.ID}))
					return err
				})
				return rowID
			}
			row := ask("ada@example.org")
			ask("alan@example.org")
			s.save(newPending("da@example.org"))
			requests, err := s.DB.RequestsOf(s.Context(), "ada@example.org", 10)
			must(s, err)
			equal(s, "requests", 1, len(requests))
			equal(s, "row", row, requests[0].Row.ID)
			equal(s, "state", jobs.RowQueued, requests[0].Row.State)
			equal(s, "account", "", requests[0].AccountID)
			for _, email := range []string{"nobody@example.org", "", "a\x00b\xff"} {
				requests, err := s.DB.RequestsOf(s.Context(), email, 10)
				must(s, err)
				equal(s, "requests of nobody", 0, len(requests))
			}
		}},
		{"a mail is found by its row and by its Message-ID, a row of another kind by itself", func(s suite[Tx]) {
			saved := s.save(newPending("da@example.org"))
			row, other := s.confirmationOf(saved), s.enqueue(note())
			claim := mailClaim(saved)
			claim.MailID = row
			s.claimMail(claim)
			equal(s, "by row", saved.ID, s.mailOf(row).AccountID)
			equal(s, "by Message-ID", row, s.mailOf(claim.MessageID).Row.ID)
			equal(s, "of another kind", other, s.mailOf(other).Row.ID)
			equal(s, "whose", "", s.mailOf(other).AccountID)
			for _, id := range []string{newPending("").ID, "", "second@example.org", "a\x00b\xff"} {
				_, err := s.DB.MailOf(s.Context(), id)
				want(s, err, jobs.ErrNoSuchRow)
			}
		}},
		{"what was refused under a row's name is listed, the newest first, and no other", func(s suite[Tx]) {
			keep := func(id, taskID, rowID string, ago time.Duration) {
				must(s, s.DB.Keep(s.Context(), jobs.Refused{
					ID: id, TaskID: taskID, Queue: "mail", Kind: "test:note", Payload: []byte("x"), Size: 1, Reason: signing.ReasonBadPayload,
					Authentic: rowID != "", RowID: rowID, RowKind: "test:note", ReceivedAt: s.now().Add(-ago),
				}))
			}
			row := s.enqueue(note())
			keep("forged", row+".1", "", time.Minute)
			keep("authentic", row+".2", row, time.Second)
			keep("other", "x"+row+".1", "", 0)
			keep("longer", row+"x", "", 0)
			refused, err := s.DB.RefusedOf(s.Context(), row, 10)
			must(s, err)
			var got []string
			for _, r := range refused {
				got = append(got, r.ID)
				equal(s, "payload", 0, len(r.Payload))
			}
			if diff := cmp.Diff([]string{"authentic", "forged"}, got); diff != "" {
				s.Errorf("-want +got:\n%s", diff)
			}
			refused, err = s.DB.RefusedOf(s.Context(), row, 1)
			must(s, err)
			equal(s, "of one", 1, len(refused))
		}},
		{"the entries about a subject are its newest, in their order, linked or not", func(s suite[Tx]) {
			for _, action := range []string{"one", "two", "three"} {
				s.tx(func(tx Tx) error {
					for _, subject := range []string{"user/1", "user/10"} {
						if err := s.DB.AppendAudit(s.Context(), tx, audit.Entry{Actor: "test", Action: action, Subject: subject}); err != nil {
							return err
						}
					}
					return nil
				})
				if action == "two" {
					_, err := s.DB.ChainAudit(s.Context(), 100)
					must(s, err)
				}
			}
			entries, err := s.DB.AuditOf(s.Context(), "user/1", 2)
			must(s, err)
			var got []string
			for _, e := range entries {
				got = append(got, e.Subject+" "+e.Action)
			}
			if diff := cmp.Diff([]string{"user/1 two", "user/1 three"}, got); diff != "" {
				s.Errorf("-want +got:\n%s", diff)
			}
		}},
	}
}
