package relay_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/internal/fixture"
	"github.com/sealq/sealq/jobs/relay"
)

// A relay that is stalled before it undoes must not undo what another has done since.
func TestWhatAnotherRelayHasEnqueuedMeanwhileIsNotUndone(t *testing.T) {
	t.Parallel()
	for name, delay := range map[string]time.Duration{"pending": 0, "scheduled": 30 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.cfg.Overdue = time.Hour
			place := "asynq:{default}:" + name
			b.redis.Set(t.Context(), place, "squatted", 0)
			id := b.add(t, noteDef().With(note{User: 7}, jobs.In(delay)))
			row := b.see(id).ClaimedRow
			client := b.server.Client(t)
			var refused, undone atomic.Bool
			client.AddHook(between(func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
				undoes := strings.Contains(fmt.Sprint(cmds[0].Args()...), "return redis.call('DEL', KEYS[1])") // others measure the queues
				if refused.Load() && undoes && undone.CompareAndSwap(false, true) {
					b.redis.Del(ctx, place, fixture.TaskKey("default", row.TaskID()))
					if _, err := b.direct(t).EnqueueRow(ctx, row, noteDef()); err != nil {
						t.Error(err)
					}
				}
				err := next(ctx, cmds)
				for _, cmd := range cmds {
					if cmd.Err() != nil && strings.Contains(cmd.Err().Error(), "WRONGTYPE") {
						refused.Store(true)
					}
				}
				return err
			}))
			r := b.relayBy(t, client, noteDef())
			run(t, r)
			b.state(t, id, jobs.RowEnqueued)
			b.attempt(t, id, 1)
			if s := r.Stats(); s.Relayed != 0 || s.Present != 1 || !undone.Load() {
				t.Errorf("the other relay's task was replaced: %+v", s)
			}
		})
	}
}

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
