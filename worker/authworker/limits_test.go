package authworker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/worker/authworker"
)

func TestMailsOverALimitWaitWithoutATryAndTheOthersGo(t *testing.T) {
	t.Parallel()
	s := newSystem(t, nil, nil, func(c *authworker.Config) {
		c.Limits = authjobs.MailLimits{PerDomain: authjobs.Rate{N: 20, Per: time.Hour}}
	})
	for n := range 5 { // of which 2 may go at once
		s.register(t, fmt.Sprintf("user%d@crowded.example", n))
	}
	s.register(t, "bob@other.example")
	inspector := asynq.NewInspectorFromRedisClient(s.redis)
	due := make(map[time.Duration]bool)
	eventually(t, "three mails wait and three are recorded as sent", func() bool {
		tasks, err := inspector.ListRetryTasks(jobs.QueueMail)
		for _, task := range tasks {
			if task.Retried != 0 {
				t.Fatalf("waiting used up %d tries", task.Retried)
			}
			due[time.Until(task.NextProcessAt).Round(time.Minute)] = true
		}
		return err == nil && len(tasks) == 3 && s.outcomes.all()[authjobs.MailDelivered] == 3
	})
	if len(due) < 3 {
		t.Errorf("they come back after %v, which is not one after the other", due)
	}
	if n := len(s.mails.Messages()); n != 3 {
		t.Errorf("%d mails were sent", n)
	}
	if diff := cmp.Diff(map[authjobs.MailOutcome]int32{"delivered": 3, "limited": 3}, s.outcomes.all()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
