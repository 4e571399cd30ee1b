package relay_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/internal/fixture"
	"github.com/sealq/sealq/jobs/rawtask"
	"github.com/sealq/sealq/signing"
)

// Each does something to a row's task in Redis, after which it must be restored as attempt 2.
func TestReconcileRestoresWhatIsLost(t *testing.T) {
	t.Parallel()
	const prefix = "asynq:{default}:"
	move := func(state string) func(t *testing.T, b *bench, id string) {
		return func(t *testing.T, b *bench, id string) {
			t.Helper()
			b.redis.LRem(t.Context(), prefix+"pending", 0, id+".1")
			b.redis.HSet(t.Context(), fixture.TaskKey("default", id+".1"), "state", state)
			b.redis.ZAdd(t.Context(), prefix+state, redis.Z{Score: float64(time.Now().Add(time.Hour).Unix()), Member: id + ".1"})
		}
	}
	tests := map[string]func(t *testing.T, b *bench, id string){
		"everything flushed": func(t *testing.T, b *bench, _ string) {
			t.Helper()
			b.server.Flush(t)
		},
		"its key deleted": func(t *testing.T, b *bench, id string) {
			t.Helper()
			b.redis.Del(t.Context(), fixture.TaskKey("default", id+".1"))
		},
		"the list deleted": func(t *testing.T, b *bench, _ string) {
			t.Helper()
			b.redis.Del(t.Context(), prefix+"pending")
		},
		"its retry put off for years": func(t *testing.T, b *bench, id string) {
			t.Helper()
			move("retry")(t, b, id)
			b.redis.ZAdd(t.Context(), prefix+"retry", redis.Z{Score: 4e9, Member: id + ".1"})
		},
		"its lease made endless": func(t *testing.T, b *bench, id string) {
			t.Helper()
			b.redis.LMove(t.Context(), prefix+"pending", prefix+"active", "RIGHT", "LEFT")
			b.redis.HSet(t.Context(), fixture.TaskKey("default", id+".1"), "state", "active")
			b.redis.ZAdd(t.Context(), prefix+"lease", redis.Z{Score: 1e300, Member: id + ".1"})
		},
		"its key made a text": func(t *testing.T, b *bench, id string) {
			t.Helper()
			b.redis.Set(t.Context(), fixture.TaskKey("default", id+".1"), "squatted", 0)
		},
		"its message overwritten": func(t *testing.T, b *bench, id string) {
			t.Helper()
			b.redis.HSet(t.Context(), fixture.TaskKey("default", id+".1"), "msg", "\xff\xff")
		},
		"a forged task under its name": func(t *testing.T, b *bench, id string) {
			t.Helper()
			b.server.Flush(t)
			b.forge(t, "default", id+".1")
		},
		"a forged task of an unknown key": func(t *testing.T, b *bench, id string) {
			t.Helper()
			key := fixture.TaskKey("default", id+".1")
			row := b.see(id).ClaimedRow
			stranger := fixture.Keys(t)
			sig, _, err := stranger.Sign(signing.Task{
				Kind: string(row.Kind), ID: row.TaskID(), Queue: row.Queue, MaxRetry: row.Retries + jobs.Headroom,
				Headers: map[string]string{signing.EffectHeader: row.ID}, Payload: row.Payload,
			}, signing.Validity{Expires: time.Now().Add(time.Hour)})
			if err != nil {
				t.Fatal(err)
			}
			b.redis.HSet(t.Context(), key, "msg", fixture.Resign(t, b.redis.HGet(t.Context(), key, "msg").Val(), sig))
		},
		"a genuine task of its name that is no row's": func(t *testing.T, b *bench, id string) {
			t.Helper()
			b.server.Flush(t)
			enqueuer, err := jobs.NewEnqueuer(asynq.NewClientFromRedisClient(b.redis), b.keys, jobs.Config{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := enqueuer.Enqueue(t.Context(), noteDef().With(note{}, jobs.ID(id+".1"))); err != nil {
				t.Fatal(err)
			}
		},
		"another row's genuine task under its name": func(t *testing.T, b *bench, id string) {
			t.Helper()
			stop := run(t, b.relay(t))
			other := b.enqueued(t)
			stop()
			msg := b.redis.HGet(t.Context(), fixture.TaskKey("default", other+".1"), "msg").Val()
			b.redis.HSet(t.Context(), fixture.TaskKey("default", id+".1"), "msg", msg)
		},
		"scheduled for an hour after it was due": move("scheduled"),
		"put off for longer than any handler does": func(t *testing.T, b *bench, id string) {
			t.Helper()
			move("retry")(t, b, id)
			b.redis.ZAdd(t.Context(), prefix+"retry", redis.Z{Score: float64(time.Now().Add(61 * time.Minute).Unix()), Member: id + ".1"})
		},
		"its lease made long": func(t *testing.T, b *bench, id string) {
			t.Helper()
			b.redis.LMove(t.Context(), prefix+"pending", prefix+"active", "RIGHT", "LEFT")
			b.redis.HSet(t.Context(), fixture.TaskKey("default", id+".1"), "state", "active")
			b.redis.ZAdd(t.Context(), prefix+"lease", redis.Z{Score: float64(time.Now().Add(3 * time.Minute).Unix()), Member: id + ".1"})
		},
		"its deadline put into the past": func(t *testing.T, b *bench, id string) {
			t.Helper()
			key := fixture.TaskKey("default", id+".1")
			msg := rawtask.WithDeadline([]byte(b.redis.HGet(t.Context(), key, "msg").Val()), time.Unix(1, 0))
			b.redis.HSet(t.Context(), key, "msg", msg)
		},
		"archived":  move("archived"),
		"completed": move("completed"),
		"active without a lease": func(t *testing.T, b *bench, id string) {
			t.Helper()
			b.redis.LMove(t.Context(), prefix+"pending", prefix+"active", "RIGHT", "LEFT")
			b.redis.HSet(t.Context(), fixture.TaskKey("default", id+".1"), "state", "active")
		},
	}
	for name, harm := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.cfg.Overdue = 300 * time.Millisecond
			stop := run(t, b.relay(t))
			id := b.enqueued(t)
			stop() // so that it does not look while harm is done
			harm(t, b, id)
			run(t, b.relay(t))
			b.attempt(t, id, 2)
			b.state(t, id, jobs.RowEnqueued)
			if !slices.Contains(b.restorations(), restoration{attempt: 2}) {
				t.Errorf("restored %v", b.restorations())
			}
			if !b.redis.SIsMember(t.Context(), "asynq:queues", "default").Val() {
				t.Error("the queue is not announced again")
			}
			if !b.log.has("level=WARN msg=\"task lost by Redis, restored from the outbox\" row=" + id) {
				t.Error("it is not told of")
			}
		})
	}
}

