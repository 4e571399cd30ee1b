package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/cmd/sealq/internal/brief"
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
		return brief.Error(err)
	}
	return nil
}
