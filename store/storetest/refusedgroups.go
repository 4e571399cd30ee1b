package storetest

import (
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
)

func refusedGroupTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"the quarantine is counted by queue and reason, the most numerous first, without what was released", func(s suite[Tx]) {
			groups := func(limit int) []jobs.RefusedGroup {
				s.Helper()
				all, err := s.DB.RefusedGroups(s.Context(), limit)
				must(s, err)
				return all
			}
			equal(s, "groups of nothing", 0, len(groups(10)))
			at := s.now().Add(-time.Hour).Truncate(time.Millisecond).UTC()
			keep := func(queue string, reason signing.Reason, authentic bool, minutes ...int) {
				s.Helper()
				for _, m := range minutes {
					must(s, s.DB.Keep(s.Context(), jobs.Refused{
						ID: uuid.NewString(), TaskID: "id", Queue: queue, Kind: "test:note", Payload: []byte("x"), Size: 1, Reason: reason,
						Authentic: authentic, ReceivedAt: at.Add(time.Duration(m) * time.Minute),
					}))
				}
			}
			keep("mail", signing.ReasonBadSignature, false, 5, 1, 9)
			keep("mail", signing.ReasonExpired, true, 2, 3)
			keep("critical", signing.ReasonBadSignature, false, 4, 6)
			keep("critical", signing.ReasonMissingSignature, false, 7)
			keep("released", signing.ReasonMissingSignature, false, 8)
			s.exec("UPDATE quarantine SET released_at = received_at, released_as = 'x' WHERE queue = 'released'")
			group := func(queue string, reason signing.Reason, authentic bool, n int64, first, last int) jobs.RefusedGroup {
				return jobs.RefusedGroup{
					Queue: queue, Reason: reason, Authentic: authentic, Entries: n,
					First: at.Add(time.Duration(first) * time.Minute), Last: at.Add(time.Duration(last) * time.Minute),
				}
			}
			want := []jobs.RefusedGroup{
				group("mail", signing.ReasonBadSignature, false, 3, 1, 9),
				group("critical", signing.ReasonBadSignature, false, 2, 4, 6),
				group("mail", signing.ReasonExpired, true, 2, 2, 3),
				group("critical", signing.ReasonMissingSignature, false, 1, 7, 7),
			}
			if diff := cmp.Diff(want, groups(10)); diff != "" {
				s.Errorf("groups (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(want[:2], groups(2)); diff != "" {
				s.Errorf("two groups (-want +got):\n%s", diff)
			}
		}},
	}
}
