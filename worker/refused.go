package worker

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
)

// maxShownName is how much of a name that nobody verified is kept.
const maxShownName = 256

// refused makes the quarantine's entry of a task. Its ID is made of what was refused and why, so that a task
// which comes back because Redis failed in mid-refusal is kept once.
func refused(t signing.Task, refusal *signing.Refusal, now time.Time) jobs.Refused {
	sum := sha256.Sum256(t.Payload)
	r := jobs.Refused{
		ID: entryID(t, refusal.Reason, sum), TaskID: shown(t.ID), Queue: shown(t.Queue), Kind: shown(t.Kind),
		Headers: cutHeaders(t.Headers), MaxRetry: t.MaxRetry,
		Payload: t.Payload[:min(len(t.Payload), jobs.MaxArgsBytes)], Size: int64(len(t.Payload)), PayloadSHA256: sum,
		Reason: refusal.Reason, Detail: refusal.Error(), Authentic: refusal.Authentic(), ReceivedAt: now,
	}
	if refusal.KID != nil {
		r.KID = refusal.KID.String()
	}
	if rowID, attempt, isRow := jobs.RowAttempt(refusal.Claims); r.Authentic && isRow && endsRow(refusal.Reason, attempt) {
		r.RowID, r.RowKind, r.Attempt = rowID, jobs.Kind(refusal.Claims.Kind), attempt
	}
	return r
}

// endsRow says whether an authentic refusal ends the row. Most may be a Redis writer's doing (a copy in a list that is not its
// own, a task held back past its end), a clock's, or a deployment's that is under way: the row is left to reconcile, whose
// restorations slow down, and to its own end. Arguments that do not decode, and did not at the attempts before either, are the
// row's own fault.
func endsRow(r signing.Reason, attempt int) bool {
	return r == signing.ReasonBadPayload && attempt > patientAttempts
}

// patientAttempts is how many attempts a row has whose arguments no worker could decode: each comes minutes after the one
// before, so that a deployment can bring a worker that can.
const patientAttempts = 3

// cutHeaders keeps what fits into the limit that a genuine task's headers have, in the order of their names: a task may be
// refused because it has too many.
func cutHeaders(headers map[string]string) map[string]string {
	left := signing.DefaultMaxHeaderTotal
	kept := make(map[string]string, min(len(headers), signing.DefaultMaxHeaders))
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		if left -= len(name) + len(headers[name]); left < 0 || len(kept) > signing.DefaultMaxHeaders {
			break
		}
		kept[name] = headers[name]
	}
	return kept
}

func entryID(t signing.Task, reason signing.Reason, payload [32]byte) string {
	h := sha256.New()
	write := func(s string) {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(s)))
		h.Write(size[:])
		h.Write([]byte(s))
	}
	for _, s := range []string{string(reason), t.ID, t.Queue, t.Kind, string(payload[:])} {
		write(s)
	}
	for _, name := range slices.Sorted(maps.Keys(t.Headers)) {
		write(name)
		write(t.Headers[name])
	}
	return uuid.NewHash(sha256.New(), uuid.Nil, h.Sum(nil), 8).String()
}

// shown makes a name that nobody verified fit to be stored and printed.
func shown(name string) string {
	if len(name) > maxShownName {
		name = name[:maxShownName]
	}
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '�'
		}
		return r
	}, strings.ToValidUTF8(name, "�"))
}
