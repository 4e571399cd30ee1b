package doctor

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/cmd/sealq/internal/redisurl"
)

const groupRedis = "redis"

// notRedis is what to do about an answer that no Redis gives.
const notRedis = "look whether it is Redis that answers there"

func redisChecks() []check {
	return []check{
		{groupRedis, "version", queue, redisVersion},
		{groupRedis, "writes", queue, redisWrites},
		{groupRedis, "eviction", queue, redisEviction},
		{groupRedis, "persistence", queue, redisPersistence},
		{groupRedis, "protection", queue, redisProtection},
		{groupRedis, "clock", queue, redisClock},
		{groupRedis, "rights too wide", queue, rightsTooWide},
		{groupRedis, "rights enough", queue, rightsEnough},
	}
}

// eachMaster asks every server that holds keys; one alone where there is no cluster.
func (e *env) eachMaster(ctx context.Context, ask func(ctx context.Context, c *redis.Client) error) error {
	switch client := e.redis.(type) {
	case *redis.ClusterClient:
		return client.ForEachMaster(ctx, ask) //nolint:wrapcheck // the check says what it was about
	case *redis.Client:
		return ask(ctx, client)
	}
	return fmt.Errorf("a client of the type %T is not known here", e.redis)
}

// redisVersion is asked by HELLO, which every user may.
func redisVersion(ctx context.Context, e *env) []Finding {
	var mu sync.Mutex
	oldest, least := "", 0
	err := e.eachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
		answer, err := c.Do(ctx, "HELLO").Result()
		if err != nil {
			return err //nolint:wrapcheck // likewise
		}
		version := versionIn(answer)
		mu.Lock()
		defer mu.Unlock()
		if n := versionNumber(version); oldest == "" || n < least {
			oldest, least = version, n
		}
		return nil
	})
	if err != nil {
		return failed(err, "ask Redis for its version", notRedis)
	}
	return redisVersionIs(oldest)
}

func redisVersionIs(version string) []Finding {
	switch oldest, least := version, versionNumber(version); {
	case least < 602:
		return say(Problem, "upgrade it to Redis 6.2 or later, better 7", "Redis is version %s, and asynq needs 6.2: its archive would not be trimmed", shown(oldest))
	case least < 700:
		return say(Warning, "upgrade it to Redis 7 where users of its own are wanted: `sealq redis-acl` needs that", "Redis is version %s", shown(oldest))
	}
	return fine("Redis is version %s", shown(version))
}

// versionIn finds the version in HELLO's answer, which is a map or a list by the protocol in use.
func versionIn(answer any) string {
	switch answer := answer.(type) {
	case map[any]any:
		version, _ := answer["version"].(string)
		return version
	case []any:
		for i := 0; i+1 < len(answer); i += 2 {
			if answer[i] == "version" {
				version, _ := answer[i+1].(string)
				return version
			}
		}
	}
	return ""
}

// versionNumber is 602 for 6.2.14.
func versionNumber(version string) int {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(major)
	m, minorErr := strconv.Atoi(minor)
	if err != nil || minorErr != nil {
		return 0
	}
	return 100*n + m
}

// redisWrites tries writes without effect, on keys that nobody has and for those that exist alone. Redis refuses them before it looks.
func redisWrites(ctx context.Context, e *env) []Finding {
	may := false
	for _, queue := range e.Queues {
		prefix := "asynq:{" + queue + "}:"
		for _, write := range [][]any{
			{"ZADD", prefix + "t:" + probed, "XX", 1, probed},
			{"SET", prefix + "unique:" + probed, 1, "XX", "EX", 1}, // the enqueuer's
		} {
			err := e.redis.Do(ctx, write...).Err()
			if redisurl.Denied(err) {
				continue
			}
			if !isNil(err) {
				return refusesWrites(err)
			}
			may = true
			break
		}
	}
	if !may {
		return skipped("not looked at: this Redis user may not write to any of the queues; a worker's or an administrator's can tell")
	}
	return fine("it takes writes")
}

func refusesWrites(err error) []Finding {
	for prefix, told := range map[string]struct{ message, advice string }{
		"READONLY":   {"Redis is a replica: it takes no writes, so that nothing is enqueued and no worker fetches", "name its master in --redis-url, or all sentinels (redis-sentinel://…); if there is no master, find out why no replica took over (docs/redis.md)"},
		"OOM":        {"Redis is full (maxmemory): it takes no tasks, and no worker fetches", "give it more memory, CONFIG SET maxmemory, and look at what fills it: `sealq tasks list`"},
		"MISCONF":    {"Redis takes no writes because it could not save itself", "make room on its disk, look for rights there and into its log"},
		"NOREPLICAS": {"Redis takes no writes because its replicas are away (min-replicas-to-write)", "bring the replicas back"},
	} {
		if redis.HasErrorPrefix(err, prefix) {
			return say(Problem, told.advice, "%s", told.message)
		}
	}
	return failed(err, "try whether Redis takes writes", notRedis)
}

