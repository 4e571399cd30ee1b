package doctor_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/cmd/sealq/internal/doctor"
	"github.com/sealq/sealq/cmd/sealq/internal/redisacl"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs/rawtask"
)

func TestAHealthyRedisOfAnyFormHasNoProblem(t *testing.T) {
	t.Parallel()
	o := testservers.RedisOptions{Password: "admin"}
	for name, top := range map[string]func(t *testing.T) *testservers.Topology{
		"single": func(t *testing.T) *testservers.Topology { t.Helper(); return testservers.SingleRedis(t, o) },
		"with TLS": func(t *testing.T) *testservers.Topology {
			t.Helper()
			return testservers.SingleRedis(t, testservers.RedisOptions{Password: "admin", TLS: true})
		},
		"socket":    func(t *testing.T) *testservers.Topology { t.Helper(); return testservers.SocketRedis(t, o) },
		"sentinels": func(t *testing.T) *testservers.Topology { t.Helper(); return testservers.Sentinels(t, o) },
		"cluster":   func(t *testing.T) *testservers.Topology { t.Helper(); return testservers.Cluster(t, o) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &patient{Config: doctor.Config{Queues: []string{"critical", "mail"}}}
			p.lookAt(t, top(t).URL())
			r := p.run(t)
			without(t, r)
			for _, name := range []string{"connection", "version", "writes", "eviction", "persistence", "clock", "rights enough"} {
				says(t, findIn(t, r, "redis", name), doctor.OK, "", "")
			}
			says(t, findIn(t, r, "queues", "tasks"), doctor.OK, "nothing is wrong with 0 tasks", "")
		})
	}
}

