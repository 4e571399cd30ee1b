package jobs_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/internal/fixture"
	"github.com/sealq/sealq/signing"
)

func TestWrapRefusesWhatAsynqRefuses(t *testing.T) {
	t.Parallel()
	w := newWrapped(t)
	ok := asynq.NewTask("test:ok", []byte("x"))
	tests := map[string]struct {
		task *asynq.Task
		opts []asynq.Option
	}{
		"no task":                   {nil, nil},
		"blank type":                {asynq.NewTask("  ", nil), nil},
		"blank queue":               {ok, []asynq.Option{asynq.Queue(" ")}},
		"blank task ID":             {ok, []asynq.Option{asynq.TaskID("")}},
		"unique for under a second": {ok, []asynq.Option{asynq.Unique(999 * time.Millisecond)}},
		"blank group":               {ok, []asynq.Option{asynq.Group("")}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, want := w.plain.Enqueue(test.task, test.opts...)
			_, got := w.client.Enqueue(test.task, test.opts...)
			if want == nil || got == nil || want.Error() != got.Error() {
				t.Errorf("asynq says %v, Wrap %v", want, got)
			}
		})
	}
}

func TestWrapRefusesWhatCannotBeSigned(t *testing.T) {
	t.Parallel()
	w := newWrapped(t)
	tests := map[string]struct {
		task *asynq.Task
		opts []asynq.Option
		want error
	}{
		"a group":                     {asynq.NewTask("test:a", nil, asynq.Group("g")), nil, jobs.ErrGroup},
		"a scheduled group":           {asynq.NewTask("test:a", nil), []asynq.Option{asynq.Group("g"), asynq.ProcessIn(time.Hour)}, jobs.ErrGroup},
		"a unique group":              {asynq.NewTask("test:a", nil), []asynq.Option{asynq.Group("g"), asynq.Unique(time.Hour)}, jobs.ErrGroup},
		"due after the ring's end":    {asynq.NewTask("test:a", nil), []asynq.Option{asynq.ProcessIn(fixture.MaxLifetime + time.Hour)}, signing.ErrLifetimeExceeded},
		"a payload over the limit":    {asynq.NewTask("test:a", make([]byte, signing.DefaultMaxPayload+1)), nil, signing.ErrMalformed},
		"a header that is no text":    {asynq.NewTaskWithHeaders("test:a", nil, map[string]string{"x": "\xff"}), nil, nil},
		"a queue with braces":         {asynq.NewTask("test:a", nil), []asynq.Option{asynq.Queue("{mail}")}, jobs.ErrInvalidName},
		"the task's own, with braces": {asynq.NewTask("test:a", nil, asynq.Queue("}mail")), nil, jobs.ErrInvalidName},
		"retries asynq cannot store":  {asynq.NewTask("test:a", nil), []asynq.Option{asynq.MaxRetry(math.MaxInt32 + 1)}, nil},
		"a type that is not any text": {asynq.NewTask("test:\xff", nil), nil, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			info, err := w.client.Enqueue(test.task, test.opts...)
			if err == nil || info != nil || (test.want != nil && !errors.Is(err, test.want)) {
				t.Errorf("want %v, got %v, %v", test.want, info, err)
			}
			if n := w.wrappedRedis.DBSize(t.Context()).Val(); n != 0 {
				t.Errorf("%d keys were written for refused tasks", n)
			}
		})
	}
}

func TestWrapPassesAsynqsErrorsOn(t *testing.T) {
	t.Parallel()
	w := newWrapped(t)
	task := asynq.NewTask("test:once", []byte("x"))
	enqueue := func(opts ...asynq.Option) error {
		_, err := w.client.Enqueue(task, opts...)
		return err
	}
	if err := errors.Join(enqueue(asynq.TaskID("one")), enqueue(asynq.Unique(time.Hour))); err != nil {
		t.Fatal(err)
	}
	if err := enqueue(asynq.TaskID("one")); !errors.Is(err, asynq.ErrTaskIDConflict) {
		t.Errorf("a second task of one ID: %v", err)
	}
	if err := enqueue(asynq.Unique(time.Hour)); !errors.Is(err, asynq.ErrDuplicateTask) {
		t.Errorf("a second unique task: %v", err)
	}
	if err := enqueue(asynq.Unique(time.Hour), asynq.ProcessIn(time.Hour)); !errors.Is(err, asynq.ErrDuplicateTask) {
		t.Errorf("a second unique task, scheduled: %v", err)
	}
}
