package storetest

import (
	"fmt"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs/sweep"
)

// told writes how far a sweep is, or says that another has it.
func (s suite[Tx]) told(p sweep.Progress, lease time.Duration) error {
	had, err := s.DB.TellSweep(s.Context(), p, lease)
	if err == nil && !had {
		return errTaken
	}
	return err
}

func (s suite[Tx]) progress(name string) sweep.Progress {
	s.Helper()
	p, err := s.DB.SweepProgress(s.Context(), name)
	must(s, err)
	return p
}

func deskTests[Tx any]() []test[Tx] {
	of := func(holder, tick string) sweep.Progress {
		return sweep.Progress{Sweep: "test:sweep", Holder: holder, Tick: tick, Part: sweep.Jobs, Done: 7, Due: 9}
	}
	return []test[Tx]{
		{"what is told of a sweep is read again, with the database's times; of one that never ran there is its name", func(s suite[Tx]) {
			equal(s, "before", sweep.Progress{Sweep: "test:sweep"}, s.progress("test:sweep"))
			before := s.now()
			must(s, s.told(of("a", "t1"), time.Minute))
			after := s.now()
			got := s.progress("test:sweep")
			near(s, "began", before, after, got.BeganAt)
			near(s, "told", before, after, got.ToldAt)
			near(s, "lease", before.Add(time.Minute), after.Add(time.Minute), got.LeaseUntil)
			got.BeganAt, got.ToldAt, got.LeaseUntil = time.Time{}, time.Time{}, time.Time{}
			if diff := cmp.Diff(of("a", "t1"), got); diff != "" {
				s.Errorf("read (-want +got):\n%s", diff)
			}
			equal(s, "another sweep", "", s.progress("test:other").Holder)
		}},
		{"who sweeps keeps others out until his lease is over or given back", func(s suite[Tx]) {
			must(s, s.told(of("a", "t1"), time.Minute))
			want(s, s.told(of("b", "t1"), time.Minute), errTaken)
			s.backdate(40 * time.Second)
			must(s, s.told(of("a", "t1"), time.Minute)) // renewed
			s.backdate(40 * time.Second)
			want(s, s.told(of("b", "t1"), time.Minute), errTaken)
			equal(s, "who has it", "a", s.progress("test:sweep").Holder)
			s.backdate(20 * time.Second)
			must(s, s.told(of("b", "t1"), time.Minute))
			want(s, s.told(of("a", "t1"), time.Minute), errTaken)
			must(s, s.told(of("b", "t1"), 0))
			must(s, s.told(of("c", "t1"), time.Minute))
		}},
		{"a sweep that was left unended goes on with its tick, and begins anew with another", func(s suite[Tx]) {
			must(s, s.told(of("a", "t1"), 0))
			s.backdate(time.Minute)
			began := s.progress("test:sweep").BeganAt
			must(s, s.told(of("b", "t1"), 0))
			equal(s, "began", began, s.progress("test:sweep").BeganAt)
			done := of("b", "t1")
			done.Ended = true
			must(s, s.told(done, 0))
			p := s.progress("test:sweep")
			equal(s, "began", began, p.BeganAt)
			equal(s, "ended", true, p.Ended)
			before := s.now()
			must(s, s.told(of("c", "t1"), 0)) // the same tick once more
			near(s, "began anew", before, s.now(), s.progress("test:sweep").BeganAt)
			s.backdate(time.Minute)
			before = s.now()
			must(s, s.told(of("d", "t2"), 0))
			near(s, "began anew", before, s.now(), s.progress("test:sweep").BeganAt)
		}},
		{"of twenty who begin a sweep at once one has it", func(s suite[Tx]) {
			had, taken := tally(s, race(20, func(i int) error { return s.told(of(fmt.Sprint(i), "t1"), time.Minute) }), errTaken)
			equal(s, "had it", 1, had)
			equal(s, "in vain", 19, taken)
		}},
	}
}
