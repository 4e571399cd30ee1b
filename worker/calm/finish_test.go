package calm_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/worker/calm"
)

var errFailed = errors.New("failed")

// Without the hook asynq's syncer tries with a context that is over: the task stays active, and runs again a minute later.
func TestATaskThatEndedWhileRedisWasAwayIsEnded(t *testing.T) {
	t.Parallel()
	for sentence, test := range map[string]struct {
		result  error
		options []asynq.Option
		ended   asynq.TaskState // 0: it is gone
	}{
		"done":      {nil, nil, 0},
		"completed": {nil, []asynq.Option{asynq.Retention(time.Hour)}, asynq.TaskStateCompleted},
		"unique":    {nil, []asynq.Option{asynq.Unique(time.Hour)}, 0},
		"failed":    {errFailed, nil, asynq.TaskStateRetry},
		"archived":  {asynq.SkipRetry, nil, asynq.TaskStateArchived},
	} {
		for how, harm := range map[string]func(*link){"connections cut": (*link).cut, "answers lost": (*link).deafen} {
			t.Run(sentence+", "+how, func(t *testing.T) {
				t.Parallel()
				q := newQueue(t)
				hook := calm.New(calm.Config{})
				t.Cleanup(hook.Close)
				var runs seen
				q.enqueue(t, "a", test.options...)
				mend := make(chan struct{})
				serve(t, q.behind(t, hook), func(_ context.Context, task *asynq.Task) error {
					runs.add(task)
					harm(q.link)
					close(mend)
					return test.result
				}, asynq.Config{RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return time.Hour }})
				<-mend
				time.AfterFunc(3*time.Second, q.link.mend) // longer than go-redis tries by itself
				inspector := asynq.NewInspectorFromRedisClient(q.Client)
				eventually(t, "the task has ended", func() bool {
					info, err := inspector.GetTaskInfo("default", "a")
					if test.ended == 0 {
						return errors.Is(err, asynq.ErrTaskNotFound)
					}
					return err == nil && info.State == test.ended
				})
				for _, list := range []string{"active", "lease"} {
					if n, err := q.Exists(t.Context(), "asynq:{default}:"+list).Result(); err != nil || n != 0 {
						t.Errorf("%s is left behind, %v", list, err)
					}
				}
				if got := runs.all(); len(got) != 1 {
					t.Errorf("want one run, got %q", got)
				}
			})
		}
	}
}
