package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/cmd/sealq/internal/redisacl"
	"github.com/sealq/sealq/cmd/sealq/internal/redisurl"
)

// probed is a key that nobody has: asking for it answers nothing and changes nothing.
const probed = "sealq-doctor"

// rightsTooWide asks for what sealq never does. What it asks for reads.
func rightsTooWide(ctx context.Context, e *env) []Finding {
	probes := []struct {
		may string
		ask []any
	}{
		{"change users and their rights", []any{"ACL", "LIST"}},
		{"change the configuration", []any{"CONFIG", "GET", "maxmemory"}},
		{"use keys that are not asynq's", []any{"EXISTS", probed}},
		{"use the keys of every queue", []any{"EXISTS", "asynq:{" + probed + "}:t:" + probed}},
	}
	var may []string
	for _, p := range probes {
		err := e.redis.Do(ctx, p.ask...).Err()
		switch {
		case isNil(err):
			may = append(may, p.may)
		case !redisurl.Denied(err):
			return failed(err, "try what the user may do", notRedis)
		}
	}
	user := e.Redis.User
	if user == "" {
		user = "default"
	}
	if len(may) == 0 {
		return fine("the user %s may not configure Redis, change users, or use keys that are not sealq's", shown(user))
	}
	if slices.Contains(may, probes[0].may) && e.mayFlush(ctx, user) {
		may = append(may, "empty it (FLUSHALL)")
	}
	return say(Warning, "log in as a user that `sealq redis-acl` prints, and take the rights from this one",
		"the user %s may %s, none of which sealq does", shown(user), strings.Join(may, ", "))
}

// mayFlush asks by a dry run, which Redis 7 has and only those may who may change users.
func (e *env) mayFlush(ctx context.Context, user string) bool {
	answer, err := e.redis.Do(ctx, "ACL", "DRYRUN", user, "FLUSHALL").Text()
	return err == nil && answer == "OK"
}

// rightsEnough tries for each role what it needs in each queue, by commands without effect: on a key that nobody has, or for keys that
// exist alone. What they cannot show is left out, such as LPUSH.
func rightsEnough(ctx context.Context, e *env) []Finding {
	lacking := make(map[redisacl.Role][]string)
	var can []string
	nearest, least := redisacl.Enqueuer, 0.5
	for _, role := range redisacl.Roles() {
		lacks, err := e.tryRole(ctx, role)
		if err != nil {
			return failed(err, "try what the user may do", notRedis)
		}
		if len(lacks) == 0 {
			can = append(can, string(role))
		}
		lacking[role] = lacks
		// Whoever may do most of what a role needs was meant for it, though he may do all that a lesser one needs.
		tried := len(e.Queues)*len(probesOf(role)) + len(probesOfAll(role))
		if part := float64(len(lacks)) / float64(max(tried, 1)); len(lacks) > 0 && part < least {
			nearest, least = role, part
		}
	}
	bigger := slices.Contains(can, string(redisacl.Worker)) || slices.Contains(can, string(redisacl.Dashboard))
	if bigger || len(can) > 0 && nearest == redisacl.Enqueuer {
		return fine("the user may do what sealq does as %s, in %s", strings.Join(can, ", "), shownAll(e.Queues))
	}
	return say(Problem, fmt.Sprintf("give it what `sealq redis-acl %s --queues …` prints, with all queues of the outbox", nearest),
		"the user may not do enough for any role: as %s it lacks %s", nearest, shownAll(lacking[nearest]))
}

