package storetest

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/signing"
)

// report is what a process says of a ring of that version, with two keys.
func report(process string, version uint64) signing.Report {
	return signing.Report{Process: process, Version: version, CheckValues: map[signing.KID][16]byte{
		{0xf7, 0xe2, 0xc8, 0x7f}: {0, 1, 2, 3, 0xfe, 0xff, process[0]},
		{0, 0, 0, 1}:             {15: process[0]},
	}}
}

func (s suite[Tx]) report(r signing.Report) {
	s.Helper()
	must(s, s.DB.ReportRing(s.Context(), r))
}

func (s suite[Tx]) reports(within time.Duration) []signing.Report {
	s.Helper()
	reports, err := s.DB.RingReports(s.Context(), within)
	must(s, err)
	return reports
}

// wantReporting holds the reports of that time to the processes that they are of.
func (s suite[Tx]) wantReporting(within time.Duration, processes ...string) {
	s.Helper()
	var got []string
	for _, r := range s.reports(within) {
		got = append(got, r.Process)
	}
	if diff := cmp.Diff(processes, got); diff != "" {
		s.Errorf("processes that reported within %v (-want +got):\n%s", within, diff)
	}
}

func reportTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"a report is kept as it was made, and seen by the database's clock", func(s suite[Tx]) {
			equal(s, "reports", 0, len(s.reports(signing.ReportsCount)))
			made := report("host/1", 7)
			made.SeenAt = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
			before := s.now()
			s.report(made)
			got := s.reports(signing.ReportsCount)
			if len(got) != 1 {
				s.Fatalf("reports: want 1, got %v", got)
			}
			near(s, "seen at", before, s.now(), got[0].SeenAt)
			equal(s, "seen in", time.UTC, got[0].SeenAt.Location())
			made.SeenAt = got[0].SeenAt
			if diff := cmp.Diff([]signing.Report{made}, got); diff != "" {
				s.Errorf("report (-want +got):\n%s", diff)
			}
		}},
		{"a process's report takes the place of the one before, and sees it anew", func(s suite[Tx]) {
			s.report(report("host/1", 7))
			s.backdate(signing.ReportsCount)
			s.wantReporting(signing.ReportsCount)
			later := signing.Report{Process: "host/1", Version: 6} // it knows no key with a secret, and an older ring
			s.report(later)
			got := s.reports(signing.ReportsCount)
			if len(got) != 1 {
				s.Fatalf("reports: want 1, got %v", got)
			}
			equal(s, "version", 6, got[0].Version)
			equal(s, "check values", 0, len(got[0].CheckValues))
		}},
		{"reports are listed by process, for as long as is asked", func(s suite[Tx]) {
			for _, process := range []string{"b/1", "a_c/1", "B/1"} {
				s.report(report(process, 7))
			}
			s.backdate(9 * time.Minute)
			s.report(report("ab/1", 7))
			s.wantReporting(10*time.Minute, "B/1", "a_c/1", "ab/1", "b/1")
			s.wantReporting(9*time.Minute, "ab/1")
			s.backdate(time.Minute)
			s.wantReporting(10*time.Minute, "ab/1")
		}},
		{"processes that are not called in UTF-8 are told apart", func(s suite[Tx]) {
			for _, process := range []string{"host\x00/1", "host\xff/1", "host/1"} {
				s.report(report(process, 7))
			}
			equal(s, "processes", 3, len(s.reports(time.Minute)))
		}},
		{"a report without a ring is refused", func(s suite[Tx]) {
			for _, version := range []uint64{0, 1 << 63, math.MaxUint64} {
				if err := s.DB.ReportRing(s.Context(), report("host/1", version)); err == nil {
					s.Errorf("version %d was reported", version)
				}
			}
			s.wantReporting(time.Minute)
			s.wantHighest(0)
		}},
		{"a report that is no longer what was written is an error that names the process", func(s suite[Tx]) {
			s.report(report("host/1", 7))
			for _, damage := range []string{`[]`, `{"f7e2c87f": 1}`, `{"F7E2C87F": ""}`, `{"f7e2c87f": "00"}`, `{"f7e2c87f": "zz"}`} {
				s.exec("UPDATE ring_reports SET check_values = '" + damage + "'")
				reports, err := s.DB.RingReports(s.Context(), time.Minute)
				if err == nil || !strings.Contains(err.Error(), `"host/1"`) || reports != nil {
					s.Errorf("%s: want an error that names the process, got %v, %v", damage, reports, err)
				}
			}
		}},
		{"the next report deletes those that are a day old", func(s suite[Tx]) {
			s.report(report("host/1", 7))
			s.backdate(time.Hour)
			s.report(report("host/2", 7))
			s.backdate(23 * time.Hour)
			equal(s, "reports that nobody has purged", "2", s.scalar("SELECT count(*) FROM ring_reports"))
			s.report(report("host/3", 7))
			equal(s, "reports", "2", s.scalar("SELECT count(*) FROM ring_reports"))
			equal(s, "the youngest two", "host/2", s.scalar("SELECT min(process) FROM ring_reports"))
		}},
		{"the highest version is that of any report or saved ring there ever was", func(s suite[Tx]) {
			s.wantHighest(0)
			s.saveRings(2)
			s.wantHighest(2)
			s.report(report("host/1", 1))
			s.wantHighest(2)
			s.report(report("host/1", 5))
			s.wantHighest(5)
			s.report(report("host/1", 3))
			s.wantHighest(5)
			must(s, s.DB.SaveWrappedRing(s.Context(), 3, []byte("3")))
			s.wantHighest(5)
			s.backdate(25 * time.Hour)
			s.report(report("host/2", 3))
			s.wantReporting(48*time.Hour, "host/2")
			s.wantHighest(5)
		}},
		{"twenty processes that report at once all do, even while they purge one another", func(s suite[Tx]) {
			for round := range uint64(3) {
				for _, err := range race(20, func(i int) error {
					return s.DB.ReportRing(s.Context(), report(fmt.Sprintf("host/%d", i), 1+20*round+uint64(i))) //nolint:gosec // small
				}) {
					must(s, err)
				}
				equal(s, "reports", 20, len(s.reports(time.Hour)))
				s.wantHighest(20 * (round + 1))
				s.backdate(25 * time.Hour)
			}
		}},
	}
}
