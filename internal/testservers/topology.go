package testservers

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/testservers/instance"
)

// RedisOptions say how the servers of a topology are reached. The zero value: in
// the clear, without a password.
type RedisOptions struct {
	// TLS makes the servers speak nothing else, and ask clients for a certificate.
	TLS bool
	// Password is the default user's, of letters and digits. Sentinels have
	// another one: their own users are apart from the servers'.
	Password string
}

// sentinelPassword is that of sentinels where the servers have one.
func (o RedisOptions) sentinelPassword() string {
	if o.Password == "" {
		return ""
	}
	return "sentinels" + o.Password
}

// topologyPatience is how long servers may take to agree with one another.
const topologyPatience = 90 * time.Second

// Topology is a Redis in one of the forms in which it is run, private to one test.
// Its methods are for the test's goroutine.
type Topology struct {
	scheme    string
	options   RedisOptions
	certs     *certificates // nil in the clear
	nodes     []*node       // that hold data
	sentinels []*node
	deposed   *node                                                // that another is to take over from
	master    func(ctx context.Context, key string) (*node, error) // which serves the key
	handOver  func(ctx context.Context, from *node, key string) error
}

// node is one redis-server, with a client of its default user.
type node struct {
	*instance.Redis

	admin *redis.Client
}

// SingleRedis is one private server that URL names by the scheme redis or rediss.
func SingleRedis(t testing.TB, o RedisOptions) *Topology {
	t.Helper()
	top := newTopology(t, "redis", o)
	top.start(t, top.add(t, top.serverSettings()...))
	return top
}

// SocketRedis is one private server that listens on a Unix socket too, which URL names.
func SocketRedis(t testing.TB, o RedisOptions) *Topology {
	t.Helper()
	top := newTopology(t, "redis-socket", o)
	top.start(t, top.add(t, append(top.serverSettings(), "--unixsocket", "redis.sock", "--unixsocketperm", "700")...))
	return top
}

func newTopology(t testing.TB, scheme string, o RedisOptions) *Topology {
	t.Helper()
	top := &Topology{scheme: scheme, options: o}
	if o.TLS {
		top.certs = newCertificates(t)
	}
	return top
}

// serverSettings are those of every server that holds data.
func (top *Topology) serverSettings() []string {
	// Replicas are there as soon as they can be: the delay is for many that come at
	// once, and a cluster does not name a replica before its first ping.
	settings := []string{"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"}
	if top.options.Password != "" {
		settings = append(settings, "--requirepass", top.options.Password, "--masterauth", top.options.Password)
	}
	if top.certs != nil {
		settings = append(settings, top.certs.settings()...)
	}
	return settings
}

// add makes a server that holds data.
func (top *Topology) add(t testing.TB, settings ...string) *node {
	t.Helper()
	n := top.newNode(t, instance.RedisConfig{Settings: settings, Password: top.options.Password})
	top.nodes = append(top.nodes, n)
	return n
}

func (top *Topology) newNode(t testing.TB, c instance.RedisConfig) *node {
	t.Helper()
	binary, err := fromEnv(RedisServerEnv, instance.FindRedis)
	if err != nil {
		t.Fatal(noRedisServer)
	}
	c.TLS = top.tls()
	server, err := instance.NewRedisWith(t.Context(), binary, c)
	must(t, err)
	cleanup(t, func(context.Context) error { return server.Close() })
	n := &node{Redis: server}
	n.admin = redis.NewClient(&redis.Options{
		Addr: server.Addr(), Password: c.Password, TLSConfig: c.TLS, ContextTimeoutEnabled: true,
		MaxRetries: -1, DialerRetries: 1, DialTimeout: time.Second, ReadTimeout: 5 * time.Second, DisableIdentity: true,
	})
	cleanup(t, func(context.Context) error { return n.admin.Close() })
	return n
}

func (top *Topology) start(t testing.TB, nodes ...*node) {
	t.Helper()
	for _, n := range nodes {
		must(t, n.Start(t.Context()))
	}
}

func (top *Topology) tls() *tls.Config {
	if top.certs == nil {
		return nil
	}
	return top.certs.config
}

// URL is the topology as --redis-url takes it, for the default user.
func (top *Topology) URL() string { return top.URLAs("", top.options.Password) }

