package redisurl_test

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/cmd/sealq/internal/redisurl"
)

// reached is what matters of a client.
type reached struct {
	Addrs, User, Password string
	DB                    int
	TLS                   string // the name that certificates must bear, "any" where it is each node's own
}

// options reads them out of a client.
func options(t *testing.T, c redis.UniversalClient) reached {
	t.Helper()
	name := func(c *tls.Config) string {
		switch {
		case c == nil:
			return ""
		case c.MinVersion < tls.VersionTLS12 || c.InsecureSkipVerify:
			t.Error("TLS that proves nothing")
		case c.ServerName == "":
			return "any"
		}
		return c.ServerName
	}
	switch c := c.(type) {
	case *redis.Client:
		o := c.Options()
		if !o.ContextTimeoutEnabled {
			t.Error("a context does not end its commands")
		}
		return reached{o.Addr, o.Username, o.Password, o.DB, name(o.TLSConfig)}
	case *redis.ClusterClient:
		o := c.Options()
		if !o.ContextTimeoutEnabled {
			t.Error("a context does not end its commands")
		}
		return reached{strings.Join(o.Addrs, " "), o.Username, o.Password, 0, name(o.TLSConfig)}
	}
	t.Fatalf("a client of type %T", c)
	return reached{}
}

func TestURLs(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]reached{
		"redis://ada:pw@h:1/2": {"h:1", "ada", "pw", 2, ""},
		"redis://h":            {"h:6379", "", "", 0, ""},
		"redis://[::1]/1":      {"[::1]:6379", "", "", 1, ""},
		"redis://ada:p%40w@h":  {"h:6379", "ada", "p@w", 0, ""},
		"rediss://:pw@h:1":     {"h:1", "", "pw", 0, "h"},
		"rediss://10.0.0.1/3?servername=queue.example":               {"10.0.0.1:6379", "", "", 3, "queue.example"},
		"redis-socket://:pw@/r.sock?db=3":                            {"/r.sock", "", "pw", 3, ""},
		"redis-socket:///r.sock":                                     {"/r.sock", "", "", 0, ""},
		"redis-sentinel://:s@a:1,b?master=m":                         {"FailoverClient", "", "", 0, ""},
		"redis-sentinel://s:s@a/4?master=m&username=ada&password=pw": {"FailoverClient", "ada", "pw", 4, ""},
		"redis-sentinel://a?master=m&password=pw&tls=true":           {"FailoverClient", "", "pw", 0, "any"},
		"redis-cluster://ada:pw@a:1,b":                               {"a:1 b:6379", "ada", "pw", 0, ""},
		"redis-cluster://a/0?tls=true&servername=queue.example":      {"a:6379", "", "", 0, "queue.example"},
		"redis-cluster://a?tls=false":                                {"a:6379", "", "", 0, ""},
	} {
		t.Run(url, func(t *testing.T) {
			t.Parallel()
			s, err := redisurl.Parse(url)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(s.Where, "pw") {
				t.Errorf("the password stands in %q", s.Where)
			}
			client := s.Client()
			t.Cleanup(func() { _ = client.Close() })
			if diff := cmp.Diff(want, options(t, client)); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
			if s.DB != want.DB || s.Cluster != strings.HasPrefix(url, "redis-cluster:") {
				t.Errorf("it says of itself: %+v", s)
			}
		})
	}
}

func TestOnlyOneServersPlaceIsKnownToBeThisMachine(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]bool{
		"redis://127.0.0.1": true, "rediss://localhost:1/2": true, "redis://[::1]": true, "redis-socket:///r.sock": true,
		"redis://10.0.0.1": false, "redis://localhost.example": false,
		"redis-sentinel://127.0.0.1?master=m": false, "redis-cluster://127.0.0.1": false,
	} {
		s, err := redisurl.Parse(url)
		if err != nil || s.Local != want {
			t.Errorf("%s: %v, error %v; want %v", url, s.Local, err, want)
		}
	}
}

func TestMistakesAreToldInASentenceWithoutThePassword(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	garbage := filepath.Join(folder, "garbage")
	if err := os.WriteFile(garbage, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{
		"http://:hunter2@h":                                       "--redis-url must begin with redis://, rediss://, ",
		"redis://ada@h":                                           "--redis-url names a user without a password, and go-redis would log in as the default user",
		"redis://ada:@h":                                          "--redis-url names a user without a password",
		"redis-cluster://ada@h":                                   "--redis-url names a user without a password",
		"redis-socket://ada@/r.sock":                              "--redis-url names a user without a password",
		"redis-sentinel://ada@h?master=m":                         "--redis-url names a user without a password",
		"redis-sentinel://h?master=m&username=ada":                "--redis-url has a username and no password",
		"redis://:hunter2@":                                       "--redis-url names no host",
		"redis://:hunter2@a,b":                                    "--redis-url names several hosts: that is for redis-sentinel://",
		"redis://:hunter2@h/zero":                                 "--redis-url: the database must be a number",
		"redis://:hunter2@h/-1":                                   "--redis-url: the database must be a number",
		"redis://:hunter/2@h":                                     "--redis-url is not a URL",
		"redis://:hunter2@h?tls=true":                             `--redis-url: redis:// has no parameter "tls": it takes ca, cert, key, servername`,
		"redis://:hunter2@h?ca=x":                                 "--redis-url has the parameter ca, which is for TLS: write rediss:// for it",
		"redis://:hunter2@h?a=%zz":                                "--redis-url: what stands behind the ? is not NAME=VALUE",
		"rediss://:hunter2@h?ca=" + folder + "/none":              "--redis-url: ca " + folder + "/none cannot be read: no such file or directory",
		"rediss://:hunter2@h?ca=" + garbage:                       "holds no certificate: name a PEM file",
		"rediss://:hunter2@h?cert=" + garbage:                     "--redis-url needs both cert=PATH and key=PATH",
		"rediss://:hunter2@h?cert=" + garbage + "&key=" + garbage: "are not a certificate and its key, in PEM",
		"rediss://:hunter2@h?ca=a&ca=b":                           "--redis-url gives the parameter ca twice",
		"redis-socket://:hunter2@":                                "--redis-url names no socket",
		"redis-socket://:hunter2@h/r.sock":                        "--redis-url names no socket",
		"redis-socket://:hunter2@/r.sock?db=x":                    "--redis-url: the database must be a number",
		"redis-sentinel://:hunter2@h":                             "--redis-url names no master",
		"redis-sentinel://h?master=m&pasword=hunter2":             `--redis-url: redis-sentinel:// has no parameter "pasword": it takes ca, cert, key, master, password, servername, tls, username`,
		"redis-sentinel://:hunter2@a,,b?master=m":                 "--redis-url names no host where one should be",
		"redis-cluster://:hunter2@":                               "--redis-url names no host where one should be: write it like redis-cluster://host1:6379,host2:6379",
		"redis-cluster://:hunter2@h/1":                            "--redis-url: a cluster has database 0 alone",
		"redis-cluster://:hunter2@h?tls=yes":                      "--redis-url: tls must be true or false",
		"redis-cluster://:hunter2@h?ca=x":                         "--redis-url has the parameter ca, which is for TLS: add tls=true",
	} {
		t.Run(url, func(t *testing.T) {
			t.Parallel()
			_, err := redisurl.Parse(url)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter") {
				t.Errorf("the password stands in %q", err)
			}
		})
	}
}
