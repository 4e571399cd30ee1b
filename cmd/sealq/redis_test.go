package main

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestCommandsWaitOnlyWhenRedisIsAway(t *testing.T) {
	t.Parallel()
	for sentence, test := range map[string]struct {
		err  error
		want time.Duration
	}{
		"an answer":                {nil, 0},
		"nothing found":            {redis.Nil, 0},
		"a refusal by Redis":       {redisError("WRONGTYPE"), 0},
		"a connection that breaks": {&net.OpError{Op: "read", Err: errors.New("connection reset")}, outagePause},
		"a connection that is not": {errors.New("dial: refused"), outagePause},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				hook := calm{}.ProcessHook(func(context.Context, redis.Cmder) error { return test.err })
				pipeline := calm{}.ProcessPipelineHook(func(context.Context, []redis.Cmder) error { return test.err })
				began := time.Now()
				if err := hook(t.Context(), redis.NewCmd(t.Context())); !errors.Is(err, test.err) {
					t.Errorf("got %v, want %v", err, test.err)
				}
				if err := pipeline(t.Context(), nil); !errors.Is(err, test.err) {
					t.Errorf("got %v, want %v", err, test.err)
				}
				if took := time.Since(began); took != 2*test.want {
					t.Errorf("took %v, want %v", took, 2*test.want)
				}
			})
		})
	}
}

type redisError string

func (e redisError) Error() string { return string(e) }
func (redisError) RedisError()     {}