// URLAs is the topology for a user; "" is the default one.
func (top *Topology) URLAs(user, password string) string {
	query := url.Values{}
	if top.certs != nil {
		query = top.certs.query()
	}
	u := url.URL{Scheme: top.scheme, Path: "/"}
	if user != "" || password != "" {
		u.User = url.UserPassword(user, password)
	}
	switch {
	case top.scheme == "redis-socket":
		u.Path = top.nodes[0].Dir() + "/redis.sock"
	case top.sentinels != nil:
		u.Host = strings.Join(top.Addrs(), ",")
		u.User = nil
		if own := top.options.sentinelPassword(); own != "" {
			u.User = url.UserPassword("", own)
		}
		query.Set("master", masterName)
		if user != "" {
			query.Set("username", user)
		}
		if password != "" {
			query.Set("password", password)
		}
	default:
		u.Host = strings.Join(top.Addrs(), ",")
	}
	switch {
	case top.certs == nil || top.scheme == "redis-socket":
	case top.scheme == "redis":
		u.Scheme = "rediss"
	default:
		query.Set("tls", "true")
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// Addrs are the addresses in URL: of the servers, or of the sentinels.
func (top *Topology) Addrs() []string {
	nodes := top.nodes
	if top.sentinels != nil {
		nodes = top.sentinels
	}
	var all []string
	for _, n := range nodes {
		all = append(all, n.Addr())
	}
	return all
}

// Admins are clients of the default user, one for each server that holds data.
func (top *Topology) Admins() []*redis.Client {
	var all []*redis.Client
	for _, n := range top.nodes {
		all = append(all, n.admin)
	}
	return all
}

// CertificateAuthority is the path of the file that URL names as ca.
func (top *Topology) CertificateAuthority() string { return top.certs.ca }

// depose finds the server that serves the key, and does that to it.
func (top *Topology) depose(t testing.TB, key string, do func(n *node) error) {
	t.Helper()
	n, err := top.master(t.Context(), key)
	must(t, err)
	top.deposed = n
	must(t, do(n))
}

// KillMaster ends the server that serves the key as a crash would.
func (top *Topology) KillMaster(t testing.TB, key string) {
	t.Helper()
	top.depose(t, key, func(n *node) error { return n.Kill() })
}

// Revive starts the killed server again. It comes back empty, and becomes a replica.
func (top *Topology) Revive(t testing.TB) {
	t.Helper()
	must(t, top.deposed.Start(t.Context()))
}

// FreezeMaster stops the server that serves the key where it stands.
func (top *Topology) FreezeMaster(t testing.TB, key string) {
	t.Helper()
	top.depose(t, key, func(n *node) error { return n.Freeze() })
}

// Thaw lets the frozen server go on. It takes itself for the master until it is told.
func (top *Topology) Thaw(t testing.TB) {
	t.Helper()
	must(t, top.deposed.Thaw())
}

// HandOver makes a replica take over from the server that serves the key, as an
// operator does who wants to work on it. That one stays up, and becomes a replica.
func (top *Topology) HandOver(t testing.TB, key string) {
	t.Helper()
	top.depose(t, key, func(n *node) error { return top.handOver(t.Context(), n, key) })
}

// AwaitPromotion waits until another server serves the key.
func (top *Topology) AwaitPromotion(t testing.TB, key string) {
	t.Helper()
	eventually(t, func(ctx context.Context) error {
		n, err := top.master(ctx, key)
		if err == nil && n == top.deposed {
			err = errors.New("no replica has been promoted")
		}
		return err
	})
}

// AwaitReplicas waits until every server that is no master follows one again, so that the next may go, too.
func (top *Topology) AwaitReplicas(t testing.TB, key string) {
	t.Helper()
	wanted := masters
	if top.sentinels != nil {
		wanted = 1
	}
	eventually(t, func(ctx context.Context) error {
		found := 0
		for _, n := range top.nodes {
			if n.contains(ctx, n.replication, "role:master") == nil {
				found++
				continue
			}
			if err := n.contains(ctx, n.replication, "master_link_status:up"); err != nil {
				return err
			}
		}
		if found != wanted {
			return fmt.Errorf("%d servers take themselves for masters, want %d", found, wanted)
		}
		top.deposed = nil
		_, err := top.master(ctx, key)
		return err
	})
}

// byAddr finds a server that holds data.
func (top *Topology) byAddr(addr string) (*node, error) {
	for _, n := range top.nodes {
		if n.Addr() == addr {
			return n, nil
		}
	}
	return nil, errors.New("no server of this test is at " + addr)
}

// eventually asks until there is no error, and ends the test with the last one.
func eventually(t testing.TB, holds func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), topologyPatience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := holds(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the servers did not agree within %v: %v", topologyPatience, err)
		case <-tick.C:
		}
	}
}

// contains is an error unless what the server says about itself contains all of want.
func (n *node) contains(ctx context.Context, ask func(context.Context) *redis.StringCmd, want ...string) error {
	text, err := ask(ctx).Result()
	if err != nil {
		return err
	}
	for _, w := range want {
		if !strings.Contains(text, w) {
			return errors.New(n.Addr() + " does not say " + w)
		}
	}
	return nil
}

func (n *node) replication(ctx context.Context) *redis.StringCmd {
	return n.admin.Info(ctx, "replication")
}
