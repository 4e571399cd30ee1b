package relay_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/internal/fixture"
	"github.com/sealq/sealq/jobs/relay"
)

// late lists one row as it stood before another relay restored it.
type late struct {
	*outbox
	row    jobs.ClaimedRow
	looked chan struct{}
	looks  *atomic.Int64
}

func (l late) OverdueRows(context.Context, time.Duration, int) ([]jobs.ClaimedRow, error) {
	switch l.looks.Add(1) {
	case 1:
		return []jobs.ClaimedRow{l.row}, nil
	case 2: // all is done that the first look led to
		close(l.looked)
	}
	return nil, nil
}

func TestReconcileLeavesAloneTheAttemptThatAnotherRelayHasEnqueuedMeanwhile(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	stop := run(t, b.relay(t))
	id := b.enqueued(t)
	listed := b.see(id).ClaimedRow
	b.server.Flush(t)
	b.attempt(t, id, 2)
	b.state(t, id, jobs.RowEnqueued)
	stop()
	catalog, err := jobs.NewCatalog(noteDef())
	if err != nil {
		t.Fatal(err)
	}
	rows := late{b.outbox, listed, make(chan struct{}), new(atomic.Int64)}
	r, err := relay.New(rows, catalog, b.keys, b.server.Client(t), b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	stop = run(t, r)
	<-rows.looked
	stop()
	if n := b.redis.Exists(t.Context(), fixture.TaskKey("default", id+".2")).Val(); n != 1 {
		t.Error("the key of the genuine second attempt is gone")
	}
	if got := len(b.restorations()); got != 1 {
		t.Errorf("%d restorations, want the first alone", got)
	}
}
