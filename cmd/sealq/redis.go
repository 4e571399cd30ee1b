package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/cmd/sealq/internal/redisurl"
)

// reachPatience is how long a server may take to answer before it counts as unreachable.
const reachPatience = 5 * time.Second

// redisServer is where --redis-url leads.
type redisServer struct{ redisurl.Server }

// redis reads --redis-url. It connects to nothing.
func (s *session) redis() (redisServer, error) {
	text, err := s.Required("redis-url", "name the queue's Redis, such as redis://127.0.0.1:6379/0")
	if err != nil {
		return redisServer{}, err
	}
	server, err := redisurl.Parse(text)
	if err != nil {
		return redisServer{}, wrongly("%w", err)
	}
	return redisServer{server}, nil
}

// reach connects and pings. Its error says where, and what to do.
func (r redisServer) reach(ctx context.Context) (redis.UniversalClient, error) {
	client := r.Client()
	if err := pingRedis(ctx, client); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot reach Redis at %s (--redis-url): %w; %s", r.Where, err, r.Advice(err)), client.Close())
	}
	return client, nil
}

func pingRedis(ctx context.Context, client redis.UniversalClient) error {
	ctx, cancel := context.WithTimeout(ctx, reachPatience)
	defer cancel()
	if err := client.Ping(ctx).Err(); err != nil {
		return brief(err)
	}
	return nil
}

// outagePause is how long a command waits after Redis did not answer. asynq asks again at once, in a loop that
// takes a whole processor while Redis is away.
const outagePause = 250 * time.Millisecond

// calm is a hook that makes asynq's loops wait while Redis is away.
type calm struct{}

func (calm) DialHook(next redis.DialHook) redis.DialHook { return next }

func (calm) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		pauseAfter(ctx, err)
		return err
	}
}

func (calm) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		pauseAfter(ctx, err)
		return err
	}
}

// pauseAfter waits when err is no answer of Redis.
func pauseAfter(ctx context.Context, err error) {
	if _, answered := errors.AsType[redis.Error](err); err == nil || answered || ctx.Err() != nil {
		return
	}
	timer := time.NewTimer(outagePause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
