package testservers_test

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/internal/testservers/instance"
)

// redisServer is what every kind of server has to do.
func redisServer(t *testing.T) {
	t.Helper()
	server, other := testservers.Redis(t), testservers.Redis(t)
	client, otherClient := server.Client(t), other.Client(t)
	set := func(c *redis.Client) {
		t.Helper()
		if err := c.Set(t.Context(), "key", "value", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	empty := func(when string) {
		t.Helper()
		if size, err := client.DBSize(t.Context()).Result(); size != 0 || err != nil {
			t.Errorf("%s: %d keys, error %v; want none", when, size, err)
		}
	}
	empty("at first")
	set(client)
	set(otherClient)
	server.Flush(t)
	empty("after Flush")

	set(client)
	once := server.Options(t)
	once.MaxRetries, once.DialerRetries = -1, 1
	open := redis.NewClient(once)
	defer open.Close()
	if err := open.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	server.Stop(t)
	if err := open.Ping(t.Context()).Err(); err == nil {
		t.Error("a stopped server answers on an open connection")
	}
	if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Addr()); err == nil {
		t.Errorf("a stopped server accepts connections at %s", conn.RemoteAddr())
	}
	server.Stop(t) // of what is stopped: nothing to do
	server.Start(t)
	empty("after Start")
	set(client)

	server.Freeze(t)
	hasty := server.Options(t)
	hasty.MaxRetries, hasty.DialerRetries, hasty.ReadTimeout, hasty.DialTimeout = -1, 1, 50*time.Millisecond, 50*time.Millisecond
	impatient := redis.NewClient(hasty)
	defer impatient.Close()
	if err := impatient.Ping(t.Context()).Err(); err == nil {
		t.Error("a frozen server answers")
	}
	server.Thaw(t)
	if value, err := client.Get(t.Context(), "key").Result(); value != "value" || err != nil {
		t.Errorf("after Thaw the server has %q, error %v; want what it held", value, err)
	}

	if value, err := otherClient.Get(t.Context(), "key").Result(); value != "value" || err != nil {
		t.Errorf("the other test's server has %q, error %v; want it untouched", value, err)
	}
}

// Not parallel: the environment decides which server it is.
func TestPrivateRedis(t *testing.T) {
	t.Setenv(testservers.RedisURLEnv, "")
	redisServer(t)
}

func TestRedisEndsWithItsTest(t *testing.T) {
	t.Setenv(testservers.RedisURLEnv, "")
	var addr string
	t.Run("the test", func(t *testing.T) { addr = testservers.Redis(t).Addr() })
	if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr); err == nil {
		t.Errorf("something still answers at %s", conn.RemoteAddr())
	}
}

// host starts a Redis with a password, for tests to share, and returns its URL
// and a client.
func host(t *testing.T) (address string, client *redis.Client) {
	t.Helper()
	binary, err := instance.FindRedis()
	if err != nil {
		t.Fatalf("run `make test`, or install redis-server: %v", err)
	}
	server, err := instance.NewRedis(t.Context(), binary)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	u := url.URL{Scheme: "redis", User: url.UserPassword("default", "p@ss/word"), Host: server.Addr(), Path: "/0"}
	options, err := redis.ParseURL(u.String())
	if err != nil {
		t.Fatal(err)
	}
	client = redis.NewClient(options)
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	open := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer open.Close()
	if err := open.ConfigSet(t.Context(), "requirepass", "p@ss/word").Err(); err != nil {
		t.Fatal(err)
	}
	return u.String(), client
}

func TestSharedRedis(t *testing.T) {
	address, client := host(t)
	t.Setenv(testservers.RedisURLEnv, address)
	t.Run("the test", redisServer)
	keyspace, err := client.Info(t.Context(), "keyspace").Result()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(keyspace, "db") {
		t.Errorf("the tests left behind:\n%s", keyspace)
	}
}

// fill puts a key that no test wrote into databases 1 to last of the client's server.
func fill(t *testing.T, client *redis.Client, last int) {
	t.Helper()
	for number := 1; number <= last; number++ {
		pipe := client.Pipeline()
		pipe.Do(t.Context(), "SELECT", number)
		pipe.Set(t.Context(), "precious", "1", 0)
		pipe.Do(t.Context(), "SELECT", 0)
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSharedRedisLeavesOtherPeoplesDataAlone(t *testing.T) {
	address, client := host(t)
	t.Setenv(testservers.RedisURLEnv, address)
	fill(t, client, 14)
	t.Run("the test", func(t *testing.T) {
		server := testservers.Redis(t)
		if db := server.Options(t).DB; db != 15 {
			t.Errorf("leased database %d, want the only empty one, 15", db)
		}
		server.Flush(t)
	})
	keyspace, err := client.Info(t.Context(), "keyspace").Result()
	if err != nil {
		t.Fatal(err)
	}
	for number := 1; number <= 14; number++ {
		if !strings.Contains(keyspace, fmt.Sprintf("db%d:keys=1,", number)) {
			t.Errorf("database %d lost its data:\n%s", number, keyspace)
		}
	}
}

func TestSharedRedisTakesOverWhatAKilledTestLeft(t *testing.T) {
	address, client := host(t)
	t.Setenv(testservers.RedisURLEnv, address)
	fill(t, client, 15)
	// A killed test's lease has run out; that its database was a test's stays known.
	if err := client.Set(t.Context(), "sealq:test:owned:7", "1", 0).Err(); err != nil {
		t.Fatal(err)
	}
	server := testservers.Redis(t)
	if db := server.Options(t).DB; db != 7 {
		t.Errorf("leased database %d, want the killed test's, 7", db)
	}
	if size, err := server.Client(t).DBSize(t.Context()).Result(); size != 0 || err != nil {
		t.Errorf("it holds %d keys (error %v), want none", size, err)
	}
}

func TestSharedRedisWaitsForADatabaseInUse(t *testing.T) {
	address, client := host(t)
	t.Setenv(testservers.RedisURLEnv, address)
	fill(t, client, 14)
	if err := client.Set(t.Context(), "sealq:test:lease:15", "another test", 300*time.Millisecond).Err(); err != nil {
		t.Fatal(err)
	}
	if db := testservers.Redis(t).Options(t).DB; db != 15 {
		t.Errorf("leased database %d, want 15 once its lease ran out", db)
	}
}

func TestWithoutARedisTheTestFailsWithASentence(t *testing.T) {
	address, client := host(t)
	t.Setenv(testservers.RedisURLEnv, address)
	fill(t, client, 15)
	for name, c := range map[string]struct{ url, path, want string }{
		"no redis-server on PATH": {"", t.TempDir(), "run `make test`, or install redis-server, or set SEALQ_TEST_REDIS_URL"},
		"a URL that is none":      {"redis://u:secret@host:port:1/x", "", "SEALQ_TEST_REDIS_URL is no Redis URL"},
		"no database left":        {address, "", "no database of the server that SEALQ_TEST_REDIS_URL names is free"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(testservers.RedisURLEnv, c.url)
			t.Setenv(testservers.RedisServerEnv, "")
			t.Setenv("PATH", c.path)
			wantFatal(t, c.want, func(tb testing.TB) { tb.Helper(); testservers.Redis(tb) })
		})
	}
}
