package testservers_test

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/testservers"
)

func TestEverySortOfRedisAnswersAndEndsWithItsTest(t *testing.T) {
	t.Parallel()
	type start = func(testing.TB, testservers.RedisOptions) *testservers.Topology
	for name, c := range map[string]struct {
		start   start
		options testservers.RedisOptions
		url     string // how it begins
		nodes   int
	}{
		"single":                                {testservers.SingleRedis, testservers.RedisOptions{}, "redis://127.0.0.1:", 1},
		"single with TLS and a password":        {testservers.SingleRedis, testservers.RedisOptions{TLS: true, Password: "pw"}, "rediss://:pw@127.0.0.1:", 1},
		"a Unix socket":                         {testservers.SocketRedis, testservers.RedisOptions{Password: "pw"}, "redis-socket://:pw@/", 1},
		"a cluster":                             {testservers.Cluster, testservers.RedisOptions{}, "redis-cluster://127.0.0.1:", 6},
		"a cluster with TLS and a password":     {testservers.Cluster, testservers.RedisOptions{TLS: true, Password: "pw"}, "redis-cluster://:pw@127.0.0.1:", 6},
		"sentinels":                             {testservers.Sentinels, testservers.RedisOptions{}, "redis-sentinel://127.0.0.1:", 3},
		"sentinels with TLS and with passwords": {testservers.Sentinels, testservers.RedisOptions{TLS: true, Password: "pw"}, "redis-sentinel://:sentinelspw@127.0.0.1:", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var addrs []string
			t.Run("the test", func(t *testing.T) {
				top := c.start(t, c.options)
				if !strings.HasPrefix(top.URL(), c.url) {
					t.Errorf("%s does not begin with %s", top.URL(), c.url)
				}
				for _, admin := range top.Admins() {
					addrs = append(addrs, admin.Options().Addr)
					if err := admin.Ping(t.Context()).Err(); err != nil {
						t.Error(err)
					}
				}
				if c.options.Password != "" {
					refusesStrangers(t, top.Admins()[0].Options())
				}
				if c.options.TLS {
					refusesClearText(t, addrs[0])
				}
			})
			if len(addrs) != c.nodes {
				t.Errorf("%d servers, want %d", len(addrs), c.nodes)
			}
			for _, addr := range addrs {
				if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr); err == nil {
					t.Errorf("something still answers at %s", conn.RemoteAddr())
				}
			}
		})
	}
}

func refusesStrangers(t *testing.T, options *redis.Options) {
	t.Helper()
	options.Password = ""
	stranger := redis.NewClient(options)
	defer stranger.Close()
	if err := stranger.Ping(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("without a password it answers %v", err)
	}
}

func refusesClearText(t *testing.T, addr string) {
	t.Helper()
	clear := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
	defer clear.Close()
	if clear.Ping(t.Context()).Err() == nil {
		t.Error("it answers in the clear")
	}
	anonymous := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, TLSConfig: &tls.Config{InsecureSkipVerify: true}})
	defer anonymous.Close()
	if anonymous.Ping(t.Context()).Err() == nil {
		t.Error("it answers to a client without a certificate")
	}
}

func TestAReplicaTakesOverFromAKilledMasterWhichComesBackAsAReplica(t *testing.T) {
	t.Parallel()
	const key = "asynq:{mail}:pending"
	for form, c := range map[string]struct {
		start   func(testing.TB, testservers.RedisOptions) *testservers.Topology
		client  func(addrs []string) redis.UniversalClient
		masters int
	}{
		"in a cluster": {testservers.Cluster, func(addrs []string) redis.UniversalClient {
			return redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, ClusterStateReloadInterval: time.Second})
		}, 3},
		"with sentinels": {testservers.Sentinels, func(addrs []string) redis.UniversalClient {
			return redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "sealq", SentinelAddrs: addrs})
		}, 1},
	} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			top := c.start(t, testservers.RedisOptions{})
			client := c.client(top.Addrs())
			defer client.Close()
			if err := client.LPush(t.Context(), key, "before").Err(); err != nil {
				t.Fatal(err)
			}
			poll(t, "the master and a replica hold it", func() bool {
				holders := 0
				for _, admin := range top.Admins() {
					if size, err := admin.DBSize(t.Context()).Result(); err == nil && size > 0 {
						holders++
					}
				}
				return holders >= 2
			})
			top.KillMaster(t, key)
			top.AwaitPromotion(t, key)
			poll(t, "the new master answers with what the old one held", func() bool {
				got, err := client.LRange(t.Context(), key, 0, -1).Result()
				return err == nil && slices.Equal(got, []string{"before"})
			})
			top.Revive(t)
			poll(t, "the old master is there again as a replica", func() bool {
				replicas := 0
				for _, admin := range top.Admins() {
					if said, err := admin.Info(t.Context(), "replication").Result(); err == nil && strings.Contains(said, "role:slave") {
						replicas++
					}
				}
				return replicas == len(top.Admins())-c.masters
			})
		})
	}
}

// poll waits until it holds.
func poll(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("did not happen within a minute: %s", what)
		case <-tick.C:
		}
	}
}
