package storetest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/signing"
)

// releasing is a suite with the keys of a deployment.
type releasing[Tx any] struct {
	suite[Tx]
	ring *signing.Database
	keys *signing.Keys
}

func (s suite[Tx]) releasing() releasing[Tx] {
	s.Helper()
	source, err := signing.NewDatabase(s.DB, signing.NewSecret())
	must(s, err)
	ring, err := signing.NewRing(s.now().Add(-time.Hour), 720*time.Hour)
	must(s, err)
	must(s, source.Create(s.Context(), ring))
	return releasing[Tx]{suite: s, ring: source, keys: s.keysOf(source, "test")}
}

func (s suite[Tx]) keysOf(source signing.Source, audience string) *signing.Keys {
	s.Helper()
	keys, err := signing.OpenWith(context.WithoutCancel(s.Context()), source, audience, signing.Options{})
	must(s, err)
	s.Cleanup(keys.Close)
	return keys
}

// direct is a genuine task that no outbox knows of.
func direct(id string) signing.Task {
	return signing.Task{
		Kind: "test:note", ID: id, Queue: "reports", MaxRetry: jobs.Headroom + 2, Headers: map[string]string{"tenant": "acme"}, Payload: []byte(`{"note":"hello"}`),
	}
}

// attemptOf is the task of a row's first attempt, as a relay makes it.
func attemptOf(rowID string) signing.Task {
	t := direct(rowID + ".1")
	t.Headers[signing.EffectHeader] = rowID
	return t
}

// signed is the refusal of a task, which keys sign for an hour.
func (s releasing[Tx]) signed(t signing.Task, keys *signing.Keys) jobs.Refused {
	s.Helper()
	sig, payload, err := keys.Sign(t, signing.Validity{Expires: s.now().Add(time.Hour)})
	must(s, err)
	t.Payload, t.Headers[signing.SignatureHeader] = payload, sig
	return jobs.Refused{
		ID: uuid.NewString(), TaskID: t.ID, Queue: t.Queue, Kind: t.Kind, Headers: t.Headers, MaxRetry: t.MaxRetry,
		Payload: t.Payload, Size: int64(len(t.Payload)), PayloadSHA256: sha256.Sum256(t.Payload),
		Reason: signing.ReasonWrongQueue, KID: keys.Infos()[0].KID.String(), Detail: "of the test", Authentic: true,
	}
}

func (s releasing[Tx]) release(ctx context.Context, id string) (quarantine.Released, error) {
	return s.releaseAs(ctx, id, "cli:alice")
}

func (s releasing[Tx]) releaseAs(ctx context.Context, id, actor string) (quarantine.Released, error) {
	unique := jobs.Define[noteArgs]("test:unique", jobs.Policy{Unique: true})
	catalog, err := jobs.NewCatalog(jobs.Define[noteArgs]("test:note", jobs.Policy{Queue: "mail", MaxAge: 2 * time.Hour}), unique)
	must(s, err)
	return quarantine.Release(ctx, s.DB, s.keys, catalog, quarantine.Order{ID: id, Actor: actor})
}

// untouched requires that a release that was refused has changed nothing.
func (s releasing[Tx]) untouched(id string, rows, audited int) {
	s.Helper()
	e, err := s.DB.QuarantineShow(s.Context(), id)
	must(s, err)
	if !e.ReleasedAt.IsZero() || e.ReleasedAs != "" {
		s.Errorf("released as %s at %v", e.ReleasedAs, e.ReleasedAt)
	}
	done, err := s.DB.EffectDone(s.Context(), "test:note", e.TaskID)
	must(s, err)
	equal(s, "its effect is entered", false, done)
	s.wantRows(rows)
	equal(s, "audit entries", fmt.Sprint(audited), s.scalar("SELECT count(*) FROM audit_log"))
}

func releaseTests[Tx any]() []test[Tx] {
	return append(releasedTests[Tx](), unreleasedTests[Tx]()...)
}

func releasedTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"what is authentic is released as a new row with a fresh life, its own effect is done, and it is audited", func(plain suite[Tx]) {
			s := plain.releasing()
			e := s.signed(direct("direct-1"), s.keys)
			s.keep(e)
			earliest := s.now()
			got, err := s.release(s.Context(), e.ID)
			must(s, err)
			latest := s.now()
			if got.ReleasedAs == "" || got.ReleasedAs == "direct-1" || uuid.Validate(got.ReleasedAs) != nil {
				s.Errorf("released as %q, which is no new row", got.ReleasedAs)
			}
			if diff := cmp.Diff(quarantine.Released{ID: e.ID, ReleasedAs: got.ReleasedAs, Kind: "test:note", Queue: "mail"}, got); diff != "" {
				s.Errorf("released (-want +got):\n%s", diff)
			}
			row := s.claim(10)[0]
			near(s, "not before", earliest, latest, row.NotBefore)
			near(s, "end", earliest.Add(2*time.Hour), latest.Add(2*time.Hour), row.ExpiresAt)
			row.NotBefore, row.ExpiresAt, row.LeaseToken, row.Life = time.Time{}, time.Time{}, "", 0
			wanted := jobs.ClaimedRow{Attempt: 1, Row: jobs.Row{
				ID: got.ReleasedAs, Kind: "test:note", Queue: "mail", Payload: []byte(`{"note":"hello"}`), Retries: 2, Headers: map[string]string{"tenant": "acme"},
			}}
			if diff := cmp.Diff(wanted, row); diff != "" {
				s.Errorf("row (-want +got):\n%s", diff)
			}
			shown, err := s.DB.QuarantineShow(s.Context(), e.ID)
			must(s, err)
			equal(s, "released as", got.ReleasedAs, shown.ReleasedAs)
			near(s, "released at", earliest, latest, shown.ReleasedAt)
			done, err := s.once(s.Context(), effect("direct-1"))
			must(s, err)
			equal(s, "the original's effect is done", true, done)
			s.chained(1)
			links, err := s.DB.AuditLinks(s.Context(), 0, 10)
			must(s, err)
			want := audit.Entry{
				At: links[0].Entry.At, Actor: "cli:alice", Action: "quarantine.release", Subject: "quarantine/" + e.ID,
				Detail: map[string]string{
					"released_as": got.ReleasedAs, "kind": "test:note", "queue": "mail", "task_id": "direct-1", "effect": "direct-1", "kid": e.KID, "reason": "wrong_queue",
				},
			}
			if diff := cmp.Diff(want, links[0].Entry); diff != "" {
				s.Errorf("audit (-want +got):\n%s", diff)
			}
		}},
		{"what was not authentic when it was refused is released if it is now", func(plain suite[Tx]) {
			s := plain.releasing()
			e := s.signed(direct("early"), s.keys)
			e.Authentic, e.Reason, e.KID = false, signing.ReasonUnknownKey, "" // the worker's ring was older than the signer's
			s.keep(e)
			_, err := s.release(s.Context(), e.ID)
			must(s, err)
			s.wantRows(1)
		}},
		{"what was signed for later stays due then", func(plain suite[Tx]) {
			s := plain.releasing()
			due := s.now().Add(30 * time.Minute).Truncate(time.Millisecond)
			t := direct("later")
			sig, _, err := s.keys.Sign(t, signing.Validity{NotBefore: due, Expires: due.Add(time.Minute)})
			must(s, err)
			e := s.signed(t, s.keys)
			e.Headers[signing.SignatureHeader] = sig
			s.keep(e)
			_, err = s.release(s.Context(), e.ID)
			must(s, err)
			equal(s, "rows that are due", 0, len(s.claim(10)))
			s.backdate(30 * time.Minute)
			equal(s, "rows that are due then", 1, len(s.claim(10)))
		}},
		{"what a clock that is ahead signed is due at once", func(plain suite[Tx]) {
			s := plain.releasing()
			ahead, err := signing.OpenWith(context.WithoutCancel(s.Context()), s.ring, "test", signing.Options{Now: func() time.Time { return s.now().Add(time.Hour) }})
			must(s, err)
			s.Cleanup(ahead.Close)
			t := direct("ahead")
			sig, _, err := ahead.Sign(t, signing.Validity{Expires: s.now().Add(2 * time.Hour)})
			must(s, err)
			e := s.signed(t, s.keys)
			e.Headers[signing.SignatureHeader], e.Reason = sig, signing.ReasonIssuedInFuture
			s.keep(e)
			_, err = s.release(s.Context(), e.ID)
			must(s, err)
			equal(s, "rows that are due", 1, len(s.claim(10)))
		}},
		{"the ledger remembers the effect for as long as the task could be accepted", func(plain suite[Tx]) {
			s := plain.releasing()
			e := s.signed(direct("direct-1"), s.keys)
			s.keep(e)
			_, err := s.release(s.Context(), e.ID)
			must(s, err)
			s.backdate(720*time.Hour + 30*time.Minute)
			s.placed("a", "@hourly") // anchored now
			equal(s, "kept", "1", s.scalar("SELECT count(*) FROM ledger, schedules WHERE keep_until > anchor"))
		}},
		{"a row that has ended is released as another one, and keeps how it ended", func(plain suite[Tx]) {
			s := plain.releasing()
			for _, state := range ends() {
				if state == jobs.RowDone {
					continue
				}
				row := s.in(state)
				e := s.signed(attemptOf(row.ID), s.keys)
				s.keep(e)
				got, err := s.release(s.Context(), e.ID)
				must(s, err)
				s.wantState(row.ID, state)
				s.claim(1) // so that no row but the next one waits
				equal(s, "cause of a row that was "+string(state), "released as "+got.ReleasedAs, s.scalar(fmt.Sprintf("SELECT cause FROM outbox WHERE id = '%s'", row.ID)))
			}
		}},
		{"of twenty who release an entry at once one does, and of twenty entries of one effect one is released", func(plain suite[Tx]) {
			s := plain.releasing()
			e := s.signed(direct("direct-1"), s.keys)
			s.keep(e)
			released, before := tally(s, race(20, func(int) error {
				_, err := s.release(s.Context(), e.ID)
				return err
			}), quarantine.ErrReleased)
			equal(s, "released", 1, released)
			equal(s, "found it released", 19, before)
			s.wantRows(1)

			entries := make([]jobs.Refused, 20)
			for i := range entries {
				entries[i] = s.signed(direct("direct-2"), s.keys)
				s.keep(entries[i])
			}
			released, before = tally(s, race(20, func(i int) error {
				_, err := s.release(s.Context(), entries[i].ID)
				return err
			}), quarantine.ErrEffectDone)
			equal(s, "released of one effect", 1, released)
			equal(s, "found it done", 19, before)
			s.wantRows(2)
			s.chained(2)
		}},
	}
}

// static is a source with one ring for ever.
type static struct{ ring *signing.Ring }

func (s static) Load(context.Context) (*signing.Ring, error) { return s.ring, nil }
func (static) String() string                                { return "a ring of the test" }
