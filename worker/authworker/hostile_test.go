package authworker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/mail/catcher"
)

// What asynq stores of a task and sealq cannot sign (asynq v0.26.0, internal/proto/asynq.proto).
const (
	fieldRetried = 6
	fieldTimeout = 8
)

// tamper changes fields of a stored task that no signature covers.
func (s *system) tamper(t *testing.T, id string, fields map[protowire.Number]uint64) {
	t.Helper()
	key := "asynq:{mail}:t:" + id
	raw, err := s.redis.HGet(t.Context(), key, "msg").Bytes()
	check(t, err)
	for field, value := range fields { // the last of a field counts
		raw = protowire.AppendVarint(protowire.AppendTag(raw, field, protowire.VarintType), value)
	}
	check(t, s.redis.HSet(t.Context(), key, "msg", raw).Err())
}

func TestAForgedCancelNeitherCutsAMailNorSendsASecond(t *testing.T) {
	t.Parallel()
	held, release := make(chan struct{}), make(chan struct{})
	var sessions atomic.Int32
	s := newSystem(t, func(ctx context.Context, step catcher.Step) error {
		if step.Stage == catcher.StageData && sessions.Add(1) == 1 {
			close(held) // the whole message is out, the server has not answered
			select {
			case <-release:
			case <-ctx.Done():
			}
		}
		return nil
	}, nil)
	s.register(t, ada)
	<-held
	ids, err := s.redis.LRange(t.Context(), "asynq:{mail}:active", 0, -1).Result()
	check(t, err)
	if len(ids) != 1 {
		t.Fatalf("active: %q", ids)
	}
	eventually(t, "somebody's cancel reaches the worker", func() bool {
		n, err := s.redis.Publish(t.Context(), "asynq:cancel", ids[0]).Result()
		return err == nil && n > 0
	})
	inspector := asynq.NewInspectorFromRedisClient(s.redis)
	eventually(t, "asynq gives the task up", func() bool {
		info, err := inspector.GetTaskInfo(jobs.QueueMail, ids[0])
		return err == nil && info.State != asynq.TaskStateActive
	})
	_ = inspector.RunTask(jobs.QueueMail, ids[0]) // it may have come back by itself
	close(release)
	if n := len(s.sent(t)); n != 1 {
		t.Errorf("want one mail, got %d", n)
	}
}

func TestARetriedCountThatNobodySignedDoesNotEndAJob(t *testing.T) {
	t.Parallel()
	var refusals atomic.Int32
	s := newSystem(t, func(_ context.Context, step catcher.Step) error {
		if step.Stage == catcher.StageRcpt && refusals.Add(1) == 1 {
			return catcher.Answer(451, "4.3.0 come back later")
		}
		return nil
	}, nil)
	inspector := asynq.NewInspectorFromRedisClient(s.redis)
	check(t, s.redis.SAdd(t.Context(), "asynq:queues", jobs.QueueMail).Err())
	check(t, inspector.PauseQueue(jobs.QueueMail))
	s.register(t, ada)
	var id string
	eventually(t, "the task waits", func() bool {
		var err error
		id, err = s.redis.LIndex(t.Context(), "asynq:{mail}:pending", 0).Result()
		return err == nil
	})
	s.tamper(t, id, map[protowire.Number]uint64{fieldRetried: 50, fieldTimeout: 1})
	check(t, inspector.UnpauseQueue(jobs.QueueMail))
	eventually(t, "it has failed once and waits for its retry", func() bool {
		info, err := inspector.GetTaskInfo(jobs.QueueMail, id)
		return err == nil && info.State == asynq.TaskStateRetry && time.Until(info.NextProcessAt) < time.Hour
	})
	check(t, inspector.RunTask(jobs.QueueMail, id))
	if n := len(s.sent(t)); n != 1 {
		t.Errorf("want one mail, got %d", n)
	}
}
