package worker_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/worker"
)

// redisError is an error that Redis answered.
type redisError string

func (e redisError) Error() string { return string(e) }
func (redisError) RedisError()     {}

func TestAFailedFetchIsAnsweredAfterAPause(t *testing.T) {
	t.Parallel()
	fetch := func() redis.Cmder {
		return redis.NewCmd(t.Context(), "evalsha", "cafe", 4, "asynq:{low}:pending", "asynq:{low}:paused", "asynq:{low}:active", "asynq:{low}:lease", 1)
	}
	ms := time.Millisecond
	away, forgot, wrongType := errors.New("connection refused"), redisError("NOSCRIPT No matching script"), redisError("WRONGTYPE Operation")
	for name, c := range map[string]struct {
		command func() redis.Cmder
		answers []error
		least   time.Duration // all in all; at most a quarter more
	}{
		"a failure":                          {fetch, []error{away}, 50 * ms},
		"each further failure doubles it":    {fetch, []error{away, away, wrongType, away}, 750 * ms},
		"up to a second":                     {fetch, []error{away, away, away, away, away, away, away}, 3550 * ms},
		"a success begins anew":              {fetch, []error{away, away, nil, away}, 200 * ms},
		"an empty queue too":                 {fetch, []error{away, away, redis.Nil, away}, 200 * ms},
		"a forgotten script costs none":      {fetch, []error{forgot, forgot}, 0},
		"an empty queue costs none":          {fetch, []error{redis.Nil, redis.Nil}, 0},
		"whatever else fails, fails at once": {func() redis.Cmder { return redis.NewCmd(t.Context(), "ping") }, []error{away, away}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var answer error
				process := worker.Calm().ProcessHook(func(context.Context, redis.Cmder) error { return answer })
				began := time.Now()
				for _, answer = range c.answers {
					if err := process(t.Context(), c.command()); !errors.Is(err, answer) {
						t.Errorf("answered %v, want %v", err, answer)
					}
				}
				if took := time.Since(began); took < c.least || took > c.least*5/4 {
					t.Errorf("took %v, want %v and up to a quarter more", took, c.least)
				}
			})
		})
	}
}

// Each fetch moves a task into the active list before it fails: without a pause that is the whole queue at once.
func TestFetchesThatFailHalfwayLeaveFewTasksActive(t *testing.T) {
	t.Parallel()
	options := testservers.Redis(t).Options(t)
	r, client := redis.NewClient(options), redis.NewClient(options)
	t.Cleanup(func() { _, _ = r.Close(), client.Close() })
	enqueuer := asynq.NewClientFromRedisClient(r)
	for range 500 {
		if _, err := enqueuer.Enqueue(asynq.NewTask("kind", nil)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Set(t.Context(), "asynq:{default}:lease", "squatted", 0).Err(); err != nil {
		t.Fatal(err)
	}
	client.AddHook(worker.Calm())
	server := asynq.NewServerFromRedisClient(client, asynq.Config{TaskCheckInterval: 10 * time.Millisecond, LogLevel: asynq.FatalLevel})
	if err := server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return nil })); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	eventually(t, "three fetches have failed", func() bool { return r.LLen(t.Context(), "asynq:{default}:active").Val() >= 3 })
	if took := time.Since(began); took < 150*time.Millisecond {
		t.Errorf("three fetches failed within %v", took)
	}
	server.Shutdown()
	if n := r.LLen(t.Context(), "asynq:{default}:active").Val(); n > 20 {
		t.Errorf("%d tasks are stuck in the active list", n)
	}
}
