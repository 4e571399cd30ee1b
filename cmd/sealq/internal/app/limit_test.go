package app_test

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/sealq/sealq/mail/catcher"
)

func TestAWorkerHoldsNoMoreConnectionsToTheMailServerThanItWillBear(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "sqlite:"+filepath.Join(t.TempDir(), "sealq.db"))
	var now, most atomic.Int64
	release := make(chan struct{})
	s.mails = s.catch(func(ctx context.Context, step catcher.Step) error {
		if step.Stage != catcher.StageData {
			return nil
		}
		n := now.Add(1)
		defer now.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		select {
		case <-release:
		case <-ctx.Done():
		}
		return nil
	})
	all := people(40)
	for _, address := range all {
		s.register(t, address)
	}
	s.work(t)
	eventually(t, "10 mails are under way, and 30 wait in the queue", func() bool {
		waiting, err := s.redis.LLen(t.Context(), "asynq:{mail}:pending").Result()
		return err == nil && now.Load() == 10 && waiting == 30
	})
	close(release)
	s.oneMailEach(t, all)
	if got := most.Load(); got != 10 {
		t.Errorf("%d mails were under way at once, want 10", got)
	}
}
