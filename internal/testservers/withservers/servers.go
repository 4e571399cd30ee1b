package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/internal/testservers/instance"
)

// servers is what the command gets, and what has to be taken away after it.
type servers struct {
	environ  []string
	dir      string             // all temporary files, the command's too; "" before it is made
	postgres *instance.Postgres // nil where SEALQ_TEST_POSTGRES_URL names one
}

// close stops what runs and removes every temporary file.
func (s *servers) close() error {
	var err error
	if s.postgres != nil {
		err = s.postgres.Close()
	}
	if s.dir != "" {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}

// prepare finds or starts the servers, and finds a browser where one is wanted.
// What it returns has to be closed, even with an error.
func prepare(ctx context.Context, environ []string, browser bool, log io.Writer) (*servers, error) {
	s := &servers{environ: slices.Clone(environ)}
	redisURL := s.get(testservers.RedisURLEnv)
	postgresURL := s.get(testservers.PostgresURLEnv)

	var wanted []software
	if redisURL == "" {
		wanted = append(wanted, software{"redis-server", "redis-server", testservers.RedisURLEnv, testservers.RedisServerEnv, instance.FindRedis})
	} else if err := checkRedis(ctx, redisURL); err != nil {
		return s, err
	}
	if postgresURL == "" {
		wanted = append(wanted, software{"PostgreSQL's server", "postgresql", testservers.PostgresURLEnv, testservers.PostgresBinEnv, instance.FindPostgres})
	} else if err := checkPostgres(ctx, postgresURL); err != nil {
		return s, err
	}
	if browser && s.get(testservers.ChromiumEnv) == "" {
		wanted = append(wanted, software{"Chromium", "chromium", testservers.ChromiumEnv, testservers.ChromiumEnv, instance.FindChromium})
	}
	packages := installer{s.environ, policyPath, log}
	found, err := provide(ctx, wanted, packages)
	if err != nil {
		return s, err
	}
	for name, path := range found {
		s.set(name, path)
	}
	if s.get(testservers.PostfixEnv) == "" && os.Geteuid() == 0 { // nobody else can start it
		s.postfix(ctx, packages, log)
	}

	// Whatever the tests leave behind, even killed ones, goes with this folder.
	if s.dir, err = os.MkdirTemp("", "sealq-test-"); err != nil {
		return s, fmt.Errorf("make a temporary folder: %w", err)
	}
	if err := os.Chmod(s.dir, 0o711); err != nil { // PostgreSQL's user passes through
		return s, fmt.Errorf("open the temporary folder: %w", err)
	}
	s.set("TMPDIR", s.dir)
	if postgresURL != "" {
		return s, nil
	}
	if s.postgres, err = instance.NewPostgres(ctx, found[testservers.PostgresBinEnv]); err != nil {
		return s, err
	}
	if err := s.postgres.Start(ctx); err != nil {
		return s, err
	}
	s.set(testservers.PostgresURLEnv, s.postgres.URL())
	return s, nil
}

// postfix finds Postfix where it can be had. It is one server of the field more: the tests of mail have their own besides.
func (s *servers) postfix(ctx context.Context, packages installer, log io.Writer) {
	found, err := provide(ctx, []software{{"Postfix", "postfix", testservers.PostfixEnv, testservers.PostfixEnv, instance.FindPostfix}}, packages)
	if err != nil {
		fmt.Fprintf(log, "withservers: %s; the tests do without\n", sentence(err))
		found = map[string]string{testservers.PostfixEnv: "none"}
	}
	s.set(testservers.PostfixEnv, found[testservers.PostfixEnv])
}

// get returns the variable's value for the command; the last one counts.
func (s *servers) get(name string) string {
	for _, entry := range slices.Backward(s.environ) {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

func (s *servers) set(name, value string) { s.environ = append(s.environ, name+"="+value) }

// answerTimeout is how long a server that the environment names may take.
const answerTimeout = 10 * time.Second

func checkRedis(ctx context.Context, address string) error {
	options, err := redis.ParseURL(address)
	if err != nil { // not printed: it would show the URL's password
		return fmt.Errorf("%s is no Redis URL: set it to redis://HOST:PORT/0", testservers.RedisURLEnv)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	client := redis.NewClient(options)
	defer client.Close()
	if err := client.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("the Redis that %s names does not answer: start it, or unset the variable: %w", testservers.RedisURLEnv, err)
	}
	return nil
}

func checkPostgres(ctx context.Context, address string) error {
	config, err := pgx.ParseConfig(address)
	if err != nil { // not printed: it would show the URL's password
		return fmt.Errorf("%s is no PostgreSQL URL: set it to postgres://USER:PASSWORD@HOST:PORT/postgres", testservers.PostgresURLEnv)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("the PostgreSQL that %s names does not answer: start it, or unset the variable: %w", testservers.PostgresURLEnv, err)
	}
	return conn.Close(ctx)
}
