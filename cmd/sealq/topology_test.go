package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sealq/sealq/cmd/sealq/internal/redisurl"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
)

// topologyTest is one form of Redis, with what its scripts do to it beside the other scripts' commands:
//
//	users      do what was just printed, on every server
//	forge      put an unsigned task straight into Redis
//	settled    wait until no task is pending, active or leased
//	unrefused  require that no server has refused anything to a user of sealq-…
type topologyTest struct {
	*testservers.Topology

	client redis.UniversalClient // of the default user
}

func newTopologyTest(t testing.TB, top *testservers.Topology) *topologyTest {
	t.Helper()
	where, err := redisurl.Parse(top.URL())
	if err != nil {
		t.Fatal(err)
	}
	s := &topologyTest{Topology: top, client: where.Client()}
	t.Cleanup(func() { _ = s.client.Close() })
	return s
}

func TestTheStoryIsTheSameOnEverySortOfRedisByUsersWhoMayDoNothingElse(t *testing.T) {
	t.Parallel()
	admin := testservers.RedisOptions{Password: "admin"}
	secure := testservers.RedisOptions{Password: "admin", TLS: true}
	type starter = func(testing.TB, testservers.RedisOptions) *testservers.Topology
	for name, form := range map[string]struct {
		start   starter
		options testservers.RedisOptions
	}{
		"single":             {testservers.SingleRedis, admin},
		"single with TLS":    {testservers.SingleRedis, secure},
		"socket":             {testservers.SocketRedis, admin},
		"sentinels":          {testservers.Sentinels, admin},
		"sentinels with TLS": {testservers.Sentinels, secure},
		"cluster":            {testservers.Cluster, admin},
		"cluster with TLS":   {testservers.Cluster, secure},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			commands := map[string]func(*testscript.TestScript, bool, []string){
				"exits": exits, "until": until, "readyz": readyz, "start": inWorld((*world).start), "finish": inWorld((*world).finish),
				"age": inWorld((*world).age), "smtp": inWorld((*world).useMail), "mail": inWorld((*world).waitMail),
			}
			for command, do := range map[string]func(*topologyTest, *testscript.TestScript){
				"users": (*topologyTest).users, "forge": (*topologyTest).forge, "settled": (*topologyTest).settled, "unrefused": (*topologyTest).unrefused,
			} {
				commands[command] = func(ts *testscript.TestScript, _ bool, _ []string) { do(ts.Value(topologyKey{}).(*topologyTest), ts) }
			}
			testscript.Run(t, testscript.Params{
				Dir: "testdata/topology", RequireExplicitExec: true, RequireUniqueNames: true, Cmds: commands,
				Condition: func(asked string) (bool, error) { return asked == name, nil }, // [cluster] is not for the one with TLS
				Setup: func(env *testscript.Env) error {
					tb := env.T().(testing.TB)
					top := newTopologyTest(tb, form.start(tb, form.options))
					env.Values[worldKey{}], env.Values[topologyKey{}] = newWorld(tb), top
					for variable, value := range map[string]string{
						"ADMIN_URL":    top.URL(),
						"ENQUEUER_URL": top.URLAs("sealq-enqueuer", "the enqueuer's password"), "WORKER_URL": top.URLAs("sealq-worker", "the worker's password"),
						"DASHBOARD_URL":  top.URLAs("sealq-dashboard", "the dashboard's password"),
						"STRANGER_URL":   top.URLAs("sealq-stranger", "a wrong password"),
						"SEALQ_AUDIENCE": "test", "SEALQ_DATABASE_URL": "sqlite:sealq.db", "SEALQ_MAIL_FROM": "no-reply@example.com",
					} {
						env.Setenv(variable, value)
					}
					return nil
				},
			})
		})
	}
}

type topologyKey struct{}

// users makes them on every server: Redis does not replicate them.
func (s *topologyTest) users(ts *testscript.TestScript) {
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		var command []any
		for word := range strings.FieldsSeq(line) {
			command = append(command, word)
		}
		for _, admin := range s.Admins() {
			ts.Check(admin.Do(context.Background(), command...).Err())
		}
	}
}

func (s *topologyTest) forge(ts *testscript.TestScript) {
	_, err := asynq.NewClientFromRedisClient(s.client).Enqueue(asynq.NewTask("lockouts:reset", []byte("forged")), asynq.Queue(jobs.QueueCritical))
	ts.Check(err)
}

func (s *topologyTest) settled(ts *testscript.TestScript) {
	poll(ts, "no task to be pending, active or leased", func() bool {
		for _, queue := range []string{jobs.QueueCritical, jobs.QueueMail, jobs.QueueDefault, jobs.QueueMaintenance} {
			for _, list := range []string{"pending", "active", "lease"} {
				n, err := s.client.Exists(context.Background(), fmt.Sprintf("asynq:{%s}:%s", queue, list)).Result()
				if err != nil || n > 0 {
					return false
				}
			}
		}
		return true
	})
}

// unrefused reads every server's own list of what it has refused, and to whom.
func (s *topologyTest) unrefused(ts *testscript.TestScript) {
	for _, admin := range s.Admins() {
		entries, err := admin.ACLLog(context.Background(), 100).Result()
		ts.Check(err)
		for _, e := range entries {
			if e.Username != "sealq-stranger" {
				ts.Fatalf("%s was refused %s %s (%s)", e.Username, e.Reason, e.Object, e.Context)
			}
		}
	}
}