func TestWhatIsWrongWithRedisIsTold(t *testing.T) {
	t.Parallel()
	set := func(pairs ...string) func(t *testing.T, p *patient) {
		return func(t *testing.T, p *patient) {
			t.Helper()
			for i := 0; i < len(pairs); i += 2 {
				check(t, p.redis.ConfigSet(t.Context(), pairs[i], pairs[i+1]).Err())
			}
		}
	}
	clock := func(by time.Duration) func(*testing.T, *patient) {
		return func(_ *testing.T, p *patient) { p.Now = func() time.Time { return time.Now().Add(by) } }
	}
	as := func(role redisacl.Role, rules ...string) func(t *testing.T, p *patient) {
		return func(t *testing.T, p *patient) { t.Helper(); p.user(t, role, p.Queues, rules...) }
	}
	for sentence, test := range map[string]struct {
		harm            func(t *testing.T, p *patient)
		check           string
		status          doctor.Status
		message, advice string
	}{
		"it is not there": {func(t *testing.T, p *patient) { t.Helper(); p.lookAt(t, "redis://"+closedPort(t)) }, "connection", doctor.Problem, "cannot reach Redis at 127.0.0.1:", "start it or correct the URL"},
		"the default is not there, and nobody has named it": {func(t *testing.T, p *patient) {
			t.Helper()
			p.lookAt(t, "redis://"+closedPort(t))
			p.Redis.Given = false
		}, "connection", doctor.Skipped, "no Redis is named (--redis-url)", ""},
		"it wants a password":        {func(t *testing.T, p *patient) { t.Helper(); p.lookAt(t, "redis://"+p.redis.Options().Addr) }, "connection", doctor.Problem, "NOAUTH", "put USER:PASSWORD@ into the URL"},
		"it evicts":                  {set("maxmemory", "100mb", "maxmemory-policy", "allkeys-lru"), "eviction", doctor.Problem, "Redis deletes tasks (maxmemory-policy allkeys-lru)", "CONFIG SET maxmemory-policy noeviction"},
		"it would evict":             {set("maxmemory-policy", "volatile-ttl"), "eviction", doctor.Warning, "would delete tasks", "noeviction"},
		"it is full":                 {set("maxmemory", "1"), "writes", doctor.Problem, "Redis is full", "more memory"},
		"its replicas are away":      {set("min-replicas-to-write", "1"), "writes", doctor.Problem, "its replicas are away", "bring the replicas back"},
		"it cannot save, and was to": {func(t *testing.T, p *patient) { t.Helper(); set("save", "3600 1")(t, p); cannotSave(t, p) }, "writes", doctor.Problem, "could not save itself", "make room on its disk"},
		"it takes writes":            {func(*testing.T, *patient) {}, "writes", doctor.OK, "it takes writes", ""},
		"it takes a worker's":        {as(redisacl.Worker), "writes", doctor.OK, "it takes writes", ""},
		"it takes an enqueuer's":     {as(redisacl.Enqueuer), "writes", doctor.OK, "it takes writes", ""},
		"it takes a dashboard's":     {as(redisacl.Dashboard), "writes", doctor.OK, "it takes writes", ""},
		"the user may write none":    {as(redisacl.Worker, "-@write"), "writes", doctor.Skipped, "this Redis user may not write", ""},
		"it is a replica": {func(t *testing.T, p *patient) {
			t.Helper()
			check(t, p.redis.ReplicaOf(t.Context(), "127.0.0.1", "1").Err())
		}, "writes", doctor.Problem, "Redis is a replica", "name its master in --redis-url"},
		"it cannot save":                       {cannotSave, "persistence", doctor.Problem, "could not save itself", "make room on its disk"},
		"no password is needed":                {func(t *testing.T, p *patient) { t.Helper(); p.lookAt(t, "redis://"+p.redis.Options().Addr) }, "protection", doctor.Skipped, "no connection", ""},
		"no password, and here":                {unprotected, "protection", doctor.Warning, "everybody on this machine", "sealq redis-acl"},
		"no password, and far":                 {func(t *testing.T, p *patient) { t.Helper(); unprotected(t, p); p.Redis.Local = false }, "protection", doctor.Problem, "everybody who reaches it", "sealq redis-acl"},
		"no TLS":                               {func(_ *testing.T, p *patient) { p.Redis.Local = false }, "protection", doctor.Warning, "in the clear", "rediss://"},
		"its clock is off":                     {clock(8 * time.Second), "clock", doctor.Warning, "behind this host's", "chrony"},
		"its clock is wrong":                   {clock(-20 * time.Second), "clock", doctor.Problem, "ahead of this host's: leases end", "chrony"},
		"the user may do all":                  {func(*testing.T, *patient) {}, "rights too wide", doctor.Warning, "the user default may change users and their rights, change the configuration, use keys that are not asynq's, use the keys of every queue, empty it (FLUSHALL)", "sealq redis-acl"},
		"a worker may configure":               {as(redisacl.Worker, "+config|get"), "rights too wide", doctor.Warning, "the user sealq-worker may change the configuration,", "sealq redis-acl"},
		"a worker may use all":                 {as(redisacl.Worker, "~*"), "rights too wide", doctor.Warning, "use keys that are not asynq's", "sealq redis-acl"},
		"a worker lacks a right":               {as(redisacl.Worker, "-hget"), "rights enough", doctor.Problem, "as worker it lacks HGET in queue critical, HGET in queue mail", "sealq redis-acl worker"},
		"a dashboard lacks one":                {as(redisacl.Dashboard, "-lindex"), "rights enough", doctor.Problem, "as dashboard it lacks LINDEX in queue critical", "sealq redis-acl dashboard"},
		"it may use another queue":             {func(t *testing.T, p *patient) { t.Helper(); p.user(t, redisacl.Worker, []string{"other"}) }, "rights enough", doctor.Problem, "lacks", "with all queues of the outbox"},
		"a worker's user":                      {as(redisacl.Worker), "rights too wide", doctor.OK, "the user sealq-worker may not configure Redis", ""},
		"a worker's is enough":                 {as(redisacl.Worker), "rights enough", doctor.OK, "as enqueuer, worker, in critical, mail", ""},
		"a dashboard's is enough":              {as(redisacl.Dashboard), "rights enough", doctor.OK, "dashboard", ""},
		"an enqueuer's is enough":              {as(redisacl.Enqueuer), "rights enough", doctor.OK, "as enqueuer, in", ""},
		"a worker may not say what is evicted": {as(redisacl.Worker), "eviction", doctor.Skipped, "this Redis user may not ask Redis what it evicts", ""},
		"a dashboard sees the clock":           {as(redisacl.Dashboard), "clock", doctor.OK, "", ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			p := onRedis(t)
			test.harm(t, p)
			says(t, p.finds(t, "redis", test.check), test.status, test.message, test.advice)
		})
	}
}

func unprotected(t *testing.T, p *patient) {
	t.Helper()
	p.lookAt(t, testservers.SingleRedis(t, testservers.RedisOptions{}).URL())
}