// Each is a place from where a worker will fetch the task, or has.
func TestReconcileLeavesAloneWhatIsThere(t *testing.T) {
	t.Parallel()
	const prefix = "asynq:{default}:"
	at := func(state string, to func(t *testing.T, b *bench, taskID string)) func(t *testing.T, b *bench, id string) {
		return func(t *testing.T, b *bench, id string) {
			t.Helper()
			if state != "pending" {
				b.redis.LRem(t.Context(), prefix+"pending", 0, id+".1")
			}
			b.redis.HSet(t.Context(), fixture.TaskKey("default", id+".1"), "state", state)
			to(t, b, id+".1")
		}
	}
	in := func(set string, ahead time.Duration) func(t *testing.T, b *bench, taskID string) {
		return func(t *testing.T, b *bench, taskID string) {
			t.Helper()
			b.redis.ZAdd(t.Context(), prefix+set, redis.Z{Score: float64(time.Now().Add(ahead).Unix()), Member: taskID})
		}
	}
	tests := map[string]func(t *testing.T, b *bench, id string){
		"pending":   at("pending", func(t *testing.T, _ *bench, _ string) { t.Helper() }),
		"scheduled": at("scheduled", in("scheduled", time.Second)),
		"retry":     at("retry", in("retry", 59*time.Minute)),
		"active": at("active", func(t *testing.T, b *bench, taskID string) {
			t.Helper()
			b.redis.LPush(t.Context(), prefix+"active", taskID)
			in("lease", 30*time.Second)(t, b, taskID)
		}),
	}
	for name, place := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.cfg.Overdue = 300 * time.Millisecond
			stop := run(t, b.relay(t))
			id := b.enqueued(t)
			stop()
			place(t, b, id)
			run(t, b.relay(t))
			enqueuedAt := b.see(id).nextAt
			eventually(t, "it was looked for three times", func() bool {
				return b.see(id).nextAt.Sub(enqueuedAt) > 3*b.cfg.Overdue
			})
			if r := b.see(id); r.state != jobs.RowEnqueued || r.Attempt != 1 || len(b.restorations()) != 0 {
				t.Errorf("the row is %s, attempt %d, restored %v", r.state, r.Attempt, b.restorations())
			}
		})
	}
}