// info reads a section of INFO from every server.
func (e *env) info(ctx context.Context, section string) ([]map[string]string, error) {
	var mu sync.Mutex
	var all []map[string]string
	err := e.eachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
		text, err := c.Info(ctx, section).Result()
		if err != nil {
			return err //nolint:wrapcheck // likewise
		}
		values := make(map[string]string)
		for line := range strings.Lines(text) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			values[name] = value
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, values)
		return nil
	})
	return all, err
}

func redisEviction(ctx context.Context, e *env) []Finding {
	servers, err := e.info(ctx, "memory")
	if err != nil {
		return failed(err, "ask Redis what it evicts (INFO memory)", notRedis)
	}
	const advice = "set maxmemory-policy to noeviction in redis.conf, and now: CONFIG SET maxmemory-policy noeviction (docs/redis.md)"
	worst := fine("nothing is evicted")
	for _, s := range servers {
		policy, bounded := s["maxmemory_policy"], s["maxmemory"] != "0"
		switch {
		case policy == "noeviction" || policy == "":
		case bounded:
			return say(Problem, advice, "when its memory is full, Redis deletes tasks (maxmemory-policy %s)", shown(policy))
		default:
			worst = say(Warning, advice, "Redis would delete tasks if it had a memory limit (maxmemory-policy %s, without maxmemory)", shown(policy))
		}
	}
	return worst
}

func redisPersistence(ctx context.Context, e *env) []Finding {
	servers, err := e.info(ctx, "persistence")
	if err != nil {
		return failed(err, "ask Redis how it saves (INFO persistence)", notRedis)
	}
	saves := "no append-only file: what a restart of Redis loses, the outbox restores"
	for _, s := range servers {
		switch {
		case s["loading"] == "1":
			return say(Warning, "wait until it has", "Redis is loading what it has saved, and takes no commands until then")
		case s["rdb_last_bgsave_status"] == "err" || s["aof_last_write_status"] == "err" || s["aof_last_bgrewrite_status"] == "err":
			return say(Problem, "make room on its disk, or mend the folder's rights, and look into Redis's log", "Redis could not save itself the last time, and by default takes no writes until it can")
		case s["aof_enabled"] == "1":
			saves = "it keeps an append-only file"
		}
	}
	return fine("%s", saves)
}

func redisProtection(_ context.Context, e *env) []Finding {
	s := e.Redis
	const users = "give each process a user of its own, as `sealq redis-acl` prints them, with a long password"
	switch {
	case !s.Password && !s.Local:
		return say(Problem, users, "Redis takes commands from everybody who reaches it: no password is needed")
	case !s.Password:
		return say(Warning, users, "Redis takes commands from everybody on this machine: no password is needed")
	case !s.TLS && !s.Local:
		return say(Warning, "turn TLS on: rediss://, or tls=true for sentinels and clusters (docs/redis.md)", "the password and all tasks go to %s in the clear", s.Where)
	}
	if s.TLS {
		return fine("the connection is protected by TLS and a password")
	}
	return fine("a password is needed, on this machine")
}

// The clocks of host and servers. Leases and signatures count in seconds: asynq's lease is 30 s, the signatures' leeway 60 s.
const (
	skewWarning = 5 * time.Second
	skewProblem = 15 * time.Second
)

// skew says what a difference of clocks means. trip is how long the answer took, by which the difference is uncertain.
func skew(of string, ahead, trip time.Duration) []Finding {
	off, way := ahead, "ahead of"
	if off < 0 {
		off, way = -off, "behind"
	}
	off = max(off-trip/2, 0)
	const advice = "let chrony or ntpd set the clocks of both machines"
	text := fmt.Sprintf("the clock of %s is %s %s this host's", of, off.Truncate(time.Second), way)
	switch {
	case off > skewProblem:
		return say(Problem, advice, "%s: leases end while tasks run, and they run twice", text)
	case off > skewWarning:
		return say(Warning, advice, "%s", text)
	}
	return fine("the clock of %s agrees with this host's within %s", of, max(off, time.Second).Round(time.Second))
}

func redisClock(ctx context.Context, e *env) []Finding {
	var mu sync.Mutex
	var worst, trip time.Duration
	err := e.eachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
		asked := e.Now()
		at, err := c.Time(ctx).Result()
		if err != nil {
			return err //nolint:wrapcheck // likewise
		}
		took := e.Now().Sub(asked)
		ahead := at.Sub(asked.Add(took / 2))
		mu.Lock()
		defer mu.Unlock()
		if ahead.Abs() >= worst.Abs() {
			worst, trip = ahead, took
		}
		return nil
	})
	if err != nil {
		return failed(err, "ask Redis for its time (TIME)", notRedis)
	}
	return skew("Redis", worst, trip)
}

// isNil says whether Redis has answered that there is nothing.
func isNil(err error) bool { return err == nil || errors.Is(err, redis.Nil) }
