package testservers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"testing"

	"github.com/sealq/sealq/internal/testservers/instance"
)

const (
	masters = 3
	slots   = 16384 // of every cluster
)

// Cluster gives t three masters that share the slots, with one replica each.
func Cluster(t testing.TB, o RedisOptions) *Topology {
	t.Helper()
	top := newTopology(t, "redis-cluster", o)
	buses := make(map[*node]string)
	for range 2 * masters {
		// The bus has 10000 more than the port unless told otherwise, which may be anybody's.
		bus, err := instance.ReservePort(t.Context())
		must(t, err)
		cleanup(t, func(context.Context) error { return bus.Release() })
		n := top.add(t, append(top.serverSettings(), top.clusterSettings(bus.Number())...)...)
		buses[n] = strconv.Itoa(bus.Number())
		top.start(t, n)
	}
	top.shareSlots(t)
	for _, n := range top.nodes[1:] {
		host, port, err := net.SplitHostPort(n.Addr())
		must(t, err)
		must(t, top.nodes[0].admin.Do(t.Context(), "CLUSTER", "MEET", host, port, buses[n]).Err())
	}
	known := fmt.Sprintf("cluster_known_nodes:%d\r", len(top.nodes))
	for _, n := range top.nodes {
		eventually(t, func(ctx context.Context) error { return n.contains(ctx, n.admin.ClusterInfo, known) })
	}
	for i, replica := range top.nodes[masters:] {
		id, err := top.nodes[i].admin.ClusterMyID(t.Context()).Result()
		must(t, err)
		eventually(t, func(ctx context.Context) error { return replica.admin.ClusterReplicate(ctx, id).Err() })
	}
	for i, n := range top.nodes {
		eventually(t, func(ctx context.Context) error { return n.contains(ctx, n.admin.ClusterInfo, "cluster_state:ok") })
		eventually(t, n.knowsReplicas)
		if i >= masters {
			eventually(t, func(ctx context.Context) error {
				return n.contains(ctx, n.replication, "role:slave", "master_link_status:up")
			})
		}
	}
	top.master = top.clustersMaster
	top.handOver = func(ctx context.Context, from *node, key string) error {
		served, err := top.servers(ctx, from, key)
		if err != nil {
			return err
		}
		return served[1].admin.ClusterFailover(ctx).Err()
	}
	return top
}

// clusterSettings are one node's. A master counts as down after two seconds: as
// short as a machine with two cores that builds beside it allows.
func (top *Topology) clusterSettings(bus int) []string {
	settings := []string{
		"--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port", strconv.Itoa(bus),
		"--cluster-node-timeout", "2000", "--cluster-replica-validity-factor", "0",
	}
	if top.certs != nil {
		settings = append(settings, "--tls-cluster", "yes")
	}
	return settings
}

func (top *Topology) shareSlots(t testing.TB) {
	t.Helper()
	for i, n := range top.nodes[:masters] {
		must(t, n.admin.ClusterAddSlotsRange(t.Context(), i*slots/masters, (i+1)*slots/masters-1).Err())
		// Nodes that both begin at epoch 0 would have to find out who is who.
		must(t, n.admin.Do(t.Context(), "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err())
	}
}

// clustersMaster is the one that every living node names, in a cluster that is well.
func (top *Topology) clustersMaster(ctx context.Context, key string) (*node, error) {
	var named *node
	for _, n := range top.nodes {
		if n == top.deposed {
			continue
		}
		served, err := top.servers(ctx, n, key)
		if err != nil {
			return nil, err
		}
		m := served[0]
		if named != nil && named != m {
			return nil, fmt.Errorf("nodes name %s and %s", named.Addr(), m.Addr())
		}
		named = m
		if m == top.deposed {
			return m, nil
		}
		if err := n.contains(ctx, n.admin.ClusterInfo, "cluster_state:ok"); err != nil {
			return nil, err
		}
	}
	return named, nil
}

// knowsReplicas is an error unless the node knows a replica for each master.
func (n *node) knowsReplicas(ctx context.Context) error {
	ranges, err := n.admin.ClusterSlots(ctx).Result() //nolint:staticcheck // what go-redis's own client asks
	if err != nil {
		return err
	}
	for _, r := range ranges {
		if len(r.Nodes) < 2 {
			return errors.New(n.Addr() + " does not know the replica of " + r.Nodes[0].Addr)
		}
	}
	return nil
}

// servers are those of the key's slot as the node sees them, the master first.
func (top *Topology) servers(ctx context.Context, n *node, key string) ([]*node, error) {
	slot, err := n.admin.ClusterKeySlot(ctx, key).Result()
	if err != nil {
		return nil, err
	}
	ranges, err := n.admin.ClusterSlots(ctx).Result() //nolint:staticcheck // what go-redis's own client asks
	if err != nil {
		return nil, err
	}
	for _, r := range ranges {
		if int(slot) < r.Start || int(slot) > r.End {
			continue
		}
		var all []*node
		for _, of := range r.Nodes {
			found, err := top.byAddr(of.Addr)
			if err != nil {
				return nil, err
			}
			all = append(all, found)
		}
		return all, nil
	}
	return nil, errors.New("nobody serves slot " + strconv.FormatInt(slot, 10))
}
