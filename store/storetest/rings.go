package storetest

import (
	"bytes"
	"fmt"
	"math"
	"time"

	"github.com/sealq/sealq/signing"
)

// saveRings saves the versions 1 to n, each wrapped as its number.
func (s suite[Tx]) saveRings(n uint64) {
	s.Helper()
	for v := uint64(1); v <= n; v++ {
		must(s, s.DB.SaveWrappedRing(s.Context(), v, fmt.Appendf(nil, "version %d", v)))
	}
}

// wantRing holds the database to the ring that it has.
func (s suite[Tx]) wantRing(version uint64, wrapped []byte) {
	s.Helper()
	gotVersion, got, err := s.DB.LoadWrappedRing(s.Context())
	must(s, err)
	equal(s, "version", version, gotVersion)
	if !bytes.Equal(wrapped, got) {
		s.Errorf("wrapped ring: want %q, got %q", wrapped, got)
	}
}

func (s suite[Tx]) wantHighest(version uint64) {
	s.Helper()
	got, err := s.DB.HighestRingVersion(s.Context())
	must(s, err)
	equal(s, "highest version", version, got)
}

func ringTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"without a ring there is none to load", func(s suite[Tx]) {
			_, _, err := s.DB.LoadWrappedRing(s.Context())
			want(s, err, signing.ErrNoRing)
		}},
		{"a ring is loaded as it was saved, to the byte, and the next version takes its place", func(s suite[Tx]) {
			every := make([]byte, 256)
			for i := range every {
				every[i] = byte(i)
			}
			must(s, s.DB.SaveWrappedRing(s.Context(), 1, every))
			s.wantRing(1, every)
			s.backdate(time.Hour)
			s.placed("now", "@daily") // its anchor is between the two
			equal(s, "rings that were saved before", "1", s.scalar("SELECT count(*) FROM signing_keys JOIN schedules ON written_at < anchor"))
			must(s, s.DB.SaveWrappedRing(s.Context(), 2, every[128:]))
			s.wantRing(2, every[128:])
			equal(s, "rings that were saved since", "1", s.scalar("SELECT count(*) FROM signing_keys JOIN schedules ON written_at >= anchor"))
			equal(s, "rings", "1", s.scalar("SELECT count(*) FROM signing_keys"))
		}},
		{"only the version after the saved one is saved", func(s suite[Tx]) {
			refuse := func(versions ...uint64) {
				s.Helper()
				for _, v := range versions {
					want(s, s.DB.SaveWrappedRing(s.Context(), v, []byte("refused")), signing.ErrRingMoved)
				}
			}
			refuse(0, 2, 3, 1<<63, math.MaxUint64)
			_, _, err := s.DB.LoadWrappedRing(s.Context())
			want(s, err, signing.ErrNoRing)
			s.wantHighest(0)
			s.saveRings(3)
			refuse(0, 1, 2, 3, 5, 1<<63, math.MaxUint64)
			s.wantRing(3, []byte("version 3"))
			s.wantHighest(3)
		}},
		{"of twenty who save one version at once one does, and what it saved is there", func(s suite[Tx]) {
			for v := range uint64(3) {
				outcomes := race(20, func(i int) error {
					return s.DB.SaveWrappedRing(s.Context(), v+1, fmt.Appendf(nil, "%d by %d", v+1, i))
				})
				saved, moved := tally(s, outcomes, signing.ErrRingMoved)
				equal(s, "saved", 1, saved)
				equal(s, "moved", 19, moved)
				for i, err := range outcomes {
					if err == nil {
						s.wantRing(v+1, fmt.Appendf(nil, "%d by %d", v+1, i))
					}
				}
			}
		}},
		{"a ring that signing wraps is read, changed and raced for through the database", func(s suite[Tx]) {
			source, err := signing.NewDatabase(s.DB, signing.NewSecret())
			must(s, err)
			ring, err := signing.NewRing(s.now(), 720*time.Hour)
			must(s, err)
			must(s, source.Create(s.Context(), ring))
			want(s, source.Create(s.Context(), ring), signing.ErrRingExists)
			outcomes := race(8, func(int) error {
				_, err := source.Update(s.Context(), func(r *signing.Ring) (*signing.Ring, error) { return r.Rotate(s.now(), nil) })
				return err
			})
			updated, _ := tally(s, outcomes, signing.ErrRingMoved)
			got, err := source.Load(s.Context())
			must(s, err)
			equal(s, "version", 1+updated, int(got.Version())) //nolint:gosec // small
			equal(s, "keys", 1+updated, len(got.Keys()))
		}},
		{"a key is needed by the live registrations that were bound to it and whose mail was not accepted", func(s suite[Tx]) {
			need := func(kid string, n int) {
				s.Helper()
				got, err := s.DB.RowsNeedingKey(s.Context(), kid)
				must(s, err)
				equal(s, "rows that need "+kid, n, got)
			}
			need(boundKID, 0)
			s.save(newPending("nbound@example.org"))
			need(boundKID, 0)
			s.user(newPending("ctive@example.org"))
			need(boundKID, 0)
			waiting := s.save(newPending("waiting@example.org"))
			s.bind(waiting, "key")
			s.bind(s.save(newPending("lso@example.org")), "second key")
			s.bindTo("0badc0de", s.save(newPending("nother@example.org")), "third key")
			need(boundKID, 2)
			need("0badc0de", 1)
			need("", 0)
			need("\x00\xff", 0)
			s.sent(waiting)
			need(boundKID, 1)
			s.backdate(time.Hour)
			need(boundKID, 0)
			need("0badc0de", 0)
		}},
	}
}