func TestReconcileRestoresARowWhoseEarlierAttemptStandsInItsPlace(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Overdue = 200 * time.Millisecond
	stop := run(t, b.relay(t))
	id := b.enqueued(t)
	first := b.redis.HGet(t.Context(), fixture.TaskKey("default", id+".1"), "msg").Val()
	b.redis.Del(t.Context(), fixture.TaskKey("default", id+".1"))
	b.attempt(t, id, 2)
	b.state(t, id, jobs.RowEnqueued)
	stop()
	b.redis.HSet(t.Context(), fixture.TaskKey("default", id+".2"), "msg", first)
	run(t, b.relay(t))
	b.attempt(t, id, 3)
}

// Whoever has seen a task knows the names of all further attempts.
func TestReconcileIsNotHeldUpByWhatStandsUnderTheNextNames(t *testing.T) {
	t.Parallel()
	for name, squat := range map[string]func(t *testing.T, b *bench, taskID string){
		"a text": func(t *testing.T, b *bench, taskID string) {
			t.Helper()
			b.redis.Set(t.Context(), fixture.TaskKey("default", taskID), "squatted", 0)
		},
		"a hash": func(t *testing.T, b *bench, taskID string) {
			t.Helper()
			b.redis.HSet(t.Context(), fixture.TaskKey("default", taskID), "msg", "noise", "state", "archived")
		},
		"a forged task": func(t *testing.T, b *bench, taskID string) {
			t.Helper()
			b.forge(t, "default", taskID)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.cfg.Overdue = 300 * time.Millisecond
			stop := run(t, b.relay(t))
			id := b.enqueued(t)
			stop()
			for attempt := 2; attempt < 50; attempt++ {
				squat(t, b, fmt.Sprintf("%s.%d", id, attempt))
			}
			b.redis.Del(t.Context(), fixture.TaskKey("default", id+".1"))
			run(t, b.relay(t))
			b.state(t, id, jobs.RowEnqueued)
			eventually(t, "the row is at its second attempt", func() bool { return b.see(id).Attempt == 2 })
			b.attempt(t, id, 2)
			b.state(t, id, jobs.RowEnqueued)
		})
	}
}

// A relay's asynq client announces a queue once, and a flushed Redis forgets it.
func TestReconcileAnnouncesTheQueueAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Overdue = 100 * time.Millisecond
	run(t, b.relay(t))
	id := b.enqueued(t)
	b.server.Flush(t)
	b.attempt(t, id, 2)
	eventually(t, "the queue is announced", func() bool { return b.redis.SIsMember(t.Context(), "asynq:queues", "default").Val() })
}

func TestReconcileLeavesEndedRowsAlone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Overdue = 100 * time.Millisecond
	stop := run(t, b.relay(t))
	done, lost := b.enqueued(t), b.enqueued(t)
	stop()
	b.change(done, func(r *row) { r.state = jobs.RowDone })
	b.server.Flush(t)
	run(t, b.relay(t))
	b.attempt(t, lost, 2)
	if r := b.see(done); r.state != jobs.RowDone || r.Attempt != 1 {
		t.Errorf("the row that was done is %s, attempt %d", r.state, r.Attempt)
	}
}

func TestRowsExpire(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Overdue = 100 * time.Millisecond
	queued := b.add(t, noteDef().With(note{}, jobs.Until(time.Now().Add(-time.Second))))
	run(t, b.relay(t))
	enqueued := b.enqueued(t, jobs.Until(time.Now().Add(300*time.Millisecond)))
	b.state(t, queued, jobs.RowExpired)
	b.state(t, enqueued, jobs.RowExpired)
	if n := b.redis.Exists(t.Context(), fixture.TaskKey("default", queued+".1")).Val(); n != 0 {
		t.Error("the row that was over was enqueued")
	}
	if past := time.Since(b.see(enqueued).ExpiresAt); past < b.cfg.Overdue {
		t.Errorf("a task that may be running was given %v only", past)
	}
	if !b.log.has("outbox rows expired") {
		t.Error("it is not told of")
	}
}

