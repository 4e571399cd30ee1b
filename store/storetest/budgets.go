package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/signing"
)

// roomFor are budgets that many entries as the suite makes them.
func (s suite[Tx]) roomFor(unverified, authentic int64) quarantine.Budgets {
	return quarantine.Budgets{Unverified: quarantine.Budget{Entries: unverified}, Authentic: quarantine.Budget{Entries: authentic}}
}

func (s suite[Tx]) usage() quarantine.Usage {
	s.Helper()
	u, err := s.DB.QuarantineUsage(s.Context())
	must(s, err)
	return u
}

// used holds the usage to numbers of entries, and its bytes to what those are charged.
func (s suite[Tx]) used(unverified, authentic int64) {
	s.Helper()
	u := s.usage()
	equal(s, "entries that are not authentic", unverified, u.Unverified.Entries)
	equal(s, "entries that are, of their signer's doing", authentic, u.Authentic.Entries)
	for _, class := range []struct {
		name  string
		bytes int64
	}{{"unverified", u.Unverified.Bytes}, {"moved", u.Moved.Bytes}, {"reserved", u.Authentic.Bytes}} {
		equal(s, "bytes that are charged to "+class.name, s.scalar("SELECT coalesce(sum(charged), 0) FROM quarantine WHERE class = '"+class.name+"'"), fmt.Sprint(class.bytes))
	}
}

func budgetTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"what is not authentic fills its own budget, and what is has room all the same", func(s suite[Tx]) {
			b := s.roomFor(3, 2)
			for range 3 {
				must(s, s.DB.KeepWithin(s.Context(), s.refused(), b))
			}
			want(s, s.DB.KeepWithin(s.Context(), s.refused(), b), quarantine.ErrFull)
			for range 2 {
				must(s, s.DB.KeepWithin(s.Context(), s.refusal(uuid.NewString(), 1), b))
			}
			want(s, s.DB.KeepWithin(s.Context(), s.refusal(uuid.NewString(), 1), b), quarantine.ErrFull)
			s.used(3, 2)
			if diff := cmp.Diff(map[signing.Reason]quarantine.Overflow{}, s.usage().Overflow); diff != "" {
				s.Errorf("who is told that there is no room counts (-want +got):\n%s", diff)
			}
		}},
		{"what somebody without a key may have moved fills its own budget, and takes no room of what its signer is to blame for", func(s suite[Tx]) {
			b := s.roomFor(1, 1)
			b.Moved.Entries = 3
			moved := func(reason signing.Reason) jobs.Refused {
				r := s.refusal(uuid.NewString(), 1)
				r.Reason = reason
				return r
			}
			reasons := []signing.Reason{signing.ReasonWrongQueue, signing.ReasonKindNotAllowed, signing.ReasonExpired}
			for _, reason := range reasons {
				must(s, s.DB.KeepWithin(s.Context(), moved(reason), b))
			}
			for _, reason := range reasons {
				want(s, s.DB.KeepWithin(s.Context(), moved(reason), b), quarantine.ErrFull)
			}
			equal(s, "entries that were moved", 3, s.usage().Moved.Entries)
			must(s, s.DB.KeepWithin(s.Context(), s.refused(), b))
			must(s, s.DB.KeepWithin(s.Context(), s.refusal(uuid.NewString(), 1), b))
			s.used(1, 1)

			s.exec("UPDATE quarantine_totals SET entries = 10000 WHERE class = 'moved'")
			want(s, s.DB.Keep(s.Context(), moved(signing.ReasonWrongQueue)), quarantine.ErrCounted)
			equal(s, "counted", 1, s.usage().Overflow[signing.ReasonWrongQueue].Entries)
		}},
		{"bytes are bounded too, and a smaller entry may have room where a larger one has none", func(s suite[Tx]) {
			large, small := s.refused(), s.refused()
			large.Payload = bytes.Repeat(allBytes(), 64)
			small.Payload = nil
			b := quarantine.Budgets{Unverified: quarantine.Budget{Bytes: quarantine.Charge(large) + quarantine.Charge(small)}}
			must(s, s.DB.KeepWithin(s.Context(), large, b))
			again := large
			again.ID = uuid.NewString()
			want(s, s.DB.KeepWithin(s.Context(), again, b), quarantine.ErrFull)
			must(s, s.DB.KeepWithin(s.Context(), small, b))
			small.ID = uuid.NewString()
			want(s, s.DB.KeepWithin(s.Context(), small, b), quarantine.ErrFull)
			equal(s, "bytes", quarantine.Charge(large)+quarantine.Charge(small), s.usage().Unverified.Bytes)
			s.used(2, 0)
		}},
		{"an entry that is there is kept already, whatever room there is", func(s suite[Tx]) {
			b := s.roomFor(1, 1)
			r := s.refused()
			must(s, s.DB.KeepWithin(s.Context(), r, b))
			must(s, s.DB.KeepWithin(s.Context(), r, b))
			row := s.enqueued(note())
			a := s.refusal(row.ID, 1)
			a.RowKind = "test:other"
			must(s, s.DB.KeepWithin(s.Context(), a, b))
			s.wantState(row.ID, jobs.RowEnqueued)
			a.RowKind = "test:note"
			must(s, s.DB.KeepWithin(s.Context(), a, b))
			s.wantState(row.ID, jobs.RowRefused)
			s.used(1, 1)
		}},
		{"a refusal that finds no room leaves the row alone", func(s suite[Tx]) {
			b := s.roomFor(1, 1)
			must(s, s.DB.KeepWithin(s.Context(), s.refusal(uuid.NewString(), 1), b))
			row := s.enqueued(note())
			want(s, s.DB.KeepWithin(s.Context(), s.refusal(row.ID, 1), b), quarantine.ErrFull)
			s.wantState(row.ID, jobs.RowEnqueued)
		}},
		{"many who keep at once stay within the budget, but for one each", func(s suite[Tx]) {
			const room, racers = 30, 20 // as many as a harness has connections
			b := s.roomFor(room, room)
			var kept [2]atomic.Int64
			for _, err := range race(racers, func(i int) error {
				for range 6 {
					r := s.refused()
					if i%2 == 1 {
						r = s.refusal(uuid.NewString(), 1)
					}
					switch err := s.DB.KeepWithin(s.Context(), r, b); {
					case err == nil:
						kept[i%2].Add(1)
					case !errors.Is(err, quarantine.ErrFull):
						return err
					}
				}
				return nil
			}) {
				must(s, err)
			}
			s.used(kept[0].Load(), kept[1].Load())
			for i := range kept {
				if n := kept[i].Load(); n < room || n >= room+racers {
					s.Errorf("class %d: %d entries were kept where there is room for %d", i, n, room)
				}
			}
		}},
		{"what goes makes room, whoever deletes it", func(s suite[Tx]) {
			b := s.roomFor(2, 1)
			for range 2 {
				must(s, s.DB.KeepWithin(s.Context(), s.refused(), b))
			}
			must(s, s.DB.KeepWithin(s.Context(), s.refusal(uuid.NewString(), 1), b))
			s.exec("DELETE FROM quarantine")
			s.used(0, 0)
			must(s, s.DB.KeepWithin(s.Context(), s.refused(), b))
			s.used(1, 0)
		}},
		{"counters add up by reason, and know when they began", func(s suite[Tx]) {
			earliest := s.now()
			for range 3 {
				must(s, s.DB.CountOverflow(s.Context(), map[signing.Reason]quarantine.Overflow{
					signing.ReasonBadSignature: {Entries: 2, Bytes: 1000}, signing.ReasonMissingSignature: {Entries: 1, Bytes: 7},
				}))
			}
			latest := s.now()
			s.backdate(time.Hour)
			must(s, s.DB.CountOverflow(s.Context(), map[signing.Reason]quarantine.Overflow{signing.ReasonBadSignature: {Entries: 1, Bytes: 1}}))
			got := s.usage().Overflow
			equal(s, "reasons", 2, len(got))
			o := got[signing.ReasonBadSignature]
			equal(s, "entries", 7, o.Entries)
			equal(s, "bytes", 3001, o.Bytes)
			near(s, "first", earliest.Add(-time.Hour), latest.Add(-time.Hour), o.FirstAt)
			near(s, "last", latest, s.now(), o.LastAt)
			equal(s, "entries of the other", 3, got[signing.ReasonMissingSignature].Entries)
		}},
		{"twenty who count at once lose nothing", func(s suite[Tx]) {
			for _, err := range race(20, func(int) error {
				return s.DB.CountOverflow(s.Context(), map[signing.Reason]quarantine.Overflow{
					signing.ReasonBadSignature: {Entries: 1}, signing.ReasonMalformed: {Entries: 2}, signing.ReasonUnknownKey: {Entries: 3},
				})
			}) {
				must(s, err)
			}
			for reason, n := range map[signing.Reason]int64{signing.ReasonBadSignature: 20, signing.ReasonMalformed: 40, signing.ReasonUnknownKey: 60} {
				equal(s, string(reason), n, s.usage().Overflow[reason].Entries)
			}
		}},
		{"keeping without budgets has the default ones, and counts what is forged and finds no room", func(s suite[Tx]) {
			forged, signed := s.refused(), s.refusal(uuid.NewString(), 1)
			s.keep(forged)
			s.keep(signed)
			s.exec("UPDATE quarantine_totals SET entries = 100000 WHERE class = 'unverified'")
			s.exec("UPDATE quarantine_totals SET entries = 10000 WHERE class = 'reserved'")
			s.keep(forged)
			s.keep(signed)
			forged.ID, signed.ID = uuid.NewString(), uuid.NewString()
			want(s, s.DB.Keep(s.Context(), forged), quarantine.ErrCounted)
			want(s, s.DB.Keep(s.Context(), signed), quarantine.ErrFull)
			want(s, s.DB.Keep(s.Context(), forged), quarantine.ErrCounted)
			got := s.usage().Overflow
			equal(s, "reasons", 1, len(got))
			equal(s, "entries", 2, got[forged.Reason].Entries)
			equal(s, "bytes", 2*quarantine.Charge(forged), got[forged.Reason].Bytes)
		}},
	}
}
