package drill

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/rawtask"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

const (
	lookEvery = 100 * time.Millisecond
	// settle is how long a copy in a wrong place must have been fetched: asynq does not find it again to end it.
	settle = time.Second
)

// shot is a task under way.
type shot struct {
	task  signing.Task
	place place
	mark  string
}

// misplaced tells that the message names another place than its own. asynq ends a task where its message says.
func (s shot) misplaced() bool { return s.place != place{s.task.Queue, s.task.ID} }

// What a task ended in beside reasons.
const (
	left      = "left the queue"
	fetched   = "was fetched"
	elsewhere = "refused, for it lay elsewhere than its message says" // by worker.Verifier.Hook
	vanished  = "left the queue and stands in no quarantine: it ran, or was thrown away"
	alarmed   = "put off by the key alarm: compare the workers' key ring and audience with the enqueuers'"
	tried     = "a try of it failed: a handler may have run"
	completed = "it ran, and was kept as completed"
)

// ErrNotServed means that no worker of the target fetches from the queue.
var ErrNotServed = errors.New("nobody fetched a task from the queue")

// watch follows the shot to its end and says what that was. What may come back it takes away.
func (d *Drill) watch(ctx context.Context, s shot) (string, error) {
	began := d.Now()
	var active time.Time // since when
	for {
		task, err := d.queue.look(ctx, s.place)
		if err != nil {
			return "", err
		}
		now, got := d.Now(), ""
		if task.gone() || s.misplaced() {
			// The entry is written before the task leaves: a listing that begins after this look has it.
			if got, err = d.inQuarantine(ctx, s, now); err != nil {
				return "", err
			}
		}
		if task.state != "active" {
			active = time.Time{}
		} else if active.IsZero() {
			active = now
		}
		end := d.ending(task, s, got, !active.IsZero() && now.Sub(active) >= settle)
		if end == "" && now.Sub(began) >= d.Patience {
			if task.state == "pending" && s.place.list == d.Queue {
				return "", fmt.Errorf("%w %s within %v: name one that is served", ErrNotServed, d.Queue, d.Patience)
			}
			end = fmt.Sprintf("it is still %s after %v", task.state, d.Patience)
		}
		if end != "" {
			return end, d.clear(ctx, s, task)
		}
		if err := rest(ctx, lookEvery); err != nil {
			return "", err
		}
	}
}

// ending is what the task came to, "" if it is under way. got is what the quarantine says of it, "" for nothing.
func (d *Drill) ending(task stored, s shot, got string, settled bool) string {
	switch {
	case got != "":
		return got
	case task.gone() && d.Quarantine != nil:
		return vanished
	case task.gone():
		return left
	case s.misplaced() && settled:
		return fetched
	case task.state == "retry", task.state == "archived":
		return failure(task, s)
	case task.state == "completed":
		return completed
	}
	return ""
}

// failure reads why a task waits for another try, or got none. asynq keeps the last error in the message.
func failure(task stored, s shot) string {
	if bytes.Contains(task.raw, []byte(worker.ErrKeyAlarm.Error())) {
		return alarmed
	}
	_, text, found := bytes.Cut(task.raw, []byte("task refused ("))
	reason, _, _ := strings.Cut(string(text), ")")
	m, err := rawtask.Decode(task.raw)
	switch {
	case !found || err != nil:
		return tried
	case !bytes.Equal(m.Payload, s.task.Payload):
		return refused(signing.Reason(reason)) + ", with other bytes"
	case task.state == "archived":
		return refused(signing.Reason(reason))
	case m.Retried > 0:
		return deferred(signing.Reason(reason)) + ", and it used up a try"
	}
	return deferred(signing.Reason(reason))
}

// clear takes away what would be looked at again and again.
func (d *Drill) clear(ctx context.Context, s shot, task stored) error {
	if task.state != "retry" {
		return nil // the sweep at the end finds it: a worker may have it in hand
	}
	_, err := d.queue.remove(ctx, s.place)
	return err
}

// inQuarantine says as what the shot stands there, "" if it does not.
func (d *Drill) inQuarantine(ctx context.Context, s shot, since time.Time) (string, error) {
	if d.shelf == nil {
		return "", nil
	}
	id, err := d.shelf.find(ctx, s.mark, since)
	if err != nil || id == "" {
		return "", err
	}
	entry, err := d.Quarantine.QuarantineShow(ctx, id)
	if errors.Is(err, jobs.ErrNoSuchEntry) {
		return "", nil // purged meanwhile
	}
	if err != nil {
		return "", err
	}
	payload := s.task.Payload
	if !bytes.Equal(entry.Payload, payload[:min(len(payload), jobs.MaxArgsBytes)]) ||
		entry.PayloadSHA256 != sha256.Sum256(payload) || entry.Size != int64(len(payload)) {
		return refused(entry.Reason) + ", with other bytes", nil
	}
	if s.misplaced() && (entry.Reason == signing.ReasonMalformed || entry.Reason == signing.ReasonWrongQueue) {
		return elsewhere, nil
	}
	return refused(entry.Reason), nil
}