// cannotSave takes the folder away in which Redis saves itself.
func cannotSave(t *testing.T, p *patient) {
	t.Helper()
	dir := p.redis.ConfigGet(t.Context(), "dir").Val()["dir"]
	check(t, os.RemoveAll(dir))
	_ = p.redis.BgSave(t.Context()).Err()
	eventually(t, "saving has failed", func() bool {
		text := p.redis.Info(t.Context(), "persistence").Val()
		return len(text) > 0 && contains(text, "rdb_last_bgsave_status:err")
	})
}

func TestOldServersAreTold(t *testing.T) {
	t.Parallel()
	for version, status := range map[string]doctor.Status{
		"6.0.16": doctor.Problem, "5.0.7": doctor.Problem, "": doctor.Problem, "x": doctor.Problem, "6.2.0": doctor.Warning, "7.0.15": doctor.OK, "8.2": doctor.OK, "10.0.1": doctor.OK,
	} {
		advice := map[doctor.Status]string{doctor.Problem: "upgrade", doctor.Warning: "upgrade"}[status]
		says(t, doctor.RedisVersionIs(version)[0], status, "Redis is version "+version, advice)
	}
	says(t, doctor.PostgresIs(120010)[0], doctor.Problem, "version 12", "upgrade")
	says(t, doctor.PostgresIs(130001)[0], doctor.OK, "version 13.1", "")
}

const queueKey = "asynq:{critical}:"

// Each is what a worker's janitor, or its fetching, would put in order.
func TestWhatIsWrongInAQueueIsToldAndLeftAsItIs(t *testing.T) {
	t.Parallel()
	now := func(d time.Duration) float64 { return float64(time.Now().Add(d).Unix()) }
	active := func(ctx context.Context, p *patient, lease time.Duration) {
		p.redis.LMove(ctx, queueKey+"pending", queueKey+"active", "RIGHT", "LEFT")
		p.redis.HSet(ctx, queueKey+"t:a", "state", "active")
		if lease != 0 {
			p.redis.ZAdd(ctx, queueKey+"lease", redis.Z{Score: now(lease), Member: "a"})
		}
	}
	edit := func(ctx context.Context, p *patient, change func([]byte) []byte) {
		msg, _ := p.redis.HGet(ctx, queueKey+"t:a", "msg").Bytes()
		p.redis.HSet(ctx, queueKey+"t:a", "msg", change(msg))
	}
	for sentence, test := range map[string]struct {
		harm    func(ctx context.Context, p *patient)
		status  doctor.Status
		message string
	}{
		"a malformed message":     {func(ctx context.Context, p *patient) { p.redis.HSet(ctx, queueKey+"t:a", "msg", "\xff") }, doctor.Problem, "of 1 task: 1 malformed"},
		"an entry without a task": {func(ctx context.Context, p *patient) { p.redis.LPush(ctx, queueKey+"pending", "b", "c") }, doctor.Problem, "2 listed without a task"},
		"a squatted key": {func(ctx context.Context, p *patient) {
			p.redis.Del(ctx, queueKey+"t:a")
			p.redis.Set(ctx, queueKey+"t:a", "x", 0)
		}, doctor.Problem, "1 of a type that is not asynq's"},
		"a squatted list":      {func(ctx context.Context, p *patient) { p.redis.Set(ctx, queueKey+"retry", "x", 0) }, doctor.Problem, "the keys of its retry tasks are not of asynq's type"},
		"a squatted lease set": {func(ctx context.Context, p *patient) { p.redis.Set(ctx, queueKey+"lease", "x", 0) }, doctor.Problem, "leased"},
		"a copy under another ID": {func(ctx context.Context, p *patient) {
			p.redis.Copy(ctx, queueKey+"t:a", queueKey+"t:b", 0, true)
			p.redis.LPush(ctx, queueKey+"pending", "b")
		}, doctor.Problem, "1 under the ID of another"},
		"a task in two states": {func(ctx context.Context, p *patient) {
			p.redis.ZAdd(ctx, queueKey+"scheduled", redis.Z{Score: now(time.Hour), Member: "a"})
		}, doctor.Problem, "in two states at once"},
		"a task in no list":      {func(ctx context.Context, p *patient) { p.redis.Del(ctx, queueKey+"pending") }, doctor.Problem, "1 in no list"},
		"active without a lease": {func(ctx context.Context, p *patient) { active(ctx, p, 0) }, doctor.Problem, "1 active without a lease"},
		"its worker gone":        {func(ctx context.Context, p *patient) { active(ctx, p, -time.Minute) }, doctor.Problem, "1 active though their workers are gone"},
		"an endless lease":       {func(ctx context.Context, p *patient) { active(ctx, p, time.Hour) }, doctor.Problem, "1 active under a lease longer than asynq gives"},
		"a lease of no active task": {func(ctx context.Context, p *patient) {
			p.redis.ZAdd(ctx, queueKey+"lease", redis.Z{Score: 1, Member: "b"})
		}, doctor.Problem, "1 leased though not active"},
		"an absurd count of tries": {func(ctx context.Context, p *patient) {
			edit(ctx, p, func(m []byte) []byte { return rawtask.WithRetried(m, 1_000_000) })
		}, doctor.Problem, "1 with a count of tries that asynq cannot have written"},
		"a past deadline": {func(ctx context.Context, p *patient) {
			edit(ctx, p, func(m []byte) []byte { return rawtask.WithDeadline(m, time.Unix(1, 0)) })
		}, doctor.Warning, "1 past their deadline"},
		"nothing but a genuine task": {func(context.Context, *patient) {}, doctor.OK, "nothing is wrong with 1 task"},
		"a task that is being run":   {func(ctx context.Context, p *patient) { active(ctx, p, 20*time.Second) }, doctor.OK, "nothing is wrong with 1 task"},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			p := onRedis(t)
			_, err := asynqClient(p).Enqueue(asynq.NewTask("work", nil), asynq.Queue("critical"), asynq.TaskID("a"))
			check(t, err)
			test.harm(t.Context(), p)
			before := dump(t, p.redis)
			f := p.finds(t, "queues", "tasks")
			advice := ""
			if test.status != doctor.OK {
				advice = "sealq tasks list critical"
			}
			says(t, f, test.status, test.message, advice)
			if lost := strings.Contains(f.Message, "in no list"); lost != strings.Contains(f.Advice, "enqueue those again") {
				t.Errorf("of what nobody will fetch, %t, it advises %q", lost, f.Advice)
			}
			if test.status != doctor.OK && f.Subject != "critical" {
				t.Errorf("it is told of %q", f.Subject)
			}
			if after := dump(t, p.redis); after != before {
				t.Errorf("what Redis holds was changed: before %s, after %s", before, after)
			}
		})
	}
}

