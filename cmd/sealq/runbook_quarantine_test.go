package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
)

// enqueued puts a task into Redis that the ring signed that long ago for an hour, or that nobody signed (0).
func (n *night) enqueued(id string, ago time.Duration) {
	n.Helper()
	task := signing.Task{Kind: "lockouts:reset", ID: id, Queue: "critical", MaxRetry: 103, Payload: []byte(`{"tick":"","limit":0}`)}
	headers := make(map[string]string)
	if ago > 0 {
		signed := time.Now().Add(-ago)
		keys, err := signing.OpenWith(n.Context(), signing.NewFile(filepath.Join(n.dir, "keys.json")), "prod-eu", signing.Options{Now: func() time.Time { return signed }})
		n.check(err)
		defer keys.Close()
		headers[signing.SignatureHeader], _, err = keys.Sign(task, signing.Validity{Expires: signed.Add(time.Hour)})
		n.check(err)
	}
	_, err := asynq.NewClientFromRedisClient(n.queue.Client(n)).EnqueueContext(n.Context(), asynq.NewTaskWithHeaders(task.Kind, task.Payload, headers),
		asynq.TaskID(task.ID), asynq.Queue(task.Queue), asynq.MaxRetry(task.MaxRetry))
	n.check(err)
}

func TestRunbookQuarantine(t *testing.T) {
	t.Parallel()
	n := newNight(t)
	n.follow("quarantine.md", map[string]func(){
		"1. See what was refused, and why": func() {
			n.later(48 * time.Hour)
			n.reported(2)
			n.enqueued("nightly-7", 2*time.Hour)
			n.enqueued("forged", 0)
			n.eventually("both in quarantine", func() bool {
				list := n.sealq("", "quarantine", "list")
				return strings.Contains(list, "nightly-7") && strings.Contains(list, "forged")
			})
		},
	})
	n.eventually("the released job is done", func() bool {
		unfinished, _, err := n.db.OutboxDepth(n.Context())
		n.check(err)
		return unfinished[jobs.RowQueued]+unfinished[jobs.RowClaimed]+unfinished[jobs.RowEnqueued] == 0
	})
	_, err := audit.Verify(n.Context(), n.db, audit.Head{})
	n.check(err)
	links, err := n.db.AuditLinks(n.Context(), 0, 100)
	n.check(err)
	var did []string
	for _, link := range links {
		if strings.HasPrefix(link.Entry.Action, "quarantine.") {
			did = append(did, link.Entry.Action)
		}
	}
	if diff := cmp.Diff([]string{"quarantine.release", "quarantine.purge"}, did); diff != "" {
		t.Errorf("in the audit log (-want +got):\n%s", diff)
	}
}
