package storetest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
)

// allBytes are all bytes there are, NUL and invalid UTF-8 among them.
func allBytes() []byte {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

// refused is a task that was not authentic.
func (s suite[Tx]) refused() jobs.Refused {
	s.Helper()
	payload := allBytes()
	return jobs.Refused{
		ID: uuid.NewString(), TaskID: "some-task", Queue: "mail", Kind: "mail:confirmation",
		Headers:  map[string]string{"sealq-sig": string(allBytes()), "": "", "\xff\x00": "a\x00b"},
		MaxRetry: 110, Payload: payload, Size: 5 << 30, PayloadSHA256: sha256.Sum256(payload),
		Reason: signing.ReasonBadSignature, KID: "f7e2c87f", Detail: "the signature does not match",
		ReceivedAt: s.now().Truncate(time.Millisecond),
	}
}

// refusal is an authentic refusal of a row's attempt.
func (s suite[Tx]) refusal(rowID string, attempt int) jobs.Refused {
	s.Helper()
	r := s.refused()
	r.Reason, r.Authentic, r.RowID, r.RowKind, r.Attempt = signing.ReasonBadPayload, true, rowID, "test:note", attempt
	return r
}

func (s suite[Tx]) keep(r jobs.Refused) {
	s.Helper()
	must(s, s.DB.Keep(s.Context(), r))
}

func quarantineTests[Tx any]() []test[Tx] {
	return append(keepTests[Tx](), refusedRowTests[Tx]()...)
}

func keepTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"a refused task comes back to the byte", func(s suite[Tx]) {
			for _, r := range []jobs.Refused{s.refused(), s.refusal(uuid.NewString(), 3), s.refusal("no row's ID", 0)} {
				s.keep(r)
				got, err := s.DB.QuarantineShow(s.Context(), r.ID)
				must(s, err)
				r.RowKind = "" // the entry's kind says the same
				if diff := cmp.Diff(r, got); diff != "" {
					s.Errorf("entry (-want +got):\n%s", diff)
				}
			}
		}},
		{"a refusal ends no row of another kind", func(s suite[Tx]) {
			row := s.enqueued(note())
			r := s.refusal(row.ID, 1)
			r.RowKind = "test:other"
			s.keep(r)
			s.wantState(row.ID, jobs.RowEnqueued)
		}},
		{"a task without headers and payload is kept", func(s suite[Tx]) {
			r := s.refused()
			r.Headers, r.Payload, r.Size = nil, nil, 0
			s.keep(r)
			got, err := s.DB.QuarantineShow(s.Context(), r.ID)
			must(s, err)
			equal(s, "payload", 0, len(got.Payload))
			equal(s, "headers", 0, len(got.Headers))
		}},
		{"a payload of the largest size is kept", func(s suite[Tx]) {
			r := s.refused()
			r.Payload = bytes.Repeat(allBytes(), jobs.MaxArgsBytes/256)
			s.keep(r)
			got, err := s.DB.QuarantineShow(s.Context(), r.ID)
			must(s, err)
			equal(s, "the payload is the same", true, bytes.Equal(r.Payload, got.Payload))
		}},
		{"names that are not text are kept all the same", func(s suite[Tx]) {
			r, hostile := s.refused(), string(allBytes())
			r.ID, r.TaskID, r.Queue, r.Kind, r.Detail, r.KID = hostile, hostile, hostile, hostile, hostile, hostile
			s.keep(r)
			got, err := s.DB.QuarantineShow(s.Context(), r.ID)
			must(s, err)
			equal(s, "the payload is the same", true, bytes.Equal(r.Payload, got.Payload))
		}},
		{"one entry ID is kept once, as it came first", func(s suite[Tx]) {
			r := s.refused()
			s.keep(r)
			again := r
			again.Detail = "again"
			for _, err := range race(8, func(int) error { return s.DB.Keep(s.Context(), again) }) {
				must(s, err)
			}
			list, err := s.DB.QuarantineList(s.Context(), 10)
			must(s, err)
			equal(s, "entries", 1, len(list))
			equal(s, "detail", r.Detail, list[0].Detail)
		}},
		{"the list has the newest first, without payloads, and as many as asked for", func(s suite[Tx]) {
			var wanted []jobs.Refused
			base := s.now().Truncate(time.Millisecond)
			for i := range 3 {
				r := s.refused()
				r.ReceivedAt = base.Add(time.Duration(i) * time.Second)
				s.keep(r)
				r.Payload = nil
				wanted = append([]jobs.Refused{r}, wanted...)
			}
			list, err := s.DB.QuarantineList(s.Context(), 10)
			must(s, err)
			if diff := cmp.Diff(wanted, list); diff != "" {
				s.Errorf("list (-want +got):\n%s", diff)
			}
			list, err = s.DB.QuarantineList(s.Context(), 2)
			must(s, err)
			if diff := cmp.Diff(wanted[:2], list); diff != "" {
				s.Errorf("two of it (-want +got):\n%s", diff)
			}
		}},
		{"an empty quarantine lists nothing", func(s suite[Tx]) {
			list, err := s.DB.QuarantineList(s.Context(), 10)
			must(s, err)
			equal(s, "entries", 0, len(list))
		}},
		{"an unknown entry is told apart from trouble", func(s suite[Tx]) {
			for _, id := range []string{uuid.NewString(), "", "a\x00b\xff"} {
				_, err := s.DB.QuarantineShow(s.Context(), id)
				want(s, err, jobs.ErrNoSuchEntry)
			}
		}},
	}
}

func refusedRowTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"an authentic refusal ends the row whose attempt it names", func(s suite[Tx]) {
			for _, state := range []jobs.RowState{jobs.RowQueued, jobs.RowClaimed, jobs.RowEnqueued} {
				row := s.in(state, jobs.UniqueKey(string(state)))
				s.keep(s.refusal(row.ID, 1))
				s.wantState(row.ID, jobs.RowRefused)
				equal(s, "a cause", "1", s.scalar(fmt.Sprintf("SELECT count(*) FROM outbox WHERE id = '%s' AND cause <> ''", row.ID)))
				must(s, s.DB.RowDone(s.Context(), ref(s.enqueue(note(jobs.UniqueKey(string(state)))), 1)))
			}
		}},
		{"a refusal that is not authentic leaves the row alone, whatever it names", func(s suite[Tx]) {
			row := s.enqueued(note())
			r := s.refusal(row.ID, 1)
			r.Authentic = false
			s.keep(r)
			s.wantState(row.ID, jobs.RowEnqueued)
		}},
		{"a refusal of another attempt, or of none, leaves the row alone", func(s suite[Tx]) {
			row := s.enqueued(note())
			s.keep(s.refusal(row.ID, 2))
			s.keep(s.refusal(row.ID, 0))
			s.wantState(row.ID, jobs.RowEnqueued)
			restored, err := s.DB.RestoreRow(s.Context(), row, 0)
			must(s, err)
			equal(s, "restored", true, restored)
			s.keep(s.refusal(row.ID, 1))
			s.wantState(row.ID, jobs.RowQueued)
		}},
		{"a refusal leaves a row alone that has ended", func(s suite[Tx]) {
			for _, state := range ends() {
				row := s.in(state)
				s.keep(s.refusal(row.ID, 1))
				s.wantState(row.ID, state)
			}
		}},
		{"an effect that commits after a refusal completes the row", func(s suite[Tx]) {
			row := s.enqueued(note())
			s.keep(s.refusal(row.ID, 1))
			_, err := s.once(s.Context(), effect(row.ID))
			must(s, err)
			s.wantState(row.ID, jobs.RowDone)
		}},
	}
}
