package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/sealq/sealq/cmd/sealq/internal/redisacl"
	"github.com/sealq/sealq/cmd/sealq/internal/redisurl"
	"github.com/sealq/sealq/internal/testservers"
)

// rightsAt is the health check of the Redis at a URL.
func rightsAt(t *testing.T, url string) *redisRights {
	t.Helper()
	where, err := redisurl.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	client := where.Client()
	t.Cleanup(func() { _ = client.Close() })
	return newRedisRights(client, redisServer{where}, []string{"critical", "mail"})
}

// A user who may not do a worker's work is told of as that, and not as an outage.
func TestAWorkerWhoseUserMayNotDoItsWorkIsNotReady(t *testing.T) {
	t.Parallel()
	const password = "a password for one test"
	hash, err := redisacl.Hash(password)
	if err != nil {
		t.Fatal(err)
	}
	users, err := redisacl.Users(redisacl.Config{
		Queues: []string{"critical", "mail"}, Prefix: "sealq-", Hashes: map[redisacl.Role]string{redisacl.Worker: hash, redisacl.Enqueuer: hash},
	}, redisacl.Worker, redisacl.Enqueuer)
	if err != nil {
		t.Fatal(err)
	}
	worker, enqueuer := users[0].SetUser(), users[1].SetUser()
	without := func(rule string) string {
		if !strings.Contains(worker, rule) {
			t.Fatalf("%s has no %s", worker, rule)
		}
		return strings.ReplaceAll(worker, rule, "")
	}
	top := testservers.SingleRedis(t, testservers.RedisOptions{Password: "admin"})
	for name, test := range map[string]struct {
		user string
		want []string // parts of what is told; none: nothing is wrong
	}{
		"a worker's":                     {user: worker},
		"nothing":                        {"ACL SETUSER sealq-worker reset on #" + hash, []string{"permission denied", "sealq redis-acl"}},
		"PING alone":                     {"ACL SETUSER sealq-worker reset on #" + hash + " +ping", []string{"permission denied", "sealq redis-acl"}},
		"an enqueuer's":                  {strings.Replace(enqueuer, "sealq-enqueuer", "sealq-worker", 1), []string{"permission denied", "RPOPLPUSH", "sealq redis-acl"}},
		"all but ZADD":                   {without(" +zadd"), []string{"permission denied", "may not call ZADD for queue critical", "sealq redis-acl"}},
		"one of two queues":              {without("~asynq:{mail}:* "), []string{"permission denied", "for queue mail", "sealq redis-acl"}},
		"no news of cancellations":       {without(" &asynq:cancel"), []string{"permission denied", "may not call SUBSCRIBE", "sealq redis-acl"}},
		"no telling that it lives":       {without("~asynq:servers ~asynq:servers:* "), []string{"permission denied", "SETEX", "sealq redis-acl"}},
		"no announcing of queues":        {without("(%W~asynq:queues +sadd)"), []string{"permission denied", "may not call SADD", "sealq redis-acl"}},
		"all there is, as without users": {user: "ACL SETUSER sealq-worker reset on #" + hash + " ~* &* +@all"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			admin, user := top.Admins()[0], "sealq-worker-"+strings.ReplaceAll(strings.ReplaceAll(name, " ", "-"), ",", "")
			var command []any
			for word := range strings.FieldsSeq(strings.Replace(test.user, "sealq-worker", user, 1)) {
				command = append(command, word)
			}
			if err := admin.Do(t.Context(), command...).Err(); err != nil {
				t.Fatal(err)
			}
			before, err := admin.DBSize(t.Context()).Result()
			if err != nil {
				t.Fatal(err)
			}
			told := rightsAt(t, top.URLAs(user, password)).probe(t.Context())
			switch {
			case len(test.want) == 0 && told != nil:
				t.Errorf("it is told of: %v", told)
			case len(test.want) > 0 && told == nil:
				t.Error("nothing is told")
			}
			for _, want := range test.want {
				if told != nil && !strings.Contains(told.Error(), want) {
					t.Errorf("%q does not contain %q", told, want)
				}
			}
			if told != nil && (strings.Contains(told.Error(), password) || strings.Contains(told.Error(), "refused")) {
				t.Errorf("%q has a password in it, or sounds like an outage", told)
			}
			if after, err := admin.DBSize(t.Context()).Result(); err != nil || after != before {
				t.Errorf("the look has left something behind: %d keys, %d before, %v", after, before, err)
			}
		})
	}
}

func TestARedisThatIsAwayIsToldAsAnOutage(t *testing.T) {
	t.Parallel()
	server := testservers.Redis(t)
	rights := rightsAt(t, server.URL())
	if err := rights.probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Stop(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := rights.probe(ctx)
	if err == nil || !strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), "permission") {
		t.Errorf("it is told as %v", err)
	}
}

// What cannot be asked, because it is older than 7.0 or none of Redis's own, is tried.
func TestARedisThatKnowsNoRightsIsTried(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	if err := rightsAt(t, "redis://"+server.Addr()).probe(t.Context()); err != nil {
		t.Error(err)
	}
	if keys := server.Keys(); len(keys) > 0 {
		t.Errorf("it has left %v behind", keys)
	}
}

// A replica, or a Redis that is full, answers to PING. No worker can fetch from it.
func TestAWorkerWhoseRedisTakesNoWritesIsNotReady(t *testing.T) {
	t.Parallel()
	for want, settings := range map[string][2][]any{
		"READONLY ":   {{"REPLICAOF", "127.0.0.1", "1"}, {"REPLICAOF", "NO", "ONE"}},
		"OOM ":        {{"CONFIG", "SET", "maxmemory", "1"}, {"CONFIG", "SET", "maxmemory", "0"}},
		"NOREPLICAS ": {{"CONFIG", "SET", "min-replicas-to-write", "1"}, {"CONFIG", "SET", "min-replicas-to-write", "0"}},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			top := testservers.SingleRedis(t, testservers.RedisOptions{Password: "admin"})
			admin, rights := top.Admins()[0], rightsAt(t, top.URL())
			for i, broken := range []bool{true, false} {
				if err := admin.Do(t.Context(), settings[i]...).Err(); err != nil {
					t.Fatal(err)
				}
				err := rights.probe(t.Context())
				if broken != (err != nil) || broken && (!strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "takes no writes")) {
					t.Errorf("broken %v: %v", broken, err)
				}
			}
		})
	}
}
