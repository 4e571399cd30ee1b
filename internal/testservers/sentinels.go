package testservers

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/testservers/instance"
)

// masterName is what sentinels call the master.
const masterName = "sealq"

// Sentinels gives t a master, two replicas, and three sentinels of which two have
// to agree that the master is down.
func Sentinels(t testing.TB, o RedisOptions) *Topology {
	t.Helper()
	top := newTopology(t, "redis-sentinel", o)
	first := top.add(t, top.serverSettings()...)
	top.start(t, first)
	host, port, err := net.SplitHostPort(first.Addr())
	must(t, err)
	for range 2 {
		top.start(t, top.add(t, append(top.serverSettings(), "--replicaof", host+" "+port)...))
	}
	// Sentinels ask a master for its replicas when they start, and then every 10 s.
	eventually(t, func(ctx context.Context) error { return first.contains(ctx, first.replication, "connected_slaves:2") })
	for _, n := range top.nodes[1:] {
		eventually(t, func(ctx context.Context) error { return n.contains(ctx, n.replication, "master_link_status:up") })
	}
	config := top.sentinelConfig(host, port)
	for range 3 {
		n := top.newNode(t, instance.RedisConfig{Sentinel: config, Password: o.sentinelPassword()})
		top.start(t, n)
		top.sentinels = append(top.sentinels, n)
	}
	for _, n := range top.sentinels {
		eventually(t, func(ctx context.Context) error {
			return n.contains(ctx, func(ctx context.Context) *redis.StringCmd { return n.admin.Info(ctx, "sentinel") },
				"status=ok", "slaves=2,sentinels=3")
		})
	}
	top.master = top.sentinelsMaster
	top.handOver = func(ctx context.Context, _ *node, _ string) error {
		return top.sentinels[0].admin.Do(ctx, "SENTINEL", "failover", masterName).Err()
	}
	return top
}

// sentinelConfig is that of all three. A master counts as down after one second:
// as short as a machine with two cores that builds beside it allows.
func (top *Topology) sentinelConfig(host, port string) string {
	lines := []string{
		fmt.Sprintf("sentinel monitor %s %s %s 2", masterName, host, port),
		"sentinel down-after-milliseconds " + masterName + " 1000",
		"sentinel failover-timeout " + masterName + " 5000",
	}
	if top.options.Password != "" {
		lines = append(lines, "sentinel auth-pass "+masterName+" "+top.options.Password,
			"requirepass "+top.options.sentinelPassword(), "sentinel sentinel-pass "+top.options.sentinelPassword())
	}
	if top.certs != nil {
		settings := top.certs.settings()
		for i := 0; i < len(settings); i += 2 {
			lines = append(lines, strings.TrimPrefix(settings[i], "--")+" "+settings[i+1])
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// sentinelsMaster is the one that every sentinel names and that calls itself so.
func (top *Topology) sentinelsMaster(ctx context.Context, _ string) (*node, error) {
	named := ""
	for _, n := range top.sentinels {
		where, err := masterNamedBy(ctx, n.admin)
		if err != nil {
			return nil, err
		}
		if named != "" && named != where {
			return nil, fmt.Errorf("sentinels name %s and %s", named, where)
		}
		named = where
	}
	n, err := top.byAddr(named)
	if err != nil || n == top.deposed {
		return n, err
	}
	return n, n.contains(ctx, n.replication, "role:master")
}

// masterNamedBy asks one sentinel.
func masterNamedBy(ctx context.Context, sentinel *redis.Client) (string, error) {
	parts, err := sentinel.Do(ctx, "SENTINEL", "get-master-addr-by-name", masterName).StringSlice()
	if err != nil {
		return "", err
	}
	if len(parts) != 2 {
		return "", fmt.Errorf("the sentinel answered %q", parts)
	}
	return net.JoinHostPort(parts[0], parts[1]), nil
}
