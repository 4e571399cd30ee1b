// Package testservers gives tests real Redis, PostgreSQL and Postfix servers of their
// own, and lets a test stop and start them.
//
// It refuses to skip and to pretend: where no server can be had the test fails
// with one sentence that says what to install or to set. It never empties a
// database that it did not find empty.
//
// Only tests import it, and the command withservers, under which `make test`
// runs all tests.
package testservers

import (
	"context"
	"os"
	"testing"
)

// Names of environment variables.
const (
	// RedisURLEnv names a Redis to be used instead of private ones.
	RedisURLEnv = "SEALQ_TEST_REDIS_URL"
	// RedisServerEnv is the path of redis-server; unset: the one on PATH.
	RedisServerEnv = "SEALQ_TEST_REDIS_SERVER"
	// PostgresURLEnv names the PostgreSQL server in which Postgres makes its
	// databases. Its role must be allowed to create databases.
	PostgresURLEnv = "SEALQ_TEST_POSTGRES_URL"
	// PostgresBinEnv is the folder with initdb and postgres; unset: looked for.
	PostgresBinEnv = "SEALQ_TEST_POSTGRES_BIN"
	// ChromiumEnv is the path of Chromium; unset: the one on PATH.
	ChromiumEnv = "SEALQ_TEST_CHROMIUM"
	// PostfixEnv is the path of postfix; unset: looked for; none: the tests do without.
	PostfixEnv = "SEALQ_TEST_POSTFIX"
)

const (
	noRedis       = "this test needs a real Redis: run `make test`, or install redis-server, or set " + RedisURLEnv
	noRedisServer = "this test starts Redis servers of its own: run `make test`, or install redis-server, or set " + RedisServerEnv
	noPostgres    = "this test needs a real PostgreSQL: run `make test`, or set " + PostgresURLEnv
	noChromium    = "this test needs a real browser: run `make test`, or install chromium, or set " + ChromiumEnv
	noPostfix     = "this test needs a real Postfix: run `make test`, or install postfix, or set " + PostfixEnv + " to its path, or to none"
	noServer      = "this test needs a PostgreSQL server to stop and start: run `make test`, or install PostgreSQL's server, or set " + PostgresURLEnv
)

// must ends the test when err says that a server did not do as it was told.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// cleanup runs fn at the test's end, when the test's own context has ended.
func cleanup(t testing.TB, fn func(context.Context) error) {
	t.Helper()
	t.Cleanup(func() {
		if err := fn(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
}

// fromEnv returns the variable's value, or what find finds.
func fromEnv(name string, find func() (string, error)) (string, error) {
	if value := os.Getenv(name); value != "" {
		return value, nil
	}
	return find()
}
