package survival_test

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealq/sealq/internal/testservers"
)

// network is between a system's processes and its servers: a line that can strand connections, and behind it a toxiproxy.
type network struct {
	toxics *testservers.Toxiproxy
	lines  map[string]*testservers.Line // by server
	count  int
}

// halfOpen lets nothing pass, and closes nothing before it is over.
const halfOpen = "half-open"

const (
	toRedis    = "redis"
	toPostgres = "postgres"
)

// newNetwork puts itself between the processes of a plan and its servers.
func newNetwork(t *testing.T, p *plan, redisURL string) *network {
	t.Helper()
	n := &network{toxics: testservers.NewToxiproxy(t, 1), lines: make(map[string]*testservers.Line)}
	p.processDatabase = n.through(t, toPostgres, p.database)
	p.processRedis = n.through(t, toRedis, redisURL)
	return n
}

// through is a server's address by way of the network.
func (n *network) through(t *testing.T, server, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	check(t, err)
	n.lines[server] = testservers.NewLine(t, n.toxics.Proxy(t, server, u.Host))
	u.Host = n.lines[server].Addr()
	return u.String()
}

// spoil makes something happen to a server's connections for a while.
func (n *network) spoil(t *testing.T, server string, x toxic, lasts func()) {
	t.Helper()
	var names []string
	for _, stream := range []string{"upstream", "downstream"} {
		n.count++
		name := fmt.Sprintf("%d-%s-%s", n.count, x.kind, stream)
		n.toxics.Add(t, server, testservers.Toxic{Name: name, Type: x.kind, Stream: stream, Attributes: x.attributes})
		names = append(names, name)
	}
	lasts()
	for _, name := range names {
		n.toxics.Remove(t, server, name)
	}
}

// toxic is one of toxiproxy's, in both directions.
type toxic struct {
	kind       string
	attributes map[string]int
}

// trouble is what can happen to connections.
func trouble() map[string]toxic {
	return map[string]toxic{
		"cut":              {"reset_peer", map[string]int{"timeout": 0}},
		"cut soon":         {"reset_peer", map[string]int{"timeout": 200}},
		"cut in an answer": {"limit_data", map[string]int{"bytes": 3000}},
		"delayed":          {"latency", map[string]int{"latency": 150, "jitter": 150}},
		"delayed by long":  {"latency", map[string]int{"latency": 1500, "jitter": 1000}},
		halfOpen:           {"timeout", map[string]int{"timeout": 0}},
		"slow":             {"bandwidth", map[string]int{"rate": 20}},
		"in small pieces":  {"slicer", map[string]int{"average_size": 50, "size_variation": 40, "delay": 200}},
	}
}

// shuffled are kinds of trouble in an order by chance.
func (s *system) shuffled() []string {
	names := slices.Sorted(maps.Keys(trouble()))
	s.random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return names
}

func TestEveryEffectHappensOnceThoughConnectionsAreCutDelayedAndHalfOpen(t *testing.T) {
	t.Parallel()
	server := testservers.Redis(t)
	p := plan{database: testservers.PostgresServer(t).URL(), redis: server.URL(), jobs: sized(1_000, 6_000), grace: shortGrace, dwell: 5 * time.Millisecond}
	n := newNetwork(t, &p, server.URL())
	s := newSystem(t, p)
	enqueuer := s.goOn(t, seconds(15, 60))
	var happened []string
	for range sized(1, 6) {
		for _, what := range s.shuffled() {
			for _, to := range []string{toRedis, toPostgres} {
				n.spoil(t, to, trouble()[what], func() { s.after(t, 300*time.Millisecond, 2*time.Second, func() {}) })
				happened = append(happened, to+" "+what)
			}
		}
		// For longer than clients wait, and at both servers at once.
		n.spoil(t, toRedis, trouble()[halfOpen], func() {
			n.spoil(t, toPostgres, trouble()[halfOpen], func() { s.after(t, 6*time.Second, 8*time.Second, func() {}) })
		})
	}
	t.Log(strings.Join(happened, ", "))
	s.enough(t, enqueuer)
	s.survived(t)
}

// Connections that were open when the hosts behind them vanished stay open and silent for ever; new ones reach the hosts that
// took over.
func TestEveryEffectHappensOnceThoughConnectionsStaySilentForEver(t *testing.T) {
	t.Parallel()
	server := testservers.Redis(t)
	p := plan{database: testservers.PostgresServer(t).URL(), redis: server.URL(), jobs: sized(1_000, 6_000), grace: shortGrace, dwell: 5 * time.Millisecond}
	n := newNetwork(t, &p, server.URL())
	s := newSystem(t, p)
	enqueuer := s.goOn(t, seconds(12, 60))
	for range sized(1, 6) {
		for _, to := range []string{toRedis, toPostgres} {
			s.after(t, 2*time.Second, 4*time.Second, func() { n.lines[to].Strand() })
		}
	}
	s.enough(t, enqueuer)
	s.survived(t)
}
