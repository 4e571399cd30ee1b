package authworker_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/mail/catcher"
)

func TestAServerThatRefusesOurCredentialsIsLeftAloneAndOneMailTriesItAgain(t *testing.T) {
	t.Parallel()
	var refused atomic.Int32
	var right atomic.Bool
	s := newSystem(t, func(_ context.Context, step catcher.Step) error {
		if step.Stage == catcher.StageMail && !right.Load() {
			refused.Add(1)
			return catcher.Answer(535, "authentication credentials invalid")
		}
		return nil
	}, nil)
	const people, atOnce = 20, 4
	for n := range people {
		s.register(t, fmt.Sprintf("user%02d@example.org", n))
	}
	inspector := asynq.NewInspectorFromRedisClient(s.redis)
	waiting := func() bool {
		tasks, err := inspector.ListRetryTasks(jobs.QueueMail, asynq.PageSize(people))
		for _, task := range tasks {
			if task.Retried != 0 {
				t.Fatalf("waiting for the server used up %d tries", task.Retried)
			}
		}
		return err == nil && len(tasks) == people
	}
	eventually(t, "all mails wait", waiting)
	if n := refused.Load(); n < 3 || n > 3+atOnce {
		t.Errorf("%d mails found that out", n)
	}
	if err := s.breaker.Open(); err == nil || !strings.Contains(err.Error(), "smtp is down, its jobs wait: smtp: smtp mail: the server answered 535 (configuration); check user and password") {
		t.Errorf("/readyz says %v", err)
	}

	before := refused.Load()
	s.ahead.Store(int64(time.Hour))
	_, err := inspector.RunAllRetryTasks(jobs.QueueMail)
	check(t, err)
	eventually(t, "all mails wait again", waiting)
	if n := refused.Load() - before; n != 1 {
		t.Errorf("%d mails tried whether it is back, want one", n)
	}

	right.Store(true)
	s.ahead.Store(int64(24 * time.Hour))
	eventually(t, "every mail is sent", func() bool {
		_, err := inspector.RunAllRetryTasks(jobs.QueueMail)
		check(t, err)
		return len(s.mails.Messages()) == people
	})
	s.settled(t)
	if err := s.breaker.Open(); err != nil {
		t.Errorf("it is back, and /readyz says %v", err)
	}
	if diff := cmp.Diff(map[authjobs.MailOutcome]int32{"configuration": before + 1, "delivered": people}, s.outcomes.all()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	list, err := s.db.Suppressions(t.Context(), 10)
	check(t, err)
	if len(list) > 0 {
		t.Errorf("recipients are blamed: %v", list)
	}
}