func TestAQueueThatNobodyServesAndOneThatIsPausedAreTold(t *testing.T) {
	t.Parallel()
	p := onRedis(t)
	says(t, p.finds(t, "queues", "served"), doctor.Warning, "no worker runs", "sealq worker")
	says(t, p.finds(t, "queues", "paused"), doctor.OK, "no queue is paused", "")
	_, err := asynqClient(p).Enqueue(asynq.NewTask("work", nil), asynq.Queue("reports"))
	check(t, err)
	says(t, p.finds(t, "queues", "served"), doctor.Problem, "no worker serves reports", "sealq worker --queues")
	check(t, asynq.NewInspectorFromRedisClient(p.redis).PauseQueue("reports"))
	says(t, p.finds(t, "queues", "paused"), doctor.Warning, "reports", "delete its key")

	srv := asynq.NewServerFromRedisClient(p.redis, asynq.Config{Queues: map[string]int{"reports": 1}, LogLevel: asynq.FatalLevel})
	check(t, srv.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return nil })))
	defer srv.Shutdown()
	eventually(t, "the server shows itself", func() bool {
		return p.redis.ZCard(t.Context(), "asynq:servers").Val() > 0
	})
	says(t, p.finds(t, "queues", "served"), doctor.OK, "1 worker; every queue with tasks is served", "")
}

// Whoever may only work, or enqueue, is told what he may not see, and nothing wrong.
func TestAUserWithFewRightsHasNoProblem(t *testing.T) {
	t.Parallel()
	for _, role := range redisacl.Roles() {
		t.Run(string(role), func(t *testing.T) {
			t.Parallel()
			p := onRedis(t)
			p.user(t, role, p.Queues)
			r := p.run(t)
			without(t, r)
			want := doctor.Skipped
			if role == redisacl.Dashboard {
				want = doctor.OK
			}
			says(t, findIn(t, r, "queues", "tasks"), want, "", "")
		})
	}
}
