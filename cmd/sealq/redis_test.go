package main

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/pflag"

	"github.com/sealq/sealq/cmd/sealq/internal/config"
)

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
