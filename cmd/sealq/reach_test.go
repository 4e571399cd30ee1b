package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/sealq/sealq/cmd/sealq/internal/redisurl"
	"github.com/sealq/sealq/internal/testservers"
)

// TestAMistakeOfReachingRedisIsToldWithWhatToDo makes each mistake at a real server.
func TestAMistakeOfReachingRedisIsToldWithWhatToDo(t *testing.T) {
	t.Parallel()
	secure := testservers.SingleRedis(t, testservers.RedisOptions{TLS: true, Password: "admin"})
	clear := testservers.SingleRedis(t, testservers.RedisOptions{Password: "admin"})
	sentinels := testservers.Sentinels(t, testservers.RedisOptions{Password: "admin"})
	without := func(url string, parts ...string) string {
		for _, part := range parts {
			if !strings.Contains(url, part) {
				t.Fatalf("%s does not contain %s", url, part)
			}
			url = strings.Replace(url, part, "", 1)
		}
		return url
	}
	scheme := func(url, scheme string) string {
		_, rest, _ := strings.Cut(url, "://")
		return scheme + "://" + rest
	}
	parameters := func(url string) string { _, query, _ := strings.Cut(url, "?"); return "?" + query }
	for mistake, test := range map[string]struct{ url, want string }{
		"no password":                    {without(clear.URL(), ":admin@"), "NOAUTH"},
		"what to do without one":         {without(clear.URL(), ":admin@"), "put USER:PASSWORD@ into the URL"},
		"a wrong password":               {clear.URLAs("", "hunter2"), "correct user and password in the URL"},
		"TLS with a server in the clear": {scheme(clear.URL(), "rediss"), "which is for TLS: perhaps it does not speak it"},
		"a server with TLS in the clear": {scheme(without(secure.URL(), parameters(secure.URL())), "redis"), "if it wants TLS, write rediss://"},
		"an authority that is not known": {without(secure.URL(), parameters(secure.URL())), "name the file with its authority's certificate, ?ca=PATH"},
		"no certificate of one's own":    {without(secure.URL(), parameters(secure.URL())) + "?ca=" + secure.CertificateAuthority(), "it wants a certificate of its clients: add ?cert=PATH&key=PATH"},
		"a cluster that is none":         {scheme(clear.URL(), "redis-cluster"), "it is no cluster: write redis://"},
		"sentinels without a password":   {without(sentinels.URL(), ":sentinelsadmin@"), "put USER:PASSWORD@ into the URL"},
		"a master nobody knows":          {strings.Replace(sentinels.URL(), "master=sealq", "master=nobody", 1), "start them, or correct hosts, master, user and password in the URL"},
		"sentinels, and no server's":     {without(sentinels.URL(), "&password=admin"), "?username=USER&password=PASSWORD"},
		"a database that is none":        {strings.TrimSuffix(clear.URL(), "/") + "/99", "correct the number behind the host"},
	} {
		t.Run(mistake, func(t *testing.T) {
			t.Parallel()
			where, err := redisurl.Parse(test.url)
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			client, err := redisServer{where}.reach(context.Background())
			if err == nil {
				_ = client.Close()
				t.Fatal("it was reached")
			}
			if !strings.HasPrefix(err.Error(), "cannot reach Redis at ") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %q, want %q", err, test.want)
			}
			if strings.Contains(err.Error(), "hunter") || strings.Contains(err.Error(), "admin") {
				t.Errorf("a password stands in %q", err)
			}
			if took := time.Since(began); took > 2*reachPatience {
				t.Errorf("it took %v", took)
			}
		})
	}
}