func TestTheFourthRestorationWaitsAndAlarms(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Overdue = time.Second
	b.redis.Set(t.Context(), "asynq:{default}:pending", "a list that is none", 0) // nothing enqueued ever lies in it
	run(t, b.relay(t))
	for attempt, want := range map[int]time.Duration{1: 0, 2: 0, 3: 0, 4: 2 * time.Second, 5: 4 * time.Second, 6: 5 * time.Second, 12: 5 * time.Second, 900: 5 * time.Second} {
		id := fmt.Sprintf("0198c0de-0000-7000-8000-%012d", attempt)
		b.insert(jobs.Row{ID: id, Kind: "test:note", Queue: "default", Payload: []byte(`{"user":1}`), Life: time.Hour})
		b.change(id, func(r *row) { r.Attempt, r.state, r.nextAt = attempt, jobs.RowEnqueued, time.Now().Add(-time.Hour) })
		eventually(t, "it is restored", func() bool {
			return slices.ContainsFunc(b.restorations(), func(r restoration) bool { return r.attempt == attempt+1 && r.pause == want })
		})
		alarm := fmt.Sprintf("level=ERROR msg=\"task lost by Redis, restored from the outbox\" row=%s", id)
		if b.log.has(alarm) != (want > 0) {
			t.Errorf("attempt %d: an alarm is %v", attempt, want <= 0)
		}
	}
}

func TestReconcileRestoresMoreThanOneBatchAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Reconcile = time.Hour // it looks but once
	b.cfg.Overdue = time.Minute
	const n = 1200
	for i := range n {
		id := fmt.Sprintf("0198c0de-0000-7000-8000-%012d", i)
		b.insert(jobs.Row{ID: id, Kind: "test:note", Queue: "default", Payload: []byte(`{"user":1}`), Life: time.Hour})
		b.change(id, func(r *row) { r.state, r.nextAt = jobs.RowEnqueued, time.Now().Add(-time.Hour) })
	}
	run(t, b.relay(t))
	eventually(t, "all tasks are in Redis", func() bool { return b.redis.LLen(t.Context(), "asynq:{default}:pending").Val() == n })
}

// A queue that is behind holds many overdue tasks: looking for them all at once would slow it down further.
func TestReconcilePausesWhereNothingIsLost(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Overdue = time.Minute
	stop := run(t, b.relay(t))
	const n = 1200
	ids := make([]string, n)
	for i := range ids {
		ids[i] = b.add(t, noteDef().With(note{User: i}))
	}
	eventually(t, "all rows are enqueued", func() bool { return b.count(jobs.RowEnqueued) == n })
	stop()
	for _, id := range ids {
		b.change(id, func(r *row) { r.nextAt = time.Now().Add(-time.Hour) })
	}
	before := len(b.looksSoFar())
	b.cfg.Reconcile = 300 * time.Millisecond
	run(t, b.relay(t))
	eventually(t, "two batches were looked at", func() bool { return len(b.looksSoFar()) >= before+2 })
	looks := b.looksSoFar()[before:]
	if pause := looks[1].Sub(looks[0]); pause < b.cfg.Reconcile || len(b.restorations()) != 0 {
		t.Errorf("the second batch was looked at %v after the first, restored %v", pause, b.restorations())
	}
}

func TestReconcileWaitsForRedisBeforeItLooks(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Overdue = 100 * time.Millisecond
	stop := run(t, b.relay(t))
	id := b.enqueued(t)
	stop()
	b.server.Stop(t)
	looked := b.see(id).nextAt
	run(t, b.relay(t))
	eventually(t, "the outage is told of", func() bool { return b.log.has("reconcile stopped by an outage") })
	if r := b.see(id); !r.nextAt.Equal(looked) {
		t.Error("the row's next look was put off while nobody could look")
	}
	b.server.Start(t)
	b.attempt(t, id, 2)
}

func TestTwoReconcilersRestoreEachRowOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cfg.Overdue = 200 * time.Millisecond
	stop := run(t, b.relay(t))
	const n = 100
	ids := make([]string, n)
	for i := range ids {
		ids[i] = b.add(t, noteDef().With(note{User: i}))
	}
	eventually(t, "all rows are enqueued", func() bool { return b.count(jobs.RowEnqueued) == n })
	stop()
	b.server.Flush(t)
	run(t, b.relay(t))
	run(t, b.relay(t))
	for _, id := range ids {
		b.attempt(t, id, 2)
	}
	if got := len(b.restorations()); got != n {
		t.Errorf("%d restorations, want %d", got, n)
	}
	if got := b.redis.LLen(t.Context(), "asynq:{default}:pending").Val(); got != n {
		t.Errorf("%d tasks are pending, want %d", got, n)
	}
}