// tryRole lists what the role lacks.
func (e *env) tryRole(ctx context.Context, role redisacl.Role) ([]string, error) {
	type attempt struct {
		what string
		cmd  *redis.Cmd
	}
	var tried []attempt
	pipe := e.redis.Pipeline()
	for _, queue := range e.Queues {
		for _, line := range probesOf(role) {
			words := strings.Fields(line)
			command := make([]any, len(words))
			for i, word := range words {
				if rest, ofQueue := strings.CutPrefix(word, "Q:"); ofQueue {
					command[i] = "asynq:{" + queue + "}:" + rest
					continue
				}
				command[i] = strings.ReplaceAll(word, "_", " ")
			}
			tried = append(tried, attempt{strings.ToUpper(words[0]) + " in queue " + queue, pipe.Do(ctx, command...)})
		}
	}
	for _, line := range probesOfAll(role) {
		words := strings.Fields(line)
		command := make([]any, len(words))
		for i, word := range words {
			command[i] = word
		}
		tried = append(tried, attempt{strings.ToUpper(line), pipe.Do(ctx, command...)})
	}
	if len(tried) == 0 {
		return nil, nil
	}
	_, _ = pipe.Exec(ctx) // the answers tell
	var lacks []string
	for _, t := range tried {
		err := t.cmd.Err()
		_, answered := errors.AsType[redis.Error](err)
		switch {
		case redisurl.Denied(err):
			lacks = append(lacks, t.what)
		case !isNil(err) && !answered:
			return nil, fmt.Errorf("try %s: %w", t.what, err)
		}
	}
	return lacks, nil
}

// probesOf are commands without effect, on keys of a queue: Q: is what its keys begin with, and _ a space.
func probesOf(role redisacl.Role) []string {
	const key = "Q:t:" + probed
	lines := func(commands ...string) []string {
		all := make([]string, len(commands))
		for i, c := range commands {
			all[i] = strings.ReplaceAll(c, "KEY", key)
		}
		return all
	}
	switch role {
	case redisacl.Enqueuer:
		return lines("EXISTS KEY", "EVAL return_1 1 KEY", "ZADD Q:scheduled XX 1 "+probed, "SET Q:unique:"+probed+" 1 XX EX 1")
	case redisacl.Worker:
		return lines("EVAL return_1 1 KEY", "DEL KEY", "EXISTS KEY", "EXPIREAT KEY 1", "GET KEY", "HDEL KEY f", "HEXISTS KEY f", "HGET KEY f", "HMGET KEY f", "LLEN KEY",
			"LPOS KEY x", "LRANGE KEY 0 0", "LREM KEY 0 x", "RPOPLPUSH KEY KEY", "SET KEY 1 XX", "STRLEN KEY", "TYPE KEY", "UNLINK KEY", "ZADD KEY XX 1 m",
			"ZCOUNT KEY 0 1", "ZRANGE KEY 0 0", "ZRANGEBYSCORE KEY 0 1", "ZREM KEY m", "ZREMRANGEBYSCORE KEY 0 1", "ZSCORE KEY m")
	case redisacl.Dashboard:
		return lines("EVAL return_1 1 KEY", "DEL KEY", "EXISTS KEY", "GET KEY", "HEXISTS KEY f", "HGET KEY f", "HMGET KEY f", "HSTRLEN KEY f", "LINDEX KEY 0", "LLEN KEY",
			"LPOS KEY x", "LRANGE KEY 0 0", "LREM KEY 0 x", "SCARD KEY", "SMEMBERS KEY", "SREM KEY m", "SSCAN KEY 0", "TYPE KEY", "ZADD KEY XX 1 m", "ZCARD KEY",
			"ZRANGE KEY 0 0", "ZRANGEBYSCORE KEY 0 1", "ZREM KEY m", "ZREMRANGEBYRANK KEY 0 0", "ZREMRANGEBYSCORE KEY 0 1", "ZSCORE KEY m")
	}
	return nil
}

// probesOfAll are those on what all queues share.
func probesOfAll(role redisacl.Role) []string {
	switch role {
	case redisacl.Enqueuer:
		return nil
	case redisacl.Worker:
		return []string{"TIME"}
	case redisacl.Dashboard:
		return []string{"SSCAN asynq:queues 0", "ZRANGEBYSCORE asynq:servers 0 1"}
	}
	return nil
}
