package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/signing"
)

func unreleasedTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"what no key of the ring vouches for is not released, and nothing has happened", func(plain suite[Tx]) {
			s := plain.releasing()
			stranger, err := signing.NewRing(s.now().Add(-time.Hour), 720*time.Hour)
			must(s, err)
			for name, c := range map[string]struct {
				keys  *signing.Keys
				harm  func(e *jobs.Refused)
				cause error
			}{
				"unsigned":               {s.keys, func(e *jobs.Refused) { delete(e.Headers, signing.SignatureHeader) }, signing.ErrMissingSignature},
				"of another audience":    {s.keysOf(s.ring, "staging"), func(*jobs.Refused) {}, signing.ErrBadSignature},
				"of a stranger's key":    {s.keysOf(static{stranger}, "test"), func(*jobs.Refused) {}, signing.ErrUnknownKey},
				"relabelled":             {s.keys, func(e *jobs.Refused) { e.Kind = "test:unique" }, signing.ErrBadSignature},
				"under another ID":       {s.keys, func(e *jobs.Refused) { e.TaskID = "another" }, signing.ErrBadSignature},
				"moved to another queue": {s.keys, func(e *jobs.Refused) { e.Queue = "mail" }, signing.ErrBadSignature},
				"with another header":    {s.keys, func(e *jobs.Refused) { e.Headers["tenant"] = "evil" }, signing.ErrBadSignature},
				"altered": {s.keys, func(e *jobs.Refused) {
					e.Payload = []byte(`{"note":"hullo"}`)
					e.PayloadSHA256 = sha256.Sum256(e.Payload)
				}, signing.ErrBadSignature},
			} {
				e := s.signed(direct("direct-1"), c.keys)
				c.harm(&e)
				s.keep(e)
				if _, err := s.release(s.Context(), e.ID); !errors.Is(err, quarantine.ErrNotAuthentic) || !errors.Is(err, c.cause) {
					s.Errorf("%s: want %v, got %v", name, c.cause, err)
				}
				s.untouched(e.ID, 0, 0)
			}
		}},
		{"what a revoked key signed is not released", func(plain suite[Tx]) {
			s := plain.releasing()
			e := s.signed(direct("direct-1"), s.keys)
			s.keep(e)
			_, err := s.ring.Update(s.Context(), func(r *signing.Ring) (*signing.Ring, error) {
				return r.RevokeActive(s.keys.Infos()[0].KID, signing.KID{}, s.now())
			})
			must(s, err)
			must(s, s.keys.Reload(s.Context()))
			_, err = s.release(s.Context(), e.ID)
			want(s, err, signing.ErrKeyNotValid)
			s.untouched(e.ID, 0, 0)
		}},
		{"what is not whole, of no kind, undecodable or a double is not released", func(plain suite[Tx]) {
			s := plain.releasing()
			unknown, wrong := direct("unknown"), direct("wrong")
			unknown.Kind, wrong.Payload = "test:unknown", []byte(`{"note":"hello","more":1}`)
			cut := s.signed(direct("cut"), s.keys)
			cut.Payload = cut.Payload[:5]
			swapped := s.signed(direct("swapped"), s.keys)
			swapped.PayloadSHA256[0] ^= 1
			for _, c := range []struct {
				entry jobs.Refused
				cause error
			}{
				{cut, quarantine.ErrCut}, {swapped, quarantine.ErrCut}, {s.signed(unknown, s.keys), jobs.ErrUnknownKind}, {s.signed(wrong, s.keys), jobs.ErrInvalidArgs},
			} {
				s.keep(c.entry)
				_, err := s.release(s.Context(), c.entry.ID)
				want(s, err, c.cause)
				s.untouched(c.entry.ID, 0, 0)
			}
			_, err := s.release(s.Context(), uuid.NewString())
			want(s, err, jobs.ErrNoSuchEntry)

			s.enqueue(jobs.Define[noteArgs]("test:unique", jobs.Policy{Unique: true}).With(noteArgs{Note: "hello"}))
			double := direct("double")
			double.Kind = "test:unique"
			e := s.signed(double, s.keys)
			s.keep(e)
			_, err = s.release(s.Context(), e.ID)
			want(s, err, jobs.ErrDuplicate)
			s.untouched(e.ID, 1, 0)
		}},
		{"what is done already is not released", func(plain suite[Tx]) {
			s := plain.releasing()
			e := s.signed(direct("direct-1"), s.keys)
			s.keep(e)
			_, err := s.DB.Once(s.Context(), effect("direct-1"), func(context.Context, Tx) error { return nil })
			must(s, err)
			_, err = s.release(s.Context(), e.ID)
			want(s, err, quarantine.ErrEffectDone)
			s.wantRows(0)
			row := s.in(jobs.RowDone)
			e = s.signed(attemptOf(row.ID), s.keys)
			s.keep(e)
			_, err = s.release(s.Context(), e.ID)
			want(s, err, quarantine.ErrEffectDone)
			s.wantRows(1)
		}},
		{"what is a row's that has not ended is not released, but of another kind's row it is", func(plain suite[Tx]) {
			s := plain.releasing()
			rows, last := 0, ""
			for _, state := range []jobs.RowState{jobs.RowClaimed, jobs.RowEnqueued, jobs.RowQueued} {
				row := s.in(state)
				rows, last = rows+1, row.ID
				e := s.signed(attemptOf(row.ID), s.keys)
				s.keep(e)
				_, err := s.release(s.Context(), e.ID)
				want(s, err, quarantine.ErrRowUnfinished)
				if err == nil || !contains(err.Error(), "sealq tasks reissue reports "+row.ID+".1") {
					s.Errorf("the error does not say what to do: %v", err)
				}
				s.wantState(row.ID, state)
				s.untouched(e.ID, rows, 0)
				done, err := s.DB.EffectDone(s.Context(), "test:note", row.ID)
				must(s, err)
				equal(s, "its effect is entered", false, done)
			}
			other := attemptOf(last)
			other.Kind = "test:unique"
			e := s.signed(other, s.keys)
			s.keep(e)
			_, err := s.release(s.Context(), e.ID)
			must(s, err)
		}},
		{"a release that fails at its last step leaves nothing", func(plain suite[Tx]) {
			s := plain.releasing()
			row := s.in(jobs.RowDead)
			e := s.signed(attemptOf(row.ID), s.keys)
			s.keep(e)
			_, err := s.releaseAs(s.Context(), e.ID, "") // which the audit log refuses
			want(s, err, audit.ErrIncomplete)
			s.untouched(e.ID, 1, 0)
			equal(s, "cause", "of the test", s.scalar(fmt.Sprintf("SELECT cause FROM outbox WHERE id = '%s'", row.ID)))
			_, err = s.release(s.Context(), e.ID)
			must(s, err)
		}},
		{"releasing twice is refused, and says as what it was", func(plain suite[Tx]) {
			s := plain.releasing()
			e := s.signed(direct("direct-1"), s.keys)
			s.keep(e)
			first, err := s.release(s.Context(), e.ID)
			must(s, err)
			_, err = s.release(s.Context(), e.ID)
			want(s, err, quarantine.ErrReleased)
			if err == nil || !contains(err.Error(), first.ReleasedAs) {
				s.Errorf("the error does not name %s: %v", first.ReleasedAs, err)
			}
			s.wantRows(1)
			s.chained(1)
			unique := direct("direct-2")
			unique.Kind = "test:unique" // of which there is an unfinished one then
			e = s.signed(unique, s.keys)
			s.keep(e)
			_, err = s.release(s.Context(), e.ID)
			must(s, err)
			_, err = s.release(s.Context(), e.ID)
			want(s, err, quarantine.ErrReleased)
		}},
	}
}
