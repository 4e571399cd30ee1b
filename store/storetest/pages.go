package storetest

import (
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/signing"
)

func pageTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"the quarantine comes in pages, the newest first, of what is asked for, and each entry once", func(s suite[Tx]) {
			at := s.now().Add(-time.Hour).Truncate(time.Millisecond)
			var all []string
			for i := range 7 {
				r := s.refused()
				r.ReceivedAt = at.Add(time.Duration(i/3) * time.Minute) // several at one instant
				if r.Queue = "mail"; i%2 == 1 {
					r.Queue, r.Reason, r.Kind = "critical", signing.ReasonExpired, "test:note"
				}
				s.keep(r)
				all = append(all, r.ID)
			}
			late := s.refused()
			late.Reason, late.Queue, late.Kind = signing.ReasonUnknownKey, "default", "test:late"
			s.keep(late)
			all = append(all, late.ID)
			for _, as := range []string{"", "a row"} { // one that was signed, and one that was released
				r := s.refusal(uuid.NewString(), 1)
				r.Queue, r.Kind = "default", "test:signed"
				s.keep(r)
				all = append(all, r.ID)
				if as != "" {
					s.tx(func(tx Tx) error { return s.DB.MarkReleased(s.Context(), tx, r.ID, as) })
				}
			}
			read := func(q quarantine.Query, limit int) (ids []string) {
				s.Helper()
				for {
					page, err := s.DB.RefusedPage(s.Context(), q, limit)
					must(s, err)
					for _, r := range page {
						ids = append(ids, r.ID)
						equal(s, "payload", 0, len(r.Payload))
						q.Before = quarantine.Place{At: r.ReceivedAt, ID: r.ID}
					}
					if len(page) < limit {
						return ids
					}
				}
			}
			whole, err := s.DB.QuarantineList(s.Context(), 100)
			must(s, err)
			var want []string
			for _, r := range whole {
				want = append(want, r.ID)
			}
			for _, limit := range []int{1, 2, 3, 100} {
				if diff := cmp.Diff(want, read(quarantine.Query{}, limit)); diff != "" {
					s.Errorf("pages of %d (-want +got):\n%s", limit, diff)
				}
			}
			for sentence, c := range map[string]struct {
				q quarantine.Query
				n int
			}{
				"by reason":            {quarantine.Query{Reason: "expired"}, 3},
				"by queue":             {quarantine.Query{Queue: "mail"}, 4},
				"by kind":              {quarantine.Query{Kind: "test:note"}, 3},
				"by all of them":       {quarantine.Query{Reason: "expired", Queue: "critical", Kind: "test:note"}, 3},
				"of a kind":            {quarantine.Query{Kind: "test:signed"}, 2},
				"that may be released": {quarantine.Query{Releasable: true}, 2},
				"of an unknown key":    {quarantine.Query{Releasable: true, Reason: "unknown_key"}, 1},
				"forged":               {quarantine.Query{Releasable: true, Queue: "mail"}, 0},
				"by what nothing is":   {quarantine.Query{Reason: "expired", Queue: "mail"}, 0},
				"by a name with bytes": {quarantine.Query{Queue: "a\x00\xff"}, 0},
			} {
				equal(s, sentence, c.n, len(read(c.q, 2)))
			}
			equal(s, "entries", 10, len(all))
		}},
		{"the payload of an outbox row is what was recorded, and of no row there is none", func(s suite[Tx]) {
			id := s.enqueue(note())
			payload, err := s.DB.OutboxPayload(s.Context(), id)
			must(s, err)
			equal(s, "payload", `{"note":"hello"}`, string(payload))
			for _, id := range []string{uuid.NewString(), "", "no row's ID", strings.ToUpper(id)} {
				_, err = s.DB.OutboxPayload(s.Context(), id)
				want(s, err, jobs.ErrNoSuchRow)
			}
		}},
		{"the audit log comes in pages, the newest first, of what is asked for, linked or not", func(s suite[Tx]) {
			for i, e := range []audit.Entry{
				{Actor: "operator:ann", Action: "task.run", Subject: "task/a"},
				{Actor: "operator:anna", Action: "task.delete", Subject: "task/b"},
				{Actor: "cli:ann", Action: "task.run", Subject: "task/a", Detail: map[string]string{"x": "y"}},
				{Actor: "operator:100%", Action: "queue_pause", Subject: "queue/mail"},
			} {
				s.tx(func(tx Tx) error { return s.DB.AppendAudit(s.Context(), tx, e) })
				if i == 1 {
					_, err := s.DB.ChainAudit(s.Context(), 10)
					must(s, err)
				}
			}
			read := func(q audit.Query, limit int) (got string) {
				s.Helper()
				for {
					page, err := s.DB.AuditPage(s.Context(), q, limit)
					must(s, err)
					for _, l := range page {
						got += " " + l.Entry.Actor + ">" + l.Entry.Subject
						q.Before = l.ID
						equal(s, "linked", strings.Contains(" task/a task/b", l.Entry.Subject) && strings.HasPrefix(l.Entry.Actor, "operator"), l.Position > 0)
					}
					if len(page) < limit {
						return got
					}
				}
			}
			const all = " operator:100%>queue/mail cli:ann>task/a operator:anna>task/b operator:ann>task/a"
			for _, limit := range []int{1, 2, 4, 100} {
				equal(s, "pages", all, read(audit.Query{}, limit))
			}
			for _, c := range []struct {
				q    audit.Query
				want string
			}{
				{audit.Query{Actor: "operator:ann"}, " operator:anna>task/b operator:ann>task/a"},
				{audit.Query{Actor: "operator:", Action: "task."}, " operator:anna>task/b operator:ann>task/a"},
				{audit.Query{Subject: "task/a"}, " cli:ann>task/a operator:ann>task/a"},
				{audit.Query{Subject: "task/"}, ""},
				{audit.Query{Actor: "operator:100%"}, " operator:100%>queue/mail"},
				{audit.Query{Actor: "%"}, ""},
				{audit.Query{Action: "queue.pause"}, ""},
				{audit.Query{Actor: "\x00\xff"}, ""},
			} {
				equal(s, "of what is asked for", c.want, read(c.q, 2))
			}
		}},
	}
}
