package survival_test

import (
	"testing"
	"time"

	"github.com/sealq/sealq/internal/testservers"
)

// upheaval is a way in which a master goes, and what becomes of it when another has taken over.
type upheaval struct {
	how         string
	begin, then func(t *testing.T, top *testservers.Topology, key string)
}

func upheavals() []upheaval {
	type topology = *testservers.Topology
	return []upheaval{
		{
			"the master was killed, and came back empty",
			func(t *testing.T, top topology, key string) { t.Helper(); top.KillMaster(t, key) },
			func(t *testing.T, top topology, _ string) { t.Helper(); top.Revive(t) },
		},
		{
			"the master stood still, and took itself for the master when it went on",
			func(t *testing.T, top topology, key string) { t.Helper(); top.FreezeMaster(t, key) },
			func(t *testing.T, top topology, _ string) { t.Helper(); top.Thaw(t) },
		},
		{
			"the master handed over",
			func(t *testing.T, top topology, key string) { t.Helper(); top.HandOver(t, key) },
			func(*testing.T, topology, string) {},
		},
	}
}

func TestEveryEffectHappensOnceThoughAReplicaTakesOver(t *testing.T) {
	t.Parallel()
	for form, start := range map[string]func(testing.TB, testservers.RedisOptions) *testservers.Topology{
		"with sentinels": testservers.Sentinels, "in a cluster": testservers.Cluster,
	} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			top := start(t, testservers.RedisOptions{})
			s := newSystem(t, plan{database: testservers.Postgres(t), redis: top.URL(), jobs: sized(1_500, 20_000), grace: shortGrace})
			enqueuer := s.goOn(t, seconds(12, 60))
			for range sized(1, 4) {
				for i, u := range upheavals() {
					pending := key([]string{"default", "critical"}[i%2], "pending")
					s.after(t, time.Second, 2*time.Second, func() { u.begin(t, top, pending) })
					top.AwaitPromotion(t, pending)
					s.after(t, 0, time.Second, func() { u.then(t, top, pending) })
					top.AwaitReplicas(t, pending)
					t.Log(u.how)
				}
			}
			s.enough(t, enqueuer)
			s.survived(t)
		})
	}
}
