package doctor

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sealq/sealq/cmd/sealq/internal/redisurl"
	"github.com/sealq/sealq/jobs/rawtask"
)

// mostServers is how many of asynq's servers are asked what they serve.
const mostServers = 1000

// Served lists the queues that a living asynq server says it serves, and how many servers there are. asynq's Inspector would also
// delete the entries of servers that are gone.
func Served(ctx context.Context, c redis.UniversalClient, now int64) (queues map[string]bool, servers int, err error) {
	keys, err := c.ZRangeByScore(ctx, "asynq:servers", &redis.ZRangeBy{Min: strconv.FormatInt(now, 10), Max: "+inf", Count: mostServers}).Result()
	if err != nil {
		return nil, 0, err //nolint:wrapcheck // the caller says what it was about
	}
	queues = make(map[string]bool)
	for _, key := range keys {
		info, err := c.Get(ctx, key).Bytes()
		if errors.Is(err, redis.Nil) {
			continue
		}
		if err != nil {
			return nil, 0, err //nolint:wrapcheck // likewise
		}
		names, ok := queuesIn(info)
		if !ok {
			continue // somebody else's, or nobody's
		}
		servers++
		for _, name := range names {
			queues[name] = true
		}
	}
	return queues, servers, nil
}

// queuesIn reads the names of queues from what an asynq server says of itself (asynq v0.26.0, internal/proto/asynq.proto, ServerInfo).
func queuesIn(info []byte) (names []string, ok bool) {
	const fieldQueues, fieldName = 5, 1
	for len(info) > 0 {
		num, typ, n := protowire.ConsumeTag(info)
		if n < 0 {
			return nil, false
		}
		info = info[n:]
		if num == fieldQueues && typ == protowire.BytesType {
			entry, n := protowire.ConsumeBytes(info)
			if n < 0 {
				return nil, false
			}
			if field, kind, m := protowire.ConsumeTag(entry); m > 0 && field == fieldName && kind == protowire.BytesType {
				if name, k := protowire.ConsumeString(entry[m:]); k > 0 {
					names = append(names, name)
				}
			}
			info = info[n:]
			continue
		}
		if n = protowire.ConsumeFieldValue(num, typ, info); n < 0 {
			return nil, false
		}
		info = info[n:]
	}
	return names, true
}

func queuesServed(ctx context.Context, e *env) []Finding {
	served, servers, err := Served(ctx, e.redis, e.Now().Unix())
	if err != nil {
		return failed(err, "ask which queues workers serve", "look at the keys asynq:servers and asynq:servers:… of this Redis")
	}
	names, err := e.queues(ctx)
	if err != nil {
		return failed(err, "list the queues", notRedis)
	}
	tasks := rawtask.NewLister(e.redis)
	var unserved []string
	for _, name := range names {
		if served[name] {
			continue
		}
		counts, err := tasks.Counts(ctx, name)
		if redisurl.Denied(err) && !slices.Contains(e.Queues, name) {
			continue
		}
		if err != nil {
			return failed(err, "count tasks", notRedis)
		}
		if max(counts[rawtask.Pending], 0)+max(counts[rawtask.Scheduled], 0)+max(counts[rawtask.Retry], 0) > 0 {
			unserved = append(unserved, name)
		}
	}
	const advice = "start `sealq worker --queues …` with the queue, or the app's own worker"
	switch {
	case len(unserved) > 0:
		return say(Problem, advice, "tasks wait, and no worker serves %s", shownAll(unserved))
	case servers == 0:
		return say(Warning, advice, "no worker runs; nothing waits")
	}
	return fine("%s; every queue with tasks is served", plural(int64(servers), "worker"))
}
