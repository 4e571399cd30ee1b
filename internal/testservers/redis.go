package testservers

import (
	"context"
	"os"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/testservers/instance"
)

// RedisServer is a Redis for one test. Its methods are for the test's goroutine.
type RedisServer struct {
	url    string
	addr   string
	server redisBackend
}

// redisBackend is a private server, or a leased database behind a proxy.
type redisBackend interface {
	Start(ctx context.Context) error
	Kill() error
	Freeze() error
	Thaw() error
}

// Redis gives t an empty Redis of its own until t ends: a private redis-server
// process, or one logical database of the server that SEALQ_TEST_REDIS_URL names.
//
// A private server has Redis's 16 databases, of which URL names the first; tests
// that may run against a shared one keep to the database in URL.
func Redis(t testing.TB) *RedisServer {
	t.Helper()
	if shared := os.Getenv(RedisURLEnv); shared != "" {
		return sharedRedis(t, shared)
	}
	binary, err := fromEnv(RedisServerEnv, instance.FindRedis)
	if err != nil {
		t.Fatal(noRedis)
	}
	return privateRedis(t, binary, instance.RedisConfig{})
}

func privateRedis(t testing.TB, binary string, c instance.RedisConfig) *RedisServer {
	t.Helper()
	server, err := instance.NewRedisWith(t.Context(), binary, c)
	must(t, err)
	cleanup(t, func(context.Context) error { return server.Close() })
	must(t, server.Start(t.Context()))
	return &RedisServer{url: "redis://" + server.Addr() + "/0", addr: server.Addr(), server: server}
}

// URL returns the server's address as --redis-url takes it. It stays the same
// when the server is stopped and started.
func (s *RedisServer) URL() string { return s.url }

// Addr returns HOST:PORT. On a shared server it is not enough to reach the
// test's own database: prefer URL or Options.
func (s *RedisServer) Addr() string { return s.addr }

// Options returns go-redis's options for the test's own database.
func (s *RedisServer) Options(t testing.TB) *redis.Options {
	t.Helper()
	options, err := redis.ParseURL(s.url)
	must(t, err)
	return options
}

// Client returns a client for the server, closed when t ends.
func (s *RedisServer) Client(t testing.TB) *redis.Client {
	t.Helper()
	client := redis.NewClient(s.Options(t))
	cleanup(t, func(context.Context) error { return client.Close() })
	return client
}

// Stop ends the server as a crash would and returns when it is down:
// connections break, new ones are refused, and all that it held is lost.
func (s *RedisServer) Stop(t testing.TB) {
	t.Helper()
	must(t, s.server.Kill())
}

// Start brings a stopped server back, empty, at the same address.
func (s *RedisServer) Start(t testing.TB) {
	t.Helper()
	must(t, s.server.Start(t.Context()))
}

// Freeze lets the server answer nothing until Thaw; it keeps what it holds. Of a shared server the connections are cut
// instead.
func (s *RedisServer) Freeze(t testing.TB) {
	t.Helper()
	must(t, s.server.Freeze())
}

// Thaw brings a frozen server back with what it held.
func (s *RedisServer) Thaw(t testing.TB) {
	t.Helper()
	must(t, s.server.Thaw())
}

// Flush empties the test's database, as FLUSHALL by somebody else would.
func (s *RedisServer) Flush(t testing.TB) {
	t.Helper()
	client := redis.NewClient(s.Options(t))
	defer client.Close()
	must(t, client.FlushDB(t.Context()).Err())
}
