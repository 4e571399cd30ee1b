package doctor_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/cmd/sealq/internal/doctor"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/judge"
	"github.com/sealq/sealq/jobs/rawtask"
)

// adopt asks of what Redis holds, with the patient's keys where it has any.
func (p *patient) adopt(t *testing.T) doctor.Adoption {
	t.Helper()
	catalog, err := jobs.NewCatalog(authjobs.Definitions()...)
	check(t, err)
	c := judge.Config{Catalog: catalog, Queues: p.Queues}
	if p.Keys != nil {
		c.Keys = p.open(t, "test")
	}
	j, err := judge.New(c)
	check(t, err)
	a, err := doctor.Adopt(t.Context(), doctor.AdoptionConfig{Redis: p.redis, Judge: j, Keys: c.Keys != nil, Now: time.Now})
	check(t, err)
	return a
}

func TestEnforcingIsSafeWhenNothingUnsignedWaits(t *testing.T) {
	t.Parallel()
	at := func(in time.Duration) string { return time.Now().Add(in).UTC().Format("2006-01-02") }
	for sentence, test := range map[string]struct {
		put     func(t *testing.T, p *patient)
		safe    bool
		verdict string
	}{
		"a Redis in which asynq has never been, such as another database of the app's": {func(*testing.T, *patient) {}, false, "not known: asynq has no queue in this Redis"},
		"no task in any queue": {func(t *testing.T, p *patient) {
			t.Helper()
			check(t, p.redis.SAdd(t.Context(), "asynq:queues", "low").Err())
		}, true, "safe to enforce now: no unsigned task waits in any queue"},
		"one in a queue behind a thousand that somebody has made up": {func(t *testing.T, p *patient) {
			t.Helper()
			p.put(t, false, "a")
			for i := range 1000 {
				check(t, p.redis.SAdd(t.Context(), "asynq:queues", fmt.Sprint("a", i)).Err())
			}
			check(t, p.redis.SRem(t.Context(), "asynq:queues", "low").Err()) // it is not among those that are read
		}, false, "not known: asynq:queues names more than"},
		"one in a queue that asynq does not know, as after a FLUSHALL, but a worker serves": {func(t *testing.T, p *patient) {
			t.Helper()
			p.put(t, false, "a")
			check(t, p.redis.Del(t.Context(), "asynq:queues").Err())
			check(t, p.redis.ZAdd(t.Context(), "asynq:servers", redis.Z{Score: float64(time.Now().Add(time.Minute).Unix()), Member: "asynq:servers:{a:1:b}"}).Err())
			check(t, p.redis.Set(t.Context(), "asynq:servers:{a:1:b}", "\x2a\x07\x0a\x03low\x10\x01", time.Minute).Err())
		}, false, "not yet: 1 unsigned task waits in low"},
		"signed tasks alone": {func(t *testing.T, p *patient) { t.Helper(); p.put(t, true, "a") }, true, "safe to enforce now: no unsigned task waits among 1 signed one"},
		"one that is due":    {func(t *testing.T, p *patient) { t.Helper(); p.put(t, false, "a") }, false, "not yet: 1 unsigned task waits in low, due now"},
		"one that is due in two days": {func(t *testing.T, p *patient) {
			t.Helper()
			p.put(t, false, "a", asynq.ProcessIn(48*time.Hour))
			p.put(t, false, "b")
			p.put(t, true, "c")
		}, false, "not before " + at(48*time.Hour)},
		"one that is due in two months": {func(t *testing.T, p *patient) { t.Helper(); p.put(t, false, "a", asynq.ProcessIn(60*24*time.Hour)) }, false, "further ahead than workers may observe"},
		"one in a group":                {func(t *testing.T, p *patient) { t.Helper(); p.put(t, false, "a", asynq.Group("g")) }, false, "1 unsigned task waits in low"},
		"one in the archive, which comes back by no one's doing but an operator's": {func(t *testing.T, p *patient) {
			t.Helper()
			p.put(t, false, "a")
			check(t, asynq.NewInspectorFromRedisClient(p.redis).ArchiveTask("low", "a"))
		}, true, "safe to enforce now"},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			p := onRedis(t).withRing(t, time.Hour)
			test.put(t, p)
			a := p.adopt(t)
			if a.Safe != test.safe || !strings.HasPrefix(a.Verdict, test.verdict) && !strings.Contains(a.Verdict, test.verdict) {
				t.Errorf("want %v, %q; got %v, %q", test.safe, test.verdict, a.Safe, a.Verdict)
			}
		})
	}
}

