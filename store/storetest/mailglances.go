package storetest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
)

func mailGlanceTests[Tx any]() []test[Tx] {
	refused := authjobs.MailAnswer{Code: 550, Reply: "5.1.1 no\x00 such \xff", Server: "mx.example", Stage: "rcpt", Outcome: authjobs.MailPermanent}
	claimOf := func(saved accounts.SavedPending, id string) authjobs.MailClaim {
		return authjobs.MailClaim{MailID: id, PendingID: saved.ID, Generation: saved.Generation, MessageID: id + "@example.org", Lease: time.Minute}
	}
	return []test[Tx]{
		{"the newest mails come first, with their rows and their newest tries", func(s suite[Tx]) {
			glances := func(limit int) []authjobs.MailGlance {
				s.Helper()
				all, err := s.DB.RecentMails(s.Context(), limit)
				must(s, err)
				return all
			}
			equal(s, "mails of nothing", 0, len(glances(10)))
			began := s.now()
			first, second, third := s.save(newPending("da@example.org")), s.save(newPending("db@example.org")), s.save(newPending("dc@example.org"))
			row := s.confirmationOf(first)
			claim := claimOf(first, row)
			must(s, s.DB.MailFailed(s.Context(), s.claimMail(claim), authjobs.MailAnswer{Code: 450, Reply: "later", Outcome: authjobs.MailTemporary}, "later"))
			must(s, s.DB.MailFailed(s.Context(), s.claimMail(claim), refused, "smtp rcpt: 550"))
			s.exec("UPDATE outbox SET state = 'dead', ended_at = created_at WHERE id = '" + row + "'")
			s.backdate(time.Second)
			s.mailSent(s.claimMail(claimOf(second, "no-row")))
			s.backdate(time.Second)
			const nearly = "0199a1b2-0000-7000-8000-00000000000g" // a UUID
			s.claimMail(claimOf(third, nearly))
			got := glances(10)
			equal(s, "mails", 3, len(got))
			near(s, "lease", s.now(), s.now().Add(time.Minute), got[0].LeaseUntil)
			near(s, "first try of the newest", began, s.now(), got[0].FirstTry)
			for i := range got {
				equal(s, fmt.Sprint("sent ", i), i == 1, !got[i].SentAt.IsZero())
				equal(s, fmt.Sprint("leased ", i), i == 0, !got[i].LeaseUntil.IsZero())
				equal(s, fmt.Sprint("tried ", i), i > 0, !got[i].Last.EndedAt.IsZero() && !got[i].Last.StartedAt.IsZero())
				got[i].FirstTry, got[i].SentAt, got[i].LeaseUntil, got[i].Last.StartedAt, got[i].Last.EndedAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}, time.Time{}
			}
			want := []authjobs.MailGlance{
				{ID: nearly, MessageID: nearly + "@example.org", Tries: 1},
				{ID: "no-row", MessageID: "no-row@example.org", Tries: 1, Last: authjobs.MailAttempt{Try: 1, Outcome: authjobs.MailDelivered, SMTPCode: 250, SMTPReply: accepted().Reply}},
				{
					ID: row, Kind: authjobs.KindMailConfirmation, State: jobs.RowDead, MessageID: row + "@example.org", Tries: 2,
					Last: authjobs.MailAttempt{Try: 2, Server: "mx.example", Stage: "rcpt", Outcome: authjobs.MailPermanent, SMTPCode: 550, SMTPReply: "5.1.1 no\uFFFD such \uFFFD", Cause: "smtp rcpt: 550"},
				},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				s.Errorf("mails (-want +got):\n%s", diff)
			}
			two := glances(2)
			equal(s, "the newest two", nearly+" no-row", fmt.Sprint(two[0].ID, " ", two[1].ID))
		}},
		{"what is used of the caps is what still counts for them", func(s suite[Tx]) {
			use := func() authjobs.MailUse {
				s.Helper()
				u, err := s.DB.MailUse(s.Context())
				must(s, err)
				return u
			}
			equal(s, "use of nothing", authjobs.MailUse{}, use())
			limits := authjobs.MailLimits{Hourly: 1, Daily: 10}
			claim := claimOf(s.save(newPending("da@example.org")), "mail-1")
			claim.Limits = limits
			d := s.claimMail(claim)
			equal(s, "use of one", authjobs.MailUse{Hour: 1, Day: 1}, use())
			must(s, s.DB.MailFailed(s.Context(), d, refused, "smtp rcpt: 550"))
			equal(s, "use of one that was given back", authjobs.MailUse{}, use())
			s.mailSent(s.claimMail(claim))
			held := claimOf(s.save(newPending("db@example.org")), "mail-2")
			held.Limits = limits
			_, err := s.DB.ClaimConfirmation(s.Context(), held)
			if _, ok := errors.AsType[*authjobs.LimitedError](err); !ok {
				s.Errorf("want a *LimitedError, got %v", err)
			}
			all, err := s.DB.RecentMails(s.Context(), 1)
			must(s, err)
			equal(s, "the one that is held", "mail-2 hour 0", fmt.Sprint(all[0].ID, " ", all[0].HeldBy, " ", all[0].Tries))
			equal(s, "held until", true, all[0].HeldUntil.After(s.now()))
			s.backdate(2 * time.Hour)
			equal(s, "use two hours later", authjobs.MailUse{Day: 1}, use())
			s.backdate(24 * time.Hour)
			equal(s, "use a day later", authjobs.MailUse{}, use())
		}},
		{"unfinished mails are counted up to a limit, which is told", func(s suite[Tx]) {
			count := func(limit int) (string, bool) {
				s.Helper()
				all, more, err := s.DB.MailBacklog(s.Context(), limit)
				must(s, err)
				var told []string
				for _, b := range all {
					told = append(told, fmt.Sprintf("%s %s %s %d", b.Kind, b.Queue, b.State, b.Rows))
					if b.Oldest < 0 || b.Oldest > time.Minute {
						s.Errorf("oldest: %v", b.Oldest)
					}
				}
				return strings.Join(told, ", "), more
			}
			told, more := count(10)
			equal(s, "of nothing", " false", fmt.Sprint(told, " ", more))
			rows := make([]string, 4)
			for i := range rows {
				rows[i] = s.confirmationOf(s.save(newPending(fmt.Sprintf("d%d@example.org", i))))
			}
			s.enqueue(note()) // no mail
			s.exec("UPDATE outbox SET state = 'enqueued' WHERE id = '" + rows[0] + "'")
			s.exec("UPDATE outbox SET state = 'done', unique_key = NULL, ended_at = created_at WHERE id = '" + rows[1] + "'")
			told, more = count(3)
			equal(s, "all", "mail:confirmation mail enqueued 1, mail:confirmation mail queued 2 false", fmt.Sprint(told, " ", more))
			told, more = count(2)
			equal(s, "as many as are counted", "mail:confirmation mail enqueued 1, mail:confirmation mail queued 2 true", fmt.Sprint(told, " ", more))
			told, more = count(1)
			equal(s, "more than are counted", "mail:confirmation mail enqueued 1, mail:confirmation mail queued 1 true", fmt.Sprint(told, " ", more))
		}},
		{"suppressions are counted up to a limit", func(s suite[Tx]) {
			for i, address := range []string{"", "da@example.org", "db@example.org", "dc@example.org"} {
				if address != "" {
					s.suppressed(address)
				}
				n, err := s.DB.SuppressedUpTo(s.Context(), 2)
				must(s, err)
				equal(s, fmt.Sprint("of ", i), int64(min(i, 2)), n)
			}
		}},
	}
}
