package main

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/pflag"

	"github.com/sealq/sealq/cmd/sealq/internal/config"
)

func TestCommandsWaitOnlyWhenRedisIsAway(t *testing.T) {
	t.Parallel()
	for sentence, test := range map[string]struct {
		err  error
		want time.Duration
	}{
		"an answer":                {nil, 0},
		"nothing found":            {redis.Nil, 0},
		"a refusal by Redis":       {redisError("WRONGTYPE"), 0},
		"a connection that breaks": {&net.OpError{Op: "read", Err: errors.New("connection reset")}, outagePause},
		"a connection that is not": {errors.New("dial: refused"), outagePause},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				hook := calm{}.ProcessHook(func(context.Context, redis.Cmder) error { return test.err })
				pipeline := calm{}.ProcessPipelineHook(func(context.Context, []redis.Cmder) error { return test.err })
				began := time.Now()
				if err := hook(t.Context(), redis.NewCmd(t.Context())); !errors.Is(err, test.err) {
					t.Errorf("got %v, want %v", err, test.err)
				}
				if err := pipeline(t.Context(), nil); !errors.Is(err, test.err) {
					t.Errorf("got %v, want %v", err, test.err)
				}
				if took := time.Since(began); took != 2*test.want {
					t.Errorf("took %v, want %v", took, 2*test.want)
				}
			})
		})
	}
}

type redisError string

func (e redisError) Error() string { return string(e) }
func (redisError) RedisError()     {}

// options makes the client of a URL and gives what it was made with.
func server(t *testing.T, url string) (redisServer, error) {
	t.Helper()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.AddFlags(fs)
	if err := fs.Parse([]string{"--redis-url", url}); err != nil {
		t.Fatal(err)
	}
	settings, err := config.Load(fs, nil)
	if err != nil {
		t.Fatal(err)
	}
	return (&session{Settings: settings}).redis()
}

func TestRedisURLs(t *testing.T) {
	t.Parallel()
	for url, check := range map[string]func(c redis.UniversalClient) bool{
		"redis://ada:pw@h:1/2": func(c redis.UniversalClient) bool {
			o := c.(*redis.Client).Options()
			return o.Addr == "h:1" && o.Username == "ada" && o.Password == "pw" && o.DB == 2 && o.TLSConfig == nil
		},
		"redis://h": func(c redis.UniversalClient) bool { return c.(*redis.Client).Options().Addr == "h:6379" },
		"redis://[::1]/1": func(c redis.UniversalClient) bool {
			o := c.(*redis.Client).Options()
			return o.Addr == "[::1]:6379" && o.DB == 1
		},
		"rediss://:pw@h:1": func(c redis.UniversalClient) bool {
			o := c.(*redis.Client).Options()
			return o.TLSConfig.ServerName == "h" && o.Password == "pw"
		},
		"redis-socket://:pw@/r.sock?db=3": func(c redis.UniversalClient) bool {
			o := c.(*redis.Client).Options()
			return o.Network == "unix" && o.Addr == "/r.sock" && o.DB == 3 && o.Password == "pw"
		},
		"redis-sentinel://:pw@a:1,b?master=m": func(c redis.UniversalClient) bool {
			o := c.(*redis.Client).Options()
			return o.Addr == "FailoverClient" && o.Password == ""
		},
		"redis-cluster://ada:pw@a:1,b": func(c redis.UniversalClient) bool {
			o := c.(*redis.ClusterClient).Options()
			return strings.Join(o.Addrs, " ") == "a:1 b:6379" && o.Username == "ada" && o.Password == "pw"
		},
	} {
		t.Run(url, func(t *testing.T) {
			t.Parallel()
			r, err := server(t, url)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(r.where, "pw") {
				t.Errorf("the password stands in %q", r.where)
			}
			client := r.client()
			t.Cleanup(func() { _ = client.Close() })
			if !check(client) {
				t.Errorf("the client has other options: %#v", client)
			}
		})
	}
}
