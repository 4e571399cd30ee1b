package worker_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sealq/sealq/signing"
)

// message is the task as asynq stores it (asynq v0.26.0, internal/proto/asynq.proto). asynq's own client would refuse some
// of what an attacker writes.
func message(t signing.Task) []byte {
	var b []byte
	text := func(num protowire.Number, s string) {
		b = protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), s)
	}
	number := func(num protowire.Number, n int64) {
		b = protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), uint64(n))
	}
	text(1, t.Kind)
	text(2, string(t.Payload))
	text(3, t.ID)
	text(4, t.Queue)
	number(5, int64(t.MaxRetry))
	number(8, 1800) // timeout in seconds, as asynq's client sets it
	for _, name := range slices.Sorted(maps.Keys(t.Headers)) {
		entry := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), name)
		entry = protowire.AppendString(protowire.AppendTag(entry, 2, protowire.BytesType), t.Headers[name])
		text(15, string(entry))
	}
	return b
}

// putRaw writes the task as somebody with a Redis client would: into any list and under any key.
func putRaw(t *testing.T, client *redis.Client, list, id string, task signing.Task) {
	t.Helper()
	prefix := "asynq:{" + list + "}:"
	_, err := client.TxPipelined(t.Context(), func(p redis.Pipeliner) error {
		p.HSet(t.Context(), prefix+"t:"+id, "msg", message(task), "state", "pending", "pending_since", time.Now().UnixNano())
		p.LPush(t.Context(), prefix+"pending", id)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
