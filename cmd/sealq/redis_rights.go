package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/cmd/sealq/internal/brief"
	"github.com/sealq/sealq/cmd/sealq/internal/redisacl"
)

// redisRights finds out whether a worker's user may do in Redis what a worker does. A server that answers to PING and refuses
// all else is of no use, and an operator looks for the fault in the wrong place if that is called an outage.
type redisRights struct {
	client redis.UniversalClient
	queues []string
	needs  func(queue string) [][]string // commands with their keys
	advice string
	asks   *redis.Script
}

// mayCall asks Redis for the commands that its user may not call, and calls none. ARGV: for each command the number of its
// words, and the words. redis.acl_check_cmd came with 7.0, as did the selectors that such users need.
const mayCall = `
if not redis.acl_check_cmd then return false end
local denied, i = {}, 1
while i <= #ARGV do
	local words = tonumber(ARGV[i])
	if not redis.acl_check_cmd(unpack(ARGV, i + 1, i + words)) then denied[#denied + 1] = ARGV[i + 1] end
	i = i + words + 1
end
return denied`

func newRedisRights(client redis.UniversalClient, server redisServer, queues []string) *redisRights {
	return &redisRights{
		client: client, queues: queues, needs: redisacl.WorkerNeeds, asks: redis.NewScript(mayCall),
		advice: server.Advice(errors.New("NOPERM")),
	}
}

// probe is the health check of Redis.
func (r *redisRights) probe(ctx context.Context) error {
	if err := r.pinged(ctx); err != nil {
		return err
	}
	for _, queue := range r.queues { // in a cluster each may be on a server of its own, with users of its own
		var words []any
		for _, command := range r.needs(queue) {
			words = append(words, len(command))
			for _, word := range command {
				words = append(words, word)
			}
		}
		denied, err := r.asks.Run(ctx, r.client, []string{probeKey(queue)}, words...).StringSlice()
		if errors.Is(err, redis.Nil) {
			err = r.tryHarmless(ctx, queue)
		}
		switch {
		case err != nil:
			return r.told(fmt.Errorf("for queue %s: %w", queue, err))
		case len(denied) > 0:
			slices.Sort(denied)
			return r.denied(fmt.Errorf("its user may not call %s for queue %s", strings.ToUpper(strings.Join(slices.Compact(denied), ", ")), queue))
		}
		if err := r.writes(ctx, queue); err != nil {
			return r.told(fmt.Errorf("it answers, but takes no writes for queue %s, so that nothing can be fetched: %w", queue, err))
		}
	}
	return nil
}

// writes tries a write without effect, for a key that exists alone, on one that nobody has: a replica and a full Redis answer to PING, and refuse it.
func (r *redisRights) writes(ctx context.Context, queue string) error {
	err := r.client.ZAddXX(ctx, probeKey(queue), redis.Z{Score: 1, Member: "x"}).Err()
	if redis.HasErrorPrefix(err, "WRONGTYPE") { // somebody has made one
		return nil
	}
	return err //nolint:wrapcheck // the caller says what it was for
}

func (r *redisRights) pinged(ctx context.Context) error {
	if err := pingRedis(ctx, r.client); err != nil {
		return r.told(err)
	}
	return nil
}

// told says what an error means: what is forbidden is no outage.
func (r *redisRights) told(err error) error {
	if strings.Contains(err.Error(), "NOPERM") {
		return r.denied(err)
	}
	return brief.Error(err)
}

func (r *redisRights) denied(err error) error {
	return fmt.Errorf("permission denied: %w; %s", err, r.advice)
}

// probeKey is under the queue's prefix, and nobody's.
func probeKey(queue string) string { return "asynq:{" + queue + "}:t:sealq-probe" }

// tryHarmless is for a Redis that cannot be asked: commands of each sort on a key that is not there.
func (r *redisRights) tryHarmless(ctx context.Context, queue string) error {
	key := probeKey(queue)
	pipe := r.client.Pipeline()
	pipe.Exists(ctx, key)
	pipe.HGet(ctx, key, "msg")
	pipe.LLen(ctx, key)
	pipe.LRem(ctx, key, 1, "x")
	pipe.RPopLPush(ctx, key, key)
	pipe.ZCount(ctx, key, "-inf", "+inf")
	pipe.ZRem(ctx, key, "x")
	pipe.HDel(ctx, key, "msg")
	cmds, err := pipe.Exec(ctx)
	if err == nil {
		return nil
	}
	for _, cmd := range cmds {
		if err := cmd.Err(); err != nil && !errors.Is(err, redis.Nil) && !redis.HasErrorPrefix(err, "WRONGTYPE") {
			return fmt.Errorf("%s: %w", cmd.Name(), err)
		}
	}
	return nil
}
