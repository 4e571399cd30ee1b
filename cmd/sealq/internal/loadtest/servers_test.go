package loadtest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/cmd/sealq/internal/loadtest"
	"github.com/sealq/sealq/cmd/sealq/internal/redisurl"
	"github.com/sealq/sealq/internal/testservers"
)

// reach is a client as the command makes it.
func reach(t *testing.T, address string) redis.UniversalClient {
	t.Helper()
	server, err := redisurl.Parse(address)
	check(t, err)
	client := server.Client()
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func requireEmpty(t *testing.T, servers []*redis.Client) {
	t.Helper()
	for _, server := range servers {
		keys, err := server.Keys(t.Context(), "*").Result()
		check(t, err)
		if len(keys) > 0 {
			t.Errorf("left in Redis: %q", keys)
		}
	}
}

func TestAClusterIsMeasuredAndNothingIsLeft(t *testing.T) {
	t.Parallel()
	cluster, db := testservers.Cluster(t, testservers.RedisOptions{}), databases()["SQLite"](t)
	c := small()
	c.Database = db.url
	_, err := loadtest.Run(t.Context(), reach(t, cluster.URL()), c)
	check(t, err)
	requireEmpty(t, cluster.Admins())
}

func TestWhoeverMayNotRemoveAQueuePutsNothingThere(t *testing.T) {
	t.Parallel()
	const password = "bench"
	server := testservers.SingleRedis(t, testservers.RedisOptions{Password: "admin"})
	for _, right := range []string{"unlink", "srem", "lrange", "zrange"} {
		user := "without-" + right
		check(t, server.Admins()[0].Do(t.Context(), "ACL", "SETUSER", user, "on", ">"+password, "~*", "&*", "+@all", "-"+right).Err())
		c := small()
		c.Progress = func(stage loadtest.Stage, _, _ int) { t.Errorf("without %s it began to %s", right, stage) }
		_, err := loadtest.Run(t.Context(), reach(t, server.URLAs(user, password)), c)
		if err == nil || !strings.Contains(err.Error(), "nothing was put into Redis") || !strings.Contains(err.Error(), "'"+right+"' command") {
			t.Errorf("want it told that %s is missing, got %v", right, err)
		}
		requireEmpty(t, server.Admins())
	}
}

// A pooler may drop what it does not know of a connection's parameters. The run's tables would be made among the operator's own.
func TestWherePoolersIgnoreTheSchemaNoTableIsMade(t *testing.T) {
	t.Parallel()
	db := databases()["PostgreSQL"](t)
	before, client := db.content(), inhabited(t)
	c := small()
	c.Database = forgetful(t, db.url)
	if _, err := loadtest.Run(t.Context(), client, c); !errors.Is(err, loadtest.ErrNoSchema) {
		t.Errorf("want ErrNoSchema, got %v", err)
	}
	if diff := cmp.Diff(before, db.content()); diff != "" {
		t.Errorf("the database is not as it was (-want +got):\n%s", diff)
	}
}

// forgetful stands before a PostgreSQL and lets each connection look for tables elsewhere than it asked to.
func forgetful(t *testing.T, address string) string {
	t.Helper()
	there, err := url.Parse(address)
	check(t, err)
	server := there.Host
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer client.Close()
				server, err := (&net.Dialer{}).DialContext(context.WithoutCancel(t.Context()), "tcp", server)
				if err != nil {
					return
				}
				defer server.Close()
				startup := make([]byte, 4096)
				n, err := client.Read(startup)
				if err != nil {
					return
				}
				_, err = server.Write(bytes.Replace(startup[:n], []byte("sealq_bench_"), []byte("sealq_other_"), 1)) // a length that stays
				if err != nil {
					return
				}
				running.Go(func() {
					_, _ = io.Copy(client, server)
					_ = client.Close()
				})
				_, _ = io.Copy(server, client)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		running.Wait()
	})
	there.Host = listener.Addr().String()
	return there.String()
}