// put enqueues a task of an app's own kind, signed or not.
func (p *patient) put(t *testing.T, signed bool, id string, opts ...asynq.Option) {
	t.Helper()
	task, opts := asynq.NewTask("app:"+id, []byte("not JSON \x00")), append(opts, asynq.TaskID(id), asynq.Queue("low"))
	var err error
	if signed {
		_, err = jobs.Wrap(asynqClient(p), p.open(t, "test")).EnqueueContext(t.Context(), task, opts...)
	} else {
		_, err = asynqClient(p).EnqueueContext(t.Context(), task, opts...)
	}
	check(t, err)
}

func TestAdoptionCountsWhatEnforcingWouldMakeOfEachTask(t *testing.T) {
	t.Parallel()
	p := onRedis(t).withRing(t, time.Hour)
	due := time.Now().Add(time.Hour).Truncate(time.Second)
	p.put(t, false, "a")
	p.put(t, false, "b", asynq.ProcessAt(due))
	p.put(t, true, "c")
	p.put(t, true, "d", asynq.ProcessIn(time.Hour))
	check(t, p.redis.LPush(t.Context(), "asynq:{low}:pending", "nothing").Err())
	other := *p
	foreign := jobs.Wrap(asynqClient(p), other.open(t, "another"))
	_, err := foreign.EnqueueContext(t.Context(), asynq.NewTask("app:e", nil), asynq.Queue("low"))
	check(t, err)

	a := p.adopt(t)
	low := a.Queues[0]
	if len(a.Queues) != 1 || low.Queue != "low" || !low.All || !a.Judged || a.Waiting != 2 {
		t.Fatalf("%+v", a)
	}
	want := map[rawtask.State]doctor.Counts{
		rawtask.Pending: {Signed: 1, Unsigned: 1, Refused: 2}, rawtask.Scheduled: {Signed: 1, Unsigned: 1},
		rawtask.Active: {}, rawtask.Retry: {}, rawtask.Aggregating: {}, rawtask.Archived: {}, rawtask.Completed: {},
	}
	if diff := cmp.Diff(want, low.States); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"app:a", "app:b"}, low.UnsignedKinds); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
	if low.LatestUnsigned == nil || !low.LatestUnsigned.Equal(due) || a.From == nil || !a.From.Equal(due) {
		t.Errorf("the latest is due at %v, want %v", low.LatestUnsigned, due)
	}
}

// Without keys it is counted what carries a signature, and said that it is not known whether it holds.
func TestAdoptionCanBeAskedWithoutKeys(t *testing.T) {
	t.Parallel()
	p := onRedis(t).withRing(t, time.Hour)
	p.put(t, true, "a")
	p.put(t, false, "b")
	p.Keys = nil
	a := p.adopt(t)
	if diff := cmp.Diff(doctor.Counts{Signed: 1, Unsigned: 1}, a.Queues[0].States[rawtask.Pending]); diff != "" || a.Judged {
		t.Errorf("judged: %v, counts (-want +got):\n%s", a.Judged, diff)
	}
	if !strings.Contains(strings.Join(a.Notes, "\n"), "there are no keys here") || !strings.Contains(strings.Join(a.Notes, "\n"), "older than v0.26.0") {
		t.Errorf("notes: %q", a.Notes)
	}
}

func TestWhatCouldNotBeReadInTimeIsNotCalledSafe(t *testing.T) {
	t.Parallel()
	p := onRedis(t)
	p.put(t, false, "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if a, err := doctor.Adopt(ctx, doctor.AdoptionConfig{Redis: p.redis, Now: time.Now}); err == nil && a.Safe {
		t.Errorf("%+v", a)
	}
}
