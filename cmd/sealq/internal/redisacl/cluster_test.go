package redisacl_test

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/cmd/sealq/internal/redisacl"
	"github.com/sealq/sealq/cmd/sealq/internal/redisurl"
	"github.com/sealq/sealq/internal/testservers"
)

// TestAUserOfAClusterFollowsASlotThatMoves is about ASKING: the story of cmd/sealq needs the rest of what a cluster takes.
func TestAUserOfAClusterFollowsASlotThatMoves(t *testing.T) {
	t.Parallel()
	top := testservers.Cluster(t, testservers.RedisOptions{Password: "admin"})
	hash, err := redisacl.Hash(password)
	check(t, err)
	users, err := redisacl.Users(redisacl.Config{
		Queues: []string{mail}, Cluster: true, Hashes: map[redisacl.Role]string{redisacl.Worker: hash},
	}, redisacl.Worker)
	check(t, err)
	for _, admin := range top.Admins() {
		check(t, admin.Do(t.Context(), words(users[0].SetUser())...).Err())
	}
	where, err := redisurl.Parse(top.URLAs(users[0].Name, password))
	check(t, err)
	client := where.Client()
	t.Cleanup(func() { check(t, client.Close()) })

	const key = "asynq:queues"
	owner, err := client.(*redis.ClusterClient).MasterForKey(t.Context(), key)
	check(t, err)
	slot, err := top.Admins()[0].ClusterKeySlot(t.Context(), key).Result()
	check(t, err)
	var from, to *redis.Client
	for _, admin := range top.Admins()[:3] { // the masters
		if admin.Options().Addr == owner.Options().Addr {
			from = admin
		} else {
			to = admin
		}
	}
	fromID, err := from.ClusterMyID(t.Context()).Result()
	check(t, err)
	toID, err := to.ClusterMyID(t.Context()).Result()
	check(t, err)
	check(t, to.Do(t.Context(), "CLUSTER", "SETSLOT", slot, "IMPORTING", fromID).Err())
	check(t, from.Do(t.Context(), "CLUSTER", "SETSLOT", slot, "MIGRATING", toID).Err())
	check(t, client.SAdd(t.Context(), key, mail).Err())
	if n, err := to.DBSize(t.Context()).Result(); err != nil || n != 1 {
		t.Errorf("where the slot goes there are %d keys, error %v", n, err)
	}
	refused, err := to.ACLLog(t.Context(), 10).Result()
	check(t, err)
	if len(refused) > 0 {
		t.Errorf("it was refused %+v", refused[0])
	}
}
