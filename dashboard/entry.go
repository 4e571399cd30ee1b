package dashboard

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/requests"
)

// maxHex is how many bytes of a payload, and of a header, are shown.
const (
	maxHex     = 4 << 10
	maxHeaders = 20
)

// entryView is one refused task.
type entryView struct {
	entryRow

	Sentence, Detail, SHA256 string
	Retries                  int
	ReleasedAs               string
	ReleasedAt               moment
	Headers                  []fact
	Hex, Cut                 string // "": the bytes are hidden
	Original                 *originalView
	Unreleasable             string // why nobody can release it from here, "" where a worker can
	Requests                 []requestView
}

// originalView is the outbox row whose name the task bears, and how the task differs from it.
type originalView struct {
	rowView

	Reissues bool // it has something left to do
	Differs  []string
}

// entryNamed is the entry of that ID.
func (d *Dashboard) entryNamed(ctx context.Context, id string) (jobs.Refused, error) {
	if id == "" || len(id) > maxName {
		return jobs.Refused{}, refuse(http.StatusNotFound, "No such entry", "The quarantine has no entry of that ID.")
	}
	r, err := d.cfg.Records.QuarantineShow(ctx, id)
	if errors.Is(err, jobs.ErrNoSuchEntry) {
		return r, refuse(http.StatusNotFound, "No such entry", "The quarantine has no entry of that ID: it was purged, or never was.")
	}
	return r, err
}

func (d *Dashboard) entry(v *visit) error {
	return d.showEntry(v, v.r.URL.Query().Get("id"), false)
}

// revealEntry shows the bytes, once it is entered who asked.
func (d *Dashboard) revealEntry(v *visit) error {
	return d.showEntry(v, v.r.PostFormValue("id"), true)
}

func (d *Dashboard) showEntry(v *visit, id string, revealed bool) error {
	ctx, cancel := v.patient()
	defer cancel()
	r, err := d.entryNamed(ctx, id)
	if err != nil {
		return err
	}
	if revealed {
		if err := v.record(ctx, "quarantine.bytes_revealed", "quarantine/"+r.ID, map[string]string{"kind": r.Kind}); err != nil {
			return err
		}
	}
	view := entryView{
		entryRow: d.entryRow(r), Unreleasable: d.unreleasable(r), Sentence: sentences()[string(r.Reason)], Detail: clean(r.Detail, maxError, false), SHA256: hex.EncodeToString(r.PayloadSHA256[:]),
		Retries: r.MaxRetry, ReleasedAs: label(r.ReleasedAs), ReleasedAt: d.at(r.ReleasedAt),
	}
	for i, name := range slices.Sorted(maps.Keys(r.Headers)) {
		if i == maxHeaders {
			view.Headers = append(view.Headers, fact{"…", fmt.Sprintf("%d more", len(r.Headers)-i)})
			break
		}
		view.Headers = append(view.Headers, fact{label(name), clean(r.Headers[name], maxError, false)})
	}
	// Of a kind that its sender chose himself nothing follows for what the bytes hold.
	if revealed || r.Authentic && d.cfg.PlainKind(r.Kind) {
		shown := r.Payload[:min(len(r.Payload), maxHex)]
		if view.Hex = hex.Dump(shown); len(r.Payload) == 0 {
			view.Hex = "no bytes"
		}
		if more := r.Size - int64(len(shown)); more > 0 {
			view.Cut = plural(more, "more byte")
		}
	}
	if view.Original, err = d.original(ctx, r); err != nil {
		return err
	}
	if view.Requests, err = d.requestsThat(ctx, func(asked requests.Request) bool { return isAbout(asked, r) }); err != nil {
		return err
	}
	return v.page(http.StatusOK, "entry", "Refused task", view)
}

// isAbout says whether a request is about the entry: by its ID, by what it has in common with others, or by the outbox row whose name it bears.
func isAbout(asked requests.Request, entry jobs.Refused) bool {
	switch asked.Kind {
	case requests.Reissue:
		row, _, ok := jobs.SplitTaskID(entry.TaskID)
		return ok && asked.Args["row"] == row
	case requests.Release, requests.Purge:
	default:
		return false
	}
	f, err := quarantine.FilterOf(asked.Args)
	if err != nil {
		return false
	}
	if asked.Kind == requests.Purge && entry.Authentic && entry.ReleasedAt.IsZero() && !f.Authentic {
		return false // which a purge spares
	}
	if len(f.IDs) > 0 {
		return slices.Contains(f.IDs, entry.ID)
	}
	return (f.Reason == "" || f.Reason == entry.Reason) && (f.Queue == "" || f.Queue == entry.Queue) && (f.Kind == "" || f.Kind == entry.Kind) &&
		!entry.ReceivedAt.After(asked.MadeAt.Add(-f.OlderThan))
}

// original is the outbox row whose name the task bears, nil where there is none.
func (d *Dashboard) original(ctx context.Context, r jobs.Refused) (*originalView, error) {
	id, attempt, ok := jobs.SplitTaskID(r.TaskID)
	if !ok {
		return nil, nil //nolint:nilnil // there is none, and nothing went wrong
	}
	row, err := d.cfg.Records.RowInfo(ctx, id)
	var payload []byte
	if err == nil {
		payload, err = d.cfg.Records.OutboxPayload(ctx, id)
	}
	if errors.Is(err, jobs.ErrNoSuchRow) {
		return nil, nil //nolint:nilnil // likewise
	}
	if err != nil {
		return nil, err
	}
	o := &originalView{Reissues: row.State != jobs.RowDone, rowView: rowView{
		ID: row.ID, State: row.State, Attempt: row.Attempt, Failures: row.Failures, Retries: row.Retries, Cause: clean(row.Cause, maxError, false),
		Created: d.at(row.CreatedAt), Expires: d.at(row.ExpiresAt), Ended: d.at(row.EndedAt),
	}}
	differs := func(format string, args ...any) { o.Differs = append(o.Differs, fmt.Sprintf(format, args...)) }
	if r.Kind != string(row.Kind) {
		differs("Its kind is %s, and the row's %s.", label(r.Kind), label(string(row.Kind)))
	}
	if r.Queue != row.Queue {
		differs("It lay in the queue %s, and the row is of %s.", label(r.Queue), label(row.Queue))
	}
	if attempt != row.Attempt {
		differs("It is attempt %d, and the row is at attempt %d.", attempt, row.Attempt)
	}
	switch {
	case sha256.Sum256(payload) == r.PayloadSHA256 && int64(len(payload)) == r.Size:
	case int64(len(r.Payload)) < r.Size:
		differs("Its payload is another one: %s, and the row's has %d.", plural(r.Size, "byte"), len(payload))
	default:
		differs("Its payload is another one, from byte %d on: %s, and the row's has %d. A kind that travels encrypted always differs.",
			firstDifference(payload, r.Payload), plural(r.Size, "byte"), len(payload))
	}
	return o, nil
}

// firstDifference is where two texts begin to differ, from 0.
func firstDifference(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	if bytes.Equal(a, b) {
		return -1
	}
	return n
}
