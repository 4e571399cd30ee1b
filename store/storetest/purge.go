package storetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/signing"
)

func contains(text, part string) bool { return strings.Contains(text, part) }

// left are the task IDs that stand in quarantine, sorted.
func (s suite[Tx]) left() []string {
	s.Helper()
	list, err := s.DB.QuarantineList(s.Context(), 1000)
	must(s, err)
	names := make([]string, 0, len(list))
	for _, e := range list {
		names = append(names, e.TaskID)
	}
	slices.Sort(names)
	return names
}

// shelf fills the quarantine: old and new forgeries, and authentic entries, one of them released.
func (s suite[Tx]) shelf() map[string]string {
	s.Helper()
	ids := make(map[string]string)
	put := func(name string, r jobs.Refused) {
		r.TaskID = name
		s.keep(r)
		ids[name] = r.ID
	}
	forged := func(reason signing.Reason) jobs.Refused {
		r := s.refused()
		r.Reason = reason
		return r
	}
	put("old forged", forged(signing.ReasonBadSignature))
	unsigned := forged(signing.ReasonMissingSignature)
	unsigned.Queue, unsigned.Kind = "critical", "test:other"
	put("old unsigned", unsigned)
	put("old signed", s.refusal(uuid.NewString(), 1))
	put("released", s.refusal(uuid.NewString(), 1))
	s.tx(func(tx Tx) error { return s.DB.MarkReleased(s.Context(), tx, ids["released"], "a row") })
	s.backdate(48 * time.Hour)
	put("new forged", forged(signing.ReasonBadSignature))
	put("new signed", s.refusal(uuid.NewString(), 1))
	return ids
}

func purgeTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"what is purged is what is meant, and nothing that was signed and not released unless that is meant", func(s suite[Tx]) {
			for _, c := range []struct {
				name   string
				filter func(ids map[string]string) quarantine.Filter
				gone   []string
			}{
				{"all", func(map[string]string) quarantine.Filter { return quarantine.Filter{} }, []string{"new forged", "old forged", "old unsigned", "released"}},
				{
					"all, and what was signed", func(map[string]string) quarantine.Filter { return quarantine.Filter{Authentic: true} },
					[]string{"new forged", "new signed", "old forged", "old signed", "old unsigned", "released"},
				},
				{"what is old", func(map[string]string) quarantine.Filter { return quarantine.Filter{OlderThan: 24 * time.Hour} }, []string{"old forged", "old unsigned", "released"}},
				{"a reason", func(map[string]string) quarantine.Filter {
					return quarantine.Filter{Reason: signing.ReasonBadSignature}
				}, []string{"new forged", "old forged"}},
				{
					"a reason and an age", func(map[string]string) quarantine.Filter {
						return quarantine.Filter{Reason: signing.ReasonBadSignature, OlderThan: 24 * time.Hour}
					}, []string{"old forged"},
				},
				{
					"some by ID", func(ids map[string]string) quarantine.Filter {
						return quarantine.Filter{IDs: []string{ids["new forged"], ids["new signed"], ids["released"], "a\x00b\xff", ""}}
					}, []string{"new forged", "released"},
				},
				{
					"one by ID, though it was signed", func(ids map[string]string) quarantine.Filter {
						return quarantine.Filter{IDs: []string{ids["new signed"]}, Authentic: true}
					}, []string{"new signed"},
				},
				{"a queue", func(map[string]string) quarantine.Filter { return quarantine.Filter{Queue: "critical"} }, []string{"old unsigned"}},
				{"a kind", func(map[string]string) quarantine.Filter { return quarantine.Filter{Kind: "test:other"} }, []string{"old unsigned"}},
				{"a queue and a kind that is not there", func(map[string]string) quarantine.Filter {
					return quarantine.Filter{Queue: "mail", Kind: "test:other", Authentic: true}
				}, nil},
				{"nothing", func(map[string]string) quarantine.Filter { return quarantine.Filter{Reason: "none"} }, nil},
			} {
				s.exec("DELETE FROM quarantine")
				f := c.filter(s.shelf())
				before, used := s.left(), s.usage()
				matched, err := s.DB.MatchRefused(s.Context(), f)
				must(s, err)
				if diff := cmp.Diff(before, s.left()); diff != "" {
					s.Errorf("%s: counting purges (-want +got):\n%s", c.name, diff)
				}
				purged, err := quarantine.Purge(s.Context(), s.DB, "cli:alice", f)
				must(s, err)
				equal(s, c.name+": counted", matched, purged)
				equal(s, c.name+": purged", int64(len(c.gone)), purged.Entries)
				now := s.usage()
				equal(s, c.name+": bytes", used.Unverified.Bytes+used.Moved.Bytes+used.Authentic.Bytes-now.Unverified.Bytes-now.Moved.Bytes-now.Authentic.Bytes, purged.Bytes)
				equal(s, c.name+": authentic", used.Moved.Entries+used.Authentic.Entries-now.Moved.Entries-now.Authentic.Entries, purged.Authentic)
				want := slices.DeleteFunc(before, func(name string) bool { return slices.Contains(c.gone, name) })
				if diff := cmp.Diff(want, s.left()); diff != "" {
					s.Errorf("%s: left (-want +got):\n%s", c.name, diff)
				}
			}
		}},
		{"what is purged is audited with its count, and a purge of nothing is none", func(s suite[Tx]) {
			s.shelf()
			_, err := quarantine.Purge(s.Context(), s.DB, "cli:alice", quarantine.Filter{Reason: signing.ReasonMalformed})
			must(s, err)
			_, err = quarantine.Purge(s.Context(), s.DB, "cli:alice", quarantine.Filter{Reason: signing.ReasonBadPayload, OlderThan: time.Hour, Authentic: true})
			must(s, err)
			s.chained(1)
			links, err := s.DB.AuditLinks(s.Context(), 0, 10)
			must(s, err)
			e := links[0].Entry
			delete(e.Detail, "bytes")
			if diff := cmp.Diff(map[string]string{"purged": "2", "authentic": "2", "reason": "bad_payload", "older_than": "1h0m0s"}, e.Detail); diff != "" {
				s.Errorf("facts (-want +got):\n%s", diff)
			}
			equal(s, "who did what", "cli:alice quarantine.purge quarantine", e.Actor+" "+e.Action+" "+e.Subject)
		}},
		{"a batch purges the oldest, and a transaction that rolls back purges nothing", func(s suite[Tx]) {
			s.shelf()
			err := s.DB.InTx(s.Context(), func(tx Tx) error {
				p, err := s.DB.PurgeRefused(s.Context(), tx, quarantine.Filter{Authentic: true}, 4)
				must(s, err)
				equal(s, "purged", 4, p.Entries)
				return errRollback
			})
			want(s, err, errRollback)
			equal(s, "left", 6, len(s.left()))
			s.tx(func(tx Tx) error {
				_, err := s.DB.PurgeRefused(s.Context(), tx, quarantine.Filter{Authentic: true}, 4)
				return err
			})
			if diff := cmp.Diff([]string{"new forged", "new signed"}, s.left()); diff != "" {
				s.Errorf("left (-want +got):\n%s", diff)
			}
		}},
		{"eight who purge at once purge each entry once", func(s suite[Tx]) {
			for range 40 {
				s.keep(s.refused())
			}
			purged := make([]int64, 8)
			for _, err := range race(len(purged), func(i int) error {
				p, err := quarantine.Purge(s.Context(), s.DB, "cli:alice", quarantine.Filter{})
				purged[i] = p.Entries
				return err
			}) {
				must(s, err)
			}
			var sum int64
			for _, n := range purged {
				sum += n
			}
			equal(s, "purged", 40, sum)
			s.used(0, 0)
		}},
		{"counters are forgotten once, audited with what they counted", func(s suite[Tx]) {
			must(s, s.DB.CountOverflow(s.Context(), map[signing.Reason]quarantine.Overflow{
				signing.ReasonBadSignature: {Entries: 2, Bytes: 10}, signing.ReasonMalformed: {Entries: 3, Bytes: 20},
			}))
			for _, wanted := range []quarantine.Used{{Entries: 5, Bytes: 30}, {}} {
				got, err := quarantine.ForgetOverflow(s.Context(), s.DB, "cli:alice")
				must(s, err)
				equal(s, "forgotten", wanted, got)
			}
			equal(s, "counters", 0, len(s.usage().Overflow))
			s.chained(1)
			equal(s, "action", "quarantine.forget_overflow", s.actions()[0])
		}},
		{"an entry is released once, and one that is not there never", func(s suite[Tx]) {
			r := s.refused()
			s.keep(r)
			mark := func(id, as string) error {
				return s.DB.InTx(s.Context(), func(tx Tx) error { return s.DB.MarkReleased(s.Context(), tx, id, as) })
			}
			must(s, mark(r.ID, "row 1"))
			want(s, mark(r.ID, "row 2"), quarantine.ErrReleased)
			for _, id := range []string{uuid.NewString(), "", "a\x00b\xff"} {
				want(s, mark(id, "row"), jobs.ErrNoSuchEntry)
			}
			list, err := s.DB.QuarantineList(s.Context(), 1)
			must(s, err)
			equal(s, "released as", "row 1", list[0].ReleasedAs)
			equal(s, "released", false, list[0].ReleasedAt.IsZero())
			equal(s, "entries", "1", s.scalar(fmt.Sprintf("SELECT count(*) FROM quarantine WHERE released_as = '%s'", "row 1")))
		}},
	}
}
